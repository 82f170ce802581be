package benchmarks.job;

/** Where a customer is. */
enum Stage {
    VISITOR,
    ENGAGED,
    CART,
    CHECKOUT,
    CUSTOMER,
    REPEAT,
    LOYAL;

    static final Stage[] ALL = values();

    final String label = name().toLowerCase();
}
