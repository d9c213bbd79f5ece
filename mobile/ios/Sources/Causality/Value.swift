/// A value of a property: what JSON can say. Write it as a literal.
///
/// ```swift
/// causality.track("Order Paid", ["total": 12.5, "items": ["book", "pen"], "gift": nil])
/// ```
public enum Value: Sendable, Equatable {
    case null
    case bool(Bool)
    case int(Int64)
    /// NaN and infinities have no JSON form; an event with one is refused.
    case double(Double)
    case string(String)
    case list([Value])
    case object([String: Value])
}

/// What is known of an event, a person or a group, by name.
public typealias Properties = [String: Value]

extension Value: ExpressibleByNilLiteral, ExpressibleByBooleanLiteral, ExpressibleByIntegerLiteral,
    ExpressibleByFloatLiteral, ExpressibleByStringInterpolation, ExpressibleByArrayLiteral, ExpressibleByDictionaryLiteral
{
    public init(nilLiteral: ()) { self = .null }
    public init(booleanLiteral value: Bool) { self = .bool(value) }
    public init(integerLiteral value: Int64) { self = .int(value) }
    public init(floatLiteral value: Double) { self = .double(value) }
    public init(stringLiteral value: String) { self = .string(value) }
    public init(arrayLiteral elements: Value...) { self = .list(elements) }
    public init(dictionaryLiteral elements: (String, Value)...) {
        self = .object(Dictionary(elements, uniquingKeysWith: { _, last in last }))
    }
}

/// What has a form as a property's value, so that variables need no wrapping:
/// `["total": order.total.value]`.
public protocol ValueConvertible {
    var value: Value { get }
}

extension Bool: ValueConvertible { public var value: Value { .bool(self) } }
extension Int: ValueConvertible { public var value: Value { .int(Int64(self)) } }
extension Int32: ValueConvertible { public var value: Value { .int(Int64(self)) } }
extension Int64: ValueConvertible { public var value: Value { .int(self) } }
extension Double: ValueConvertible { public var value: Value { .double(self) } }
extension String: ValueConvertible { public var value: Value { .string(self) } }
extension Array: ValueConvertible where Element: ValueConvertible {
    public var value: Value { .list(map(\.value)) }
}
extension Optional: ValueConvertible where Wrapped: ValueConvertible {
    public var value: Value { self?.value ?? .null }
}

/// An event whose properties are known by name and type.
public protocol TypedEvent: Sendable {
    /// The canonical name, for example `purchase_complete`.
    var name: String { get }
    /// The properties that are set, under their names on the wire.
    var properties: Properties { get }
}

/// How what is known of a person or group changes, key by key.
public struct Traits: Sendable, Equatable {
    /// Replaces.
    public var set: Properties
    /// Only where nothing is known yet.
    public var setOnce: Properties
    /// Adds numbers.
    public var add: Properties
    /// Forgets keys.
    public var unset: [String]

    public init(set: Properties = [:], setOnce: Properties = [:], add: Properties = [:], unset: [String] = []) {
        self.set = set
        self.setOnce = setOnce
        self.add = add
        self.unset = unset
    }
}
