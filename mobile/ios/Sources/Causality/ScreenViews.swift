#if canImport(UIKit) && !os(watchOS)
import ObjectiveC
import UIKit

/// `screen_view` for each view controller that appears: UIKit tells nobody, so its
/// viewDidAppear is wrapped, once per process.
final class ScreenViews: @unchecked Sendable { // its fields are guarded by lock
    static let shared = ScreenViews()
    private let lock = NSLock()
    private var clients: [Observed] = []
    private var previous = ""

    func add(_ client: Observed) {
        lock.lock()
        defer { lock.unlock() }
        clients.append(client)
    }

    @MainActor private static var started = false

    @MainActor static func start() {
        guard !started else { return }
        started = true
        let selector = #selector(UIViewController.viewDidAppear(_:))
        guard let method = class_getInstanceMethod(UIViewController.self, selector) else { return }
        typealias Appear = @convention(c) (UIViewController, Selector, Bool) -> Void
        let original = unsafeBitCast(method_getImplementation(method), to: Appear.self)
        let wrapped: @convention(block) (UIViewController, Bool) -> Void = { controller, animated in
            original(controller, selector, animated)
            MainActor.assumeIsolated { shared.appeared(controller) }
        }
        method_setImplementation(method, imp_implementationWithBlock(wrapped))
    }

    @MainActor private func appeared(_ controller: UIViewController) {
        // Containers and the system's own controllers are not screens of the app.
        guard Bundle(for: type(of: controller)).bundlePath.hasPrefix(Bundle.main.bundlePath), controller.children.isEmpty else { return }
        let name = controller.title ?? controller.navigationItem.title ?? String(describing: type(of: controller))
        viewed(name, class: String(describing: type(of: controller)))
    }

    func viewed(_ name: String, class screenClass: String?) {
        lock.lock()
        let before = previous, clients = clients
        previous = name
        lock.unlock()
        guard name != before else { return }
        for client in clients {
            client.track(ScreenView(screenName: name, screenClass: screenClass ?? "", previousScreen: before))
        }
    }
}
#endif

#if canImport(SwiftUI) && canImport(UIKit) && !os(watchOS)
import SwiftUI

extension View {
    /// Records `screen_view` with this name when the view appears.
    public func causalityScreen(_ name: String) -> some View {
        onAppear { ScreenViews.shared.viewed(name, class: nil) }
    }
}
#endif
