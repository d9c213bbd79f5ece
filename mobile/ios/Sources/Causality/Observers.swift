import CCausality
import Foundation

#if canImport(UIKit) && !os(watchOS)
import UIKit
#endif
#if canImport(AppKit) && !targetEnvironment(macCatalyst)
import AppKit
#endif
#if canImport(Network)
import Network
#endif

/// What is recorded without being asked, and what delivery must hear of in any
/// case: coming to the front, leaving it, the network, memory.
final class Observers: @unchecked Sendable { // its fields are guarded by lock
    private let lock = NSLock()
    private var tokens: [any NSObjectProtocol] = []
    private var cancel: [() -> Void] = []
    private let client: Observed
    private let wanted: Causality.Automatic
    private let launched = Date()
    private var foregroundSince: Date?
    private var backgroundSince: Date?
    private var connection: String?

    init(_ wanted: Causality.Automatic, directory: URL, _ client: Observed) {
        self.client = client
        self.wanted = wanted
        if wanted.contains(.crashes) {
            // Reading the disk is not for the thread that starts the app.
            DispatchQueue.global(qos: .utility).async {
                if let crash = CrashReport.take(from: directory) {
                    client.track(crash.event, at: crash.time, session: crash.session, id: crash.id)
                }
                #if canImport(Darwin)
                CrashWatch.start(in: directory) { client.session }
                #endif
            }
        }
        if wanted.contains(.lifecycle) { client.track(AppStart(cold: true)) }
        observeSystem()
        observeNetwork()
    }

    func stop() {
        lock.lock()
        defer { lock.unlock() }
        tokens.forEach(NotificationCenter.default.removeObserver)
        cancel.forEach { $0() }
        tokens = []
        cancel = []
    }

    private func on(_ name: Notification.Name, _ react: @escaping @Sendable (Observers) -> Void) {
        let token = NotificationCenter.default.addObserver(forName: name, object: nil, queue: nil) { [weak self] _ in
            if let self { react(self) }
        }
        lock.lock()
        tokens.append(token)
        lock.unlock()
    }

    func foreground() {
        let (back, again) = locked {
            let since = backgroundSince
            backgroundSince = nil
            foregroundSince = Date()
            return (since, since != nil)
        }
        client.foreground()
        if wanted.contains(.lifecycle), again {
            client.track(AppForeground(backgroundMS: back.map { Int64(Date().timeIntervalSince($0) * 1000) }))
        }
        #if canImport(Darwin)
        if wanted.contains(.crashes) { CrashWatch.prepare() } // with the session that has begun
        #endif
    }

    func background() {
        let since = locked {
            backgroundSince = Date()
            return foregroundSince ?? launched
        }
        if wanted.contains(.lifecycle) { client.track(AppBackground(foregroundMS: Int64(Date().timeIntervalSince(since) * 1000))) }
        client.background()
    }

    func memoryWarning() {
        if wanted.contains(.memory) { client.track(MemoryWarning(level: "low")) }
        client.trimMemory()
    }

    func network(_ kind: String) {
        let before: String? = locked {
            defer { connection = kind }
            return connection
        }
        client.network(kind)
        if let before, before != kind, wanted.contains(.network) { client.track(NetworkChange(from: before, to: kind)) }
    }

    private func locked<Result>(_ body: () -> Result) -> Result {
        lock.lock()
        defer { lock.unlock() }
        return body()
    }

    private func observeSystem() {
        #if canImport(UIKit) && !os(watchOS)
        on(UIApplication.didBecomeActiveNotification) { $0.foreground() }
        on(UIApplication.didEnterBackgroundNotification) { $0.backgroundWithTime() }
        on(UIApplication.didReceiveMemoryWarningNotification) { $0.memoryWarning() }
        let client = client
        let screens = wanted.contains(.screens)
        DispatchQueue.main.async {
            for (name, value) in Surroundings.screen() {
                name.withText { name in value.withText { _ = String(taking: cz_context(client.handle, name, $0)) } }
            }
            if screens { ScreenViews.start() }
        }
        if screens { ScreenViews.shared.add(client) }
        #elseif canImport(AppKit) && !targetEnvironment(macCatalyst)
        on(NSApplication.didBecomeActiveNotification) { $0.foreground() }
        on(NSApplication.didResignActiveNotification) { $0.background() }
        #endif
    }

    #if canImport(UIKit) && !os(watchOS)
    /// iOS ends an app soon after it has left the front: ask for the seconds that a
    /// delivery takes.
    private func backgroundWithTime() {
        background()
        let client = client
        DispatchQueue.main.async {
            var task = UIBackgroundTaskIdentifier.invalid
            task = UIApplication.shared.beginBackgroundTask(withName: "causality") {
                UIApplication.shared.endBackgroundTask(task)
                task = .invalid
            }
            DispatchQueue.global(qos: .utility).async {
                _ = String(taking: cz_flush(client.handle, 10_000))
                DispatchQueue.main.async {
                    UIApplication.shared.endBackgroundTask(task)
                    task = .invalid
                }
            }
        }
    }
    #endif

    private func observeNetwork() {
        #if canImport(Network)
        let monitor = NWPathMonitor()
        monitor.pathUpdateHandler = { [weak self] path in
            let kind: String
            if path.status != .satisfied {
                kind = "none"
            } else if path.usesInterfaceType(.wifi) {
                kind = "wifi"
            } else if path.usesInterfaceType(.cellular) {
                kind = "cellular"
            } else if path.usesInterfaceType(.wiredEthernet) {
                kind = "ethernet"
            } else {
                kind = "other"
            }
            self?.network(kind)
        }
        monitor.start(queue: DispatchQueue(label: "causality.network", qos: .utility))
        lock.lock()
        cancel.append { monitor.cancel() }
        lock.unlock()
        #endif
    }
}
