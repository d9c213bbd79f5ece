package io.causality

/** Configures [Causality.start]. What is not set has the stated default. */
public class Options internal constructor() {
    /** Required: where Causality is served, for example `https://causality.example.com`. */
    public var host: String = ""

    /** Where the server takes events. Change it along with the server's ingest path. */
    public var ingestPath: String = "/causality.ingest.v1.IngestService/Ingest"

    /** Allows `http://`, for development: anybody on the network can then read the events. */
    public var allowInsecure: Boolean = false

    /** Events waiting that start a request, 1 to 2,000. */
    public var flushAt: Int = 30

    /** Longest wait of an event while online, 10 ms to an hour. */
    public var flushEveryMillis: Long = 30_000

    /** Older events are dropped, a minute to 30 days; 7 days by default. */
    public var maxAgeMillis: Long = 7 * 86_400_000L

    /** Above it the oldest events are dropped, 2 MiB to 1 GiB. */
    public var queueBytes: Long = 32L shl 20

    /** For one attempt to send, 1 s to 2 minutes. */
    public var requestTimeoutMillis: Int = 30_000

    /** A session ends after this time in the background, a second to a day. */
    public var sessionBackgroundMillis: Long = 30_000

    /** Gives every event the session in which it happened. */
    public var sessions: Boolean = true

    /** Sends `screen_view` for each activity that comes to the front. */
    public var screenViews: Boolean = true

    /** Sends `app_start`, `app_foreground` and `app_background`. */
    public var appLifecycle: Boolean = true

    /** Sends `app_crash` at the start after an uncaught exception. */
    public var crashes: Boolean = true

    /** Sends `network_change`. Delivery resumes with the network in any case. */
    public var networkChanges: Boolean = true

    /** Sends `memory_warning`. */
    public var memoryWarnings: Boolean = true

    /** Sends what the device, the app and the screen are with each event. */
    public var deviceContext: Boolean = true

    /** Lets the system start the app's process for a moment to send what was left when it ended. */
    public var backgroundDelivery: Boolean = true

    /** The id of the job that does so; no other job of the app may have it. */
    public var jobId: Int = 1_634_885_989

    /** Hears of problems in delivery, on a background thread. They go to the system's log in any case. */
    public var onNotice: NoticeListener? = null

    /** Hears of events that the server did not take, on a background thread. */
    public var onReject: RejectListener? = null
}

public fun interface NoticeListener {
    /** [level] is debug, info, warning or error; [message] says what happened and what to do. */
    public fun onNotice(level: String, message: String)
}

public fun interface RejectListener {
    /** The event [id] was rejected; [message] says why, [field] where. The server keeps it among the rejected. */
    public fun onReject(id: String, code: String, field: String, message: String)
}

public fun interface FlushListener {
    /** [delivered] is true when the server has answered for every event recorded before the call. */
    public fun onFlushed(delivered: Boolean)
}
