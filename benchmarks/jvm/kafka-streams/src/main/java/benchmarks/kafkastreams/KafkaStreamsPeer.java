package benchmarks.kafkastreams;

import benchmarks.job.Change;
import benchmarks.job.Event;
import benchmarks.job.Options;
import benchmarks.job.Peer;
import benchmarks.job.Profile;
import benchmarks.job.Rounds;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.common.serialization.Deserializer;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.serialization.Serializer;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.apache.kafka.streams.processor.StateRestoreListener;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.StoreBuilder;
import org.apache.kafka.streams.state.Stores;

/** The common job on Kafka Streams: a processor over a RocksDB store with cache and changelog. */
public final class KafkaStreamsPeer implements Peer {
    private final Options options;

    private KafkaStreamsPeer(Options options) {
        this.options = options;
    }

    public static void main(String[] arguments) {
        Rounds.main(arguments, KafkaStreamsPeer::new);
    }

    @Override
    public Running run(String group, String output) throws Exception {
        CompletableFuture<Void> done = new CompletableFuture<>();
        AtomicLong processed = new AtomicLong();
        Topology topology = topology(output, () -> {
            if (processed.incrementAndGet() == options.events()) {
                done.complete(null);
            }
        });
        try (Streams streams = new Streams(topology, group, done)) {
            streams.start();
            done.get();
        }
        return () -> {}; // for it is closing that makes the last of it durable: it commits
    }

    @Override
    public Recovered recover(String group, String output) throws Exception {
        CompletableFuture<Void> running = new CompletableFuture<>();
        AtomicLong restored = new AtomicLong();
        Streams streams = new Streams(topology(output, () -> {}), group, running);
        streams.kafka.setGlobalStateRestoreListener(new Restored(restored));
        streams.kafka.setStateListener((now, before) -> {
            if (now == KafkaStreams.State.RUNNING) {
                running.complete(null);
            }
        });
        streams.kafka.cleanUp();
        streams.start();
        running.get();
        return new Recovered(restored.get(), streams);
    }

    @Override
    public void close() {}

    private Topology topology(String output, Runnable processed) {
        Deserializer<Event> events = (topic, json) -> Event.ofJson(json);
        Serializer<Change> changes = (topic, change) -> change.toJson();
        Serde<Profile> profiles = Serdes.serdeFrom(
                (topic, profile) -> profile.toBytes(), (topic, bytes) -> bytes == null ? null : Profile.ofBytes(bytes));
        StoreBuilder<KeyValueStore<byte[], Profile>> store = Stores.keyValueStoreBuilder(
                        Stores.persistentKeyValueStore(Lifecycle.PROFILES), Serdes.ByteArray(), profiles)
                .withCachingEnabled()
                .withLoggingEnabled(Map.of());
        return new Topology()
                .addSource("events", new ByteArrayDeserializer(), events, options.input())
                .addProcessor("lifecycle", () -> new Lifecycle(processed), "events")
                .addStateStore(store, "lifecycle")
                .addSink("changes", output, new ByteArraySerializer(), changes, "lifecycle");
    }

    private Properties settings(String group) {
        Properties settings = new Properties();
        settings.put(StreamsConfig.APPLICATION_ID_CONFIG, group);
        settings.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, options.bootstrap());
        settings.put(StreamsConfig.STATE_DIR_CONFIG, options.stateDir().toString());
        settings.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, options.threads());
        if (options.mode().equals("1s")) {
            settings.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, 1000);
        }
        // A member with a name of its own can leave the group when it closes, and need not be waited for afterwards.
        settings.put(StreamsConfig.consumerPrefix(ConsumerConfig.GROUP_INSTANCE_ID_CONFIG), "benchmark");
        return settings;
    }

    /** From start to close. */
    private final class Streams implements Running {
        private final KafkaStreams kafka;

        Streams(Topology topology, String group, CompletableFuture<Void> awaited) {
            kafka = new KafkaStreams(topology, settings(group));
            kafka.setUncaughtExceptionHandler(error -> {
                awaited.completeExceptionally(error);
                return StreamThreadExceptionResponse.SHUTDOWN_CLIENT;
            });
        }

        void start() {
            kafka.start();
        }

        @Override
        public void close() {
            kafka.close(new KafkaStreams.CloseOptions().leaveGroup(true));
        }
    }

    private record Restored(AtomicLong records) implements StateRestoreListener {
        @Override
        public void onRestoreStart(TopicPartition partition, String store, long from, long to) {}

        @Override
        public void onBatchRestored(TopicPartition partition, String store, long to, long number) {}

        @Override
        public void onRestoreEnd(TopicPartition partition, String store, long number) {
            records.addAndGet(number);
        }
    }
}
