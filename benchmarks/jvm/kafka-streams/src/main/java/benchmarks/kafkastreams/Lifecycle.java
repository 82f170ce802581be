package benchmarks.kafkastreams;

import benchmarks.job.Change;
import benchmarks.job.Event;
import benchmarks.job.Profile;
import java.util.function.Consumer;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueStore;

/** The job on one partition. */
final class Lifecycle implements Processor<byte[], Event, byte[], Change> {
    static final String PROFILES = "profiles";

    private final Runnable processed;
    private ProcessorContext<byte[], Change> context;
    private KeyValueStore<byte[], Profile> profiles;

    /** @param processed is called after each event */
    Lifecycle(Runnable processed) {
        this.processed = processed;
    }

    @Override
    public void init(ProcessorContext<byte[], Change> context) {
        this.context = context;
        profiles = context.getStateStore(PROFILES);
    }

    @Override
    public void process(Record<byte[], Event> record) {
        Profile profile = profiles.get(record.key());
        if (profile == null) {
            profile = new Profile();
        }
        Consumer<Change> output = change -> context.forward(record.withValue(change));
        profile.apply(record.value(), output);
        profiles.put(record.key(), profile);
        processed.run();
    }
}
