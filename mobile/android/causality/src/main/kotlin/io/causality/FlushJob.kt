package io.causality

import android.app.job.JobInfo
import android.app.job.JobParameters
import android.app.job.JobScheduler
import android.app.job.JobService
import android.content.ComponentName
import android.content.Context
import android.os.PersistableBundle

/**
 * Sends what is queued when the app is gone. The system starts the app's process for it, once there is a network; the
 * job's extras hold what it needs, since the app may not have called [Causality.start].
 */
public class FlushJob : JobService() {
    @Volatile
    private var own: Recorder? = null

    override fun onStartJob(params: JobParameters?): Boolean {
        val settings = params?.extras?.let(::settingsOf) ?: return false
        val running = Causality.running(settings.writeKey)
        if (running != null) {
            running.flushForJob { delivered -> jobFinished(params, !delivered && running.stats().queued > 0) }
            return true
        }
        val journal = Journal(Causality::log, null, null)
        val folder = { Causality.queueFolder(applicationContext, settings.writeKey) }
        val recorder = Recorder(settings, folder, journal, Causality::tagTraffic, givesWay = true)
        own = recorder
        recorder.open { null }
        recorder.flush(TIMEOUT) {
            recorder.close(0) { jobFinished(params, recorder.stats().queued > 0) }
        }
        return true
    }

    /** The system wants its time back; what is left is sent later. */
    override fun onStopJob(params: JobParameters?): Boolean {
        own?.giveWay()
        return true
    }

    /** Asks the system for the job. It replaces an earlier request. */
    internal class Schedule(private val context: Context, private val settings: Settings, private val jobId: Int) {
        private val jobs by lazy { context.getSystemService(Context.JOB_SCHEDULER_SERVICE) as JobScheduler }

        fun schedule(inMillis: Long) {
            val job = JobInfo.Builder(jobId, ComponentName(context, FlushJob::class.java))
                .setRequiredNetworkType(JobInfo.NETWORK_TYPE_ANY)
                .setMinimumLatency(inMillis)
                .setBackoffCriteria(BACKOFF, JobInfo.BACKOFF_POLICY_EXPONENTIAL)
                .setExtras(extrasOf(settings))
                .build()
            jobs.schedule(job)
        }

        fun cancel() = jobs.cancel(jobId)
    }

    internal companion object {
        const val TIMEOUT = 60_000L
        const val AFTER_BACKGROUND = 10_000L // the process itself is quicker, as long as it lives
        const val SAFETY_NET = 15 * 60_000L
        private const val BACKOFF = 60_000L

        fun extrasOf(settings: Settings) = PersistableBundle().apply {
            putString("writeKey", settings.writeKey)
            putString("host", settings.host)
            putString("ingestPath", settings.ingestPath)
            putInt("allowInsecure", if (settings.allowInsecure) 1 else 0) // booleans need Android 5.1
            putInt("flushAt", settings.flushAt)
            putLong("flushEveryMillis", settings.flushEveryMillis)
            putLong("maxAgeMillis", settings.maxAgeMillis)
            putLong("queueBytes", settings.queueBytes)
            putInt("requestTimeoutMillis", settings.requestTimeoutMillis)
            putLong("sessionBackgroundMillis", settings.sessionBackgroundMillis)
            putInt("sessions", if (settings.sessions) 1 else 0)
        }

        fun settingsOf(extras: PersistableBundle): Settings? {
            return Settings(
                writeKey = extras.getString("writeKey") ?: return null,
                host = extras.getString("host") ?: return null,
                ingestPath = extras.getString("ingestPath") ?: return null,
                allowInsecure = extras.getInt("allowInsecure") == 1,
                flushAt = extras.getInt("flushAt"),
                flushEveryMillis = extras.getLong("flushEveryMillis"),
                maxAgeMillis = extras.getLong("maxAgeMillis"),
                queueBytes = extras.getLong("queueBytes"),
                requestTimeoutMillis = extras.getInt("requestTimeoutMillis"),
                sessionBackgroundMillis = extras.getLong("sessionBackgroundMillis"),
                sessions = extras.getInt("sessions") == 1,
            )
        }
    }
}
