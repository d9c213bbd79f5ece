package io.causality

import io.causality.internal.mobile.Reply
import io.causality.internal.mobile.Transport
import java.io.ByteArrayOutputStream
import java.io.IOException
import java.io.InputStream
import java.net.HttpURLConnection
import java.net.URL
import java.text.ParseException
import java.text.SimpleDateFormat
import java.util.Locale
import java.util.TimeZone
import java.util.zip.GZIPOutputStream

/**
 * Posts batches. It runs on threads of the binding, one attempt at a time.
 *
 * [tagThread] runs before a connection is opened: Android counts traffic by tags and complains about sockets without.
 */
internal class HttpTransport(
    private val url: URL,
    private val writeKey: String,
    private val timeoutMillis: Int,
    private val tagThread: () -> Unit = {},
) : Transport {
    override fun send(body: ByteArray, reply: Reply) {
        try {
            tagThread()
            val connection = url.openConnection() as HttpURLConnection
            try {
                attempt(connection, pack(body), reply)
            } finally {
                connection.disconnect()
            }
        } catch (e: Exception) {
            reply.fail(e.message ?: e.javaClass.name)
        }
    }

    private fun attempt(connection: HttpURLConnection, packed: ByteArray, reply: Reply) {
        val deadline = System.nanoTime() + timeoutMillis * 1_000_000L
        connection.requestMethod = "POST"
        connection.connectTimeout = timeoutMillis
        connection.readTimeout = timeoutMillis
        connection.useCaches = false
        connection.doOutput = true
        // A redirect may be a login page; following it would hand it the key.
        connection.instanceFollowRedirects = false
        connection.setRequestProperty("Authorization", "Bearer $writeKey")
        connection.setRequestProperty("Content-Type", CONTENT_TYPE)
        connection.setRequestProperty("Content-Encoding", "gzip")
        connection.setRequestProperty("Connect-Protocol-Version", "1")
        connection.setRequestProperty("User-Agent", "$LIBRARY/$VERSION")
        connection.setFixedLengthStreamingMode(packed.size)
        connection.outputStream.use { it.write(packed) }

        val status = connection.responseCode
        reply.setRetryAfterMillis(retryAfterMillis(connection.getHeaderField("Retry-After"), System.currentTimeMillis()))
        if (status != 200) {
            reply.setStatus(status.toLong())
            val start = connection.errorStream?.use { read(it, EXCERPT, deadline) } ?: ByteArray(0)
            reply.fail(String(start, Charsets.UTF_8).replace(Regex("\\s+"), " ").trim().ifEmpty { connection.responseMessage ?: "" })
            return
        }
        val kind = connection.contentType?.substringBefore(';')?.trim()
        if (kind != CONTENT_TYPE) {
            reply.fail("the answer is $kind, not $CONTENT_TYPE: is host the address of Causality?")
            return
        }
        val answer = connection.inputStream.use { read(it, MAX_ANSWER + 1, deadline) }
        if (answer.size > MAX_ANSWER) {
            reply.fail("the answer is longer than 2 MiB")
            return
        }
        reply.setBody(answer)
        reply.setStatus(200)
    }

    /** At most [most] bytes: a server that drips them does not hold delivery up for longer than one attempt. */
    private fun read(stream: InputStream, most: Int, deadline: Long): ByteArray {
        val out = ByteArrayOutputStream()
        val chunk = ByteArray(8 shl 10)
        while (out.size() < most) {
            val n = stream.read(chunk, 0, minOf(chunk.size, most - out.size()))
            if (n < 0) break
            out.write(chunk, 0, n)
            if (System.nanoTime() - deadline > 0) throw IOException("the answer took longer than $timeoutMillis ms")
        }
        return out.toByteArray()
    }
}

internal const val LIBRARY = "causality-android"
internal const val VERSION = "0.1.0"
private const val CONTENT_TYPE = "application/proto"
private const val MAX_ANSWER = 2 shl 20 // 2,000 rejections with their reasons
private const val EXCERPT = 200

private fun pack(body: ByteArray): ByteArray {
    val out = ByteArrayOutputStream(body.size / 4 + 64)
    GZIPOutputStream(out).use { it.write(body) }
    return out.toByteArray()
}

/** Reads seconds or a date; 0 when there is neither. */
internal fun retryAfterMillis(header: String?, now: Long): Long {
    val text = header?.trim() ?: return 0
    text.toLongOrNull()?.let { return it.coerceIn(0, 86_400) * 1_000 }
    val format = SimpleDateFormat("EEE, dd MMM yyyy HH:mm:ss zzz", Locale.US).apply { timeZone = TimeZone.getTimeZone("GMT") }
    return try {
        (format.parse(text)!!.time - now).coerceIn(0, 86_400_000)
    } catch (_: ParseException) {
        0
    }
}
