// Robolectric calls these classes of androidx.test:monitor, an AAR that Maven cannot put on a classpath.
// They do nothing, since the tests drive activities and jobs themselves.
package androidx.test.internal.runner.intent

import android.content.Intent
import androidx.test.runner.intent.IntentMonitor

class IntentMonitorImpl : IntentMonitor {
    fun signalIntent(intent: Intent) = Unit
}
