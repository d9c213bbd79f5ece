import Foundation

/// A crash, written down while the process ends and told at the next start.
///
/// Uncaught Objective-C exceptions are recorded with their reason and stack. A
/// Swift trap ends the process by a signal, in whose handler almost nothing is
/// allowed: there a line that was prepared beforehand is written with `write(2)`.
struct CrashReport: Codable, Equatable {
    var id: String
    var time: Date
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
        report.message = String(report.message.prefix(2000))
        report.stack = String(decoding: Data(report.stack.utf8.prefix(CrashReport.mostBytes)), as: UTF8.self)
        try? JSONEncoder().encode(report).write(to: CrashReport.file(in: directory), options: .atomic)
    }

    /// Takes the report of the run before, if it left one. One that cannot be read
    /// is taken away too, so that it is not met again.
    static func take(from directory: URL) -> CrashReport? {
        let file = file(in: directory)
        defer { try? FileManager.default.removeItem(at: file) }
        guard let data = try? Data(contentsOf: file), data.count <= 4 * mostBytes else { return nil }
        return try? JSONDecoder().decode(CrashReport.self, from: data)
    }
}

#if canImport(Darwin)
import Darwin

/// Watches for the end of the process. One per process: handlers are process-wide.
enum CrashWatch {
    nonisolated(unsafe) private static var prepared: (path: UnsafeMutablePointer<CChar>, line: UnsafeMutablePointer<CChar>, length: Int)?
    nonisolated(unsafe) private static var before: [Int32: sigaction] = [:]
    nonisolated(unsafe) private static var exceptionBefore: (@convention(c) (NSException) -> Void)?
    nonisolated(unsafe) private static var directory: URL?
    nonisolated(unsafe) private static var session: @Sendable () -> String = { "" }
    private static let lock = NSLock()

    static func start(in folder: URL, session current: @escaping @Sendable () -> String) {
        lock.lock()
        defer { lock.unlock() }
        guard directory == nil else { return }
        directory = folder
        session = current
        prepare()
        exceptionBefore = NSGetUncaughtExceptionHandler()
        NSSetUncaughtExceptionHandler { exception in
            if let folder = CrashWatch.directory {
                CrashReport(
                    id: UUID().uuidString.lowercased(), time: Date(), session: CrashWatch.session(),
                    type: exception.name.rawValue, message: exception.reason ?? "",
                    stack: exception.callStackSymbols.joined(separator: "\n")
                ).write(in: folder)
            }
            CrashWatch.exceptionBefore?(exception)
        }
        for signal in [SIGILL, SIGTRAP, SIGABRT, SIGBUS, SIGFPE, SIGSEGV] {
            var action = sigaction()
            action.__sigaction_u.__sa_handler = { CrashWatch.ended(by: $0) }
            sigemptyset(&action.sa_mask)
            var old = sigaction()
            sigaction(signal, &action, &old)
            before[signal] = old
        }
    }

    /// Writes the report as far as it is known now; only the handler's write is left to do.
    static func prepare() {
        guard let directory else { return }
        let report = CrashReport(
            id: UUID().uuidString.lowercased(), time: Date(), session: session(),
            type: "signal", message: "The process was ended by a signal (a Swift runtime trap, or a bad access).", stack: ""
        )
        guard let line = try? JSONEncoder().encode(report), let text = String(data: line, encoding: .utf8) else { return }
        // What was prepared before is leaked on purpose, a few hundred bytes a session:
        // a handler on another thread may be reading it.
        prepared = (strdup(CrashReport.file(in: directory).path), strdup(text), line.count)
    }

    private static func ended(by signal: Int32) {
        if let (path, line, length) = prepared, access(path, F_OK) != 0 { // an exception has told more already
            let file = open(path, O_WRONLY | O_CREAT | O_EXCL, 0o600)
            if file >= 0 {
                _ = write(file, line, length)
                close(file)
            }
        }
        if var old = before[signal] { sigaction(signal, &old, nil) }
        raise(signal)
    }
}
#endif
