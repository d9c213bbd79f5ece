// The first lines of a sender on each platform, with the app's own key and this
// server's address inside: they run as they are.
import type { Platform } from "./platforms";

export type Target = {
  /** Of the server, without an end slash. */
  origin: string;
  /** A write key. */
  key: string;
  /** Path of the browser SDK's script. */
  script: string;
  /** Another path of the ingest endpoint, as the operator chose it; empty: the SDK's own. */
  ingestPath: string;
};

/** One block to copy: what it is, how its copy button calls it. */
export type Block = { title: string; label: string; code: string };
export type Way = { id: string; label: string; blocks: readonly Block[] };

/** The version of the SDKs whose calls these are. */
const version = "0.1.0";

export function waysOf(platform: Platform, target: Target): readonly Way[] {
  switch (platform) {
    case "web":
      return [
        {
          id: "script",
          label: "Script tag",
          blocks: [
            {
              title: "In the head of every page; page views come by themselves",
              label: "the script tag",
              code: scriptTag(target),
            },
            {
              title: "Where something happens, even before the script has loaded",
              label: "the call",
              code: `(window.causality ??= []).push(["track", "signup", { plan: "pro" }]);`,
            },
          ],
        },
        {
          id: "npm",
          label: "npm",
          blocks: [
            { title: "Install", label: "the install command", code: "npm i @causality/web" },
            { title: "Start and track", label: "the module", code: webModule(target) },
          ],
        },
        {
          id: "react",
          label: "React",
          blocks: [
            { title: "Install", label: "the install command", code: "npm i @causality/web" },
            { title: "analytics.ts, once for the app", label: "the module", code: reactModule(target) },
            { title: "Any component", label: "the component", code: reactComponent },
          ],
        },
      ];
    case "android":
      return one([
        { title: "Install: build.gradle.kts of the app", label: "the dependency", code: gradle },
        { title: "Start and track", label: "the Kotlin code", code: kotlin(target) },
      ]);
    case "ios":
      return one([
        {
          title: "Install: Package.swift, or File › Add Package Dependencies",
          label: "the package",
          code: swiftPackage,
        },
        { title: "Start and track", label: "the Swift code", code: swift(target) },
      ]);
    case "go":
      return one([
        { title: "Install", label: "the install command", code: goInstall },
        { title: "A whole program", label: "the Go program", code: goSnippet(target.origin, target.key) },
      ]);
    case "http":
      return [
        {
          id: "curl",
          label: "curl",
          blocks: [
            {
              title: "From a shell; nothing to install",
              label: "the curl line",
              code: curlSnippet(target.origin, target.key),
            },
          ],
        },
        {
          id: "json",
          label: "HTTP, JSON",
          blocks: [
            {
              title: "From any language: one event, or an array of up to 2,000",
              label: "the request",
              code: httpRequest(target),
            },
            {
              title: "The answer: 200 even when some are rejected, which it names",
              label: "the answer",
              code: `{"accepted":1,"duplicates":0,"rejected":[]}`,
            },
          ],
        },
      ];
  }
}

const one = (blocks: readonly Block[]): readonly Way[] => [{ id: "only", label: "", blocks }];

function scriptTag({ origin, key, script, ingestPath }: Target): string {
  const path = ingestPath ? `\n  data-ingest-path="${ingestPath}"` : "";
  return `<script async src="${origin}${script}"
  data-key="${key}"${path}></script>`;
}

const initCall = ({ origin, key, ingestPath }: Target) => `init({
  key: "${key}",
  host: "${origin}",${ingestPath ? `\n  ingestPath: "${ingestPath}",` : ""}
})`;

function webModule(target: Target): string {
  return `import { init } from "@causality/web";

const causality = ${initCall(target)};

causality.track("signup", { plan: "pro" });`;
}

function reactModule(target: Target): string {
  return `import { init } from "@causality/web";

export const causality = ${initCall(target)};`;
}

const reactComponent = `import { causality } from "./analytics";

export function SignUp() {
  return (
    <button onClick={() => causality.track("signup", { plan: "pro" })}>
      Sign up
    </button>
  );
}`;

const gradle = `dependencies {
    implementation("io.github.causality-project:causality-android:${version}")
}`;

// Phones refuse plain http unless told otherwise: anybody on the way could read it.
const isPlain = (origin: string) => origin.startsWith("http://");

function kotlin({ origin, key, ingestPath }: Target): string {
  const options = [`host = "${origin}"`];
  if (isPlain(origin)) options.push("allowInsecure = true // http, for development alone");
  if (ingestPath) options.push(`ingestPath = "${ingestPath}"`);
  return `import android.app.Application
import io.causality.Causality

class MyApplication : Application() {
    lateinit var causality: Causality

    override fun onCreate() {
        super.onCreate()
        causality = Causality.start(this, "${key}") {
            ${options.join("\n            ")}
        }
        causality.track("signup") { put("plan", "pro") }
    }
}`;
}

const swiftPackage = `dependencies: [
    .package(url: "https://github.com/causality-project/causality-swift", from: "${version}"),
],`;

function swift({ origin, key, ingestPath }: Target): string {
  const options = [`$0.host = "${origin}"`];
  if (isPlain(origin)) options.push("$0.allowInsecure = true // http, for development alone");
  if (ingestPath) options.push(`$0.ingestPath = "${ingestPath}"`);
  return `import Causality
import SwiftUI

@main
struct MyApp: App {
    static let causality = try? Causality(writeKey: "${key}") {
        ${options.join("\n        ")}
    }

    init() {
        Self.causality?.track("signup", ["plan": "pro"])
    }

    var body: some Scene {
        WindowGroup { Text("Hello") }
    }
}`;
}

const goInstall = "go get github.com/causality-project/causality/sdk";

export function goSnippet(origin: string, key: string): string {
  return `package main

import (
	"context"
	"log"

	"github.com/causality-project/causality/sdk"
)

func main() {
	client, err := causality.New(causality.Options{
		Host:     "${origin}",
		WriteKey: "${key}",
	})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close(context.Background()) // sends what waits

	err = client.Track(context.Background(), causality.Event{
		Name:       "signup",
		UserID:     "u1",
		Properties: causality.Properties{"plan": "pro"},
	})
	if err != nil {
		log.Print(err)
	}
}`;
}

export function curlSnippet(origin: string, key: string): string {
  return `curl ${origin}/v1/events \\
  -H 'Authorization: Bearer ${key}' \\
  -d '[{"name":"signup","user_id":"u1","properties":{"plan":"pro"}}]'`;
}

function httpRequest({ origin, key }: Target): string {
  return `POST ${origin}/v1/events
Authorization: Bearer ${key}
Content-Type: application/json

{
  "name": "signup",
  "user_id": "u1",
  "properties": { "plan": "pro" }
}`;
}
