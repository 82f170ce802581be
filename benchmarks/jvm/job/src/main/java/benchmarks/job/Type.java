package benchmarks.job;

import java.util.HashMap;
import java.util.Map;

/** The types of events. */
public enum Type {
    PAGE_VIEWED,
    PRODUCT_VIEWED,
    PRODUCT_ADDED,
    PRODUCT_REMOVED,
    CHECKOUT_STARTED,
    ORDER_COMPLETED;

    static final Type[] ALL = values();

    private static final Map<String, Type> BY_NAME = new HashMap<>();

    static {
        for (Type type : ALL) {
            BY_NAME.put(type.name().toLowerCase(), type);
        }
    }

    static Type named(String name) {
        return BY_NAME.get(name);
    }

    public static Type at(int ordinal) {
        return ALL[ordinal];
    }
}
