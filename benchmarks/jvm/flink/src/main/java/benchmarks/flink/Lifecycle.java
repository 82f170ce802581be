package benchmarks.flink;

import benchmarks.job.Change;
import benchmarks.job.Event;
import benchmarks.job.Profile;
import java.util.List;
import java.util.NavigableMap;
import java.util.TreeMap;
import org.apache.flink.api.common.functions.OpenContext;
import org.apache.flink.api.common.state.CheckpointListener;
import org.apache.flink.api.common.state.ListState;
import org.apache.flink.api.common.state.ListStateDescriptor;
import org.apache.flink.api.common.state.ValueState;
import org.apache.flink.api.common.state.ValueStateDescriptor;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.runtime.state.FunctionInitializationContext;
import org.apache.flink.runtime.state.FunctionSnapshotContext;
import org.apache.flink.streaming.api.checkpoint.CheckpointedFunction;
import org.apache.flink.streaming.api.functions.KeyedProcessFunction;
import org.apache.flink.util.Collector;

/** The job, customer by customer; and its {@link Progress}, checkpoint by checkpoint. */
final class Lifecycle extends KeyedProcessFunction<String, Event, Change>
        implements CheckpointedFunction, CheckpointListener {
    private static final long serialVersionUID = 1;

    private transient ValueState<Profile> profiles;
    private transient ListState<Long> customersKept;
    private transient NavigableMap<Long, Long> processedAt;
    private transient long processed;
    private transient long customers;

    @Override
    public void initializeState(FunctionInitializationContext context) throws Exception {
        customersKept =
                context.getOperatorStateStore().getListState(new ListStateDescriptor<>("customers", Types.LONG));
        for (long kept : customersKept.get()) {
            customers += kept;
        }
        processedAt = new TreeMap<>();
    }

    @Override
    public void open(OpenContext context) {
        profiles = getRuntimeContext().getState(new ValueStateDescriptor<>("profile", new ProfileSerializer()));
        Progress.restored(subtask(), customers);
    }

    @Override
    public void processElement(Event event, Context context, Collector<Change> output) throws Exception {
        Profile profile = profiles.value();
        if (profile == null) {
            profile = new Profile();
            customers++;
        }
        profile.apply(event, output::collect);
        profiles.update(profile);
        processed++;
    }

    @Override
    public void snapshotState(FunctionSnapshotContext context) throws Exception {
        customersKept.update(List.of(customers));
        processedAt.put(context.getCheckpointId(), processed);
    }

    @Override
    public void notifyCheckpointComplete(long checkpoint) {
        NavigableMap<Long, Long> completed = processedAt.headMap(checkpoint, true);
        if (!completed.isEmpty()) {
            Progress.durable(subtask(), completed.lastEntry().getValue());
            completed.clear();
        }
    }

    private int subtask() {
        return getRuntimeContext().getTaskInfo().getIndexOfThisSubtask();
    }
}
