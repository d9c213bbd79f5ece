import Foundation

/// A crash, written down while the process ends and told at the next start.
///
/// Uncaught Objective-C exceptions are recorded with their reason and stack. A
/// Swift trap ends the process by a signal, in whose handler almost nothing is
/// allowed: there a line that was prepared beforehand is written with `write(2)`.
struct CrashReport: Codable, Equatable {
    var id: String
    var time: Date? // nil: when the file was written, which a signal handler cannot say in it
    var session: String
    var type: String
    var message: String
    var stack: String

    var event: AppCrash {
        AppCrash(exceptionType: type, message: message, stackTrace: stack, fatal: true)
    }

    static func file(in directory: URL) -> URL { directory.appendingPathComponent("crash.json") }
    static let mostBytes = 24 << 10 // below the limit of an event, with room for the rest

    func write(in directory: URL) {
        var report = self
        report.message = String(decoding: report.message.utf8.prefix(2000), as: UTF8.self)
        report.stack = String(decoding: report.stack.utf8.prefix(CrashReport.mostBytes), as: UTF8.self)
        try? JSONEncoder().encode(report).write(to: CrashReport.file(in: directory), options: .atomic)
    }

    /// Hands over the report of the run before, if it left one, and removes it only
    /// then: a process that ends in between tells it again, under the same id. One
    /// that cannot be read is removed too, so that it is not met again.
    static func take(from directory: URL, _ record: (CrashReport) -> Void) {
        let file = file(in: directory)
        defer { try? FileManager.default.removeItem(at: file) }
        guard let data = try? Data(contentsOf: file), data.count <= 4 * mostBytes else { return }
        guard var report = try? JSONDecoder().decode(CrashReport.self, from: data) else { return }
        if report.time == nil {
            let attributes = try? FileManager.default.attributesOfItem(atPath: file.path)
            report.time = attributes?[.modificationDate] as? Date
        }
        record(report)
    }
}

#if canImport(Darwin)
import Darwin

/// Watches for the end of the process. One per process: handlers are process-wide.
enum CrashWatch {
    /// What the signal handler writes. It is replaced as a whole, by one pointer, and
    /// what was before is leaked on purpose, some hundred bytes for each session: a
    /// handler on another thread may be reading it.
    private struct Prepared {
        let path: UnsafeMutablePointer<CChar>
        let text: UnsafeMutablePointer<CChar>
        let length: Int
    }
    nonisolated(unsafe) private static var prepared: UnsafeMutablePointer<Prepared>?
    /// The handlers from before, by signal; a dictionary is not for a signal handler.
    nonisolated(unsafe) private static let before = UnsafeMutablePointer<sigaction>.allocate(capacity: 32)
    nonisolated(unsafe) private static var exceptionBefore: (@convention(c) (NSException) -> Void)?
    private static let lock = NSLock() // guards what follows
    nonisolated(unsafe) private static var directory: URL?
    nonisolated(unsafe) private static var session: @Sendable () -> String = { "" }
    nonisolated(unsafe) private static var preparedSession: String?

    static func start(in folder: URL, session current: @escaping @Sendable () -> String) {
        lock.lock()
        defer { lock.unlock() }
        guard directory == nil else { return }
        directory = folder
        session = current
        prepareLocked()
        exceptionBefore = NSGetUncaughtExceptionHandler()
        NSSetUncaughtExceptionHandler { exception in
            CrashWatch.ended(by: exception)
            CrashWatch.exceptionBefore?(exception)
        }
        for signal in [SIGILL, SIGTRAP, SIGABRT, SIGBUS, SIGFPE, SIGSEGV] {
            var action = sigaction()
            action.__sigaction_u.__sa_sigaction = { CrashWatch.ended(by: $0, $1, $2) }
            // The core is Go, whose threads have small stacks beside the one for signals.
            action.sa_flags = SA_SIGINFO | SA_ONSTACK
            sigemptyset(&action.sa_mask)
            sigaction(signal, &action, before + Int(signal))
        }
    }

    /// Writes the report as far as it is known now; only the handler's write is left to do.
    static func prepare() {
        lock.lock()
        defer { lock.unlock() }
        prepareLocked()
    }

    private static func prepareLocked() {
        guard let directory else { return }
        let current = session()
        if current == preparedSession { return }
        let report = CrashReport(
            id: UUID().uuidString.lowercased(), time: nil, session: current,
            type: "signal", message: "The process was ended by a signal (a Swift runtime trap, or a bad access).", stack: ""
        )
        guard let line = try? JSONEncoder().encode(report), let text = strdup(String(decoding: line, as: UTF8.self)),
            let path = strdup(CrashReport.file(in: directory).path)
        else { return }
        let next = UnsafeMutablePointer<Prepared>.allocate(capacity: 1)
        next.initialize(to: Prepared(path: path, text: text, length: line.count))
        prepared = next
        preparedSession = current
    }

    private static func ended(by exception: NSException) {
        guard lock.try() else { return } // its holder may be the one that failed
        let folder = directory, current = session
        lock.unlock()
        guard let folder else { return }
        CrashReport(
            id: UUID().uuidString.lowercased(), time: Date(), session: current(),
            type: exception.name.rawValue, message: exception.reason ?? "",
            stack: exception.callStackSymbols.joined(separator: "\n")
        ).write(in: folder)
    }

    private static func ended(by signal: Int32, _ info: UnsafeMutablePointer<siginfo_t>?, _ context: UnsafeMutableRawPointer?) {
        if let report = prepared?.pointee, access(report.path, F_OK) != 0 { // an exception has told more already
            let file = open(report.path, O_WRONLY | O_CREAT | O_EXCL, 0o600)
            if file >= 0 {
                _ = write(file, report.text, report.length)
                close(file)
            }
        }
        // The one before us gets the signal as it came. Of the core's own handler that is
        // required: it makes a bad access in Go an error that the core recovers from (and
        // that is recorded here all the same).
        let old = before + Int(signal)
        switch unsafeBitCast(old.pointee.__sigaction_u.__sa_handler, to: Int.self) {
        case 0, 1: // SIG_DFL; ignoring would come back here for ever
            var standard = sigaction()
            sigaction(signal, &standard, nil)
            raise(signal) // for those that a thread sent itself; delivered when this returns
        default:
            if old.pointee.sa_flags & SA_SIGINFO != 0 {
                old.pointee.__sigaction_u.__sa_sigaction(signal, info, context)
            } else {
                old.pointee.__sigaction_u.__sa_handler(signal)
            }
        }
    }
}
#endif
