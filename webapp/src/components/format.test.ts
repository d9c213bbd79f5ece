import { describe, expect, it } from "vitest";
import {
  ago,
  bytes,
  changeText,
  compact,
  count,
  csv,
  date,
  dateTime,
  duration,
  exact,
  middle,
  offsetName,
  percent,
  signed,
  time,
} from "./format";

describe("numbers", () => {
  it("are exact with separators", () => {
    expect(exact(12408112)).toBe("12,408,112");
    expect(exact(0)).toBe("0");
  });
  it("are short on axes and tiles", () => {
    expect([999, 1204, 12408112, 0.5].map(compact)).toEqual(["999", "1.2K", "12.4M", "0.5"]);
  });
  it("show what is missing as a dash, never as zero", () => {
    expect([exact(null), compact(undefined), percent(null), duration(null), bytes(null)]).toEqual(
      Array(5).fill("–"),
    );
  });
  it("change relative to what was", () => {
    expect(changeText(150, 100)).toBe("+50.0%");
    expect(changeText(50, 100)).toBe("−50.0%");
    expect(changeText(100, 100)).toBe("0.0%");
    expect(changeText(5, 0)).toBe("–");
    expect(signed(-1204)).toBe("−1,204");
  });
  it("agree with their nouns", () => {
    expect([count(1, "event"), count(1204, "event")]).toEqual(["1 event", "1,204 events"]);
  });
});

it.each([
  [0, "0 s"],
  [0.0042, "4 ms"],
  [0.42, "0.42 s"],
  [12.34, "12.3 s"],
  [90, "1 min 30 s"],
  [3600, "1 h"],
  [7505, "2 h 5 min"],
  [90000, "1 d 1 h"],
])("a duration has two units at most: %d s", (seconds, want) => {
  expect(duration(seconds)).toBe(want);
});

it("sizes step by a thousand", () => {
  expect([0, 999, 1500, 1.2e9].map(bytes)).toEqual(["0 B", "999 B", "1.5 kB", "1.2 GB"]);
});

describe("dates", () => {
  const at = "2026-11-20T13:05:07Z";
  it("stand in the app's zone", () => {
    expect(dateTime(at, "Europe/Berlin")).toBe("Fri 20 Nov 2026, 14:05");
    expect(dateTime(at, "Asia/Tokyo")).toBe("Fri 20 Nov 2026, 22:05");
    expect(date("2026-09-30T23:30:00Z", "Europe/Berlin")).toBe("Thu 1 Oct 2026");
    expect(time(at, "UTC")).toBe("13:05:07");
  });
  it("name the offset of the instant, daylight saving included", () => {
    expect(offsetName("Europe/Berlin", "2026-07-01T00:00:00Z")).toBe("UTC+2");
    expect(offsetName("Europe/Berlin", "2026-12-01T00:00:00Z")).toBe("UTC+1");
    expect(offsetName("America/New_York", "2026-12-01T00:00:00Z")).toBe("UTC−5");
    expect(offsetName("UTC", at)).toBe("UTC");
  });
  it("are relative for a day", () => {
    const now = Date.parse(at);
    expect(ago(now - 12_000, "UTC", now)).toBe("12 s ago");
    expect(ago(now - 3 * 3_600_000, "UTC", now)).toBe("3 h ago");
    expect(ago(now - 86_400_000, "UTC", now)).toBe("Thu 19 Nov 2026, 13:05");
    expect(ago("", "UTC", now)).toBe("–");
    expect(ago("not a date", "UTC", now)).toBe("–");
  });
});

it("shortens names in the middle", () => {
  expect(middle("checkout_step_shipping_address", 15)).toBe("checkou…address");
  expect(middle("short", 15)).toBe("short");
});

it("quotes CSV as RFC 4180 does", () => {
  expect(
    csv([
      ["a", 'say "hi"', "x,y"],
      [1, null, "two\nlines"],
    ]),
  ).toBe('a,"say ""hi""","x,y"\n1,,"two\nlines"\n');
});
