package io.causality

import java.io.File
import java.util.concurrent.CountDownLatch
import java.util.concurrent.SynchronousQueue
import kotlin.system.exitProcess

/**
 * Sends the events numbered FROM to TO through the bound library and its queue file, and ends when the server has
 * answered for all of them: `io.causality.MatrixSender URL KEY FROM TO DIR`. The end-to-end matrix runs it while
 * responses are lost and the server is killed.
 */
object MatrixSender {
    @JvmStatic
    fun main(args: Array<String>) {
        if (args.size != 5) {
            System.err.println("usage: io.causality.MatrixSender URL KEY FROM TO DIR")
            exitProcess(2)
        }
        val (url, key, from, to, dir) = args
        val options = Options().apply {
            host = url
            allowInsecure = url.startsWith("http://")
            requestTimeoutMillis = 5_000
        }
        val journal = Journal({ level, message -> if (level != "debug") System.err.println("$level: $message") }, null, null)
        val recorder = Recorder(Settings(key, options), { File(dir) }, journal)
        recorder.open { null }
        val numbers = from.toLong()..to.toLong()
        // By user, since identify names the user of what follows.
        for ((user, theirs) in numbers.groupBy { it % 100 }) {
            recorder.call { it.identify("u$user", null) }
            for (some in theirs.chunked(500)) {
                for (n in some) {
                    val properties = Properties().put("n", n)
                    recorder.call { it.trackAt("matrix", properties.toBound(), System.currentTimeMillis(), "", "") }
                }
                recorder.awaitCalls() // it refuses calls that come faster than they can be made
            }
        }
        while (!recorder.deliver()) Thread.sleep(20)
        val stats = recorder.stats()
        println("sent ${stats.sent} dropped ${stats.dropped} problem ${stats.problem}")
        exitProcess(if (stats.dropped.isEmpty() && stats.problem == null) 0 else 1)
    }

    private fun Recorder.awaitCalls() {
        val made = CountDownLatch(1)
        call { made.countDown() }
        made.await()
    }

    private fun Recorder.deliver(): Boolean {
        val answer = SynchronousQueue<Boolean>()
        flush(10_000) { answer.put(it) }
        return answer.take()
    }
}
