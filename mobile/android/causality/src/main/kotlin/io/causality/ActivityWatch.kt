package io.causality

import android.app.Activity
import android.app.Application
import android.content.Intent
import android.os.Bundle
import android.os.Process
import android.os.SystemClock
import java.util.Collections
import java.util.WeakHashMap

/** What happens on the screen, told on the main thread. */
internal interface ScreenListener {
    /** The app's first screen. [sinceStart] is the time since the process began. */
    fun onStart(sinceStart: Long, source: String?)

    /** [away] is the time in the background. */
    fun onForeground(away: Long)

    /** [shown] is the time in front. */
    fun onBackground(shown: Long)

    fun onScreen(title: String?, screenClass: String)
}

/** Follows the app's activities: it is in front while one of them is started. All calls are on the main thread. */
internal class ActivityWatch(private val listener: ScreenListener) : Application.ActivityLifecycleCallbacks {
    private val visible: MutableSet<Activity> = Collections.newSetFromMap(WeakHashMap())
    private val loadedAt = SystemClock.elapsedRealtime()
    private var begun = false
    private var foregroundAt = 0L
    private var backgroundAt = 0L

    /** The class of the activity that is being built anew, for example since the device was turned. */
    private var rebuilding: String? = null

    override fun onActivityStarted(activity: Activity) = show(activity)

    /** Only the first sign of an activity that was started before this began to watch. */
    override fun onActivityResumed(activity: Activity) = show(activity)

    private fun show(activity: Activity) {
        if (!visible.add(activity)) return
        val now = SystemClock.elapsedRealtime()
        val name = activity.javaClass.name
        val rebuilt = rebuilding == name
        rebuilding = null
        if (foregroundAt == 0L && !rebuilt) {
            foregroundAt = now
            if (begun) {
                listener.onForeground(now - backgroundAt)
            } else {
                begun = true
                listener.onStart(now - processStart(), source(activity.intent))
            }
        }
        if (!rebuilt) listener.onScreen(activity.title?.toString(), name)
    }

    override fun onActivityStopped(activity: Activity) {
        visible.remove(activity)
        if (activity.isChangingConfigurations) {
            rebuilding = activity.javaClass.name
            return
        }
        if (visible.isNotEmpty() || foregroundAt == 0L) return
        backgroundAt = SystemClock.elapsedRealtime()
        listener.onBackground(backgroundAt - foregroundAt)
        foregroundAt = 0
    }

    override fun onActivityCreated(activity: Activity, savedInstanceState: Bundle?) = Unit

    override fun onActivityPaused(activity: Activity) = Unit

    override fun onActivitySaveInstanceState(activity: Activity, outState: Bundle) = Unit

    override fun onActivityDestroyed(activity: Activity) = Unit

    private fun processStart(): Long =
        if (android.os.Build.VERSION.SDK_INT >= 24) Process.getStartElapsedRealtime() else loadedAt

    private fun source(intent: Intent?): String? = when {
        intent == null -> null
        intent.action == Intent.ACTION_MAIN && intent.hasCategory(Intent.CATEGORY_LAUNCHER) -> "launcher"
        intent.action == Intent.ACTION_VIEW && intent.data != null -> "deep_link"
        else -> null
    }
}
