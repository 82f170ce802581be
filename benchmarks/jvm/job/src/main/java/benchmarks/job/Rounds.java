package benchmarks.job;

import static java.nio.charset.StandardCharsets.US_ASCII;

import com.sun.management.OperatingSystemMXBean;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.lang.management.ManagementFactory;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Locale;

/** Runs a peer's rounds in this JVM, and says on standard output what each took of the whole process. */
public final class Rounds {
    private static final OperatingSystemMXBean SYSTEM =
            ManagementFactory.getPlatformMXBean(OperatingSystemMXBean.class);

    private static final BufferedReader GO = new BufferedReader(new InputStreamReader(System.in, US_ASCII));

    private Rounds() {}

    /** A peer that is up, but has read no event yet. */
    public interface Start {
        Peer peer(Options options) throws Exception;
    }

    /** The main of every peer. Ends the process: what a library left running must not keep it. */
    public static void main(String[] arguments, Start start) {
        try {
            Options options = Options.of(arguments);
            try (Peer peer = start.peer(options)) {
                if (options.recover()) {
                    recover(peer, options);
                } else {
                    rounds(peer, options);
                }
            }
            System.exit(0);
        } catch (Throwable error) {
            error.printStackTrace();
            System.exit(1);
        }
    }

    private static void rounds(Peer peer, Options options) throws Exception {
        for (int round = 1; round <= options.rounds(); round++) {
            ready(options);
            Used before = Used.now();
            try (Peer.Running running = peer.run(options.group() + "-" + round, options.output() + "-" + round)) {
                Used used = Used.now().since(before);
                say(
                        "{\"round\": %d, \"cpu_s\": %.3f, \"wall_s\": %.3f, \"peak_rss_mb\": %.1f}",
                        round, used.cpu(), used.wall(), peakMegabytes());
            }
        }
    }

    private static void recover(Peer peer, Options options) throws Exception {
        ready(options);
        Used before = Used.now();
        Peer.Recovered recovered = peer.recover(options.group() + "-1", options.output() + "-1");
        try (Peer.Running running = recovered.running()) {
            Used used = Used.now().since(before);
            say(
                    "{\"recovery_s\": %.3f, \"recovery_cpu_s\": %.3f, \"records\": %d}",
                    used.wall(), used.cpu(), recovered.records());
        }
    }

    private static void ready(Options options) throws IOException {
        System.out.println("ready");
        if (options.paced()) {
            GO.readLine();
        }
    }

    private static void say(String format, Object... values) {
        System.out.println(String.format(Locale.ROOT, format, values));
    }

    /** Seconds. */
    private record Used(double cpu, double wall) {
        static Used now() {
            return new Used(SYSTEM.getProcessCpuTime() / 1e9, System.nanoTime() / 1e9);
        }

        Used since(Used before) {
            return new Used(cpu - before.cpu, wall - before.wall);
        }
    }

    private static double peakMegabytes() throws IOException {
        for (String line : Files.readAllLines(Path.of("/proc/self/status"))) {
            if (line.startsWith("VmHWM:")) {
                return Long.parseLong(line.replaceAll("\\D", "")) / 1024.0;
            }
        }
        throw new IOException("/proc/self/status has no VmHWM");
    }
}
