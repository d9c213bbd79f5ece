import CCausality
import Foundation

#if canImport(FoundationNetworking)
import FoundationNetworking
#endif

/// Sends requests with URLSession. Redirects are not followed: one may be a login
/// page, which would get the key.
final class Transport: Sendable {
    private let request: URLRequest
    private let session: URLSession
    private let answers = Answers()

    init(url: URL, writeKey: String, timeout: TimeInterval, configuration: URLSessionConfiguration) {
        var request = URLRequest(url: url)
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
        session = URLSession(configuration: configuration, delegate: answers, delegateQueue: nil)
    }

    deinit { session.finishTasksAndInvalidate() }

    func send(_ body: Data, to reply: cz_handle) {
        var request = request
        request.httpBody = body
        let task = session.dataTask(with: request)
        answers.expect(task) { Transport.reply(to: reply, with: $0) }
        task.resume()
    }

    private static func reply(to reply: cz_handle, with result: Result<Answer, CausalityError>) {
        switch result {
        case .failure(let problem):
            fail(reply, problem.description)
        case .success(let got):
            let retryAfter = retryAfter(got.head.value(forHTTPHeaderField: "Retry-After"), now: Date())
            let kind = got.head.value(forHTTPHeaderField: "Content-Type")?.split(separator: ";").first.map(String.init) ?? ""
            if got.head.statusCode != 200 {
                let excerpt = String(decoding: got.body.prefix(200), as: UTF8.self)
                return answer(reply, got.head.statusCode, retryAfter, Data(), "the server answered \(got.head.statusCode): \(excerpt)")
            }
            if kind != "application/proto" {
                return fail(reply, "the answer is \"\(kind)\", not application/proto: is host the address of Causality?")
            }
            if !got.isWhole {
                return fail(reply, "the answer is longer than 2 MiB")
            }
            answer(reply, 200, retryAfter, got.body, "")
        }
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

struct Answer {
    var head: HTTPURLResponse
    var body = Data()
    var isWhole = true
}

/// Gathers each answer while it arrives, up to a bound: whoever answers in the
/// server's place must not fill the app's memory. What is longer is cut off.
private final class Answers: NSObject, URLSessionDataDelegate, @unchecked Sendable { // the lock guards what changes
    private static let longest = 2 << 20

    private struct Expected {
        let done: (Result<Answer, CausalityError>) -> Void
        var answer: Answer?
    }

    private let lock = NSLock()
    private var expected: [Int: Expected] = [:] // by task, until it has ended

    func expect(_ task: URLSessionTask, _ done: @escaping (Result<Answer, CausalityError>) -> Void) {
        lock.lock()
        defer { lock.unlock() }
        expected[task.taskIdentifier] = Expected(done: done)
    }

    func urlSession(
        _: URLSession, dataTask: URLSessionDataTask, didReceive response: URLResponse,
        completionHandler: @escaping (URLSession.ResponseDisposition) -> Void
    ) {
        lock.lock()
        expected[dataTask.taskIdentifier]?.answer = (response as? HTTPURLResponse).map { Answer(head: $0) }
        lock.unlock()
        completionHandler(.allow)
    }

    func urlSession(_: URLSession, dataTask: URLSessionDataTask, didReceive data: Data) {
        lock.lock()
        defer { lock.unlock() }
        let room = Answers.longest - (expected[dataTask.taskIdentifier]?.answer?.body.count ?? 0)
        expected[dataTask.taskIdentifier]?.answer?.body.append(data.prefix(room))
        if data.count > room {
            expected[dataTask.taskIdentifier]?.answer?.isWhole = false
            dataTask.cancel()
        }
    }

    func urlSession(_: URLSession, task: URLSessionTask, didCompleteWithError error: (any Error)?) {
        lock.lock()
        let ended = expected.removeValue(forKey: task.taskIdentifier)
        lock.unlock()
        // A cut is an error too, of our own making: what the answer began with is known.
        if let answer = ended?.answer, error == nil || !answer.isWhole {
            ended?.done(.success(answer))
        } else {
            ended?.done(.failure(CausalityError(description: error?.localizedDescription ?? "the server gave no answer")))
        }
    }

    func urlSession(
        _: URLSession, task _: URLSessionTask, willPerformHTTPRedirection _: HTTPURLResponse,
        newRequest _: URLRequest, completionHandler: @escaping (URLRequest?) -> Void
    ) {
        completionHandler(nil)
    }
}
