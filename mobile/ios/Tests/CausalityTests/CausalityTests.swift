import Foundation
import XCTest

@testable import Causality

final class CausalityTests: XCTestCase {
    private func client(_ directory: URL? = nil, _ configure: (inout Causality.Options) -> Void = { _ in }) throws -> Causality {
        let folder = try directory ?? temporaryDirectory()
        return try Causality(writeKey: Server.writeKey) {
            $0.host = Server.url
            $0.directory = folder
            $0.automatic = []
            configure(&$0)
        }
    }

    func testAnEventArrivesWithItsPropertiesAndContext() async throws {
        let name = "order_paid_\(UUID().uuidString)"
        let causality = try client()
        causality.track(name, ["total": 12.5, "count": 3, "big": 9_007_199_254_740_993, "gift": nil, "paid": true,
                               "text": "naïve 🎁 \u{0}!", "items": ["book", ["sku": "p1"], [1, 2]]])
        try await causality.flush()
        let rows = try await Server.rows(
            "select properties, json_extract_string(context, '$.library.name'), locale, os, anonymous_id, session_id from events where event = '\(name)'", wanted: 1)
        let json = try XCTUnwrap(JSONSerialization.jsonObject(with: Data(rows[0][0].utf8)) as? [String: Any])
        XCTAssertEqual(json["total"] as? Double, 12.5)
        XCTAssertEqual(json["count"] as? Int, 3)
        XCTAssertTrue(rows[0][0].contains("9007199254740993"), "a large integer keeps its digits: \(rows[0][0])")
        XCTAssertEqual(json["paid"] as? Bool, true)
        XCTAssertEqual(json["text"] as? String, "naïve 🎁 \u{0}!")
        XCTAssertTrue(json["gift"] is NSNull)
        XCTAssertEqual((json["items"] as? [Any])?.count, 3)
        XCTAssertNotEqual(rows[0][2], "null", "the locale")
        XCTAssertEqual(rows[0][3], "Linux")
        XCTAssertEqual(rows[0][4], causality.anonymousID)
        XCTAssertEqual(rows[0][5], causality.sessionID)
        XCTAssertEqual(causality.stats.sent, 1)
        XCTAssertEqual(causality.stats.queued, 0)
        XCTAssertEqual(causality.stats.dropped, [:])
        try await causality.close()
    }

    func testATypedEventHasItsNameAndTheFieldsThatAreSet() async throws {
        let order = UUID().uuidString
        let causality = try client()
        causality.track(PurchaseComplete(orderID: order, revenue: 19.99, currency: "EUR", products: [Product(productID: "p1", price: 19.99)]))
        try await causality.flush()
        let rows = try await Server.rows("select event, revenue, currency, properties from events where properties->>'order_id' = '\(order)'", wanted: 1)
        XCTAssertEqual(rows[0][0], "purchase_complete")
        XCTAssertEqual(Double(rows[0][1]), 19.99)
        XCTAssertEqual(rows[0][2], "EUR")
        XCTAssertFalse(rows[0][3].contains("coupon"), "unset fields are left out: \(rows[0][3])")
        try await causality.close()
    }

    func testWhatTheVisitorDidBeforeIsTheirsOnceIdentified() async throws {
        let user = "user-\(UUID().uuidString)"
        let causality = try client()
        causality.track("before_\(user)")
        causality.identify(user, Traits(set: ["plan": "pro"], setOnce: ["first": true], add: ["visits": 1], unset: ["old"]))
        causality.group("company", "acme")
        causality.track("after_\(user)")
        try await causality.flush()
        let rows = try await Server.rows("select count(distinct user_key), count(*) from events where event in ('before_\(user)', 'after_\(user)') having count(*) = 2", wanted: 1)
        XCTAssertEqual(rows[0][0], "1")
        let groups = try await Server.rows("select groups from events where event = 'after_\(user)'", wanted: 1)
        XCTAssertTrue(groups[0][0].contains("acme"), groups[0][0])
        let anonymous = causality.anonymousID
        causality.reset()
        causality.track("reset_\(user)")
        XCTAssertEqual(causality.userID, "")
        XCTAssertNotEqual(causality.anonymousID, anonymous)
        try await causality.close(timeout: 30)
        let strangers = try await Server.rows("select user_id from events where event = 'reset_\(user)'", wanted: 1)
        XCTAssertEqual(strangers[0][0], "null")
    }

    func testUnsentEventsAreSentByTheNextStart() async throws {
        let name = "offline_\(UUID().uuidString)"
        let folder = try temporaryDirectory()
        let offline = try client(folder) { $0.host = "http://127.0.0.1:9" }
        for n in 0..<50 { offline.track(name, ["n": .int(Int64(n))]) }
        do {
            try await offline.flush(timeout: 5)
            XCTFail("nothing listens there")
        } catch {}
        XCTAssertEqual(offline.stats.queued, 50)
        XCTAssertNotNil(offline.stats.lastError)
        try await offline.close(timeout: 1)
        let online = try client(folder)
        try await online.flush()
        let rows = try await Server.rows("select count(*), count(distinct properties->>'n') from events where event = '\(name)' having count(*) = 50", wanted: 1)
        XCTAssertEqual(rows[0], ["50", "50"])
        try await online.close()
    }

    func testOptingOutClearsTheQueueAndLasts() async throws {
        let name = "opted_\(UUID().uuidString)"
        let folder = try temporaryDirectory()
        var causality = try client(folder) { $0.host = "http://127.0.0.1:9" }
        causality.track(name)
        causality.isOptedOut = true
        causality.track(name)
        XCTAssertTrue(causality.isOptedOut)
        try await causality.close(timeout: 1)
        causality = try client(folder)
        causality.track("\(name)_reopened")
        do { try await causality.flush(timeout: 5) } catch { XCTFail("\(error)") }
        XCTAssertTrue(causality.isOptedOut)
        causality.isOptedOut = false
        causality.track("\(name)_back")
        try await causality.flush()
        _ = try await Server.rows("select 1 from events where event = '\(name)_back'", wanted: 1)
        let before = try await Server.query("select count(*) from events where event in ('\(name)', '\(name)_reopened')")
        XCTAssertEqual(before[0][0], "0")
        try await causality.close()
    }

    func testACrashIsToldAtTheNextStartOnceWithItsOwnTimeAndSession() async throws {
        let folder = try temporaryDirectory()
        let id = UUID().uuidString.lowercased()
        let crash = CrashReport(id: id, time: Date(timeIntervalSinceNow: -3600), session: "session-\(id)", type: "NSRangeException",
                                message: "index 3 beyond bounds", stack: String(repeating: "0 App main\n", count: 10_000))
        for _ in 0..<2 { // told twice, as when the first telling was not remembered
            crash.write(in: folder)
            let causality = try client(folder) { $0.automatic = [.crashes] }
            let file = CrashReport.file(in: folder)
            let deadline = Date().addingTimeInterval(10)
            while FileManager.default.fileExists(atPath: file.path), Date() < deadline { try await Task.sleep(nanoseconds: 10_000_000) }
            XCTAssertFalse(FileManager.default.fileExists(atPath: file.path))
            causality.track("started_\(id)")
            try await causality.close(timeout: 30)
        }
        _ = try await Server.rows("select 1 from events where event = 'started_\(id)'", wanted: 2)
        let rows = try await Server.rows(
            "select session_id, properties->>'exception_type', (ts < now() - interval 50 minutes)::int, length(properties->>'stack_trace') from events where event = 'app_crash' and session_id = 'session-\(id)'", wanted: 1)
        XCTAssertEqual(rows[0][1], "NSRangeException")
        XCTAssertEqual(rows[0][2], "1", "an hour ago")
        XCTAssertLessThanOrEqual(Int(rows[0][3]) ?? .max, CrashReport.mostBytes)
    }

    func testTheLifeOfTheAppIsRecorded() async throws {
        let causality = try client()
        let observers = Observers([.lifecycle, .network, .memory], directory: try temporaryDirectory(), causality.observed)
        observers.foreground()
        observers.network("wifi")
        observers.network("cellular")
        observers.memoryWarning()
        observers.background()
        observers.foreground()
        observers.stop()
        try await causality.flush()
        let rows = try await Server.rows("select event, properties from events where anonymous_id = '\(causality.anonymousID)' order by event", wanted: 5)
        XCTAssertEqual(rows.map { $0[0] }, ["app_background", "app_foreground", "app_start", "memory_warning", "network_change"])
        XCTAssertEqual(rows[4][1], #"{"from":"wifi","to":"cellular"}"#)
        try await causality.close()
    }

    func testWrongOptionsAreRefusedByName() throws {
        for (host, key, word) in [("", "wk_1", "host"), ("ftp://x", "wk_1", "host"), ("http://example.com", "wk_1", "https"), (Server.url, "", "writeKey"), (Server.url, "wk 1", "writeKey")] {
            XCTAssertThrowsError(try Causality(writeKey: key) { $0.host = host; $0.directory = try? temporaryDirectory() }) { error in
                XCTAssertTrue("\(error)".contains(word), "\(error) names \(word)")
            }
        }
        for path in ["", "/", "/c?key=1"] {
            XCTAssertThrowsError(try client { $0.ingestPath = path }) { XCTAssertTrue("\($0)".contains("ingestPath"), "\($0)") }
        }
        XCTAssertThrowsError(try client { $0.flushAt = 0; $0.requestTimeout = .infinity; $0.flushEvery = .nan; $0.queueBytes = 5 }) { error in
            for name in ["flushAt", "requestTimeout", "flushEvery", "queueBytes"] {
                XCTAssertTrue("\(error)".contains(name), "\(error) names \(name)")
            }
        }
    }

    func testEventsGoToTheIngestPathBelowTheHost() throws {
        for (host, path) in [("https://a.example/base", "/c"), ("https://a.example/base/", "c")] {
            XCTAssertEqual(try Causality.ingestURL(host: host, path: path, insecure: false).absoluteString, "https://a.example/base/c")
        }
        XCTAssertNoThrow(try Causality.ingestURL(host: "http://10.0.0.7:8080", path: "/c", insecure: true))
    }

    func testALongAnswerIsCutOffWhileItArrives() async throws {
        let server = try EndlessServer()
        let causality = try client { $0.host = server.url }
        causality.track("kept")
        do {
            try await causality.flush(timeout: 20)
            XCTFail("an endless answer is no acknowledgement")
        } catch {
            XCTAssertTrue("\(error)".contains("longer than 2 MiB"), "\(error)")
        }
        XCTAssertEqual(causality.stats.queued, 1)
        server.stop()
        try await causality.close(timeout: 1)
    }

    func testATimeoutOfAnyNumberIsNoCrash() async throws {
        let causality = try client()
        for timeout in [TimeInterval.infinity, .greatestFiniteMagnitude] { try await causality.flush(timeout: timeout) }
        for timeout in [-TimeInterval.infinity, .nan] { try await causality.flush(timeout: timeout) }
        try await causality.close()
    }

    func testAClientThatIsLetGoDeliversOnAndIsFreed() async throws {
        let name = "let_go_\(UUID().uuidString)"
        let token = Notices()
        weak var freed = token
        do {
            let causality = try client { [token] in $0.onNotice = { token.add($1) } }
            causality.track(name)
        }
        _ = try await Server.rows("select 1 from events where event = '\(name)'", wanted: 1)
        _ = consume token
        let deadline = Date().addingTimeInterval(30)
        while freed != nil, Date() < deadline { try await Task.sleep(nanoseconds: 10_000_000) }
        XCTAssertNil(freed, "the library still holds its callbacks")
    }

    func testAStartKnowsTheEarlierOneOnceItsQueueIsOpen() async throws {
        let folder = try temporaryDirectory()
        let before = try client(folder)
        before.identify("user-1")
        before.isOptedOut = true
        try await before.close()
        let causality = try client(folder)
        let open = await causality.awaitOpen()
        XCTAssertTrue(open)
        XCTAssertTrue(causality.isOptedOut)
        try await causality.close()
    }

    func testAScreenIsRecordedOnceWhileItStaysInFront() async throws {
        let causality = try client { $0.automatic = [.screens] }
        for name in ["Cart", "Cart", "Pay"] { ScreenViews.shared.viewed(name) }
        try await causality.flush()
        let rows = try await Server.rows("select properties from events where event = 'screen_view' and anonymous_id = '\(causality.anonymousID)' order by seq", wanted: 2)
        XCTAssertEqual(rows.map { $0[0] }, [#"{"screen_name":"Cart"}"#, #"{"previous_screen":"Cart","screen_name":"Pay"}"#])
        try await causality.close()
        XCTAssertEqual(ScreenViews.shared.watching, 0)
    }

    func testACrashBySignalHappenedWhenItsReportWasWritten() throws {
        let folder = try temporaryDirectory(), file = CrashReport.file(in: folder), time = Date(timeIntervalSince1970: 1_790_000_000)
        CrashReport(id: "i", time: nil, session: "s", type: "signal", message: "", stack: "").write(in: folder)
        try FileManager.default.setAttributes([.modificationDate: time], ofItemAtPath: file.path)
        var told: [CrashReport] = []
        CrashReport.take(from: folder) { told.append($0) }
        CrashReport.take(from: folder) { told.append($0) }
        XCTAssertEqual(told.map(\.time), [time])
    }

    func testAWrongCallIsTold() async throws {
        let notices = Notices()
        let causality = try client { $0.onNotice = { notices.add($1) } }
        causality.track("")
        causality.track("nan", ["x": .double(.nan)])
        causality.identify(String(repeating: "x", count: 201))
        try await notices.wait(for: "name")
        try await notices.wait(for: "x")
        try await notices.wait(for: "user_id")
        try await causality.flush()
        XCTAssertEqual(causality.stats.dropped["invalid"], 3)
        try await causality.close()
    }

    func testCallsAfterCloseDoNothing() async throws {
        let causality = try client()
        try await causality.close()
        causality.track("late")
        causality.identify("late")
        causality.reset()
        causality.isOptedOut = true
        XCTAssertEqual(causality.anonymousID, "")
        do {
            try await causality.flush()
            XCTFail("flush after close")
        } catch {
            XCTAssertFalse("\(error)".isEmpty)
        }
        do {
            try await causality.close()
            XCTFail("close after close")
        } catch {}
    }

    func testManyTasksRecordAtOnceAndNothingIsLost() async throws {
        let name = "many_\(UUID().uuidString)"
        let causality = try client()
        await withTaskGroup(of: Void.self) { group in
            for task in 0..<8 {
                group.addTask { for n in 0..<250 { causality.track(name, ["n": .int(Int64(task * 250 + n))]) } }
            }
        }
        try await causality.flush()
        let rows = try await Server.rows("select count(*), count(distinct properties->>'n') from events where event = '\(name)' having count(*) = 2000", wanted: 1)
        XCTAssertEqual(rows[0], ["2000", "2000"])
        try await causality.close()
    }

    func testARefusedKeyIsToldAndKeepsTheEvents() async throws {
        let notices = Notices()
        let folder = try temporaryDirectory()
        let causality = try Causality(writeKey: "wk_unknown") {
            $0.host = Server.url
            $0.directory = folder
            $0.automatic = []
            $0.onNotice = { notices.add($1) }
        }
        causality.track("kept")
        do {
            try await causality.flush()
            XCTFail("the key is unknown")
        } catch {}
        XCTAssertTrue(causality.stats.isPaused)
        XCTAssertEqual(causality.stats.queued, 1)
        XCTAssertTrue(causality.stats.lastError?.contains("401") ?? false, "\(causality.stats)")
        try await causality.close(timeout: 1)
    }

    func testRetryAfterIsReadAsSecondsOrAsADate() {
        let now = Date(timeIntervalSince1970: 1_790_000_000)
        XCTAssertEqual(Transport.retryAfter("120", now: now), 120_000)
        XCTAssertEqual(Transport.retryAfter("Mon, 21 Sep 2026 14:13:50 GMT", now: now), 30_000)
        for nothing in [nil, "", "soon", "-3", "Mon, 21 Sep 2020 14:13:50 GMT"] {
            XCTAssertEqual(Transport.retryAfter(nothing, now: now), 0)
        }
    }
}
