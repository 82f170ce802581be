package benchmarks.job;

import java.nio.file.Path;
import java.util.HashMap;
import java.util.Map;

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
        boolean recover) {
    static Options of(String[] arguments) {
        Map<String, String> given = new HashMap<>(Map.of("--store", "heap", "--threads", "1", "--rounds", "1"));
        boolean recover = false;
        for (int i = 0; i < arguments.length; i++) {
            if (arguments[i].equals("--recover")) {
                recover = true;
            } else if (i + 1 < arguments.length) {
                given.put(arguments[i], arguments[++i]);
            }
        }
        return new Options(
                required(given, "--bootstrap"),
                required(given, "--input"),
                required(given, "--output"),
                required(given, "--group"),
                Long.parseLong(required(given, "--events")),
                required(given, "--mode"),
                Integer.parseInt(given.get("--rounds")),
                Path.of(required(given, "--state-dir")),
                given.get("--store"),
                Integer.parseInt(given.get("--threads")),
                recover);
    }

    private static String required(Map<String, String> given, String option) {
        String value = given.get(option);
        if (value == null) {
            throw new IllegalArgumentException("no " + option);
        }
        return value;
    }
}
