// Where events come from: each platform is known by the library that its events
// name, and those without one came over plain HTTP.
import type { LiveEvent, Row } from "../live/feed";

export const platforms = [
  { id: "web", label: "Web", from: "from the browser SDK", library: "causality-web" },
  { id: "android", label: "Android", from: "from the Android SDK", library: "causality-android" },
  { id: "ios", label: "iOS", from: "from the iOS SDK", library: "causality-swift" },
  { id: "go", label: "Go", from: "from the Go SDK", library: "causality-go" },
  { id: "http", label: "HTTP", from: "over HTTP", library: "" },
] as const;

export type Platform = (typeof platforms)[number]["id"];

/** The platform of a library; other programs, such as the importer, are none. */
export function platformOf(library: string | undefined): Platform | undefined {
  return platforms.find((p) => p.library === (library ?? ""))?.id;
}

/** "from the Go SDK", "over HTTP", "from their-own-library". */
export function fromOf(library: string | undefined): string {
  return platforms.find((p) => p.library === (library ?? ""))?.from ?? `from ${library}`;
}

export const platformFrom = (id: Platform) => platforms.find((p) => p.id === id)?.from ?? "";

/** The name of the event that the page itself can send. */
export const testEvent = "test_event";

/** What has been heard since the page was opened. */
export type Heard = {
  /** The first event of each platform. */
  readonly first: Partial<Record<Platform, LiveEvent>>;
  /** The first event of a library that is no platform's. */
  readonly other?: LiveEvent;
  readonly test?: LiveEvent;
  readonly rejected?: { message: string; code: string };
};

export const nothingHeard: Heard = { first: {} };

/** The same value when a row tells nothing new, so that a busy app costs no rendering. */
export function hear(heard: Heard, row: Row): Heard {
  if (row.kind === "gap") return heard;
  if (row.kind === "rejected") {
    const { message, code } = row.rejected;
    const before = heard.rejected;
    return before?.message === message && before.code === code
      ? heard
      : { ...heard, rejected: { message, code } };
  }
  const { event } = row;
  if (event.name === testEvent) return { ...heard, test: event };
  const platform = platformOf(event.context?.library?.name);
  if (platform) {
    return heard.first[platform] ? heard : { ...heard, first: { ...heard.first, [platform]: event } };
  }
  return heard.other ? heard : { ...heard, other: event };
}

/** An event that came from anywhere but this platform. */
export function heardElsewhere({ first, other }: Heard, platform: Platform): LiveEvent | undefined {
  return platforms.flatMap((p) => (p.id === platform ? [] : (first[p.id] ?? [])))[0] ?? other;
}
