package io.causality

import java.io.File
import java.util.concurrent.TimeUnit
import java.util.concurrent.atomic.AtomicInteger
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.io.TempDir

class MatrixSenderTest {
    @TempDir
    lateinit var dir: File

    @Test
    fun `it ends when every number has arrived once, although answers are lost`() {
        val requests = AtomicInteger()
        IngestServer { Answer.accept(it, lose = requests.incrementAndGet() % 3 == 1) }.use { server ->
            val child = childJvm("io.causality.MatrixSender", server.url, "wk_test", "101", "3100", dir.path)
            val output = child.inputStream.bufferedReader().readText()
            assertTrue(child.waitFor(60, TimeUnit.SECONDS))
            assertEquals(0, child.exitValue(), output)
            val sent = server.named("matrix")
            assertEquals((101L..3100L).toList(), sent.map { it.properties.getLong("n") }.sorted())
            assertTrue(sent.all { it.userId == "u${it.properties.getLong("n") % 100}" })
        }
    }
}
