package benchmarks.flink;

import benchmarks.job.Event;
import benchmarks.job.Type;
import java.io.IOException;
import org.apache.flink.api.common.typeutils.SimpleTypeSerializerSnapshot;
import org.apache.flink.api.common.typeutils.TypeSerializerSnapshot;
import org.apache.flink.core.memory.DataInputView;
import org.apache.flink.core.memory.DataOutputView;
import org.apache.flink.types.StringValue;

/** Events, on their way from the source to the subtask that has their customer. */
public final class EventSerializer extends OwnSerializer<Event> {
    private static final long serialVersionUID = 1;

    @Override
    public boolean isImmutableType() {
        return true;
    }

    @Override
    public Event copy(Event from) {
        return from;
    }

    @Override
    public void serialize(Event event, DataOutputView target) throws IOException {
        StringValue.writeString(event.customer(), target);
        target.writeByte(event.type().ordinal());
        target.writeLong(event.at());
        StringValue.writeString(event.product(), target);
        target.writeInt(event.quantity());
    }

    @Override
    public Event deserialize(DataInputView source) throws IOException {
        String customer = StringValue.readString(source);
        Type type = Type.at(source.readByte());
        return new Event(customer, type, source.readLong(), StringValue.readString(source), source.readInt());
    }

    @Override
    public TypeSerializerSnapshot<Event> snapshotConfiguration() {
        return new Snapshot();
    }

    /** For Flink, which makes it from its name. */
    public static final class Snapshot extends SimpleTypeSerializerSnapshot<Event> {
        public Snapshot() {
            super(EventSerializer::new);
        }
    }
}
