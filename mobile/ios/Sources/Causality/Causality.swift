import CCausality
import Foundation

#if canImport(FoundationNetworking)
import FoundationNetworking
#endif

/// Sends what people do in an app to a Causality server.
///
/// ```swift
/// let causality = try Causality(writeKey: "wk_…") { $0.host = "https://causality.example.com" }
/// causality.track("Order Paid", ["total": 12.5])
/// ```
///
/// No call waits for the network or the disk, but `flush` and `close`, which are
/// async. Events wait in a file and are sent again until the server has them, also
/// by the app's next start. Make one client per write key and keep it.
public final class Causality: Sendable {
    public static let version = "0.1.0"

    public struct Options: Sendable {
        /// Where Causality is served, for example `https://causality.example.com`. Required.
        public var host = ""
        /// Where the server takes events. Change it along with the server's ingest path.
        public var ingestPath = "/causality.ingest.v1.IngestService/Ingest"
        /// Events that start a request, 1 to 2,000.
        public var flushAt = 30
        /// The longest wait of an event while online, in seconds, up to an hour.
        public var flushEvery: TimeInterval = 30
        /// How long one request may take, in seconds, 1 to 240.
        public var requestTimeout: TimeInterval = 30
        /// Above it the oldest unsent events are dropped; 2 MiB to 1 GiB.
        public var queueBytes = 32 << 20
        /// Where unsent events wait. Default: a folder of the write key's in Application Support.
        public var directory: URL?
        /// What is recorded without being asked.
        public var automatic: Automatic = .all
        /// Plain http is refused unless this is set, or the host is this device.
        public var allowInsecure = false
        /// Carries requests.
        public var session: @Sendable () -> URLSessionConfiguration = { .ephemeral }
        /// Delivery problems, rejections and drops, in words for a log. Called on any thread.
        public var onNotice: (@Sendable (_ level: String, _ message: String) -> Void)?
    }

    /// What is recorded without being asked.
    public struct Automatic: OptionSet, Sendable {
        public let rawValue: Int
        public init(rawValue: Int) { self.rawValue = rawValue }
        /// `app_start`, `app_foreground`, `app_background`.
        public static let lifecycle = Automatic(rawValue: 1)
        /// `screen_view` for each UIKit view controller that appears. SwiftUI views use `.causalityScreen`.
        public static let screens = Automatic(rawValue: 2)
        /// `app_crash` at the next start.
        public static let crashes = Automatic(rawValue: 4)
        /// `network_change`; without it delivery still resumes when the network is back.
        public static let network = Automatic(rawValue: 8)
        /// `memory_warning`.
        public static let memory = Automatic(rawValue: 16)
        public static let all: Automatic = [.lifecycle, .screens, .crashes, .network, .memory]
    }

    private let handle: cz_handle
    private let callbacks: Callbacks
    private let observers: Observers

    /// Opens the queue and starts to deliver. Throws when an option is wrong; then nothing has started.
    public init(writeKey: String, _ configure: (inout Options) -> Void) throws {
        var options = Options()
        configure(&options)
        let url = try Causality.ingestURL(host: options.host, path: options.ingestPath, insecure: options.allowInsecure)
        guard !writeKey.isEmpty, writeKey.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F }) else {
            throw CausalityError(description: "writeKey is empty or holds a character that no key has; copy it from Settings, Keys")
        }
        try Causality.check(options)
        let directory = try options.directory ?? Causality.directory(for: writeKey)
        let transport = Transport(url: url, writeKey: writeKey, timeout: options.requestTimeout, configuration: options.session())
        callbacks = Callbacks(transport: transport, notice: options.onNotice)
        handle = try Causality.open(writeKey, options, directory, callbacks)
        let client = Observed(handle: handle)
        client.describe(Surroundings.present())
        observers = Observers(options.automatic, directory: directory, client)
    }

    deinit {
        observers.stop()
        _ = String(taking: cz_close(handle, 0)) // does not wait; nothing to end after `close`
    }

    private static func open(_ writeKey: String, _ options: Options, _ directory: URL, _ callbacks: Callbacks) throws -> cz_handle {
        var error: UnsafeMutablePointer<CChar>?
        let user = Unmanaged.passRetained(callbacks) // until the library says that it is done
        let handle = writeKey.withText { key in
        directory.path.withText { path in
            "causality-swift".withText { library in
                version.withText { version in
                    var c = cz_options()
                    c.directory = path
                    c.send_timeout_ms = milliseconds(options.requestTimeout) + 5000 // URLSession ends it first
                    c.flush_at = Int64(options.flushAt)
                    c.flush_every_ms = milliseconds(options.flushEvery)
                    c.queue_bytes = Int64(options.queueBytes)
                    c.key = key
                    c.library = library
                    c.library_version = version
                    c.send = { user, body, length, reply in
                        Callbacks.from(user).transport.send(Data(bytes: body!, count: Int(length)), to: reply)
                    }
                    c.notice = { user, level, message in
                        Callbacks.from(user).notice?(String(level), String(message))
                    }
                    c.done = { Unmanaged<Callbacks>.fromOpaque($0!).release() }
                    c.user = user.toOpaque()
                    return cz_open(&c, &error)
                }
            }
        }
        }
        if let message = String(taking: error) {
            user.release()
            throw CausalityError(description: message)
        }
        return handle
    }

    private static func check(_ options: Options) throws {
        let limits: [(name: String, value: Double, range: ClosedRange<Double>)] = [
            ("flushAt", Double(options.flushAt), 1...2000),
            ("flushEvery", options.flushEvery, 0.01...3600),
            ("requestTimeout", options.requestTimeout, 1...240),
            ("queueBytes", Double(options.queueBytes), 2_097_152...1_073_741_824),
        ]
        let wrong = limits.filter { !$0.range.contains($0.value) }
        guard wrong.isEmpty else {
            throw CausalityError(description: wrong.map { "\($0.name) is \($0.value); it must be between \($0.range.lowerBound) and \($0.range.upperBound)" }.joined(separator: ", "))
        }
    }

    static func ingestURL(host: String, path: String, insecure: Bool) throws -> URL {
        guard let url = URL(string: host), let scheme = url.scheme, let name = url.host, ["http", "https"].contains(scheme),
            url.query == nil, url.fragment == nil, url.user == nil
        else {
            throw CausalityError(description: "host is \"\(host)\"; set it to where Causality is served, for example https://causality.example.com")
        }
        if scheme == "http", !insecure, !["localhost", "127.0.0.1", "::1"].contains(name) {
            throw CausalityError(description: "host is plain http, which sends events in the clear; use https, or set allowInsecure while developing")
        }
        let trimmed = path.drop { $0 == "/" }
        guard !trimmed.isEmpty, !trimmed.contains(where: { "?#".contains($0) }),
            let ingest = URL(string: (host.hasSuffix("/") ? String(host.dropLast()) : host) + "/" + trimmed)
        else {
            throw CausalityError(description: "ingestPath is \"\(path)\"; set it to a path that the server takes events at, for example /c")
        }
        return ingest
    }

    static func directory(for writeKey: String) throws -> URL {
        let support = try FileManager.default.url(for: .applicationSupportDirectory, in: .userDomainMask, appropriateFor: nil, create: true)
        let name = writeKey.map { $0.isASCII && ($0.isLetter || $0.isNumber || $0 == "_") ? $0 : "-" }
        return support.appendingPathComponent("causality", isDirectory: true).appendingPathComponent(String(name.prefix(64)), isDirectory: true)
    }

    var observed: Observed { Observed(handle: handle) }

    // MARK: Recording

    /// Records that something happened. The name is at most 200 characters.
    public func track(_ name: String, _ properties: Properties = [:]) {
        observed.track(name, properties, callbacks)
    }

    /// Records an event whose properties are known by name and type.
    public func track(_ event: some TypedEvent) {
        track(event.name, event.properties)
    }

    /// Says who uses the app from now on. What the device did before counts as
    /// theirs. Another known user than before begins a new visitor, as `reset` does.
    public func identify(_ userID: String, _ traits: Traits = Traits()) {
        callbacks.report(userID.withText { user in
            traits.unset.joined(separator: "\n").withText {
                cz_identify(handle, user, object(of: traits.set), object(of: traits.setOnce), object(of: traits.add), $0)
            }
        })
        sessionMayBeAnother()
    }

    /// Says which group of a type, for example a company, the user acts for from now on.
    public func group(_ type: String, _ id: String, _ traits: Traits = Traits()) {
        callbacks.report(type.withText { type in
            id.withText { id in
                traits.unset.joined(separator: "\n").withText {
                    cz_group(handle, type, id, object(of: traits.set), object(of: traits.setOnce), object(of: traits.add), $0)
                }
            }
        })
    }

    /// Says that two user ids are one person. Servers take it from secret keys only.
    public func alias(_ previousID: String, _ userID: String) {
        callbacks.report(previousID.withText { previous in userID.withText { cz_alias(handle, previous, $0) } })
    }

    /// Forgets the user: a new anonymous id and session, no groups. What waits to be sent is kept.
    public func reset() {
        cz_reset(handle)
        sessionMayBeAnother()
    }

    private func sessionMayBeAnother() {
        #if canImport(Darwin)
        CrashWatch.prepare()
        #endif
    }

    // MARK: Delivery

    /// Sends what was recorded so far. Throws when the server has not answered for
    /// all of it within `timeout` seconds, ten minutes at most; it stays queued. With
    /// 0 the sending only begins.
    public func flush(timeout: TimeInterval = 30) async throws {
        let handle = handle
        try await Causality.waiting { cz_flush(handle, milliseconds(timeout)) }
    }

    /// Sends what is queued for at most `timeout` seconds, and ends the client. Throws
    /// when events could not be stored. What is not sent waits for the next start.
    public func close(timeout: TimeInterval = 5) async throws {
        observers.stop()
        let handle = handle
        try await Causality.waiting { cz_close(handle, milliseconds(timeout)) }
    }

    /// Waits until the queue's file is open, which a start does in the background, and
    /// answers whether it is. Only then do `isOptedOut` and the ids know of earlier starts.
    @discardableResult
    public func awaitOpen(timeout: TimeInterval = 10) async -> Bool {
        let client = observed
        return await withCheckedContinuation { continuation in
            DispatchQueue.global(qos: .utility).async { continuation.resume(returning: client.awaitOpen(timeout)) }
        }
    }

    /// Waits on a thread of its own: the pool of Swift's tasks must not be held up.
    private static func waiting(_ call: @escaping @Sendable () -> UnsafeMutablePointer<CChar>?) async throws {
        try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<Void, any Error>) in
            DispatchQueue.global(qos: .utility).async {
                continuation.resume(with: Result { try throwError(call()) })
            }
        }
    }

    /// Opting out clears the queue, forgets the user, and ignores events until
    /// opting in, across starts. False until the queue is open (`awaitOpen`), unless set here.
    public var isOptedOut: Bool {
        get { cz_opted_out(handle) != 0 }
        set { cz_opt_out(handle, newValue ? 1 : 0) }
    }

    /// The id of this device's user before they are known. Like the next two it is empty
    /// until the queue is open (`awaitOpen`), and after `close`.
    public var anonymousID: String { identity("anonymous_id") }
    /// The user, once identified; else empty.
    public var userID: String { identity("user_id") }
    /// The present session; empty before its first event.
    public var sessionID: String { identity("session_id") }

    private func identity(_ name: String) -> String {
        name.withText { String(taking: cz_identity(handle, $0)) ?? "" }
    }

    /// What became of the events since the client was opened.
    public struct Stats: Sendable, Equatable {
        /// Not yet acknowledged, earlier starts' included.
        public let queued: Int
        /// Acknowledged and not rejected.
        public let sent: Int
        /// Lost events by reason: expired, overflow, queue_full, invalid, too_large,
        /// unreadable, damaged, opted_out, or the code of the server's rejection.
        public let dropped: [String: Int]
        /// The server refuses the key.
        public let isPaused: Bool
        /// Events end with the process, because the queue's file cannot be used.
        public let isInMemory: Bool
        /// Of the last attempt; nil after a success.
        public let lastError: String?
    }

    public var stats: Stats {
        func stat(_ name: String) -> Int { name.withText { Int(cz_stat(handle, $0)) } }
        let reasons = (String(taking: cz_drop_reasons(handle)) ?? "").split(separator: "\n").map(String.init)
        return Stats(
            queued: stat("queued"), sent: stat("sent"),
            dropped: Dictionary(uniqueKeysWithValues: reasons.map { ($0, stat("dropped.\($0)")) }),
            isPaused: stat("paused") == 1, isInMemory: stat("in_memory") == 1,
            lastError: String(taking: cz_last_error(handle))
        )
    }
}

/// What the library calls back. It holds a reference for as long as it may: a client
/// delivers on after its deinit, for some seconds.
final class Callbacks: Sendable {
    let transport: Transport
    let notice: (@Sendable (String, String) -> Void)?

    init(transport: Transport, notice: (@Sendable (String, String) -> Void)?) {
        self.transport = transport
        self.notice = notice
    }

    static func from(_ pointer: UnsafeMutableRawPointer?) -> Callbacks {
        Unmanaged<Callbacks>.fromOpaque(pointer!).takeUnretainedValue()
    }

    /// A refused call has no caller to throw to: the log hears of it.
    func report(_ error: UnsafeMutablePointer<CChar>?) {
        if let message = String(taking: error) { notice?("error", message) }
    }
}
