package benchmarks.job;

/** One stream processor, as {@link Rounds} runs it. */
public interface Peer extends AutoCloseable {
    /**
     * Reads the input from its beginning, and returns once all events have been processed and that is durable.
     *
     * @param group of this round, new to the broker
     * @param output the topic of this round, empty
     */
    Running run(String group, String output) throws Exception;

    /** Called instead of rounds: gets the state of a group of an earlier program back, as on another machine. */
    Recovered recover(String group, String output) throws Exception;

    @Override
    void close() throws Exception;

    /** What still runs when a round has been measured; it is closed before the next. */
    interface Running extends AutoCloseable {}

    /** @param records of the state that were restored */
    record Recovered(long records, Running running) {}
}
