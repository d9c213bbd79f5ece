import Foundation

/// `screen_view` for each screen that comes to the front, told to every client.
final class ScreenViews: @unchecked Sendable { // its fields are guarded by lock
    static let shared = ScreenViews()
    private let lock = NSLock()
    private var clients: [Observed] = []
    private var previous: String?

    func add(_ client: Observed) {
        lock.lock()
        defer { lock.unlock() }
        clients.append(client)
    }

    func remove(_ client: Observed) {
        lock.lock()
        defer { lock.unlock() }
        clients.removeAll { $0.handle == client.handle }
    }

    var watching: Int {
        lock.lock()
        defer { lock.unlock() }
        return clients.count
    }

    func viewed(_ name: String, class screenClass: String? = nil) {
        lock.lock()
        let before = previous, clients = clients
        previous = name
        lock.unlock()
        guard name != before else { return }
        for client in clients {
            client.track(ScreenView(screenName: name, screenClass: screenClass, previousScreen: before))
        }
    }
}

#if canImport(UIKit)
import ObjectiveC
import UIKit

extension ScreenViews {
    @MainActor private static var started = false

    /// UIKit tells nobody which view controllers appear, so their viewDidAppear is
    /// wrapped, once per process.
    @MainActor static func start() {
        guard !started else { return }
        started = true
        let selector = #selector(UIViewController.viewDidAppear(_:))
        guard let method = class_getInstanceMethod(UIViewController.self, selector) else { return }
        typealias Appear = @convention(c) (UIViewController, Selector, Bool) -> Void
        let original = unsafeBitCast(method_getImplementation(method), to: Appear.self)
        let wrapped: @convention(block) (UIViewController, Bool) -> Void = { controller, animated in
            original(controller, selector, animated)
            if Thread.isMainThread { MainActor.assumeIsolated { shared.appeared(controller) } }
        }
        method_setImplementation(method, imp_implementationWithBlock(wrapped))
    }

    @MainActor private func appeared(_ controller: UIViewController) {
        // Containers, the system's own controllers, and those that SwiftUI makes around
        // its views (UIHostingController<…>) are not screens of the app.
        let kind = String(describing: type(of: controller))
        guard controller.children.isEmpty, !kind.contains("HostingController<"),
            Bundle(for: type(of: controller)).bundlePath.hasPrefix(Bundle.main.bundlePath)
        else { return }
        viewed(controller.title ?? controller.navigationItem.title ?? kind, class: kind)
    }
}
#endif

#if canImport(SwiftUI)
import SwiftUI

extension View {
    /// Records `screen_view` with this name when the view appears, for clients whose
    /// `automatic` has `.screens`.
    public func causalityScreen(_ name: String) -> some View {
        onAppear { ScreenViews.shared.viewed(name) }
    }
}
#endif
