package io.causality

import io.causality.internal.replay.Replay
import java.io.File
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.DynamicTest
import org.junit.jupiter.api.TestFactory

class VectorsTest {
    @TestFactory
    fun `the golden vectors hold through the binding`(): List<DynamicTest> {
        val files = File("../../../sdk/vectors").listFiles { file -> file.extension == "json" }!!.sortedBy { it.name }
        assertTrue(files.size >= 5, "found ${files.size} files of vectors")
        return files.map { file ->
            DynamicTest.dynamicTest(file.name) {
                val vectors = Replay.read(file.readBytes())
                assertTrue(vectors.len() > 0)
                for (i in 0 until vectors.len()) {
                    val vector = vectors.get(i)
                    assertEquals(vector.decodeToString(), Replay.replay(file.name, vector).decodeToString())
                }
            }
        }
    }
}
