package io.causality.sample

import android.app.Activity
import android.os.Bundle
import android.widget.Button
import android.widget.LinearLayout
import android.widget.TextView
import io.causality.Causality
import io.causality.Product
import io.causality.PurchaseComplete

/** A shop with one product. Each button is one call of the SDK. */
class MainActivity : Activity() {
    lateinit var causality: Causality
    private lateinit var status: TextView

    override fun onCreate(savedInstanceState: Bundle?) {
        super.onCreate(savedInstanceState)
        title = "Shop"
        (application as? SampleApp)?.let { causality = it.causality }
        status = TextView(this)
        val column = LinearLayout(this).apply {
            orientation = LinearLayout.VERTICAL
            addView(button("Add to cart") { causality.track("cart_filled") { put("product", "mug").put("price", 12.5) } })
            addView(button("Buy", ::buy))
            addView(button("Sign in") { causality.identify("ann") { set("plan", "pro").setOnce("source", "sample") } })
            addView(button("Sign out") { causality.reset() })
            addView(button("Send now", ::send))
            addView(button("Crash") { error("The sample was asked to crash") })
            addView(status)
        }
        setContentView(column)
    }

    /** A typed event: the server knows its fields. */
    fun buy() = causality.track(
        PurchaseComplete(
            orderId = "order-1",
            revenue = 12.5,
            currency = "EUR",
            products = listOf(Product(productId = "mug", price = 12.5, quantity = 1)),
        ),
    )

    private fun send() = causality.flush { delivered ->
        val stats = causality.stats()
        val text = if (delivered) "Sent ${stats.sent}" else "${stats.queued} wait: ${stats.lastError}"
        runOnUiThread { status.text = text }
    }

    private fun button(label: String, action: () -> Unit) = Button(this).apply {
        text = label
        setOnClickListener { action() }
    }
}
