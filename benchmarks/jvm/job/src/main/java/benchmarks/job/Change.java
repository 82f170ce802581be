package benchmarks.job;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonGenerator;
import com.fasterxml.jackson.core.util.ByteArrayBuilder;
import java.io.IOException;
import java.io.UncheckedIOException;

/** A change of stage: an output. */
public record Change(String customer, String from, String to, long at, int sequence) {
    private static final JsonFactory JSON = new JsonFactory();

    public byte[] toJson() {
        try (ByteArrayBuilder bytes = new ByteArrayBuilder(128)) {
            try (JsonGenerator json = JSON.createGenerator(bytes)) {
                json.writeStartObject();
                json.writeStringField("customer", customer);
                json.writeStringField("from", from);
                json.writeStringField("to", to);
                json.writeNumberField("at", at);
                json.writeNumberField("sequence", sequence);
                json.writeEndObject();
            }
            return bytes.toByteArray();
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
    }
}
