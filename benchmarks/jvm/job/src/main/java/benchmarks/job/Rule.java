package benchmarks.job;

import static benchmarks.job.Stage.CART;
import static benchmarks.job.Stage.CHECKOUT;
import static benchmarks.job.Stage.CUSTOMER;
import static benchmarks.job.Stage.ENGAGED;
import static benchmarks.job.Stage.LOYAL;
import static benchmarks.job.Stage.REPEAT;
import static benchmarks.job.Stage.VISITOR;

import java.util.EnumSet;
import java.util.Set;

/** From one of these stages to that one, once so many events of that type were counted. */
record Rule(Set<Stage> from, Stage to, Type type, int number) {
    /** As in benchmarks/job.py; the first that applies counts. */
    static final Rule[] ALL = {
        new Rule(EnumSet.of(VISITOR, ENGAGED, CART, CHECKOUT), CUSTOMER, Type.ORDER_COMPLETED, 1),
        new Rule(EnumSet.of(CUSTOMER), REPEAT, Type.ORDER_COMPLETED, 2),
        new Rule(EnumSet.of(REPEAT), LOYAL, Type.ORDER_COMPLETED, 5),
        new Rule(EnumSet.of(VISITOR, ENGAGED, CART), CHECKOUT, Type.CHECKOUT_STARTED, 1),
        new Rule(EnumSet.of(VISITOR, ENGAGED), CART, Type.PRODUCT_ADDED, 1),
        new Rule(EnumSet.of(VISITOR), ENGAGED, Type.PRODUCT_VIEWED, 3),
    };

    static Stage next(Stage stage, int[] counts) {
        for (Rule rule : ALL) {
            if (counts[rule.type.ordinal()] >= rule.number && rule.from.contains(stage)) {
                return rule.to;
            }
        }
        return null;
    }
}
