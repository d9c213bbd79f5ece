package io.causality

import java.io.File
import java.util.concurrent.TimeUnit
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.io.TempDir

class ProcessKillTest {
    @TempDir
    lateinit var dir: File

    @Test
    fun `nothing that was stored is lost or doubled when the process is killed`() {
        IngestServer { Answer.refuse(503) }.use { server ->
            val stored = ArrayList<String>()
            for (round in 1..4) {
                val child = childJvm("io.causality.StoringApp", server.url, dir.path, "r$round")
                val lines = child.inputStream.bufferedReader()
                // The kill falls somewhere into the storing of what follows the last line that was read.
                repeat(3 * round) {
                    val line = checkNotNull(lines.readLine()) { "the child ended by itself" }
                    assertTrue(line.startsWith("stored "), line)
                    stored += line.removePrefix("stored ")
                }
                child.destroyForcibly()
                assertTrue(child.waitFor(30, TimeUnit.SECONDS))
            }
            server.answer = { Answer.accept(it) }
            val recorder = recorder(settings(server), dir)
            assertTrue(recorder.flushed(), recorder.stats().lastError)
            recorder.closed()
            val arrived = server.named("stored").map { it.properties.getString("k") }
            assertEquals(arrived.size, arrived.toSet().size)
            assertEquals(emptyList<String>(), stored - arrived.toSet())
            assertEquals(30, stored.size)
        }
    }
}

/** Run in a process of its own, until it is killed. */
object StoringApp {
    @JvmStatic
    fun main(args: Array<String>) {
        val (url, dir, prefix) = args
        val options = Options().apply {
            host = url
            allowInsecure = true
        }
        val recorder = Recorder(Settings("wk_test", options), { File(dir) }, Journal({ _, _ -> }, null, null))
        recorder.open { null }
        var n = 0
        while (true) {
            recorder.track("stored") { put("k", "$prefix-$n") }
            check(!recorder.flushed())
            check(recorder.storesInFile())
            println("stored $prefix-$n")
            n++
        }
    }
}
