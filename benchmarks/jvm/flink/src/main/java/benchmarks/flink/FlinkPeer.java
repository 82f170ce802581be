package benchmarks.flink;

import benchmarks.job.Change;
import benchmarks.job.Event;
import benchmarks.job.Options;
import benchmarks.job.Peer;
import benchmarks.job.Rounds;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Comparator;
import java.util.stream.Stream;
import org.apache.flink.api.common.JobID;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.configuration.CheckpointingOptions;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.configuration.CoreOptions;
import org.apache.flink.configuration.ExternalizedCheckpointRetention;
import org.apache.flink.configuration.PipelineOptions;
import org.apache.flink.configuration.RestartStrategyOptions;
import org.apache.flink.configuration.StateBackendOptions;
import org.apache.flink.connector.base.DeliveryGuarantee;
import org.apache.flink.connector.kafka.sink.KafkaSink;
import org.apache.flink.connector.kafka.source.KafkaSource;
import org.apache.flink.connector.kafka.source.enumerator.initializer.OffsetsInitializer;
import org.apache.flink.runtime.jobgraph.JobGraph;
import org.apache.flink.runtime.jobgraph.SavepointRestoreSettings;
import org.apache.flink.runtime.minicluster.MiniCluster;
import org.apache.flink.runtime.minicluster.MiniClusterConfiguration;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;

/** The common job on Flink: a keyed process function, on a cluster of one task manager in this JVM. */
public final class FlinkPeer implements Peer {
    private static final Duration CHECKPOINT_INTERVAL = Duration.ofSeconds(1);

    private final Options options;
    private final MiniCluster cluster;

    private FlinkPeer(Options options) throws Exception {
        this.options = options;
        cluster = new MiniCluster(new MiniClusterConfiguration.Builder()
                .setConfiguration(settings())
                .setNumSlotsPerTaskManager(options.threads())
                .withRandomPorts()
                .build());
        cluster.start();
    }

    public static void main(String[] arguments) {
        Rounds.main(arguments, FlinkPeer::new);
    }

    @Override
    public Running run(String group, String output) throws Exception {
        Progress progress = Progress.begin(options.events(), options.threads());
        Job job = new Job(graph(group, output), progress);
        progress.done.get();
        return job;
    }

    @Override
    public Recovered recover(String group, String output) throws Exception {
        Progress progress = Progress.begin(options.events(), options.threads());
        JobGraph graph = graph(group, output);
        graph.setSavepointRestoreSettings(SavepointRestoreSettings.forPath(lastCheckpoint(group).toString()));
        Job job = new Job(graph, progress);
        return new Recovered(progress.ready.get(), job);
    }

    @Override
    public void close() throws Exception {
        cluster.close();
    }

    private JobGraph graph(String group, String output) {
        KafkaSource<Event> events = KafkaSource.<Event>builder()
                .setBootstrapServers(options.bootstrap())
                .setTopics(options.input())
                .setGroupId(group)
                .setStartingOffsets(OffsetsInitializer.earliest())
                .setValueOnlyDeserializer(new Events())
                .build();
        KafkaSink<Change> changes = KafkaSink.<Change>builder()
                .setBootstrapServers(options.bootstrap())
                .setRecordSerializer(new Changes(output))
                .setDeliveryGuarantee(DeliveryGuarantee.AT_LEAST_ONCE)
                .build();
        Configuration settings = settings();
        settings.set(CheckpointingOptions.CHECKPOINTS_DIRECTORY, checkpoints(group).toUri().toString());
        StreamExecutionEnvironment environment = StreamExecutionEnvironment.getExecutionEnvironment(settings);
        environment.fromSource(events, WatermarkStrategy.noWatermarks(), "events", new EventType())
                .keyBy(Event::customer, Types.STRING)
                .process(new Lifecycle(), TypeInformation.of(Change.class))
                .uid("lifecycle")
                .sinkTo(changes);
        return environment.getStreamGraph().getJobGraph();
    }

    private Configuration settings() {
        Configuration settings = new Configuration();
        settings.set(CoreOptions.DEFAULT_PARALLELISM, options.threads());
        settings.set(CoreOptions.TMP_DIRS, options.stateDir().toString());
        settings.set(PipelineOptions.OBJECT_REUSE, true);
        settings.set(PipelineOptions.GENERIC_TYPES, false); // an error if anything were left to Kryo
        settings.set(PipelineOptions.AUTO_WATERMARK_INTERVAL, Duration.ZERO);
        settings.set(StateBackendOptions.STATE_BACKEND, options.store().equals("heap") ? "hashmap" : "rocksdb");
        settings.set(CheckpointingOptions.CHECKPOINTING_INTERVAL, CHECKPOINT_INTERVAL);
        settings.set(CheckpointingOptions.INCREMENTAL_CHECKPOINTS, true);
        settings.set(
                CheckpointingOptions.EXTERNALIZED_CHECKPOINT_RETENTION,
                ExternalizedCheckpointRetention.RETAIN_ON_CANCELLATION);
        settings.set(RestartStrategyOptions.RESTART_STRATEGY, "none");
        return settings;
    }

    private Path checkpoints(String group) {
        return options.stateDir().resolve("checkpoints").resolve(group);
    }

    private Path lastCheckpoint(String group) throws IOException {
        try (Stream<Path> files = Files.walk(checkpoints(group))) {
            return files.filter(file -> file.endsWith("_metadata"))
                    .map(Path::getParent)
                    .max(Comparator.comparing(checkpoint -> checkpoint.toFile().lastModified()))
                    .orElseThrow();
        }
    }

    /** From submission to cancellation. */
    private final class Job implements Running {
        private final JobID id;

        Job(JobGraph graph, Progress progress) throws Exception {
            id = cluster.submitJob(graph).get().getJobID();
            cluster.requestJobResult(id).thenAccept(result -> {
                Throwable cause = result.getSerializedThrowable().orElse(null);
                progress.fail(new IllegalStateException("the job has ended: " + result.getApplicationStatus(), cause));
            });
        }

        @Override
        public void close() throws Exception {
            cluster.cancelJob(id).get();
            cluster.requestJobResult(id).get(); // comes when the job has ended
        }
    }
}
