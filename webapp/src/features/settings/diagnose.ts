// Why the first event does not come: what is known, most telling first.
import type { Key } from "../../gen/causality/identity/v1/identity_pb";
import { isUsable, shortKey } from "./keys";
import { fromOf, type Platform, platformFrom } from "./platforms";

export type Finding = {
  title: string;
  what: string;
  /** More is kept in the list of rejected events. */
  rejected?: true;
};

type Known = {
  /** When listening began, ms. */
  since: number;
  origin: string;
  appId: string;
  appName: string;
  /** The key of the snippet. */
  key: Pick<Key, "id" | "display" | "lastUsedAt" | "revokedAt" | "expiresAt">;
  /** All of the workspace. */
  keys: readonly Pick<
    Key,
    "id" | "appId" | "appName" | "kind" | "display" | "lastUsedAt" | "revokedAt" | "expiresAt"
  >[];
  /** The platform that is waited for. */
  platform: Platform;
  /** The library of an event that came from elsewhere meanwhile; "" for none. */
  heard?: { library: string } | undefined;
  /** Newest first. */
  rejected: readonly { receivedAt: string; code: string; message: string }[];
};

// Clocks of a browser and a server differ by some seconds.
const slack = 5_000; // ms

/** What keeps a platform's events from coming, as far as it differs from the others'. */
function hint(platform: Platform, origin: string): string {
  switch (platform) {
    case "web":
      return `Either the page does not run the script, or something blocks it; the browser's console says what. A Content-Security-Policy must allow ${origin} in script-src and connect-src. For ad blockers, serve under names of your own: causality serve --sdk-path /assets/a.js --ingest-path /c.`;
    case "android":
      return `Either the app did not start the SDK, or the device cannot reach ${origin}: an emulator finds this machine at 10.0.2.2. Logcat says so under the tag Causality. Events wait 30 seconds at most; sending the app to the background sends at once.`;
    case "ios":
      return `Either the app did not start the SDK, or the device cannot reach ${origin}; onNotice tells what happens. Plain http also needs an exception of App Transport Security. Events wait 30 seconds at most; await causality.flush() sends at once.`;
    case "go":
      return `Either the program did not run the lines, or it cannot reach ${origin}. Run the curl line under HTTP on the same machine: it says which. Events wait 10 seconds at most; Flush or Close sends at once.`;
    case "http":
      return `Either the request was not sent, or it cannot reach ${origin}. Run the curl line on the same machine: its answer says which.`;
  }
}

export function diagnose({
  since,
  origin,
  appId,
  appName,
  key,
  keys,
  platform,
  heard,
  rejected,
}: Known): Finding[] {
  const recent = (at: string) => at !== "" && Date.parse(at) >= since - slack;
  const found: Finding[] = [];

  const bad = rejected.find((r) => recent(r.receivedAt));
  if (bad) {
    found.push({
      title: "An event arrived and was rejected.",
      what: `${bad.message} (${bad.code}). It is kept under Data, Rejected, with what to change.`,
      rejected: true,
    });
  }
  if (!isUsable(key)) {
    found.push({
      title: `The key ${shortKey(key.display)} is not valid any more.`,
      what: "Senders with it are answered 403. Create a new write key and put it into the program.",
    });
  }
  const stranger = keys.find((k) => k.appId !== appId && k.kind === "write" && recent(k.lastUsedAt));
  const elsewhere: Finding | undefined = stranger && {
    title: `Events do arrive, but for ${stranger.appName}.`,
    what: `They come with the key ${shortKey(stranger.display)}. If they should count for ${appName}, use the key in the snippet.`,
  };
  if (elsewhere) found.push(elsewhere);
  const sibling = keys.find((k) => k.appId === appId && k.id !== key.id && recent(k.lastUsedAt));
  if (sibling) {
    found.push({
      title: `Another key of ${appName} was used: ${shortKey(sibling.display)}.`,
      what: "Its events count for this app as well, and appear under Live.",
    });
  }
  if (heard) {
    found.push({
      title: `Events arrive ${fromOf(heard.library)}, none ${platformFrom(platform)} yet.`,
      what: hint(platform, origin),
    });
  }
  // What another app gets may have nothing to do with it.
  if (found.some((f) => f !== elsewhere)) return found;

  if (recent(key.lastUsedAt)) {
    return [
      ...found,
      {
        title: "The key was used, but no event came with it.",
        what: "The request was empty or could not be read; the sender was told why in the answer. Look at its log, or send the curl line to compare.",
      },
    ];
  }
  return [
    ...found,
    {
      title: key.lastUsedAt
        ? "Nothing has arrived since you opened this page."
        : "Nothing has ever arrived with this key.",
      what: hint(platform, origin),
    },
  ];
}
