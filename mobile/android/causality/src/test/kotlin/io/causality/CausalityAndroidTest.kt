package io.causality

import android.app.Activity
import android.app.Application
import android.app.job.JobParameters
import android.app.job.JobScheduler
import android.content.ComponentCallbacks2
import android.content.Context
import android.content.Intent
import android.net.ConnectivityManager
import android.net.Network
import android.net.NetworkCapabilities
import android.os.PersistableBundle
import io.causality.sample.MainActivity
import java.io.File
import java.util.concurrent.CopyOnWriteArrayList
import java.util.concurrent.CountDownLatch
import java.util.concurrent.TimeUnit
import kotlinx.coroutines.runBlocking
import kotlinx.coroutines.withTimeout
import org.junit.After
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertNotEquals
import org.junit.Assert.assertNotSame
import org.junit.Assert.assertNull
import org.junit.Assert.assertSame
import org.junit.Assert.assertTrue
import org.junit.Before
import org.junit.Test
import org.junit.runner.RunWith
import org.robolectric.Robolectric
import org.robolectric.RobolectricTestRunner
import org.robolectric.RuntimeEnvironment
import org.robolectric.Shadows.shadowOf
import org.robolectric.annotation.Config
import org.robolectric.shadows.ShadowNetworkCapabilities

/** The library on Android's own classes, with the real binding and a server that speaks the protocol. */
@RunWith(RobolectricTestRunner::class)
@Config(sdk = [34, 35], qualifiers = "en-rGB-w400dp-h800dp-xhdpi")
class CausalityAndroidTest {
    private val app: Application get() = RuntimeEnvironment.getApplication()
    private val server = IngestServer()
    private val notices = CopyOnWriteArrayList<String>()
    private val started = ArrayList<Causality>()
    private val handlerBefore = Thread.getDefaultUncaughtExceptionHandler()
    private val key = "wk_${System.nanoTime()}"

    class Shop : Activity()

    class Cart : Activity()

    @Before
    fun quiet() {
        Thread.setDefaultUncaughtExceptionHandler { _, _ -> }
    }

    @After
    fun end() {
        started.forEach { stop(it) }
        Thread.setDefaultUncaughtExceptionHandler(handlerBefore)
        server.close()
    }

    private fun start(configure: Options.() -> Unit = {}): Causality = Causality.start(app, key) {
        host = server.url
        allowInsecure = true
        flushEveryMillis = 10
        onNotice = NoticeListener { level, message -> notices += "$level: $message" }
        configure()
    }.also(started::add)

    private fun stop(causality: Causality) {
        causality.close(500)
        // The next of this key waits for the queue; so this is how its end is seen.
        causality.flush(1) {}
    }

    private fun Causality.delivered() = runBlocking { withTimeout(90_000) { flush(60_000) } }

    @Test
    fun `it records and delivers with what the device is`() {
        val causality = start()
        causality.track("order_paid") { put("total", 12.5) }
        causality.track("plain")
        causality.track(ButtonTap(buttonId = "buy"))
        causality.identify("ann") { set("plan", "pro") }
        causality.group("company", "acme")
        assertTrue(causality.delivered())
        assertEquals(listOf("order_paid", "plain", "button_tap", "", ""), server.events.map { it.name })
        val event = server.events.first()
        assertEquals("""{"total":12.5}""", event.properties.toSortedText())
        event.context.apply {
            assertEquals(app.packageName, message(1).text(3))
            assertEquals("phone", message(2).text(4))
            assertTrue(message(2).text(2).isNotEmpty() && message(2).text(3).isNotEmpty())
            assertEquals("Android", message(3).text(1))
            assertTrue(message(3).text(2).toInt() >= 14)
            assertEquals(listOf(800L, 1600L), listOf(message(4).number(1), message(4).number(2)))
            assertEquals(2.0, message(4).double(3), 0.0)
            assertEquals("en-GB", text(5))
            assertEquals(java.util.TimeZone.getDefault().id, text(6))
            assertEquals("android", text(14))
        }
        assertEquals("ann", causality.userId)
        assertEquals(event.anonymousId, causality.anonymousId)
        assertEquals(event.sessionId, causality.sessionId)
    }

    @Test
    fun `without deviceContext nothing of the device is sent`() {
        val causality = start { deviceContext = false }
        causality.track("a")
        assertTrue(causality.delivered())
        server.awaitEvent("a").context.apply { assertEquals("", text(5) + text(14) + message(2).text(3)) }
    }

    @Test
    fun `screens and the app's life are recorded`() {
        val causality = start()
        val launch = Intent(Intent.ACTION_MAIN).addCategory(Intent.CATEGORY_LAUNCHER)
        val shop = Robolectric.buildActivity(Shop::class.java, launch).create()
        shop.get().title = "The shop"
        shop.start().resume()
        val cart = Robolectric.buildActivity(Cart::class.java).create().start().resume()
        shop.pause().stop()
        cart.pause().stop()
        cart.restart().start().resume()
        assertTrue(causality.delivered())
        val names = server.events.map { it.name }
        assertEquals(listOf("app_start", "screen_view", "screen_view", "app_background", "app_foreground", "screen_view"), names)
        val (start, first, second, background, foreground) = server.events
        assertEquals("launcher", start.properties.getString("source"))
        assertTrue(start.properties.getBoolean("cold") && start.properties.getLong("duration_ms") >= 0)
        assertEquals("The shop", first.properties.getString("screen_name"))
        assertEquals(Shop::class.java.name, first.properties.getString("screen_class"))
        assertFalse(first.properties.has("previous_screen"))
        assertEquals("Cart" to "The shop", second.properties.run { getString("screen_name") to getString("previous_screen") })
        assertTrue(background.properties.getLong("foreground_ms") >= 0)
        assertTrue(foreground.properties.getLong("background_ms") >= 0)
        assertEquals(1, server.events.map { it.sessionId }.toSet().size)
    }

    @Test
    fun `turning the device is no new screen and no background`() {
        val causality = start()
        val shop = Robolectric.buildActivity(Shop::class.java).create().start().resume()
        shop.recreate()
        assertTrue(causality.delivered())
        assertEquals(listOf("app_start", "screen_view"), server.events.map { it.name })
    }

    @Test
    fun `what is switched off is not recorded`() {
        val causality = start {
            screenViews = false
            appLifecycle = false
            crashes = false
            networkChanges = false
            memoryWarnings = false
            sessions = false
            backgroundDelivery = false
        }
        val handler = Thread.getDefaultUncaughtExceptionHandler()
        assertFalse(handler is CrashReports)
        Robolectric.buildActivity(Shop::class.java).create().start().resume().pause().stop()
        network("none")
        app.onTrimMemory(ComponentCallbacks2.TRIM_MEMORY_RUNNING_CRITICAL)
        causality.track("alone")
        assertTrue(causality.delivered())
        assertEquals(listOf("alone"), server.events.map { it.name })
        assertEquals("", server.events.single().sessionId)
        assertEquals(0, jobs.allPendingJobs.size)
    }

    @Test
    fun `a crash is sent at the next start, with its own time and session`() {
        val ended = CopyOnWriteArrayList<Throwable>()
        Thread.setDefaultUncaughtExceptionHandler { _, e -> ended += e }
        server.answer = { Answer.refuse(503) }
        val first = start()
        first.identify("ann")
        first.track("last")
        first.delivered()
        val session = first.sessionId
        val before = System.currentTimeMillis()
        val crash = IllegalStateException("no till", RuntimeException("cause"))
        Thread.getDefaultUncaughtExceptionHandler()!!.uncaughtException(Thread.currentThread(), crash)
        val after = System.currentTimeMillis()
        assertEquals(listOf<Throwable>(crash), ended)
        stop(first)
        server.answer = { Answer.accept(it) }

        val second = start()
        second.reset()
        second.track("later")
        assertTrue(second.delivered())
        val event = server.awaitEvent("app_crash")
        assertTrue(event.atMillis in before..after)
        assertEquals(session, event.sessionId)
        assertEquals("ann", event.userId)
        assertNotEquals(session, server.awaitEvent("later").sessionId)
        assertEquals("java.lang.IllegalStateException" to "no till", event.properties.run { getString("exception_type") to getString("message") })
        assertTrue("Caused by: java.lang.RuntimeException: cause" in event.properties.getString("stack_trace"))
        assertTrue(event.properties.getBoolean("fatal"))
        val folder = Causality.queueFolder(app, key)
        server.await("the report's end") { CrashReports.files(folder).isEmpty() }
        assertEquals(1, server.named("app_crash").size)
    }

    @Test
    fun `after opting out nothing is recorded, a crash neither, also after a restart`() {
        val first = start()
        first.optOut()
        first.track("ignored")
        first.flush(5_000) {}
        server.await("opting out") { first.stats().optedOut }
        first.delivered()
        Thread.getDefaultUncaughtExceptionHandler()!!.uncaughtException(Thread.currentThread(), RuntimeException("x"))
        assertEquals(emptyList<File>(), CrashReports.files(Causality.queueFolder(app, key)))
        stop(first)
        val second = start()
        second.track("ignored too")
        second.delivered()
        assertTrue(second.stats().optedOut)
        second.optIn()
        second.track("back")
        assertTrue(second.delivered())
        assertEquals(listOf("back"), server.events.map { it.name })
    }

    @Test
    fun `the network's changes are recorded, and its return sends at once`() {
        val causality = start()
        causality.delivered()
        network("wifi")
        server.answer = { Answer.refuse(503) }
        causality.track("kept")
        repeat(9) { assertFalse(causality.delivered()) } // by now it would wait for minutes
        network("none")
        server.answer = { Answer.accept(it) }
        network("cellular")
        server.awaitEvent("kept")
        assertTrue(causality.delivered())
        val changes = server.named("network_change").map { it.properties.getString("from") + ">" + it.properties.getString("to") }
        assertEquals(listOf("wifi>none", "none>cellular"), changes.takeLast(2))
        causality.track("now")
        assertTrue(causality.delivered())
        assertEquals(listOf(0L, 1L), server.awaitEvent("now").context.message(7).run { listOf(number(1), number(2)) })
    }

    @Test
    fun `a shortage of memory is recorded once a minute`() {
        val causality = start()
        repeat(3) { app.onTrimMemory(ComponentCallbacks2.TRIM_MEMORY_RUNNING_LOW) }
        app.onTrimMemory(ComponentCallbacks2.TRIM_MEMORY_UI_HIDDEN)
        causality.delivered()
        causality.delivered() // the warning is recorded behind the call that found it due
        assertEquals(listOf("low"), server.named("memory_warning").map { it.properties.getString("level") })
        assertTrue(server.awaitEvent("memory_warning").properties.getLong("available_bytes") > 0)
    }

    @Test
    fun `start answers the same instance for a key, another for another, and a new one after close`() {
        val first = start()
        assertSame(first, Causality.start(app, " $key ") { host = "https://other.example.com" })
        val other = Causality.start(app, "$key-2") { host = server.url; allowInsecure = true }.also(started::add)
        assertNotSame(first, other)
        stop(first)
        val second = start()
        assertNotSame(first, second)
        second.track("second")
        assertTrue(second.delivered())
        assertFalse(second.stats().inMemory)
    }

    @Test
    fun `nothing throws into the host, whatever it does`() {
        val lost = Causality.start(app, "") { error("in the options") }.also(started::add)
        lost.track("a")
        assertFalse(lost.delivered())
        assertTrue(lost.stats().problem.orEmpty().contains("write key"))
        val causality = start { onNotice = NoticeListener { _, _ -> error("in the listener") } }
        causality.track("a") { error("in the host's own code") }
        causality.identify("ann") { error("in the host's own code") }
        causality.track(object : TypedEvent {
            override val name: String get() = error("in the host's own code")

            override fun fill(properties: Properties) = Unit
        })
        causality.track("")
        causality.track("b")
        assertTrue(causality.delivered())
        causality.close()
        causality.close()
        causality.track("late")
        causality.identify("x")
        causality.group("a", "b")
        causality.alias("a", "b")
        causality.reset()
        causality.optOut()
        causality.optIn()
        assertFalse(causality.delivered())
        assertEquals(listOf("b"), server.events.map { it.name })
        assertTrue(causality.stats().dropped.getValue("closed") > 0)
    }

    @Suppress("DEPRECATION") // there is no other way to see every access to a file
    @Test
    fun `on the caller's thread no file is touched and no connection made`() {
        val caller = Thread.currentThread()
        val touched = CopyOnWriteArrayList<String>()
        val watch = object : SecurityManager() {
            override fun checkPermission(permission: java.security.Permission) = Unit

            private fun note(what: String) {
                // Classes are read by the JVM's own loader, which Android does not have.
                if (Thread.currentThread() === caller && !what.endsWith(".jar") && !what.endsWith(".class") && "/java-" !in what) touched += what
            }

            override fun checkRead(file: String) = note(file)

            override fun checkWrite(file: String) = note(file)

            override fun checkDelete(file: String) = note(file)

            override fun checkConnect(host: String, port: Int) = note("$host:$port")

            override fun checkLink(library: String) = note("library $library")
        }
        val activity = Robolectric.buildActivity(Shop::class.java).create()
        System.setSecurityManager(watch)
        val causality = try {
            start().apply {
                track("a") { put("n", 1) }
                identify("ann") { set("plan", "pro") }
                group("company", "acme")
                activity.start().resume().pause().stop()
                app.onTrimMemory(ComponentCallbacks2.TRIM_MEMORY_RUNNING_LOW)
                stats()
                reset()
                flush(1_000) {}
                optOut()
                optIn()
                close()
            }
        } finally {
            System.setSecurityManager(null)
        }
        assertEquals(emptyList<String>(), touched.toList())
        assertFalse(causality.delivered())
    }

    @Test
    fun `a job is asked for, and sends what is queued when the app is gone`() {
        server.answer = { Answer.refuse(503) }
        val gone = start()
        val shop = Robolectric.buildActivity(Shop::class.java).create().start().resume()
        gone.track("left")
        shop.pause().stop()
        assertFalse(gone.delivered())
        val job = jobs.allPendingJobs.single()
        assertEquals(FlushJob::class.java.name, job.service.className)
        assertEquals(FlushJob.AFTER_BACKGROUND, job.minLatencyMillis)
        @Suppress("DEPRECATION")
        assertEquals(android.app.job.JobInfo.NETWORK_TYPE_ANY, job.networkType)
        stop(gone)

        server.answer = { Answer.accept(it) }
        val service = Robolectric.buildService(FlushJob::class.java).create().get()
        assertTrue(service.onStartJob(parameters(job.id, job.extras)))
        server.awaitEvent("left")
        server.await("the job's end") { shadowOf(service).isJobFinished }
        assertFalse(shadowOf(service).isRescheduleNeeded)

        // The app comes back: the queue is its own again, on disk.
        val back = start()
        back.track("back")
        assertTrue(back.delivered())
        assertFalse("${back.stats().problem} $notices", back.stats().inMemory)
    }

    @Test
    fun `a job that cannot deliver asks for another time, and gives way to the app`() {
        server.answer = { Answer.refuse(503) }
        val gone = start()
        gone.track("left")
        gone.delivered()
        val extras = jobs.allPendingJobs.single().extras
        stop(gone)
        val service = Robolectric.buildService(FlushJob::class.java).create().get()
        assertTrue(service.onStartJob(parameters(1, extras)))
        server.await("the job's end") { shadowOf(service).isJobFinished }
        assertTrue(shadowOf(service).isRescheduleNeeded)

        val gate = CountDownLatch(1)
        server.answer = { gate.await(20, TimeUnit.SECONDS); Answer.refuse(503) }
        val slow = Robolectric.buildService(FlushJob::class.java).create().get()
        assertTrue(slow.onStartJob(parameters(1, extras)))
        val back = start()
        back.track("back")
        assertTrue(slow.onStopJob(null))
        server.await("the app's own start") { back.anonymousId.isNotEmpty() }
        assertFalse("${back.stats().problem} $notices", back.stats().inMemory)
        server.answer = { Answer.accept(it) }
        gate.countDown()
        server.await("both events") { server.events.size == 2 } // an attempt that the gate held up may fail first
        assertEquals(listOf("left", "back"), server.events.map { it.name })
    }

    @Test
    fun `a job in a running app has it send, and one without its settings ends`() {
        val causality = start { flushEveryMillis = 3_600_000 }
        causality.track("waits")
        val service = Robolectric.buildService(FlushJob::class.java).create().get()
        server.await("the request for a job") { jobs.allPendingJobs.isNotEmpty() }
        assertTrue(service.onStartJob(parameters(1, jobs.allPendingJobs.single().extras)))
        server.awaitEvent("waits")
        assertFalse(service.onStartJob(null))
        assertFalse(service.onStartJob(parameters(1, PersistableBundle())))
    }

    @Test
    fun `the sample works`() {
        val causality = start()
        val activity = Robolectric.buildActivity(MainActivity::class.java).setup().get()
        activity.causality = causality
        activity.buy()
        assertTrue(causality.delivered())
        assertTrue(server.named("purchase_complete").isNotEmpty())
        assertNull(causality.stats().problem)
    }

    private val jobs get() = app.getSystemService(Context.JOB_SCHEDULER_SERVICE) as JobScheduler

    /** As the system does: its constructor is hidden, and takes more with each version. */
    private fun parameters(id: Int, extras: PersistableBundle): JobParameters {
        val constructor = JobParameters::class.java.declaredConstructors
            .filter { PersistableBundle::class.java in it.parameterTypes }
            .maxBy { it.parameterCount }
        constructor.isAccessible = true
        val arguments = constructor.parameterTypes.map { type ->
            when (type) {
                PersistableBundle::class.java -> extras
                Int::class.javaPrimitiveType -> id
                Boolean::class.javaPrimitiveType -> false
                else -> null
            }
        }
        return constructor.newInstance(*arguments.toTypedArray()) as JobParameters
    }

    private fun network(kind: String) {
        val manager = app.getSystemService(Context.CONNECTIVITY_SERVICE) as ConnectivityManager
        val network = manager.activeNetwork ?: org.robolectric.shadows.ShadowNetwork.newInstance(1)
        for (callback in shadowOf(manager).networkCallbacks) {
            if (kind == "none") callback.onLost(network) else callback.onCapabilitiesChanged(network, capabilities(kind))
        }
    }

    private fun capabilities(kind: String): NetworkCapabilities = ShadowNetworkCapabilities.newInstance().also {
        val transport = if (kind == "wifi") NetworkCapabilities.TRANSPORT_WIFI else NetworkCapabilities.TRANSPORT_CELLULAR
        shadowOf(it).addTransportType(transport)
    }
}
