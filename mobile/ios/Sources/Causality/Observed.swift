import CCausality
import Foundation

/// A client as the automatic events use it. It keeps nothing alive: after the
/// client has ended its calls do nothing.
struct Observed: Sendable {
    let handle: cz_handle

    func track(_ name: String, _ properties: Properties = [:], _ callbacks: Callbacks? = nil) {
        let none = cz_text(bytes: nil, length: 0)
        let error = name.withText { cz_track(handle, $0, object(of: properties), 0, none, none) }
        if let callbacks {
            callbacks.report(error)
        } else {
            _ = String(taking: error)
        }
    }

    func track(_ event: some TypedEvent) { track(event.name, event.properties) }

    /// Records what happened at another time, in another session. The id makes it count once.
    func track(_ event: some TypedEvent, at time: Date, session: String, id: String) {
        _ = event.name.withText { name in
            session.withText { session in
                id.withText { String(taking: cz_track(handle, name, object(of: event.properties), milliseconds(time.timeIntervalSince1970), session, $0)) }
            }
        }
    }

    /// Says where events happen, by the names of cz_context.
    func describe(_ surroundings: [String: String]) {
        for (name, value) in surroundings {
            name.withText { name in value.withText { _ = String(taking: cz_context(handle, name, $0)) } }
        }
    }

    /// Waits, and so is not for the main thread.
    func flush(_ timeout: TimeInterval) { _ = String(taking: cz_flush(handle, milliseconds(timeout))) }
    /// Waits, and so is not for the main thread.
    func awaitOpen(_ timeout: TimeInterval) -> Bool { cz_await_open(handle, milliseconds(timeout)) != 0 }

    var session: String { "session_id".withText { String(taking: cz_identity(handle, $0)) ?? "" } }
    func foreground() { cz_foreground(handle) }
    func background() { cz_background(handle) }
    func trimMemory() { cz_trim_memory(handle) }
    func network(_ kind: String) { kind.withText { cz_network(handle, $0) } }
}
