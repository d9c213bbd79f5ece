package io.causality

import io.causality.internal.mobile.Mobile
import java.io.File
import java.util.concurrent.CountDownLatch
import java.util.concurrent.atomic.AtomicInteger
import kotlin.concurrent.thread
import org.junit.jupiter.api.AfterEach
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertFalse
import org.junit.jupiter.api.Assertions.assertNotEquals
import org.junit.jupiter.api.Assertions.assertNull
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.io.TempDir
import org.junit.jupiter.params.ParameterizedTest
import org.junit.jupiter.params.provider.CsvSource

class RecorderTest {
    @TempDir
    lateinit var dir: File

    private val server = IngestServer()
    private val notices = Notices()
    private val opened = ArrayList<Recorder>()

    private fun open(at: File = dir, configure: Options.() -> Unit = {}) =
        recorder(settings(server, configure), at, notices).also(opened::add)

    @AfterEach
    fun end() {
        opened.forEach { it.closed() }
        server.close()
    }

    @Test
    fun `an event arrives whole`() {
        val recorder = open()
        recorder.track("order_paid") {
            put("total", 12.5).put("items", 3).put("big", Long.MAX_VALUE).put("paid", true).put("note", "é 😀 \u0000")
            put("coupon", null).put("tags", listOf("a", 1, null, mapOf("deep" to 'c')))
            put("customer") { put("plan", "pro") }
        }
        assertTrue(recorder.flushed())
        val event = server.awaitEvent("order_paid")
        assertEquals(
            """{"big":9223372036854775807,"coupon":null,"customer":{"plan":"pro"},"items":3,"note":"é 😀 \u0000","paid":true,"tags":["a",1,null,{"deep":"c"}],"total":12.5}""",
            event.properties.toSortedText(),
        )
        assertTrue(event.anonymousId.isNotEmpty() && event.sessionId.isNotEmpty() && event.id.isNotEmpty())
        val request = server.requests.first()
        assertEquals("POST", request.method)
        assertEquals("/causality.ingest.v1.IngestService/Ingest", request.path)
        assertEquals("Bearer wk_test", request.headers["authorization"])
        assertEquals("application/proto", request.headers["content-type"])
        assertEquals("gzip", request.headers["content-encoding"])
        assertEquals("causality-android 0.1.0", request.library)
    }

    @Test
    fun `calls keep their order, their time, and the thread that makes them`() {
        val recorder = open()
        val before = System.currentTimeMillis()
        repeat(500) { n -> recorder.track("n$n") }
        val after = System.currentTimeMillis()
        assertTrue(recorder.flushed())
        assertEquals((0 until 500).map { "n$it" }, server.events.map { it.name })
        assertTrue(server.events.all { it.atMillis in before..after })
    }

    @Test
    fun `many threads lose nothing and repeat nothing`() {
        val recorder = open()
        val threads = (0 until 8).map { t -> thread { repeat(200) { n -> recorder.track("t") { put("k", "$t/$n") } } } }
        threads.forEach(Thread::join)
        assertTrue(recorder.flushed())
        assertEquals(1600, server.events.map { it.properties.getString("k") }.toSet().size)
        assertEquals(1600, server.events.size)
    }

    @Test
    fun `a caller never waits for the disk, and what waits is bounded`() {
        val gate = CountDownLatch(1)
        val recorder = Recorder(settings(server), { gate.await(); dir }, notices.journal).also(opened::add)
        recorder.open { null }
        val taken = (0 until 3_000).count { recorder.track("early") } // the queue's folder does not answer all this time
        val stats = recorder.stats()
        assertTrue(recorder.call(important = true) { it.identify("ann", null) })
        gate.countDown()
        assertTrue(taken in 1_900..2_000, "took $taken")
        assertEquals(3_000L - taken, stats.dropped["queue_full"])
        assertTrue(recorder.flushed())
        assertEquals(taken, server.named("early").size)
        assertEquals("ann", recorder.visit.userId)
    }

    @Test
    fun `the visitor is told with each event, and changes as told`() {
        val recorder = open()
        recorder.track("before")
        recorder.call { it.identify("ann", Traits().set("plan", "pro").setOnce("since", 2026).add("visits", 1).unset("trial").toBound()) }
        recorder.call { it.group("company", "acme", Traits().set("size", 5).toBound()) }
        recorder.track("after")
        recorder.call { it.reset() }
        recorder.track("stranger")
        recorder.call { it.alias("old", "new") }
        assertTrue(recorder.flushed())
        val (before, identify, group, after) = server.events
        assertEquals(listOf("", "IDENTIFY", "ann"), listOf(before.userId, identify.type, identify.userId))
        assertEquals(before.anonymousId, identify.anonymousId)
        assertEquals("""{"plan":"pro"}""", identify.traits.text(1))
        assertEquals("""{"since":2026}""", identify.traits.text(2))
        assertEquals("""{"visits":1}""", identify.traits.text(3))
        assertEquals(listOf("trial"), identify.traits.texts(4))
        assertEquals(listOf("GROUP", "company", "acme"), listOf(group.type, group.groupType, group.groupId))
        assertEquals("ann" to mapOf("company" to "acme"), after.userId to after.groups)
        val (stranger, alias) = server.events.drop(4)
        assertEquals("" to emptyMap<String, String>(), stranger.userId to stranger.groups)
        assertNotEquals(before.anonymousId, stranger.anonymousId)
        assertNotEquals(before.sessionId, stranger.sessionId)
        assertEquals(listOf("ALIAS", "old", "new"), listOf(alias.type, alias.previousId, alias.userId))
    }

    @Test
    fun `without sessions no event names one`() {
        val recorder = open { sessions = false }
        recorder.track("a")
        assertTrue(recorder.flushed())
        assertEquals("", server.awaitEvent("a").sessionId)
    }

    @Test
    fun `an event that is wrong is told and counted, and the next one is taken`() {
        val recorder = open()
        recorder.track("")
        recorder.track("big") { put("text", "x".repeat(40_000)) }
        recorder.track("nan") { put("n", Double.NaN) }
        recorder.track("fine")
        assertTrue(recorder.flushed())
        assertEquals(listOf("fine"), server.events.map { it.name })
        assertEquals(mapOf("invalid" to 2L, "too_large" to 1L), recorder.stats().dropped)
        assertEquals(3, notices.containing("invalid event").size, notices.all.toString())
    }

    @Test
    fun `what a server rejects is told and counted`() {
        server.answer = { request -> Answer.accept(request, request.events.filter { it.name == "bad" }.associate { it.id to "plan_violation" }) }
        val recorder = open()
        recorder.track("good")
        recorder.track("bad")
        assertTrue(recorder.flushed())
        assertEquals(listOf("good"), server.events.map { it.name })
        assertEquals(mapOf("plan_violation" to 1L), recorder.stats().dropped)
        server.await("the notice") { notices.containing("plan_violation").isNotEmpty() }
    }

    @ParameterizedTest
    @CsvSource("500", "503", "429", "302", "200") // 200 without the protocol's content type: a login page
    fun `events survive an answer that is none`(status: Int) {
        server.answer = { Answer.refuse(status, "Location" to "/elsewhere", "Content-Type" to "text/html") }
        val recorder = open()
        recorder.track("kept")
        assertFalse(recorder.flushed())
        assertEquals(1, recorder.stats().queued)
        assertNotEquals(null, recorder.stats().lastError)
        assertTrue(server.requests.none { it.path == "/elsewhere" }, "a redirect was followed")
        server.answer = { Answer.accept(it) }
        assertTrue(recorder.flushed())
        assertEquals(listOf("kept"), server.events.map { it.name })
        assertNull(recorder.stats().lastError)
    }

    @Test
    fun `a lost answer does not make an event two`() {
        val attempts = AtomicInteger()
        server.answer = { Answer.accept(it, lose = attempts.incrementAndGet() <= 2) }
        val recorder = open()
        recorder.track("once")
        while (!recorder.flushed()) check(attempts.get() < 20)
        assertTrue(attempts.get() >= 3)
        assertEquals(1, server.requests.flatMap { it.events }.map { it.id }.toSet().size)
        assertEquals(1, server.requests.map { it.batchId }.toSet().size)
    }

    @Test
    fun `a refused key pauses and keeps`() {
        server.answer = { Answer.refuse(401) }
        val recorder = open()
        recorder.track("kept")
        assertFalse(recorder.flushed())
        assertTrue(recorder.stats().paused)
        assertEquals(1, recorder.stats().queued)
    }

    @Test
    fun `Retry-After is heeded`() {
        server.answer = { Answer.refuse(503, "Retry-After" to "7200") }
        val recorder = open()
        recorder.track("kept")
        assertFalse(recorder.flushed())
        server.answer = { Answer.accept(it) }
        assertFalse(recorder.flushed())
        recorder.call { it.onNetwork("none") }
        recorder.call { it.onNetwork("wifi") }
        assertFalse(recorder.flushed())
        assertEquals(1, server.requests.size)
        val now = 1_000_000_000_000
        assertEquals(120_000, retryAfterMillis("120", now))
        assertEquals(40_000, retryAfterMillis("Sun, 09 Sep 2001 01:47:20 GMT", now))
        assertEquals(listOf(0L, 0L, 0L), listOf(null, "soon", "-5").map { retryAfterMillis(it, now) })
    }

    @Test
    fun `a server that does not answer ends as a failed attempt`() {
        val gate = CountDownLatch(1)
        server.answer = { gate.await(); Answer.accept(it) }
        val recorder = open { requestTimeoutMillis = 1_000 }
        recorder.track("slow")
        assertFalse(recorder.flushed(15_000))
        gate.countDown()
    }

    @Test
    fun `the network's return sends at once`() {
        server.answer = { Answer.refuse(503) }
        val recorder = open()
        recorder.call { it.onNetwork("wifi") }
        recorder.track("kept")
        repeat(9) { assertFalse(recorder.flushed()) } // by now it would wait for minutes
        recorder.call { it.onNetwork("none") }
        server.answer = { Answer.accept(it) }
        recorder.call { it.onNetwork("cellular") }
        server.awaitEvent("kept")
    }

    @Test
    fun `opting out clears, ignores, and lasts across a restart`() {
        server.answer = { Answer.refuse(503) }
        val first = open()
        first.track("before")
        first.flushed()
        first.call { it.setOptOut(true) }
        first.track("ignored")
        first.closed()
        server.answer = { Answer.accept(it) }
        val second = open()
        second.track("still ignored")
        second.flushed()
        assertTrue(second.stats().optedOut && second.optedOut)
        assertEquals(0, second.stats().queued)
        second.call { it.setOptOut(false) }
        second.track("back")
        assertTrue(second.flushed())
        assertEquals(listOf("back"), server.events.map { it.name })
    }

    @Test
    fun `the queue outlives its recorder, and so does the visitor`() {
        server.answer = { Answer.refuse(503) }
        val first = open()
        first.call { it.identify("ann", null) }
        first.track("kept")
        first.flushed()
        val then = first.visit
        first.closed()
        server.answer = { Answer.accept(it) }
        val second = open()
        assertTrue(second.flushed())
        assertEquals(listOf("", "kept"), server.events.map { it.name })
        assertEquals("ann" to then.anonymousId, second.visit.userId to second.visit.anonymousId)
    }

    @Test
    fun `a queue file that another client holds is told, and memory serves`() {
        val holder = open()
        holder.track("holds")
        assertTrue(holder.flushed())
        // Past the owners of this process, as another process would.
        val second = Mobile.open(dir.path, io.causality.internal.mobile.Config().apply { key = "wk_test" }, { _, _ -> }, null)
        assertTrue(second.awaitOpen(20_000))
        assertEquals("memory", second.stats().storage())
        assertTrue(second.stats().queueError().isNotEmpty())
        second.close(1)
    }

    @Test
    fun `a second recorder waits until the first has let go of the file`() {
        val first = open()
        first.track("a")
        first.flushed()
        first.close(1_000) {}
        val second = open()
        second.track("b")
        assertTrue(second.flushed())
        assertFalse(second.stats().inMemory, second.stats().problem)
    }

    @Test
    fun `after close every call is safe, refused and counted`() {
        val recorder = open()
        recorder.track("a")
        recorder.flushed()
        recorder.closed()
        assertFalse(recorder.track("late"))
        assertFalse(recorder.flushed())
        recorder.closed()
        recorder.giveWay()
        assertEquals(mapOf("closed" to 1L), recorder.stats().dropped)
    }

    @ParameterizedTest
    @CsvSource(
        "'', the write key is empty",
        "'https://', names no server",
        "'ftp://causality.example.com', must begin with https",
        "'http://causality.example.com', without TLS",
        "'causality.example.com', no address",
    )
    fun `a setting that cannot be used records nothing and says why`(host: String, why: String) {
        val key = if (host.isEmpty()) " " else "wk_test"
        val recorder = Recorder(Settings(key, Options().apply { this.host = host }), { dir }, notices.journal).also(opened::add)
        recorder.open { null }
        recorder.track("lost")
        assertFalse(recorder.flushed())
        assertTrue(why in recorder.stats().problem.orEmpty(), recorder.stats().problem)
    }

    @Test
    fun `a number outside of its limits is named`() {
        val recorder = open { flushAt = 5_000 }
        assertFalse(recorder.flushed())
        assertTrue("FlushAt is 5000" in recorder.stats().problem.orEmpty(), recorder.stats().problem)
    }

    @Test
    fun `a list that contains itself is an event refused`() {
        val recorder = open()
        val list = ArrayList<Any?>()
        list.add(list)
        recorder.track("endless") { put("list", list) }
        recorder.track("fine")
        assertTrue(recorder.flushed())
        assertEquals(listOf("fine"), server.events.map { it.name })
    }

    @Test
    fun `typed events send their fields under the names of the wire`() {
        val recorder = open()
        val event = PurchaseComplete(orderId = "o1", revenue = 9.5, products = listOf(Product(productId = "p1", quantity = 2)))
        recorder.track(event.name) { event.fill(this) }
        assertTrue(recorder.flushed())
        assertEquals(
            """{"order_id":"o1","products":[{"product_id":"p1","quantity":2}],"revenue":9.5}""",
            server.awaitEvent("purchase_complete").properties.toSortedText(),
        )
    }
}
