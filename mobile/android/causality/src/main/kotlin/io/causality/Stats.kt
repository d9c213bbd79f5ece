package io.causality

/** What became of the events since the start. */
public class Stats internal constructor(
    /** Not yet acknowledged, earlier runs' included. */
    public val queued: Long,
    /** Of those, encoded. */
    public val queuedBytes: Long,
    /** Acknowledged and not rejected. */
    public val sent: Long,
    /**
     * Lost events by reason: expired, overflow (the oldest of a full queue), queue_full (calls came faster than they
     * could be taken), invalid, too_large, unreadable, damaged (by the disk), opted_out, closed, or the code of the
     * server's rejection.
     */
    public val dropped: Map<String, Long>,
    /** The server refuses the key; it is tried again every hour, and by flush. */
    public val paused: Boolean,
    public val optedOut: Boolean,
    /** Events end with the process, because the queue file cannot be used. */
    public val inMemory: Boolean,
    /** Of the last attempt to send; null after a success. */
    public val lastError: String?,
    /** Why nothing is recorded, or why the queue file is not used; null when all is well. */
    public val problem: String?,
)
