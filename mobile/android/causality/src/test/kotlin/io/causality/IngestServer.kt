package io.causality

import com.sun.net.httpserver.HttpExchange
import com.sun.net.httpserver.HttpServer
import java.io.ByteArrayOutputStream
import java.net.InetAddress
import java.net.InetSocketAddress
import java.util.concurrent.Executors
import java.util.concurrent.TimeUnit
import java.util.concurrent.locks.ReentrantLock
import java.util.zip.GZIPInputStream
import kotlin.concurrent.withLock
import org.json.JSONObject

/** A server that speaks the ingest protocol and keeps what it was sent. [answer] decides each request. */
class IngestServer(@Volatile var answer: (IngestRequest) -> Answer = { Answer.accept(it) }) : AutoCloseable {
    private val lock = ReentrantLock()
    private val changed = lock.newCondition()
    private val seen = ArrayList<IngestRequest>()
    private val accepted = LinkedHashMap<String, Event>()
    private val threads = Executors.newCachedThreadPool()
    private val http = HttpServer.create(InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 0).apply {
        executor = threads
        createContext("/") { exchange -> try { handle(exchange) } finally { exchange.close() } }
        start()
    }

    val url = "http://127.0.0.1:${http.address.port}"

    val requests: List<IngestRequest> get() = lock.withLock { seen.toList() }

    /** One for each id, in the order of arrival. */
    val events: List<Event> get() = lock.withLock { accepted.values.toList() }

    fun named(name: String): List<Event> = events.filter { it.name == name }

    /** Waits until [condition] holds, looking after each request. */
    fun await(what: String, condition: () -> Boolean) {
        val deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(60)
        lock.withLock {
            while (!condition()) {
                val left = deadline - System.nanoTime()
                check(left > 0) { "waited for $what; got ${seen.size} requests with ${accepted.values.map { it.name }}" }
                changed.awaitNanos(minOf(left, TimeUnit.MILLISECONDS.toNanos(20)))
            }
        }
    }

    fun awaitEvent(name: String): Event {
        await(name) { named(name).isNotEmpty() }
        return named(name).first()
    }

    private fun handle(exchange: HttpExchange) {
        val body = exchange.requestBody.readBytes()
        val plain = if (exchange.requestHeaders.getFirst("Content-Encoding") == "gzip") {
            GZIPInputStream(body.inputStream()).readBytes()
        } else {
            body
        }
        val headers = exchange.requestHeaders.entries.associate { it.key.lowercase() to it.value.first() }
        val request = IngestRequest(exchange.requestMethod, exchange.requestURI.toString(), headers, Message(plain))
        val reply = answer(request)
        lock.withLock {
            seen += request
            if (reply.status == 200) {
                request.events.filter { event -> event.id !in reply.rejected }.forEach { accepted.putIfAbsent(it.id, it) }
            }
            changed.signalAll()
        }
        reply.headers.forEach { (name, value) -> exchange.responseHeaders.set(name, value) }
        if (reply.lose) return
        exchange.sendResponseHeaders(reply.status, if (reply.body.isEmpty()) -1 else reply.body.size.toLong())
        exchange.responseBody.write(reply.body)
    }

    override fun close() {
        http.stop(0)
        threads.shutdownNow()
    }
}

class Answer(
    val status: Int,
    val headers: Map<String, String> = emptyMap(),
    val body: ByteArray = ByteArray(0),
    val rejected: Set<String> = emptySet(),
    /** Takes the events and breaks the connection. */
    val lose: Boolean = false,
) {
    companion object {
        fun accept(request: IngestRequest, reject: Map<String, String> = emptyMap(), lose: Boolean = false): Answer {
            val out = Writer().number(1, (request.events.size - reject.size).toLong())
            request.events.forEachIndexed { index, event ->
                val code = reject[event.id] ?: return@forEachIndexed
                out.bytes(3, Writer().number(1, index.toLong()).text(2, event.id).text(3, code).text(5, "not wanted").done())
            }
            return Answer(200, mapOf("Content-Type" to "application/proto"), out.done(), reject.keys, lose)
        }

        fun refuse(status: Int, vararg headers: Pair<String, String>) = Answer(status, headers.toMap())
    }
}

class IngestRequest(val method: String, val path: String, val headers: Map<String, String>, message: Message) {
    val events = message.messages(1).map(::Event)
    val batchId = message.text(3)
    val library = message.message(4).text(1) + " " + message.message(4).text(2)
    val dropped = message.messages(5).associate { it.text(1) to it.number(2) }
}

class Event(private val message: Message) {
    val id = message.text(1)
    val type = when (message.number(2)) {
        2L -> "IDENTIFY"
        3L -> "GROUP"
        4L -> "ALIAS"
        else -> "TRACK"
    }
    val name = message.text(3)
    val atMillis = message.message(4).number(1) * 1000 + message.message(4).number(2) / 1_000_000
    val userId = message.text(5)
    val anonymousId = message.text(6)
    val sessionId = message.text(7)
    val groups = message.messages(8).associate { it.text(1) to it.text(2) }
    val context = message.message(10)
    val properties = JSONObject(message.text(11).ifEmpty { "{}" })
    val traits = message.message(12)
    val groupType = message.text(13)
    val groupId = message.text(14)
    val previousId = message.text(15)

    override fun toString() = "$type $name $properties"
}

/** A protobuf message, read without its schema. */
class Message(bytes: ByteArray) {
    private val fields = HashMap<Int, MutableList<Any>>()

    init {
        var at = 0
        fun varint(): Long {
            var value = 0L
            var shift = 0
            while (true) {
                val b = bytes[at++].toLong()
                value = value or ((b and 0x7f) shl shift)
                if (b >= 0) return value
                shift += 7
            }
        }
        while (at < bytes.size) {
            val tag = varint().toInt()
            val value: Any = when (tag and 7) {
                0 -> varint()
                1 -> (0 until 8).fold(0L) { sum, i -> sum or ((bytes[at + i].toLong() and 0xff) shl (8 * i)) }.also { at += 8 }
                2 -> varint().toInt().let { n -> bytes.copyOfRange(at, at + n).also { at += n } }
                else -> error("wire type ${tag and 7}")
            }
            fields.getOrPut(tag ushr 3, ::ArrayList) += value
        }
    }

    fun number(field: Int): Long = fields[field]?.last() as Long? ?: 0

    fun double(field: Int): Double = Double.fromBits(number(field))

    fun text(field: Int): String = (fields[field]?.last() as ByteArray?)?.decodeToString() ?: ""

    fun texts(field: Int): List<String> = fields[field].orEmpty().map { (it as ByteArray).decodeToString() }

    fun message(field: Int): Message = Message(fields[field]?.last() as ByteArray? ?: ByteArray(0))

    fun messages(field: Int): List<Message> = fields[field].orEmpty().map { Message(it as ByteArray) }
}

private class Writer {
    private val out = ByteArrayOutputStream()

    fun number(field: Int, value: Long) = apply {
        varint(field.toLong() shl 3)
        varint(value)
    }

    fun text(field: Int, value: String) = bytes(field, value.encodeToByteArray())

    fun bytes(field: Int, value: ByteArray) = apply {
        varint((field.toLong() shl 3) or 2)
        varint(value.size.toLong())
        out.write(value)
    }

    fun done(): ByteArray = out.toByteArray()

    private fun varint(value: Long) {
        var rest = value
        while (rest and 0x7fL.inv() != 0L) {
            out.write((rest.toInt() and 0x7f) or 0x80)
            rest = rest ushr 7
        }
        out.write(rest.toInt())
    }
}
