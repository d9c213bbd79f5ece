package io.causality

import java.text.SimpleDateFormat
import java.util.Date
import java.util.Locale
import java.util.TimeZone

/**
 * What describes an event. Values may be text, numbers, booleans, null, dates (sent as RFC 3339), enums (their names),
 * nested [Properties], maps, iterables and arrays; anything else is sent as its text. Values are copied when they are
 * put, so later changes of a list change nothing here.
 *
 * An event has room for 32 KiB, nested 32 deep; a larger one is refused and counted in [Stats.dropped].
 */
public class Properties {
    internal val values = LinkedHashMap<String, Any?>()

    /** Puts a value in place of any earlier one. */
    public fun put(key: String, value: Any?): Properties {
        values[key] = snapshot(value, 1)
        return this
    }

    /** Puts an object. */
    public fun put(key: String, fill: Properties.() -> Unit): Properties = put(key, Properties().apply(fill))
}

/** What becomes known of a person or a group, key by key. */
public class Traits {
    internal val set = Properties()
    internal val setOnce = Properties()
    internal val add = Properties()
    internal val unset = ArrayList<String>()

    /** Replaces what was known. */
    public fun set(key: String, value: Any?): Traits = apply { set.put(key, value) }

    /** Counts only where nothing is known yet. */
    public fun setOnce(key: String, value: Any?): Traits = apply { setOnce.put(key, value) }

    /** Adds to a number. */
    public fun add(key: String, value: Number): Traits = apply { add.put(key, value) }

    /** Forgets. */
    public fun unset(vararg keys: String): Traits = apply { unset.addAll(keys) }
}

/** An event whose name and properties are known to the server. See TypedEvents.kt. */
public interface TypedEvent {
    public val name: String

    public fun fill(properties: Properties)
}

/** Deeper than any event may be: it ends a list that contains itself, which the binding then refuses. */
private const val MAX_DEPTH = 40

/** A copy out of String, Long, Double, Boolean, null, Map and List, which nobody changes. */
private fun snapshot(value: Any?, depth: Int): Any? = when {
    value == null || depth > MAX_DEPTH -> null
    value is String || value is Boolean || value is Long || value is Double -> value
    value is Int || value is Short || value is Byte -> (value as Number).toLong()
    value is Number -> value.toDouble()
    value is Properties -> LinkedHashMap(value.values)
    value is Map<*, *> -> value.entries.associate { (key, v) -> key.toString() to snapshot(v, depth + 1) }
    value is Iterable<*> -> value.map { snapshot(it, depth + 1) }
    value is Array<*> -> value.map { snapshot(it, depth + 1) }
    value is IntArray -> value.map { it.toLong() }
    value is LongArray -> value.toList()
    value is FloatArray -> value.map { it.toDouble() }
    value is DoubleArray -> value.toList()
    value is BooleanArray -> value.toList()
    value is Enum<*> -> value.name
    value is Date -> rfc3339(value)
    else -> value.toString()
}

/** java.time needs Android 8. */
private fun rfc3339(date: Date): String =
    SimpleDateFormat("yyyy-MM-dd'T'HH:mm:ss.SSS'Z'", Locale.ROOT)
        .apply { timeZone = TimeZone.getTimeZone("UTC") }
        .format(date)
