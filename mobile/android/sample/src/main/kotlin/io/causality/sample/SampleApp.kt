package io.causality.sample

import android.app.Application
import android.content.pm.PackageManager
import io.causality.Causality

/** Starts Causality before anything else, so that screens and crashes are seen from the first moment on. */
class SampleApp : Application() {
    lateinit var causality: Causality
        private set

    override fun onCreate() {
        super.onCreate()
        val settings = packageManager.getApplicationInfo(packageName, PackageManager.GET_META_DATA).metaData
        causality = Causality.start(this, settings.getString("causality.writeKey", "")) {
            host = settings.getString("causality.host", "")
            allowInsecure = host.startsWith("http://10.0.2.2") // the emulator's name for this computer
        }
    }
}
