package benchmarks.flink;

import static java.nio.charset.StandardCharsets.UTF_8;

import benchmarks.job.Change;
import org.apache.flink.connector.kafka.sink.KafkaRecordSerializationSchema;
import org.apache.kafka.clients.producer.ProducerRecord;

/** Records of the output topic. */
record Changes(String topic) implements KafkaRecordSerializationSchema<Change> {
    @Override
    public ProducerRecord<byte[], byte[]> serialize(Change change, KafkaSinkContext context, Long timestamp) {
        return new ProducerRecord<>(topic, change.customer().getBytes(UTF_8), change.toJson());
    }
}
