import Foundation

#if canImport(UIKit)
import UIKit
#endif

/// Where events happen: the app, the device and its settings, by the names of
/// cz_context. No identifier of the device itself is read.
enum Surroundings {
    static func present() -> [String: String] {
        var all = [
            "locale": locale(),
            "time_zone": TimeZone.current.identifier,
            "app_namespace": Bundle.main.bundleIdentifier ?? "",
            "app_version": Bundle.main.infoDictionary?["CFBundleShortVersionString"] as? String ?? "",
            "app_build": Bundle.main.infoDictionary?["CFBundleVersion"] as? String ?? "",
            "device_model": model(),
        ]
        let version = ProcessInfo.processInfo.operatingSystemVersion
        all["os_version"] = "\(version.majorVersion).\(version.minorVersion)" + (version.patchVersion > 0 ? ".\(version.patchVersion)" : "")
        #if os(Linux)
        all["os_name"] = "Linux"
        all["platform"] = "server"
        #else
        all["device_manufacturer"] = "Apple"
        #endif
        #if os(macOS)
        all["os_name"] = "macOS"
        all["platform"] = "macos"
        all["device_type"] = "desktop"
        #elseif os(iOS)
        all["os_name"] = "iOS"
        all["platform"] = "ios"
        #endif
        return all.filter { !$0.value.isEmpty }
    }

    #if canImport(UIKit)
    /// What only the main thread may read.
    @MainActor static func screen() -> [String: String] {
        let screen = UIScreen.main
        return [
            "device_type": UIDevice.current.userInterfaceIdiom == .pad ? "tablet" : "phone",
            "screen_width": String(Int(screen.nativeBounds.width)),
            "screen_height": String(Int(screen.nativeBounds.height)),
            "screen_density": String(Double(screen.nativeScale)),
        ]
    }
    #endif

    /// As BCP 47: without what follows @, such as a calendar of the user's choice.
    private static func locale() -> String {
        String(Locale.current.identifier.prefix { $0 != "@" }).replacingOccurrences(of: "_", with: "-")
    }

    /// The machine's name, for example iPhone17,1; in the simulator that of the simulated one.
    private static func model() -> String {
        if let simulated = ProcessInfo.processInfo.environment["SIMULATOR_MODEL_IDENTIFIER"] { return simulated }
        var info = utsname()
        guard uname(&info) == 0 else { return "" }
        return withUnsafeBytes(of: &info.machine) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
    }
}
