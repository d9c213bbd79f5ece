import CCausality
import Foundation

#if canImport(UIKit)
import UIKit
#elseif canImport(AppKit)
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
                CrashReport.take(from: directory) { crash in
                    client.track(crash.event, at: crash.time ?? Date(), session: crash.session, id: crash.id)
                }
                #if canImport(Darwin)
                _ = client.awaitOpen(10) // before that there is no session
                CrashWatch.start(in: directory) { client.session }
                #endif
            }
        }
        if wanted.contains(.lifecycle) { client.track(AppStart(cold: true)) }
        if wanted.contains(.screens) {
            ScreenViews.shared.add(client)
            cancel.append { ScreenViews.shared.remove(client) }
        }
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
            client.track(AppForeground(backgroundMS: back.map { milliseconds(Date().timeIntervalSince($0)) }))
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
        if wanted.contains(.lifecycle) { client.track(AppBackground(foregroundMS: milliseconds(Date().timeIntervalSince(since)))) }
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
        #if canImport(UIKit)
        on(UIApplication.didBecomeActiveNotification) { $0.foreground() }
        on(UIApplication.didEnterBackgroundNotification) { $0.backgroundWithTime() }
        on(UIApplication.didReceiveMemoryWarningNotification) { $0.memoryWarning() }
        DispatchQueue.main.async { [weak self] in self?.begin() }
        #elseif canImport(AppKit)
        on(NSApplication.didBecomeActiveNotification) { $0.foreground() }
        on(NSApplication.didResignActiveNotification) { $0.background() }
        DispatchQueue.main.async { [weak self] in self?.begin() }
        #endif
    }

    #if canImport(UIKit)
    /// Only the main thread may ask the system this. An app that made its client late
    /// has come to the front before, and would seem to be in the background.
    @MainActor private func begin() {
        client.describe(Surroundings.screen())
        if wanted.contains(.screens) { ScreenViews.start() }
        let isExtension = Bundle.main.bundlePath.hasSuffix(".appex") // has no application
        if !isExtension, UIApplication.shared.applicationState != .background { arrived() }
    }

    /// iOS ends an app soon after it has left the front: ask for the seconds that a
    /// delivery takes, before the system has the thread back.
    private func backgroundWithTime() {
        guard Thread.isMainThread else { // not UIKit, which posts on the main thread
            DispatchQueue.main.async { [weak self] in self?.backgroundWithTime() }
            return
        }
        let time = MainActor.assumeIsolated { BackgroundTime() }
        background()
        let client = client
        DispatchQueue.global(qos: .utility).async {
            client.flush(10)
            DispatchQueue.main.async { time.end() }
        }
    }
    #elseif canImport(AppKit)
    /// Only the main thread may ask the system this.
    @MainActor private func begin() {
        if NSApp?.isActive == true { arrived() }
    }
    #endif

    private func arrived() {
        if locked({ foregroundSince == nil }) { foreground() }
    }

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

#if canImport(UIKit)
/// The seconds that iOS grants an app that has left the front; given back once.
@MainActor private final class BackgroundTime {
    private var id = UIBackgroundTaskIdentifier.invalid

    init() {
        id = UIApplication.shared.beginBackgroundTask(withName: "causality") { [weak self] in self?.end() }
    }

    func end() {
        guard id != .invalid else { return }
        UIApplication.shared.endBackgroundTask(id)
        id = .invalid
    }
}
#endif
