package io.causality

import android.annotation.SuppressLint
import android.content.Context
import android.net.ConnectivityManager
import android.net.Network
import android.net.NetworkCapabilities
import android.net.NetworkRequest
import android.os.Build

/** Tells how the device is connected: wifi, cellular, ethernet, other or none; first as it is, then each change. */
@SuppressLint("MissingPermission") // the library's manifest asks for ACCESS_NETWORK_STATE
internal class NetworkWatch(context: Context, private val changed: (from: String?, to: String) -> Unit) :
    ConnectivityManager.NetworkCallback() {
    private val manager = context.getSystemService(Context.CONNECTIVITY_SERVICE) as ConnectivityManager
    private var current: String? = null

    fun start() {
        val offline = !online()
        if (Build.VERSION.SDK_INT >= 24) {
            manager.registerDefaultNetworkCallback(this)
        } else {
            val internet = NetworkRequest.Builder().addCapability(NetworkCapabilities.NET_CAPABILITY_INTERNET).build()
            manager.registerNetworkCallback(internet, this)
        }
        if (offline) begin("none") // no callback would come
    }

    fun stop() = manager.unregisterNetworkCallback(this)

    override fun onAvailable(network: Network) {
        manager.getNetworkCapabilities(network)?.let { become(kind(it)) }
    }

    override fun onCapabilitiesChanged(network: Network, capabilities: NetworkCapabilities) = become(kind(capabilities))

    override fun onLost(network: Network) {
        // Before Android 7 any network is reported, and another may still be there.
        if (Build.VERSION.SDK_INT >= 24 || !online()) become("none")
    }

    @Suppress("DEPRECATION") // what replaced it is younger than Android 5
    private fun online(): Boolean = manager.activeNetworkInfo?.isConnected == true

    @Synchronized
    private fun begin(kind: String) {
        if (current == null) become(kind)
    }

    @Synchronized
    private fun become(kind: String) {
        val before = current
        if (kind == before) return
        current = kind
        changed(before, kind)
    }

    private fun kind(capabilities: NetworkCapabilities): String = when {
        capabilities.hasTransport(NetworkCapabilities.TRANSPORT_WIFI) -> "wifi"
        capabilities.hasTransport(NetworkCapabilities.TRANSPORT_CELLULAR) -> "cellular"
        capabilities.hasTransport(NetworkCapabilities.TRANSPORT_ETHERNET) -> "ethernet"
        else -> "other"
    }
}
