package io.causality

import java.io.File
import java.util.concurrent.TimeUnit
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertNull
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.io.TempDir
import org.junit.jupiter.params.ParameterizedTest
import org.junit.jupiter.params.provider.CsvSource

class CrashReportsTest {
    @TempDir
    lateinit var dir: File

    @ParameterizedTest
    @CsvSource(
        "memory, java.lang.OutOfMemoryError",
        "stack, java.lang.StackOverflowError",
        "plain, java.lang.IllegalStateException",
        "hostile, io.causality.HostileException",
    )
    fun `a dying process leaves its crash, and the handler before is called`(kind: String, type: String) {
        val before = System.currentTimeMillis()
        val child = childJvm("io.causality.CrashingApp", kind, dir.path, options = listOf("-Xmx24m"))
        val output = child.inputStream.bufferedReader().readText()
        assertTrue(child.waitFor(60, TimeUnit.SECONDS))
        assertTrue("previous handler" in output, output)
        val crash = CrashReports.read(CrashReports.files(dir).single())!!
        assertEquals(type, crash.exceptionType)
        assertTrue(crash.stackTrace.startsWith(type) && "\tat io.causality.CrashingApp" in crash.stackTrace, crash.stackTrace)
        assertTrue(crash.atMillis in before..System.currentTimeMillis())
        assertEquals(listOf("anonymous", "user", "session"), crash.visit.run { listOf(anonymousId, userId, sessionId) })
        assertEquals('7', crash.id[14])
    }

    @Test
    fun `causes are named, each trace bounded, and a circle ends`() {
        val inner = IllegalArgumentException("inner " + "x".repeat(5_000))
        val outer = RuntimeException("outer", inner)
        inner.initCause(outer)
        val trace = CrashReports.trace(outer)
        assertTrue("Caused by: java.lang.IllegalArgumentException: inner xxx" in trace)
        assertTrue(trace.length <= 12_000)
    }

    @Test
    fun `half a file is no crash`() {
        val whole = File(dir, "crash-1")
        val handler = CrashReports({ dir }, { Visit("a", "", "s") }, { true }, {})
        val previous = Thread.getDefaultUncaughtExceptionHandler()
        try {
            Thread.setDefaultUncaughtExceptionHandler { _, _ -> }
            handler.install()
            handler.uncaughtException(Thread.currentThread(), RuntimeException("x"))
            handler.remove()
        } finally {
            Thread.setDefaultUncaughtExceptionHandler(previous)
        }
        val bytes = CrashReports.files(dir).single().readBytes()
        for (n in listOf(0, 1, 10, bytes.size - 1)) {
            whole.writeBytes(bytes.copyOf(n))
            assertNull(CrashReports.read(whole))
        }
    }
}

class HostileException : RuntimeException() {
    override val message: String get() = error("a message that cannot be had")
}

/** Run in a process of its own. */
object CrashingApp {
    private val hog = ArrayList<ByteArray>()

    @JvmStatic
    fun main(args: Array<String>) {
        val (kind, dir) = args
        Thread.setDefaultUncaughtExceptionHandler { _, _ ->
            hog.clear()
            println("previous handler")
            Runtime.getRuntime().halt(1)
        }
        CrashReports({ File(dir) }, { Visit("anonymous", "user", "session") }, { true }, {}).apply {
            install()
            rehearse()
        }
        when (kind) {
            "memory" -> while (true) hog.add(ByteArray(1 shl 10)) // stays full while the crash is written
            "stack" -> overflow(1)
            "plain" -> error("plain")
            else -> throw HostileException()
        }
    }

    private fun overflow(n: Int): Int = overflow(n + 1) + 1
}
