import CCausality
import Foundation

#if canImport(FoundationNetworking)
import FoundationNetworking
#endif

/// Sends requests with URLSession. Redirects are not followed: one may be a login
/// page, which would get the key.
final class Transport: @unchecked Sendable { // its fields never change
    private let request: URLRequest
    private let session: URLSession
    private static let longestAnswer = 2 << 20

    init(host: URL, writeKey: String, timeout: TimeInterval, configuration: URLSessionConfiguration) {
        var request = URLRequest(url: host.appendingPathComponent("causality.ingest.v1.IngestService/Ingest"))
        request.httpMethod = "POST"
        request.timeoutInterval = timeout
        request.setValue("Bearer \(writeKey)", forHTTPHeaderField: "Authorization")
        request.setValue("application/proto", forHTTPHeaderField: "Content-Type")
        request.setValue("1", forHTTPHeaderField: "Connect-Protocol-Version")
        request.setValue("causality-swift/\(Causality.version)", forHTTPHeaderField: "User-Agent")
        self.request = request
        configuration.timeoutIntervalForResource = timeout // the other begins anew with every byte
        configuration.httpCookieStorage = nil
        configuration.urlCache = nil
        session = URLSession(configuration: configuration, delegate: RefusesRedirects(), delegateQueue: nil)
    }

    deinit { session.finishTasksAndInvalidate() }

    func send(_ body: Data, to reply: cz_handle) {
        var request = request
        request.httpBody = body
        session.dataTask(with: request) { data, response, error in
            guard let answer = response as? HTTPURLResponse, error == nil else {
                return Transport.fail(reply, error?.localizedDescription ?? "the server gave no answer")
            }
            let retryAfter = Transport.retryAfter(answer.value(forHTTPHeaderField: "Retry-After"), now: Date())
            let kind = answer.value(forHTTPHeaderField: "Content-Type")?.split(separator: ";").first.map(String.init) ?? ""
            let data = data ?? Data()
            if answer.statusCode != 200 {
                let excerpt = String(decoding: data.prefix(200), as: UTF8.self)
                return Transport.answer(reply, answer.statusCode, retryAfter, Data(), "the server answered \(answer.statusCode): \(excerpt)")
            }
            if kind != "application/proto" {
                return Transport.fail(reply, "the answer is \"\(kind)\", not application/proto: is host the address of Causality?")
            }
            if data.count > Transport.longestAnswer {
                return Transport.fail(reply, "the answer is longer than 2 MiB")
            }
            Transport.answer(reply, 200, retryAfter, data, "")
        }.resume()
    }

    private static func fail(_ reply: cz_handle, _ problem: String) { answer(reply, 0, 0, Data(), problem) }

    private static func answer(_ reply: cz_handle, _ status: Int, _ retryAfter: Int64, _ body: Data, _ problem: String) {
        problem.withText { problem in
            body.withUnsafeBytes { bytes in
                cz_reply(reply, Int32(status), retryAfter, bytes.bindMemory(to: UInt8.self).baseAddress, Int64(bytes.count), problem)
            }
        }
    }

    /// Milliseconds from a header of seconds or a date; 0 when there is neither.
    static func retryAfter(_ header: String?, now: Date) -> Int64 {
        guard let header else { return 0 }
        if let seconds = UInt32(header.trimmingCharacters(in: .whitespaces)) { return Int64(seconds) * 1000 }
        let format = DateFormatter()
        format.locale = Locale(identifier: "en_US_POSIX")
        format.timeZone = TimeZone(identifier: "GMT")
        format.dateFormat = "EEE, dd MMM yyyy HH:mm:ss zzz"
        guard let date = format.date(from: header), date > now else { return 0 }
        return milliseconds(date.timeIntervalSince(now))
    }
}

private final class RefusesRedirects: NSObject, URLSessionTaskDelegate {
    func urlSession(
        _: URLSession, task _: URLSessionTask, willPerformHTTPRedirection _: HTTPURLResponse,
        newRequest _: URLRequest, completionHandler: @escaping (URLRequest?) -> Void
    ) {
        completionHandler(nil)
    }
}
