import { describe, expect, it } from "vitest";
import { jsonLines, prettyJson } from "./json";

const marked = (text: string, mark: string) =>
  jsonLines(text, mark)
    .filter((l) => l.marked)
    .map((l) => l.text.trim());

describe("jsonLines", () => {
  const event =
    '{"name":"a","user_id":"u1","properties":{"price":"12,50","nested":{"price":3}},"items":[{"sku":"x"}]}';
  it("marks the field at its path only", () => {
    expect(marked(event, "properties.price")).toEqual(['"price": "12,50",']);
  });
  it("takes either spelling", () => expect(marked(event, "userId")).toEqual(['"user_id": "u1",']));
  it("reads indexes", () => expect(marked(event, "items[0].sku")).toEqual(['"sku": "x"']));
  it("marks all lines of an object", () => {
    expect(marked(event, "properties.nested")).toEqual(['"nested": {', '"price": 3', "}"]);
  });
  it("writes the same as the language's own", () => {
    const text = jsonLines(event)
      .map((l) => l.text)
      .join("\n");
    expect(text).toBe(prettyJson(event));
  });
  it("leaves alone what is no JSON", () =>
    expect(jsonLines("{oops")).toEqual([{ text: "{oops", marked: false }]));
});
