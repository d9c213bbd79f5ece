package io.causality

import android.content.Context
import android.net.TrafficStats
import android.util.Log
import io.causality.internal.mobile.Client
import java.io.File
import java.util.concurrent.atomic.AtomicBoolean
import java.util.zip.CRC32
import kotlin.coroutines.resume
import kotlinx.coroutines.suspendCancellableCoroutine

/**
 * Records what people do in the app and sends it to a Causality server.
 *
 * Get one from [start], at best in `Application.onCreate`. Every method may be called from any thread, also after
 * [close]; none waits for disk or network, and none throws. What goes wrong is told to [Options.onNotice], to the
 * system's log and in [stats].
 *
 * Events wait in a file of the app until the server has answered for them, across restarts and crashes.
 */
public class Causality private constructor(private val context: Context, private val settings: Settings, options: Options) {
    private val journal = Journal(::log, options.onNotice, options.onReject)
    private val recorder = Recorder(settings, { queueFolder(context, settings.writeKey) }, journal, ::tagTraffic)
    private val describesDevice = options.deviceContext
    private val capture = Capture(context, recorder, journal, options, ::refreshContext)
    private val job = if (options.backgroundDelivery) FlushJob.Schedule(context, settings, options.jobId) else null
    private val closed = AtomicBoolean()

    private fun begin() {
        recorder.open { if (describesDevice) describeDevice(context) else null }
        capture.begin(job)
    }

    /** Records that something happened. */
    @JvmOverloads
    public fun track(name: String, properties: Properties = Properties()) {
        val now = System.currentTimeMillis()
        val values = Properties().apply { values.putAll(properties.values) }
        recorder.call { it.trackAt(name, values.toBound(), now, "", "") }
    }

    /** Records that something happened: `track("order_paid") { put("total", 12.5) }`. */
    public fun track(name: String, properties: Properties.() -> Unit): Unit =
        contained(journal) { track(name, Properties().apply(properties)) }

    /** Records an event that the server knows: `track(ButtonTap(buttonId = "buy"))`. */
    public fun track(event: TypedEvent): Unit =
        contained(journal) { track(event.name, Properties().also(event::fill)) }

    /**
     * Says who the visitor is from now on, and what is known of them. What they did before counts as theirs. Another
     * user than the one before gets an anonymous id and a session of their own, as after [reset].
     */
    @JvmOverloads
    public fun identify(userId: String, traits: Traits.() -> Unit = {}): Unit = contained(journal) {
        val known = Traits().apply(traits)
        recorder.call(important = true) { it.identify(userId, known.toBound()) }
    }

    /** Says which company, team or other group the visitor is in from now on; an empty [id] leaves it. */
    @JvmOverloads
    public fun group(type: String, id: String, traits: Traits.() -> Unit = {}): Unit = contained(journal) {
        val known = Traits().apply(traits)
        recorder.call { it.group(type, id, known.toBound()) }
    }

    /** Says that two user ids are one person. The server takes it from secret keys alone. */
    public fun alias(previousId: String, userId: String) {
        recorder.call { it.alias(previousId, userId) }
    }

    /** Makes the visitor somebody new, for example after a logout. What is queued is still sent. */
    public fun reset() {
        recorder.call(important = true, Client::reset)
    }

    /**
     * Stores and sends every event recorded before the call. It returns true when the server has answered for all of
     * them; else they stay queued, and [Stats.lastError] says why.
     */
    public suspend fun flush(timeoutMillis: Long = FLUSH_TIMEOUT): Boolean = suspendCancellableCoroutine { waiter ->
        recorder.flush(timeoutMillis) { delivered -> waiter.resume(delivered) }
    }

    /** As the other flush, for callers without coroutines. [done] is called on a background thread. */
    @JvmOverloads
    public fun flush(timeoutMillis: Long = FLUSH_TIMEOUT, done: FlushListener): Unit =
        recorder.flush(timeoutMillis, done::onFlushed)

    /**
     * Refuses further events, tries to send what is queued within [timeoutMillis], in the background, and lets go of
     * everything. What is left is kept for the next start. Apps need not call it: the system ends them as it likes.
     */
    @JvmOverloads
    public fun close(timeoutMillis: Long = CLOSE_TIMEOUT) {
        if (!closed.compareAndSet(false, true)) return
        synchronized(instances) { if (instances[settings.writeKey] === this) instances.remove(settings.writeKey) }
        contained(journal) { capture.end() }
        recorder.close(timeoutMillis) {}
    }

    /** Clears the queue, forgets the visitor and ignores events until [optIn], across restarts. */
    public fun optOut() {
        recorder.call(important = true) {
            it.setOptOut(true)
            CrashReports.files(queueFolder(context, settings.writeKey)).forEach(File::delete)
        }
    }

    /** Ends [optOut]. */
    public fun optIn() {
        recorder.call(important = true) { it.setOptOut(false) }
    }

    /** The visitor's id while the user is unknown; empty for a moment after the first start. */
    public val anonymousId: String get() = recorder.visit.anonymousId

    /** Empty while the user is unknown. */
    public val userId: String get() = recorder.visit.userId

    /** The session of the last event. */
    public val sessionId: String get() = recorder.visit.sessionId

    /** What became of the events. */
    public fun stats(): Stats = recorder.stats()

    private fun refreshContext() {
        if (describesDevice) recorder.call { it.setContext(describeDevice(context)) }
    }

    internal fun flushForJob(done: (Boolean) -> Unit) = recorder.flush(FlushJob.TIMEOUT, done)

    public companion object {
        private const val FLUSH_TIMEOUT = 30_000L
        private const val CLOSE_TIMEOUT = 5_000L
        private val instances = HashMap<String, Causality>()

        /**
         * Starts recording for the app that [writeKey] names:
         *
         *     val causality = Causality.start(context, "wk_…") { host = "https://causality.example.com" }
         *
         * Calling it again with the same key answers the same instance and changes none of its options. A setting that
         * cannot be used does not throw: nothing is recorded then, and [stats] and the log say what to change.
         *
         * Start it in one process of the app; another would find the queue's file locked, and say so.
         */
        @JvmStatic
        @JvmOverloads
        public fun start(context: Context, writeKey: String, configure: Options.() -> Unit = {}): Causality {
            val key = writeKey.trim()
            synchronized(instances) {
                instances[key]?.let { return it }
                val options = Options()
                val failure = runCatching { options.configure() }.exceptionOrNull()
                val causality = Causality(context.applicationContext ?: context, Settings(key, options), options)
                instances[key] = causality
                if (failure != null) {
                    causality.journal.notice("error", "causality: the options could not all be set: $failure")
                }
                contained(causality.journal) { causality.begin() }
                return causality
            }
        }

        internal fun running(writeKey: String): Causality? = synchronized(instances) { instances[writeKey] }

        /** Not part of backups: a restored queue would send again, as the device it was copied from. */
        internal fun queueFolder(context: Context, writeKey: String): File {
            val name = CRC32().apply { update(writeKey.toByteArray()) }.value.toString(16)
            return File(File(context.noBackupFilesDir, "causality"), name)
        }

        internal fun log(level: String, message: String) {
            when (level) {
                "error" -> Log.e("Causality", message)
                "warning" -> Log.w("Causality", message)
                "info" -> Log.i("Causality", message)
                else -> if (Log.isLoggable("Causality", Log.DEBUG)) Log.d("Causality", message)
            }
        }

        internal fun tagTraffic() = TrafficStats.setThreadStatsTag(TRAFFIC_TAG)

        private const val TRAFFIC_TAG = 0xCA05
    }
}
