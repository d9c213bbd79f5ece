package io.causality

import java.net.MalformedURLException
import java.net.URL

/** What [Options] said at the start: later changes of them change nothing. */
internal class Settings(
    val writeKey: String,
    val host: String,
    val ingestPath: String,
    val allowInsecure: Boolean,
    val flushAt: Int,
    val flushEveryMillis: Long,
    val maxAgeMillis: Long,
    val queueBytes: Long,
    val requestTimeoutMillis: Int,
    val sessionBackgroundMillis: Long,
    val sessions: Boolean,
) {
    constructor(writeKey: String, options: Options) : this(
        writeKey = writeKey.trim(),
        host = options.host.trim(),
        ingestPath = options.ingestPath,
        allowInsecure = options.allowInsecure,
        flushAt = options.flushAt,
        flushEveryMillis = options.flushEveryMillis,
        maxAgeMillis = options.maxAgeMillis,
        queueBytes = options.queueBytes,
        requestTimeoutMillis = options.requestTimeoutMillis,
        sessionBackgroundMillis = options.sessionBackgroundMillis,
        sessions = options.sessions,
    )

    /** Where to send. The exception says what to change. */
    fun address(): URL {
        require(writeKey.isNotEmpty()) { "the write key is empty; copy the app's key (wk_…) from Settings" }
        // A line break would end the header that carries the key.
        require(writeKey.all { it in '!'..'~' }) { "the write key holds a space or a sign that no key has" }
        require(host.isNotEmpty()) { "host is not set; it is the address of Causality, for example https://causality.example.com" }
        val url = try {
            URL(host.trimEnd('/') + "/" + ingestPath.trimStart('/'))
        } catch (e: MalformedURLException) {
            throw IllegalArgumentException("host is \"$host\", which is no address like https://causality.example.com", e)
        }
        require(url.protocol == "https" || url.protocol == "http") { "host is \"$host\"; it must begin with https://" }
        require(url.host.isNotEmpty()) { "host is \"$host\", which names no server" }
        require(url.protocol == "https" || allowInsecure) {
            "host is \"$host\", without TLS; use https://, or set allowInsecure while developing"
        }
        require(requestTimeoutMillis in 1_000..120_000) {
            "requestTimeoutMillis is $requestTimeoutMillis; it must be between 1,000 and 120,000"
        }
        return url
    }
}
