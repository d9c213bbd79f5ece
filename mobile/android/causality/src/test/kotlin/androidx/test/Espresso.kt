// Robolectric names these classes of espresso-idling-resource, an AAR that Maven cannot put on a classpath.
package androidx.test.espresso

interface IdlingResource

object IdlingRegistry
