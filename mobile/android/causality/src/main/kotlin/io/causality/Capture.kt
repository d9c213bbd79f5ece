package io.causality

import android.app.Application
import android.content.ComponentCallbacks2
import android.content.Context
import android.content.res.Configuration
import android.os.SystemClock
import io.causality.internal.mobile.Client
import java.io.File

/**
 * What is recorded by itself: screens, the app's life, crashes, the network, memory. The system's callbacks come on the
 * main thread and only hand over to the recorder.
 */
internal class Capture(
    private val context: Context,
    private val recorder: Recorder,
    private val journal: Journal,
    options: Options,
    private val refreshContext: () -> Unit,
) : ScreenListener, ComponentCallbacks2 {
    private val screenViews = options.screenViews
    private val appLifecycle = options.appLifecycle
    private val networkChanges = options.networkChanges
    private val memoryWarnings = options.memoryWarnings
    private val folder = { Causality.queueFolder(context, recorder.writeKey) }
    private val activities = ActivityWatch(this)
    private val crashes = if (!options.crashes) null else CrashReports(
        folder = folder,
        visit = { recorder.visit },
        wanted = { !recorder.optedOut },
        beforeEnd = { recorder.settle(CRASH_PATIENCE) },
    )
    private var network: NetworkWatch? = null // the recorder's thread's, as what follows
    private var job: FlushJob.Schedule? = null
    private var appLabel: String? = null
    private var screen: String? = null
    private val warnedAt = HashMap<String, Long>()

    /** On the caller's thread nothing happens but that callbacks are registered. */
    fun begin(job: FlushJob.Schedule?) {
        crashes?.install()
        val app = context as? Application
        if (app == null) {
            journal.notice("warning", "causality: start was called before there is an Application; screens are not seen")
        }
        app?.registerActivityLifecycleCallbacks(activities)
        context.registerComponentCallbacks(this)
        recorder.call { client ->
            this.job = job
            if (crashes != null) {
                sendCrashes(client)
                crashes.rehearse()
            }
            attempt { appLabel = context.applicationInfo.loadLabel(context.packageManager).toString() }
            attempt { network = NetworkWatch(context, ::onNetwork).also(NetworkWatch::start) }
            // Should the app be killed while it is in front, there is no other moment to ask for this.
            attempt { job?.schedule(FlushJob.SAFETY_NET) }
        }
    }

    fun end() {
        crashes?.remove()
        (context as? Application)?.unregisterActivityLifecycleCallbacks(activities)
        context.unregisterComponentCallbacks(this)
        recorder.call { attempt { network?.stop() } }
    }

    private fun sendCrashes(client: Client) {
        val files = CrashReports.files(folder())
        for (file in files) {
            val crash = CrashReports.read(file) ?: continue
            val properties = Properties().also { crash.asEvent().fill(it) }.toBound()
            client.trackAt("app_crash", properties, crash.atMillis, crash.visit.sessionId, crash.id)
        }
        if (files.isEmpty()) return
        // Only what is in the queue's file, or with the server, may be forgotten here. The crash's id makes it count
        // once if the process ends before that.
        recorder.flush(STORE_PATIENCE) { delivered ->
            if (delivered || recorder.storesInFile()) files.forEach(File::delete)
        }
    }

    private fun Crash.asEvent() = AppCrash(
        exceptionType = exceptionType,
        message = message.ifEmpty { null },
        stackTrace = stackTrace,
        fatal = true,
    )

    private fun record(event: TypedEvent) {
        val now = System.currentTimeMillis()
        recorder.call { it.trackAt(event.name, Properties().also(event::fill).toBound(), now, "", "") }
    }

    override fun onStart(sinceStart: Long, source: String?) {
        recorder.call { it.onForeground() }
        if (appLifecycle) record(AppStart(cold = true, durationMs = sinceStart, source = source))
    }

    override fun onForeground(away: Long) {
        recorder.call {
            it.onForeground()
            attempt { job?.schedule(FlushJob.SAFETY_NET) }
        }
        refreshContext() // a journey may have changed the time zone or the carrier
        if (appLifecycle) record(AppForeground(backgroundMs = away))
    }

    override fun onBackground(shown: Long) {
        if (appLifecycle) record(AppBackground(foregroundMs = shown))
        recorder.call { client ->
            client.onBackground()
            attempt { if (client.stats().queued() > 0) job?.schedule(FlushJob.AFTER_BACKGROUND) else job?.cancel() }
        }
    }

    override fun onScreen(title: String?, screenClass: String) {
        if (!screenViews) return
        val now = System.currentTimeMillis()
        recorder.call { client ->
            // An activity without a title of its own has the app's, or its class's.
            val own = title?.trim()?.takeUnless { it.isEmpty() || it == appLabel || it == screenClass }
            val name = own ?: screenClass.substringAfterLast('.').substringAfterLast('$')
            val event = ScreenView(screenName = name, screenClass = screenClass, previousScreen = screen)
            screen = name
            client.trackAt(event.name, Properties().also(event::fill).toBound(), now, "", "")
        }
    }

    /** On a thread of the system's. */
    private fun onNetwork(from: String?, to: String) {
        recorder.call { it.onNetwork(to) } // sends at once what could not be sent
        if (networkChanges && from != null) record(NetworkChange(from = from, to = to))
    }

    override fun onTrimMemory(level: Int) {
        @Suppress("DEPRECATION") // Android 14 and later tell less
        when (level) {
            ComponentCallbacks2.TRIM_MEMORY_RUNNING_MODERATE -> memory("moderate")
            ComponentCallbacks2.TRIM_MEMORY_RUNNING_LOW -> memory("low")
            ComponentCallbacks2.TRIM_MEMORY_RUNNING_CRITICAL, ComponentCallbacks2.TRIM_MEMORY_COMPLETE -> memory("critical")
        }
    }

    @Deprecated("Android 14 and later do not call it")
    override fun onLowMemory() = memory("critical")

    private fun memory(level: String) {
        recorder.call { client ->
            client.onTrimMemory()
            val now = SystemClock.elapsedRealtime()
            val last = warnedAt[level]
            if (!memoryWarnings || last != null && now - last < WARN_EVERY) return@call
            warnedAt[level] = now
            val runtime = Runtime.getRuntime()
            record(MemoryWarning(level = level, availableBytes = runtime.maxMemory() - runtime.totalMemory() + runtime.freeMemory()))
        }
    }

    override fun onConfigurationChanged(newConfig: Configuration) = refreshContext()

    private inline fun attempt(action: () -> Unit) {
        try {
            action()
        } catch (e: Exception) {
            journal.notice("warning", "causality: ${e.javaClass.simpleName}: ${e.message}")
        }
    }

    private companion object {
        const val CRASH_PATIENCE = 300L // ms that an app's end may take longer
        const val STORE_PATIENCE = 10_000L
        const val WARN_EVERY = 60_000L
    }
}
