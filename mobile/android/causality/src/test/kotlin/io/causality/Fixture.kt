package io.causality

import java.io.File
import java.util.concurrent.CopyOnWriteArrayList
import java.util.concurrent.LinkedBlockingQueue
import java.util.concurrent.TimeUnit

/** What was told to the host. */
class Notices {
    val all = CopyOnWriteArrayList<String>()

    internal val journal = Journal({ level, message -> all += "$level: $message" }, null, null)

    fun containing(text: String) = all.filter { text in it }
}

internal fun settings(server: IngestServer, configure: Options.() -> Unit = {}) = Settings(
    "wk_test",
    Options().apply {
        host = server.url
        allowInsecure = true
        flushEveryMillis = 10
        configure()
    },
)

internal fun recorder(settings: Settings, dir: File, notices: Notices = Notices()) =
    Recorder(settings, { dir }, notices.journal).apply { open { null } }

internal fun Recorder.track(name: String, fill: Properties.() -> Unit = {}): Boolean {
    val properties = Properties().apply(fill)
    val now = System.currentTimeMillis()
    return call { it.trackAt(name, properties.toBound(), now, "", "") }
}

/** Waits for a flush, of which the caller knows that it ends. */
internal fun Recorder.flushed(timeoutMillis: Long = 20_000): Boolean {
    val answer = LinkedBlockingQueue<Boolean>()
    flush(timeoutMillis) { answer.put(it) }
    return checkNotNull(answer.poll(60, TimeUnit.SECONDS)) { "flush told nobody" }
}

internal fun Recorder.closed() {
    val done = LinkedBlockingQueue<Boolean>()
    close(1_000) { done.put(true) }
    checkNotNull(done.poll(60, TimeUnit.SECONDS)) { "close told nobody" }
}

/** Another JVM with this one's class path and library. */
fun childJvm(main: String, vararg args: String, options: List<String> = emptyList()): Process = ProcessBuilder(
    listOf(
        File(System.getProperty("java.home"), "bin/java").path,
        "-cp", System.getProperty("java.class.path"),
        "-Djava.library.path=" + System.getProperty("java.library.path"),
        "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC",
    ) + options + main + args,
).redirectErrorStream(true).start()
