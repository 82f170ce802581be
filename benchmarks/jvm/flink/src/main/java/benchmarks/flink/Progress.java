package benchmarks.flink;

import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;

/** How far the job in this JVM has come, as its subtasks report it. Static, since Flink makes copies of the functions. */
final class Progress {
    private static volatile Progress current;

    private final Map<Integer, Long> durable = new ConcurrentHashMap<>();
    private final Map<Integer, Long> restored = new ConcurrentHashMap<>();
    private final long events;
    private final int subtasks;

    /** Completes when all events are in a completed checkpoint. */
    final CompletableFuture<Void> done = new CompletableFuture<>();

    /** Completes, with the number of customers, when every subtask has its state. */
    final CompletableFuture<Long> ready = new CompletableFuture<>();

    private Progress(long events, int subtasks) {
        this.events = events;
        this.subtasks = subtasks;
    }

    /** Of the job that is started next; the one before has ended. */
    static Progress begin(long events, int subtasks) {
        current = new Progress(events, subtasks);
        return current;
    }

    static void durable(int subtask, long processed) {
        Progress progress = current;
        progress.durable.put(subtask, processed);
        if (sum(progress.durable) == progress.events) {
            progress.done.complete(null);
        }
    }

    static void restored(int subtask, long customers) {
        Progress progress = current;
        progress.restored.put(subtask, customers);
        if (progress.restored.size() == progress.subtasks) {
            progress.ready.complete(sum(progress.restored));
        }
    }

    /** If it has not got there by now, it will not. */
    void fail(Throwable cause) {
        done.completeExceptionally(cause);
        ready.completeExceptionally(cause);
    }

    private static long sum(Map<Integer, Long> ofSubtasks) {
        return ofSubtasks.values().stream().mapToLong(Long::longValue).sum();
    }
}
