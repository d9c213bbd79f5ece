package io.causality

import java.io.ByteArrayInputStream
import java.io.ByteArrayOutputStream
import java.io.DataInputStream
import java.io.DataOutputStream
import java.io.File
import java.io.FileOutputStream
import java.util.UUID
import java.util.concurrent.atomic.AtomicBoolean

/** Who used the app, and in which session. */
internal class Visit(val anonymousId: String, val userId: String, val sessionId: String)

/** A crash of an earlier run. [id] makes it count once, however often it is read. */
internal class Crash(
    val id: String,
    val atMillis: Long,
    val visit: Visit,
    val exceptionType: String,
    val message: String,
    val stackTrace: String,
)

/**
 * Keeps an uncaught exception in a small file until the next start. The handler that was there before is called after
 * that, in any case, so that the app ends as it would have.
 *
 * It writes on the thread that crashes, whose memory or stack may be all used up: hence the ballast, the limits, and
 * nothing but streams and strings.
 */
internal class CrashReports(
    private val folder: () -> File,
    private val visit: () -> Visit,
    private val wanted: () -> Boolean,
    private val beforeEnd: () -> Unit,
) : Thread.UncaughtExceptionHandler {
    private val crashed = AtomicBoolean()
    private var id = UUID(0, 0)
    private var ballast: ByteArray? = ByteArray(BALLAST)
    private var previous: Thread.UncaughtExceptionHandler? = null

    @Volatile
    private var active = false

    fun install() {
        previous = Thread.getDefaultUncaughtExceptionHandler()
        active = true
        Thread.setDefaultUncaughtExceptionHandler(this)
    }

    /** Does once, in memory, what a crash will do, so that no class is loaded then; not for the main thread. */
    fun rehearse() {
        id = UUID.randomUUID()
        DataOutputStream(ByteArrayOutputStream()).use { report(RuntimeException(IllegalStateException()), 0, it) }
        files(folder())
    }

    /** Somebody may have chained to this handler since; then it stays, and only passes crashes on. */
    fun remove() {
        active = false
        if (Thread.getDefaultUncaughtExceptionHandler() === this) Thread.setDefaultUncaughtExceptionHandler(previous)
    }

    override fun uncaughtException(thread: Thread, error: Throwable) {
        try {
            if (active && wanted() && crashed.compareAndSet(false, true)) {
                ballast = null
                try {
                    write(error)
                } finally {
                    beforeEnd()
                }
            }
        } catch (_: Throwable) {
            // The app is ending; nothing may keep it from ending as it would have.
        } finally {
            previous?.uncaughtException(thread, error)
        }
    }

    private fun write(error: Throwable) {
        val now = System.currentTimeMillis()
        val bytes = ByteArrayOutputStream(4 shl 10)
        report(error, now, DataOutputStream(bytes))
        val dir = folder()
        dir.mkdirs()
        if (files(dir).size >= MAX_FILES) return // it crashes at every start, and the first ones say why
        val file = File(dir, "$PREFIX$now")
        FileOutputStream(file).use { out ->
            bytes.writeTo(out)
            out.fd.sync()
        }
    }

    private fun report(error: Throwable, now: Long, out: DataOutputStream) {
        val who = visit()
        out.writeByte(FORMAT)
        out.writeUTF(uuid7(now, id))
        out.writeLong(now)
        out.writeUTF(who.anonymousId)
        out.writeUTF(who.userId)
        out.writeUTF(who.sessionId)
        out.writeUTF(error.javaClass.name.take(MAX_NAME))
        out.writeUTF((messageOf(error) ?: "").take(MAX_MESSAGE))
        out.writeUTF(trace(error))
    }

    internal companion object {
        private const val PREFIX = "crash-"
        private const val FORMAT = 1
        private const val BALLAST = 256 shl 10
        private const val MAX_FILES = 5
        private const val MAX_NAME = 200
        private const val MAX_MESSAGE = 1_000
        private const val MAX_TRACE = 12_000 // an event has room for 32 KiB, and a character may need three bytes
        private const val MAX_FRAMES = 100 // of one cause; a stack that overflowed has thousands
        private const val MAX_CAUSES = 8
        private const val MAX_FILE = 64 shl 10 // bytes

        fun files(dir: File): List<File> =
            dir.listFiles { file -> file.name.startsWith(PREFIX) }?.sortedBy { it.name } ?: emptyList()

        /** Null when the file is not whole: the process ended while it was written. */
        fun read(file: File): Crash? = try {
            require(file.length() <= MAX_FILE)
            DataInputStream(ByteArrayInputStream(file.readBytes())).run {
                require(readByte().toInt() == FORMAT)
                Crash(
                    id = readUTF(),
                    atMillis = readLong(),
                    visit = Visit(anonymousId = readUTF(), userId = readUTF(), sessionId = readUTF()),
                    exceptionType = readUTF(),
                    message = readUTF(),
                    stackTrace = readUTF(),
                )
            }
        } catch (_: Exception) {
            null
        }

        /** getMessage may be the app's own code. */
        private fun messageOf(error: Throwable): String? = try {
            error.message
        } catch (_: Throwable) {
            null
        }

        fun trace(error: Throwable): String {
            val out = StringBuilder(2 shl 10)
            var cause: Throwable? = error
            var depth = 0
            while (cause != null && depth < MAX_CAUSES && out.length < MAX_TRACE) {
                if (depth > 0) out.append("Caused by: ")
                out.append(cause.javaClass.name)
                messageOf(cause)?.let { out.append(": ").append(it, 0, minOf(it.length, MAX_MESSAGE)) }
                out.append('\n')
                val frames = cause.stackTrace
                for (i in 0 until minOf(frames.size, MAX_FRAMES)) {
                    if (out.length >= MAX_TRACE) break
                    out.append("\tat ").append(frames[i].toString()).append('\n')
                }
                if (frames.size > MAX_FRAMES) out.append("\t… ").append(frames.size - MAX_FRAMES).append(" more\n")
                cause = cause.cause
                depth++
            }
            if (out.length > MAX_TRACE) out.setLength(MAX_TRACE)
            return out.toString()
        }

        private fun uuid7(millis: Long, rehearsed: UUID): String {
            val random = if (rehearsed.leastSignificantBits != 0L) rehearsed else UUID.randomUUID()
            val high = (millis shl 16) or 0x7000L or (random.mostSignificantBits and 0x0fffL)
            return UUID(high, random.leastSignificantBits).toString()
        }
    }
}
