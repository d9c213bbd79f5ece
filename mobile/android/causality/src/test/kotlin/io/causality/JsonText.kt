package io.causality

import org.json.JSONArray
import org.json.JSONObject

/** The object's text with its keys sorted, so that two can be compared. */
fun JSONObject.toSortedText(): String =
    keys().asSequence().sorted().joinToString(",", "{", "}") { JSONObject.quote(it) + ":" + text(get(it)) }

private fun text(value: Any?): String = when (value) {
    is JSONObject -> value.toSortedText()
    is JSONArray -> (0 until value.length()).joinToString(",", "[", "]") { text(value.get(it)) }
    is String -> JSONObject.quote(value)
    is Number -> JSONObject.numberToString(value)
    else -> value.toString()
}
