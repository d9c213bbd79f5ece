import Causality
import SwiftUI

/// A shop of one screen: what an app needs to write, in one file. Put your own
/// address and write key in (Settings, Keys), then run it: the screen, the purchase
/// and the life of the app appear in Live.
@main
struct ShopApp: App {
    static let causality: Causality? = {
        do {
            return try Causality(writeKey: "wk_…") {
                $0.host = "https://causality.example.com"
                $0.onNotice = { level, message in print("causality \(level): \(message)") }
            }
        } catch {
            print(error) // a wrong option; the shop works without
            return nil
        }
    }()

    var body: some Scene {
        WindowGroup { CartView() }
    }
}

struct CartView: View {
    @State private var sharing = true
    @State private var told = ""

    var body: some View {
        List {
            Button("Buy the book, 12.50 €") {
                ShopApp.causality?.track(PurchaseComplete(
                    orderID: UUID().uuidString, revenue: 12.5, currency: "EUR",
                    products: [Product(productID: "book-1", name: "The Book of Why", price: 12.5, quantity: 1)]
                ))
            }
            Button("Sign in") { ShopApp.causality?.identify("user-1", Traits(set: ["plan": "pro"], add: ["logins": 1])) }
            Button("Sign out") { ShopApp.causality?.reset() }
            Toggle("Share usage data", isOn: $sharing)
                .onChange(of: sharing) { share in ShopApp.causality?.isOptedOut = !share }
            Button("Send now") {
                Task {
                    do {
                        try await ShopApp.causality?.flush()
                        told = "Everything is delivered."
                    } catch {
                        told = error.localizedDescription
                    }
                }
            }
            Text(told).font(.footnote)
        }
        .causalityScreen("Cart")
        .task { // what was chosen in an earlier start
            guard let causality = ShopApp.causality else { return }
            await causality.awaitOpen()
            sharing = !causality.isOptedOut
        }
    }
}
