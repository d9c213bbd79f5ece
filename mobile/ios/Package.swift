// swift-tools-version:5.10
import Foundation
import PackageDescription

// On Apple systems the core comes as a binary framework, made by the release
// workflow. Elsewhere (tests on Linux) it is the same C library, built by
// `mobile/bind archive` and named in CAUSALITY_ARCHIVE.
#if os(Linux)
let archive = ProcessInfo.processInfo.environment["CAUSALITY_ARCHIVE"] ?? "../build/archive"
let core: Target = .systemLibrary(name: "CCausality", path: "Sources/CCausality")
let linking: [LinkerSetting] = [.unsafeFlags(["-L\(archive)"])]
#else
let core: Target = .binaryTarget(name: "CCausality", path: "CCausality.xcframework")
let linking: [LinkerSetting] = []
#endif

let package = Package(
    name: "Causality",
    platforms: [.iOS(.v13), .macOS(.v12)],
    products: [.library(name: "Causality", targets: ["Causality"])],
    targets: [
        core,
        .target(name: "Causality", dependencies: ["CCausality"], linkerSettings: linking),
        .testTarget(name: "CausalityTests", dependencies: ["Causality"]),
    ]
)
