package benchmarks.job;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonToken;
import java.io.IOException;
import java.io.UncheckedIOException;

/** What the job needs of an event. */
public record Event(String customer, Type type, long at, String product, int quantity) {
    private static final JsonFactory JSON = new JsonFactory();

    /** With Jackson's pull parser, cheaper than its data binding: what is not needed is skipped. */
    public static Event ofJson(byte[] json) {
        String customer = null;
        String product = null;
        Type type = null;
        long at = 0;
        int quantity = 0;
        try (JsonParser parser = JSON.createParser(json)) {
            parser.nextToken();
            for (String name = parser.nextFieldName(); name != null; name = parser.nextFieldName()) {
                JsonToken value = parser.nextToken();
                switch (name) {
                    case "customer_id" -> customer = parser.getText();
                    case "type" -> type = Type.named(parser.getText());
                    case "occurred_at" -> at = parser.getLongValue();
                    case "product_id" -> product = parser.getText();
                    case "quantity" -> quantity = parser.getIntValue();
                    default -> {
                        if (value.isStructStart()) {
                            parser.skipChildren();
                        }
                    }
                }
            }
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
        return new Event(customer, type, at, product, quantity);
    }
}
