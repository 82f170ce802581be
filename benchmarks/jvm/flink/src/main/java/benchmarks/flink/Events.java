package benchmarks.flink;

import benchmarks.job.Event;
import org.apache.flink.api.common.serialization.AbstractDeserializationSchema;

/** Records of the input topic. */
final class Events extends AbstractDeserializationSchema<Event> {
    private static final long serialVersionUID = 1;

    Events() {
        super(new EventType());
    }

    @Override
    public Event deserialize(byte[] json) {
        return Event.ofJson(json);
    }
}
