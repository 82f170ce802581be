package benchmarks.flink;

import benchmarks.job.Profile;
import java.io.IOException;
import org.apache.flink.api.common.typeutils.SimpleTypeSerializerSnapshot;
import org.apache.flink.api.common.typeutils.TypeSerializerSnapshot;
import org.apache.flink.core.memory.DataInputView;
import org.apache.flink.core.memory.DataOutputView;

/** State, in the same bytes as in Kafka Streams. */
public final class ProfileSerializer extends OwnSerializer<Profile> {
    private static final long serialVersionUID = 1;

    @Override
    public boolean isImmutableType() {
        return false;
    }

    @Override
    public Profile copy(Profile from) {
        return from.copy();
    }

    @Override
    public void serialize(Profile profile, DataOutputView target) throws IOException {
        byte[] bytes = profile.toBytes();
        target.writeInt(bytes.length);
        target.write(bytes);
    }

    @Override
    public Profile deserialize(DataInputView source) throws IOException {
        byte[] bytes = new byte[source.readInt()];
        source.readFully(bytes);
        return Profile.ofBytes(bytes);
    }

    @Override
    public TypeSerializerSnapshot<Profile> snapshotConfiguration() {
        return new Snapshot();
    }

    /** For Flink, which makes it from its name. */
    public static final class Snapshot extends SimpleTypeSerializerSnapshot<Profile> {
        public Snapshot() {
            super(ProfileSerializer::new);
        }
    }
}
