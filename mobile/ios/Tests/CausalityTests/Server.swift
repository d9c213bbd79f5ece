import Foundation
import XCTest

#if canImport(FoundationNetworking)
import FoundationNetworking
#endif

@testable import Causality

/// The server that ./test has started, with an app, a write key and a secret key.
enum Server {
    static let url = environment("CAUSALITY_TEST_URL")
    static let writeKey = environment("CAUSALITY_TEST_WRITE_KEY")
    static let secretKey = environment("CAUSALITY_TEST_SECRET_KEY")
    static let app = environment("CAUSALITY_TEST_APP")

    private static func environment(_ name: String) -> String {
        guard let value = ProcessInfo.processInfo.environment[name] else {
            fatalError("\(name) is not set: run these tests with mobile/ios/test, which starts a server")
        }
        return value
    }

    /// Asks for rows of text until there are as many as wanted.
    static func rows(_ sql: String, wanted: Int, file: StaticString = #filePath, line: UInt = #line) async throws -> [[String]] {
        var rows: [[String]] = []
        let deadline = Date().addingTimeInterval(30)
        while Date() < deadline {
            rows = try await query(sql)
            if rows.count >= wanted { break }
            try await Task.sleep(nanoseconds: 50_000_000)
        }
        XCTAssertEqual(rows.count, wanted, sql, file: file, line: line)
        if rows.count != wanted { throw CausalityError(description: "\(rows.count) rows: \(sql)") }
        return rows
    }

    static func query(_ sql: String) async throws -> [[String]] {
        var request = URLRequest(url: URL(string: url + "/causality.query.v1.QueryService/Run")!)
        request.httpMethod = "POST"
        request.setValue("Bearer \(secretKey)", forHTTPHeaderField: "Authorization")
        request.setValue("application/json", forHTTPHeaderField: "Content-Type")
        request.httpBody = try JSONSerialization.data(withJSONObject: ["appId": app, "sql": sql])
        let ready = request
        let data: Data = try await withCheckedThrowingContinuation { continuation in
            URLSession.shared.dataTask(with: ready) { data, response, error in
                if let data, (response as? HTTPURLResponse)?.statusCode == 200 {
                    continuation.resume(returning: data)
                } else {
                    let said = data.map { String(decoding: $0, as: UTF8.self) } ?? ""
                    continuation.resume(throwing: error ?? CausalityError(description: "the query failed: \(said)"))
                }
            }.resume()
        }
        let answer = try JSONSerialization.jsonObject(with: data) as? [String: Any]
        return (answer?["rows"] as? [[Any]] ?? []).map { $0.map { $0 is NSNull ? "null" : "\($0)" } }
    }
}

/// Answers every request with a 200 of the right type that does not end until the
/// client goes away.
final class EndlessServer: @unchecked Sendable { // its fields never change
    let url: String
    private let listener: Int32

    init() throws {
        #if canImport(Glibc)
        let stream = Int32(SOCK_STREAM.rawValue)
        #else
        let stream = SOCK_STREAM
        #endif
        let listener = socket(AF_INET, stream, 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        var size = socklen_t(MemoryLayout<sockaddr_in>.size)
        let listening = withUnsafeMutablePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(listener, $0, size) == 0 && listen(listener, 4) == 0 && getsockname(listener, $0, &size) == 0
            }
        }
        guard listener >= 0, listening else { throw CausalityError(description: "no socket to listen at: errno \(errno)") }
        self.listener = listener
        url = "http://127.0.0.1:\(UInt16(bigEndian: address.sin_port))"
        signal(SIGPIPE, SIG_IGN)
        Thread.detachNewThread {
            while case let client = accept(listener, nil, nil), client >= 0 {
                let head = Array("HTTP/1.1 200 OK\r\nContent-Type: application/proto\r\nContent-Length: 1000000000000\r\n\r\n".utf8)
                let part = [UInt8](repeating: 0, count: 65536)
                var request = part
                _ = recv(client, &request, request.count, 0)
                _ = send(client, head, head.count, 0)
                while send(client, part, part.count, 0) > 0 {}
                close(client)
            }
        }
    }

    func stop() { shutdown(listener, Int32(SHUT_RDWR)) }
}

/// A folder of the test's own.
func temporaryDirectory() throws -> URL {
    let folder = FileManager.default.temporaryDirectory.appendingPathComponent("causality-\(UUID().uuidString)", isDirectory: true)
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    return folder
}

/// Notices that a client has told.
final class Notices: @unchecked Sendable {
    private let lock = NSLock()
    private var list: [String] = []
    func add(_ message: String) {
        lock.lock()
        defer { lock.unlock() }
        list.append(message)
    }
    var all: [String] {
        lock.lock()
        defer { lock.unlock() }
        return list
    }
    func wait(for part: String) async throws {
        let deadline = Date().addingTimeInterval(10)
        while !all.contains(where: { $0.contains(part) }) {
            if Date() > deadline { throw CausalityError(description: "no notice says \"\(part)\": \(all)") }
            try await Task.sleep(nanoseconds: 10_000_000)
        }
    }
}
