import com.example.other.replay.Replay;
import com.example.other.replay.Vectors;
import io.causality.internal.mobile.Client;
import io.causality.internal.mobile.Config;
import io.causality.internal.mobile.Mobile;
import io.causality.internal.mobile.Properties;
import io.causality.internal.mobile.Reply;
import io.causality.internal.mobile.Transport;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.Paths;
import java.util.concurrent.atomic.AtomicInteger;

/**
 * Uses our library and another one that is made with gobind as anybody's is, in one JVM, at the same time. Run by
 * "mobile/bind twins DIR", where DIR holds the golden vectors; it needs both libraries on java.library.path.
 */
public final class Twins {
	public static void main(String[] arguments) throws Exception {
		byte[] file = Files.readAllBytes(Paths.get(arguments[0], "encode.json"));
		Path directory = Files.createTempDirectory("causality-twins");
		AtomicInteger sent = new AtomicInteger();
		Config config = new Config();
		config.setKey("wk_test");
		Client client = Mobile.open(directory.toString(), config, new Transport() {
			@Override public void send(byte[] body, Reply reply) {
				sent.incrementAndGet();
				throw new IllegalStateException("the network is down");
			}
		}, null);
		AtomicInteger same = new AtomicInteger();
		Thread other = new Thread(() -> {
			try {
				Vectors vectors = Replay.read(file);
				for (int round = 0; round < 20; round++) {
					for (long i = 0; i < vectors.len(); i++) {
						if (java.util.Arrays.equals(vectors.get(i), Replay.replay("encode.json", vectors.get(i)))) {
							same.incrementAndGet();
						}
					}
				}
				same.addAndGet((int) (-20 * vectors.len()));
			} catch (Exception e) {
				e.printStackTrace();
				same.set(-1);
			}
		});
		other.start();
		for (int i = 0; i < 2000; i++) {
			Properties properties = new Properties();
			properties.putLong("n", i);
			client.track("tracked", properties);
			if (i % 100 == 0) {
				System.gc(); // both libraries count references with their own collector
			}
		}
		other.join();
		try {
			client.flush(30_000);
			throw new AssertionError("delivered without a network");
		} catch (Exception expected) {
			if (!expected.getMessage().contains("the network is down")) {
				throw expected;
			}
		}
		long queued = client.stats().queued();
		client.close(30_000);
		if (queued != 2000 || sent.get() == 0 || same.get() != 0) {
			throw new AssertionError(queued + " events queued, " + sent.get() + " attempts, " + same.get() + " vectors differ");
		}
	}
}
