import CCausality
import Foundation

// The C library seen from Swift: texts, times, objects and errors.

extension String {
    func withText<Result>(_ body: (cz_text) -> Result) -> Result {
        var copy = self
        return copy.withUTF8 { bytes in
            bytes.withMemoryRebound(to: CChar.self) { body(cz_text(bytes: $0.baseAddress, length: Int64($0.count))) }
        }
    }

    init(_ text: cz_text) {
        guard let bytes = text.bytes, text.length > 0 else {
            self = ""
            return
        }
        self = bytes.withMemoryRebound(to: UInt8.self, capacity: Int(text.length)) {
            String(decoding: UnsafeBufferPointer(start: $0, count: Int(text.length)), as: UTF8.self)
        }
    }

    /// Takes over a text that the library gave away.
    init?(taking text: UnsafeMutablePointer<CChar>?) {
        guard let text else { return nil }
        self = String(cString: text)
        cz_free(text)
    }
}

/// Why a call was refused, or what keeps events from being delivered, in words for
/// the developer.
public struct CausalityError: Error, Sendable, Equatable, CustomStringConvertible, LocalizedError {
    public let description: String
    public var errorDescription: String? { description }
}

/// Seconds as the library counts them. Converting infinity or NaN, which callers may
/// pass for a timeout, would end the app.
func milliseconds(_ seconds: TimeInterval) -> Int64 {
    seconds.isNaN ? 0 : Int64(min(max(seconds * 1000, -1e15), 1e15))
}

/// Turns the library's error text into a thrown error.
func throwError(_ error: UnsafeMutablePointer<CChar>?) throws {
    if let message = String(taking: error) { throw CausalityError(description: message) }
}

/// Writes properties into a new object, which the call that it is passed to takes over.
func object(of properties: Properties) -> cz_handle {
    if properties.isEmpty { return 0 }
    let object = cz_object()
    for (key, value) in properties { value.put(into: object, under: key) }
    return object
}

extension Value {
    fileprivate func put(into object: cz_handle, under key: String) {
        key.withText { key in
            switch self {
            case .null: cz_put_null(object, key)
            case .bool(let value): cz_put_bool(object, key, value ? 1 : 0)
            case .int(let value): cz_put_int(object, key, value)
            case .double(let value): cz_put_double(object, key, value)
            case .string(let value): value.withText { cz_put_text(object, key, $0) }
            case .list(let values):
                cz_begin_list(object, key)
                for value in values { value.put(into: object, under: "") }
                cz_end(object)
            case .object(let values):
                cz_begin_object(object, key)
                for (key, value) in values { value.put(into: object, under: key) }
                cz_end(object)
            }
        }
    }
}
