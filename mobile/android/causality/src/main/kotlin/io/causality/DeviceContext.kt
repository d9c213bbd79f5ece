package io.causality

import android.app.UiModeManager
import android.content.Context
import android.content.pm.PackageManager
import android.content.res.Configuration
import android.hardware.display.DisplayManager
import android.os.Build
import android.telephony.TelephonyManager
import android.util.DisplayMetrics
import android.view.Display
import io.causality.internal.mobile.EventContext
import java.util.Locale
import java.util.TimeZone

/**
 * What the app, the device and the screen are, as far as no permission is needed. No id of the device is read. It asks
 * the system's services, so it is not for the main thread; one that does not answer leaves its fields empty.
 */
internal fun describeDevice(context: Context): EventContext = EventContext().apply {
    platform = "android"
    osName = "Android"
    osVersion = Build.VERSION.RELEASE.orEmpty()
    deviceManufacturer = Build.MANUFACTURER.orEmpty()
    deviceModel = Build.MODEL.orEmpty()
    locale = Locale.getDefault().toLanguageTag()
    timeZone = TimeZone.getDefault().id
    appNamespace = context.packageName
    attempt { describeApp(context) }
    attempt { deviceType = deviceType(context) }
    attempt { describeScreen(context) }
    attempt {
        val telephony = context.getSystemService(Context.TELEPHONY_SERVICE) as? TelephonyManager
        networkCarrier = telephony?.networkOperatorName.orEmpty()
    }
}

@Suppress("DEPRECATION") // longVersionCode needs Android 9
private fun EventContext.describeApp(context: Context) {
    val info = context.packageManager.getPackageInfo(context.packageName, 0)
    appVersion = info.versionName.orEmpty()
    appBuild = if (Build.VERSION.SDK_INT >= 28) info.longVersionCode.toString() else info.versionCode.toString()
}

/** The display's own size, whatever part of it a window has. WindowManager is for activities alone. */
@Suppress("DEPRECATION") // what replaced it needs Android 11 and a window
private fun EventContext.describeScreen(context: Context) {
    val displays = context.getSystemService(Context.DISPLAY_SERVICE) as DisplayManager
    val metrics = DisplayMetrics()
    displays.getDisplay(Display.DEFAULT_DISPLAY)?.getRealMetrics(metrics) ?: return
    screenWidth = metrics.widthPixels
    screenHeight = metrics.heightPixels
    screenDensity = metrics.density.toDouble()
}

private fun deviceType(context: Context): String {
    val mode = (context.getSystemService(Context.UI_MODE_SERVICE) as? UiModeManager)?.currentModeType
    return when {
        mode == Configuration.UI_MODE_TYPE_TELEVISION -> "tv"
        mode == Configuration.UI_MODE_TYPE_WATCH -> "watch"
        mode == Configuration.UI_MODE_TYPE_CAR -> "car"
        context.packageManager.hasSystemFeature(PackageManager.FEATURE_PC) -> "desktop"
        context.resources.configuration.smallestScreenWidthDp >= TABLET_DP -> "tablet"
        else -> "phone"
    }
}

private const val TABLET_DP = 600

private inline fun attempt(read: () -> Unit) {
    try {
        read()
    } catch (_: Exception) {
        // The field stays empty.
    }
}
