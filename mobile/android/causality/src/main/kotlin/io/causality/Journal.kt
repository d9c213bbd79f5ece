package io.causality

/** Tells the host what went wrong. What its listeners throw goes no further. */
internal class Journal(
    private val log: (level: String, message: String) -> Unit,
    private val onNotice: NoticeListener?,
    private val onReject: RejectListener?,
) {
    fun notice(level: String, message: String) {
        quietly { log(level, message) }
        quietly { onNotice?.onNotice(level, message) }
    }

    fun rejected(id: String, code: String, field: String, message: String) {
        quietly { log("warning", "causality: the server rejected event $id ($code $field): $message") }
        quietly { onReject?.onReject(id, code, field, message) }
    }

    private inline fun quietly(action: () -> Unit) {
        try {
            action()
        } catch (_: Throwable) {
            // There is nobody left to tell.
        }
    }
}

/** Runs [action]; whatever it throws ends in the journal. */
internal inline fun contained(journal: Journal, action: () -> Unit) {
    try {
        action()
    } catch (e: Throwable) {
        journal.notice("error", "causality: ${e.javaClass.name}: ${e.message}")
    }
}
