// Robolectric calls these classes of androidx.test:monitor, an AAR that Maven cannot put on a classpath.
// They do nothing, since the tests drive activities and jobs themselves.
package androidx.test.platform.app

import android.app.Instrumentation
import android.os.Bundle

object InstrumentationRegistry {
    private var current: Instrumentation? = null

    @JvmStatic
    fun getInstrumentation(): Instrumentation = checkNotNull(current)

    @JvmStatic
    fun registerInstance(instrumentation: Instrumentation?, arguments: Bundle?) {
        current = instrumentation
    }
}
