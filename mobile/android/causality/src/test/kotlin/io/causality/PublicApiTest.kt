package io.causality

import java.io.File
import java.io.PrintWriter
import java.io.StringWriter
import java.util.spi.ToolProvider
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Test

class PublicApiTest {
    /** A change of the public API is meant and seen in review. `mobile/android/test api` writes api.txt anew. */
    @Test
    fun `the public API is the one in api_txt`() {
        val declared = Regex("""^public (?:data |fun |enum |sealed )?(?:class|interface|object) (\w+)""", RegexOption.MULTILINE)
        val names = File("src/main/kotlin/io/causality").listFiles()!!
            .flatMap { file -> declared.findAll(file.readText()).map { it.groupValues[1] } }
            .sorted()
        val classes = names.flatMap { name -> listOf(name, "$name\$Companion").filter { File("target/classes/io/causality/$it.class").exists() } }
        val out = StringWriter()
        val failed = ToolProvider.findFirst("javap").get().run(
            PrintWriter(out), PrintWriter(System.err),
            *(listOf("-public", "-cp", "target/classes") + classes.map { "io.causality.$it" }).toTypedArray(),
        )
        assertEquals(0, failed)
        // What Kotlin calls internal has a name that says so, or is a constructor with a marker.
        val api = out.toString().lines()
            .filterNot { "Compiled from" in it || "\$causality_android" in it || "DefaultConstructorMarker" in it }
            .joinToString("\n")
        val golden = File("../api.txt")
        if (System.getProperty("api.update") != null) golden.writeText(api)
        assertEquals(golden.readText(), api, "if the change is meant, run: mobile/android/test api")
    }
}
