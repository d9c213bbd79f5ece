package io.causality

import io.causality.internal.mobile.Client
import io.causality.internal.mobile.Config
import io.causality.internal.mobile.EventContext
import io.causality.internal.mobile.List as BoundList
import io.causality.internal.mobile.Mobile
import io.causality.internal.mobile.Observer
import io.causality.internal.mobile.Properties as BoundProperties
import io.causality.internal.mobile.Traits as BoundTraits
import java.io.File
import java.util.TreeMap
import java.util.concurrent.CountDownLatch
import java.util.concurrent.LinkedBlockingQueue
import java.util.concurrent.RejectedExecutionException
import java.util.concurrent.ThreadPoolExecutor
import java.util.concurrent.TimeUnit
import java.util.concurrent.atomic.AtomicBoolean
import java.util.concurrent.atomic.AtomicInteger
import java.util.concurrent.atomic.AtomicLong
import java.util.concurrent.locks.ReentrantLock
import kotlin.concurrent.withLock

/**
 * One write key's client in the bound library, without anything of Android.
 *
 * Every call goes through one background thread, in order: loading the library and opening its queue read from disk,
 * and nothing of that may happen on the caller's thread. The calls that wait are bounded; one too many is refused and
 * counted.
 */
internal class Recorder(
    private val settings: Settings,
    private val folder: () -> File,
    private val journal: Journal,
    private val tagThread: () -> Unit = {},
    /** An owner that makes room when another wants the same queue. */
    private val givesWay: Boolean = false,
) {
    private val worker = thread("causality")
    private val flusher = thread("causality-flush")
    private val waiting = AtomicInteger()
    private val refused = AtomicLong()
    private val late = AtomicLong()
    private val closing = AtomicBoolean()

    @Volatile
    private var client: Client? = null

    @Volatile
    private var problem: String? = null

    /** As of the last call that was made. A crash handler must not ask the library. */
    @Volatile
    var visit = Visit("", "", "")
        private set

    @Volatile
    var optedOut = false
        private set

    val writeKey: String get() = settings.writeKey

    /** Opens the queue; to be called once, before anything else. [describe] runs first, on the background thread. */
    fun open(describe: () -> EventContext?) {
        submit(worker) {
            try {
                client = connect(describe)
            } catch (e: Throwable) { // an UnsatisfiedLinkError too: an app for another processor
                problem = e.message ?: e.javaClass.name
                journal.notice("error", "causality records nothing: $problem")
            }
        }
    }

    private fun connect(describe: () -> EventContext?): Client {
        val transport = HttpTransport(settings.address(), settings.writeKey, settings.requestTimeoutMillis, tagThread)
        val dir = folder()
        if (!dir.isDirectory) dir.mkdirs()
        QueueOwners.take(dir.path, this)
        return try {
            val config = Config().apply {
                key = settings.writeKey
                flushAt = settings.flushAt.toLong()
                flushEveryMillis = settings.flushEveryMillis
                maxAgeMillis = settings.maxAgeMillis
                queueBytes = settings.queueBytes
                backgroundMillis = settings.sessionBackgroundMillis
                noSessions = !settings.sessions
                // Beyond what one attempt may take: to connect, to be answered and to read the answer.
                sendTimeoutMillis = settings.requestTimeoutMillis * 2L + 5_000
                libraryName = LIBRARY
                libraryVersion = VERSION
                context = describe()
            }
            val opened = Mobile.open(dir.path, config, transport, object : Observer {
                override fun notice(level: String, message: String) = journal.notice(level, message)

                override fun rejected(id: String, code: String, field: String, message: String) =
                    journal.rejected(id, code, field, message)
            })
            opened.awaitOpen(OPEN_WAIT)
            remember(opened)
            opened
        } catch (e: Throwable) {
            QueueOwners.leave(this)
            throw e
        }
    }

    /**
     * Makes [call] later. It answers false when the call was refused. What changes who is recorded, or whether at all,
     * has room that events do not take.
     */
    fun call(important: Boolean = false, call: (Client) -> Unit): Boolean {
        if (closing.get()) {
            late.incrementAndGet()
            return false
        }
        if (waiting.incrementAndGet() > if (important) 2 * MAX_WAITING else MAX_WAITING) {
            waiting.decrementAndGet()
            if (refused.getAndIncrement() == 0L) {
                journal.notice("warning", "causality: events come faster than they can be taken; some were refused")
            }
            return false
        }
        val taken = submit(worker) {
            try {
                client?.let {
                    call(it)
                    remember(it)
                }
            } catch (e: Throwable) {
                journal.notice("warning", e.message ?: e.javaClass.name)
            } finally {
                waiting.decrementAndGet()
            }
        }
        if (!taken) {
            waiting.decrementAndGet()
            late.incrementAndGet()
        }
        return taken
    }

    private fun remember(client: Client) {
        val seen = visit
        val anonymousId = client.anonymousID()
        val userId = client.userID()
        val sessionId = client.sessionID()
        if (anonymousId != seen.anonymousId || userId != seen.userId || sessionId != seen.sessionId) {
            visit = Visit(anonymousId, userId, sessionId)
        }
        optedOut = client.optedOut()
    }

    /** Sends what was recorded before. [done] hears on a background thread, or at once when nothing can be done. */
    fun flush(timeoutMillis: Long, done: (Boolean) -> Unit) {
        val tell = once(done)
        val flush: (Client?) -> Unit = { client ->
            val begun = flusher.queue.size < MAX_FLUSHES && submit(flusher) {
                tell(client != null && succeeds { client.flush(timeoutMillis.coerceAtLeast(1)) })
            }
            if (!begun) tell(false)
        }
        if (closing.get() || !submit(worker) { flush(client) }) tell(false)
    }

    /** Sends what is queued within [timeoutMillis] and frees the queue. What is left is kept for the next start. */
    fun close(timeoutMillis: Long, done: () -> Unit) {
        if (!closing.compareAndSet(false, true)) {
            // The first call ends the worker; this one waits for it elsewhere.
            if (!submit(flusher) { worker.awaitTermination(timeoutMillis + CLOSE_GRACE, TimeUnit.MILLISECONDS); done() }) done()
            return
        }
        val ended = submit(worker) {
            try {
                client?.close(timeoutMillis.coerceAtLeast(1))
            } catch (e: Throwable) {
                journal.notice("warning", e.message ?: e.javaClass.name)
            } finally {
                QueueOwners.leave(this)
                worker.shutdown()
                contained(journal) { done() }
                flusher.shutdown()
            }
        }
        if (!ended) done()
    }

    /** Called when another owner waits for the queue. */
    fun giveWay() {
        if (!givesWay || closing.get()) return
        succeeds { client?.close(1) }
        close(1) {}
    }

    /**
     * Waits, at most for [timeoutMillis], until what was recorded before is stored, for a process that is about to end.
     * An attempt to send it is begun; the server counts twice-sent events once.
     */
    fun settle(timeoutMillis: Long) {
        val stored = CountDownLatch(1)
        flush(timeoutMillis) { stored.countDown() }
        stored.await(timeoutMillis, TimeUnit.MILLISECONDS)
    }

    /** Whether what has been flushed is on disk, delivered or not. */
    fun storesInFile(): Boolean = client?.stats()?.run { storage() == "file" && queueError().isEmpty() } ?: false

    fun stats(): Stats {
        val bound = client?.stats()
        val dropped = TreeMap<String, Long>()
        for (reason in bound?.reasons().orEmpty().split(',').filter { it.isNotEmpty() }) {
            dropped[reason] = bound!!.dropped(reason)
        }
        if (refused.get() > 0) dropped["queue_full"] = (dropped["queue_full"] ?: 0) + refused.get()
        if (late.get() > 0) dropped["closed"] = late.get()
        return Stats(
            queued = (bound?.queued() ?: 0) + if (problem == null) waiting.get() else 0,
            queuedBytes = bound?.queuedBytes() ?: 0,
            sent = bound?.sent() ?: 0,
            dropped = dropped,
            paused = bound?.paused() ?: false,
            optedOut = bound?.optedOut() ?: false,
            inMemory = bound?.storage() == "memory",
            lastError = bound?.lastError()?.ifEmpty { null },
            problem = problem ?: bound?.queueError()?.ifEmpty { null },
        )
    }

    private fun submit(executor: ThreadPoolExecutor, task: () -> Unit): Boolean = try {
        executor.execute { contained(journal, task) }
        true
    } catch (_: RejectedExecutionException) {
        false
    }

    private fun once(done: (Boolean) -> Unit): (Boolean) -> Unit {
        val told = AtomicBoolean()
        return { delivered -> if (told.compareAndSet(false, true)) contained(journal) { done(delivered) } }
    }

    private companion object {
        const val MAX_WAITING = 2_000
        const val MAX_FLUSHES = 32
        const val OPEN_WAIT = 30_000L
        const val CLOSE_GRACE = 5_000L

        /** A thread that ends when it has had nothing to do for a while. */
        fun thread(name: String) = ThreadPoolExecutor(1, 1, 10, TimeUnit.SECONDS, LinkedBlockingQueue()) { task ->
            Thread(task, name).apply { isDaemon = true }
        }.apply { allowCoreThreadTimeOut(true) }
    }
}

/** Which recorder has a queue file of this process open. The file has room for one, and a second would use memory. */
private object QueueOwners {
    private val owners = HashMap<String, Recorder>()
    private val lock = ReentrantLock()
    private val left = lock.newCondition()

    /** Waits until an earlier owner has left, but not forever: the library says so when the file is still locked. */
    fun take(path: String, owner: Recorder) {
        lock.withLock { owners[path] }?.giveWay()
        lock.withLock {
            var patience = TimeUnit.SECONDS.toNanos(20)
            while (owners[path] != null && patience > 0) patience = left.awaitNanos(patience)
            owners[path] = owner
        }
    }

    fun leave(owner: Recorder) = lock.withLock {
        owners.entries.filter { it.value === owner }.forEach { owners.remove(it.key) }
        left.signalAll()
    }
}

private inline fun succeeds(attempt: () -> Unit): Boolean = try {
    attempt()
    true
} catch (_: Throwable) {
    false
}

internal fun Properties.toBound(): BoundProperties = Mobile.newProperties().also { values.fill(it) }

internal fun Traits.toBound(): BoundTraits = Mobile.newTraits().also { out ->
    set.values.fill(out.set())
    setOnce.values.fill(out.setOnce())
    add.values.fill(out.add())
    unset.forEach(out::unset)
}

private fun Map<*, *>.fill(to: BoundProperties) {
    for ((k, value) in this) {
        val key = k.toString()
        when (value) {
            null -> to.putNull(key)
            is String -> to.putString(key, value)
            is Long -> to.putLong(key, value)
            is Double -> to.putDouble(key, value)
            is Boolean -> to.putBool(key, value)
            is Map<*, *> -> to.putObject(key, Mobile.newProperties().also { value.fill(it) })
            is List<*> -> to.putList(key, value.toBound())
        }
    }
}

private fun List<*>.toBound(): BoundList = Mobile.newList().also { to ->
    for (value in this) {
        when (value) {
            null -> to.addNull()
            is String -> to.addString(value)
            is Long -> to.addLong(value)
            is Double -> to.addDouble(value)
            is Boolean -> to.addBool(value)
            is Map<*, *> -> to.addObject(Mobile.newProperties().also { value.fill(it) })
            is List<*> -> to.addList(value.toBound())
        }
    }
}
