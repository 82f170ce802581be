package benchmarks.job;

import java.nio.file.Path;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;

/** The command line, the same for every peer; README.md beside the modules says what each option is. */
public record Options(
        String bootstrap,
        String input,
        String output,
        String group,
        long events,
        String mode,
        int rounds,
        Path stateDir,
        String store,
        int threads,
        boolean paced,
        boolean recover) {
    private static final Set<String> FLAGS = Set.of("--paced", "--recover");
    private static final Map<String, String> DEFAULTS = Map.of("--rounds", "1", "--store", "heap", "--threads", "1");
    private static final Map<String, Set<String>> CHOICES =
            Map.of("--mode", Set.of("default", "1s"), "--store", Set.of("heap", "rocksdb"));

    static Options of(String[] arguments) {
        Set<String> flags = new HashSet<>();
        Map<String, String> values = new HashMap<>(DEFAULTS);
        for (int i = 0; i < arguments.length; i++) {
            if (FLAGS.contains(arguments[i])) {
                flags.add(arguments[i]);
            } else if (i + 1 < arguments.length) {
                values.put(arguments[i], arguments[++i]);
            } else {
                throw new IllegalArgumentException(arguments[i] + " has no value");
            }
        }
        Options options = new Options(
                take(values, "--bootstrap"),
                take(values, "--input"),
                take(values, "--output"),
                take(values, "--group"),
                Long.parseLong(take(values, "--events")),
                take(values, "--mode"),
                Integer.parseInt(take(values, "--rounds")),
                Path.of(take(values, "--state-dir")),
                take(values, "--store"),
                Integer.parseInt(take(values, "--threads")),
                flags.contains("--paced"),
                flags.contains("--recover"));
        if (!values.isEmpty()) {
            throw new IllegalArgumentException("there is no " + List.copyOf(values.keySet()));
        }
        return options;
    }

    private static String take(Map<String, String> values, String option) {
        String value = values.remove(option);
        if (value == null) {
            throw new IllegalArgumentException("no " + option);
        }
        Set<String> choices = CHOICES.get(option);
        if (choices != null && !choices.contains(value)) {
            throw new IllegalArgumentException(option + " is one of " + choices);
        }
        return value;
    }
}
