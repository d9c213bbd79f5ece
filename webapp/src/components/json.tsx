// Json: formatted JSON with quiet colours. `mark` names a field, such as
// properties.price or user_id, whose lines stand out: what a rejection is about.
import { useMemo } from "react";
import { cx } from "./class-names";
import { CopyButton } from "./code-block";

/** Two spaces an indent; text that is no JSON stays as it is. */
export function prettyJson(text: string): string {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

const fold = (key: string) => key.replaceAll("_", "").toLowerCase();

export type JsonLine = { text: string; marked: boolean };

/**
 * The lines of formatted JSON. Marked are those of the field: its path from the
 * root, in either spelling (userId, user_id), lists by index as in items[2].sku.
 */
export function jsonLines(text: string, mark?: string): JsonLine[] {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return text.split("\n").map((line) => ({ text: line, marked: false }));
  }
  const wanted = mark
    ? mark
        .replaceAll(/\[(\d+)\]/g, ".$1")
        .split(".")
        .filter(Boolean)
        .map(fold)
    : [];
  const out: JsonLine[] = [];
  const write = (v: unknown, path: readonly string[], lead: string, tail: string, inside: boolean) => {
    const pad = "  ".repeat(path.length);
    const here =
      inside ||
      (wanted.length > 0 && path.length === wanted.length && path.every((key, i) => fold(key) === wanted[i]));
    const entries: [string, unknown, string][] | undefined = Array.isArray(v)
      ? v.map((item, i) => [String(i), item, ""])
      : typeof v === "object" && v !== null
        ? Object.entries(v).map(([key, item]) => [key, item, `${JSON.stringify(key)}: `])
        : undefined;
    const [open, close] = Array.isArray(v) ? ["[", "]"] : ["{", "}"];
    if (!entries || entries.length === 0) {
      out.push({ text: `${pad}${lead}${entries ? open + close : JSON.stringify(v)}${tail}`, marked: here });
      return;
    }
    out.push({ text: `${pad}${lead}${open}`, marked: here });
    entries.forEach(([key, item, name], i) => {
      write(item, [...path, key], name, i < entries.length - 1 ? "," : "", here);
    });
    out.push({ text: `${pad}${close}${tail}`, marked: here });
  };
  write(value, [], "", "", false);
  return out;
}

// Key, text, number and word of one line.
const token = /("(?:[^"\\]|\\.)*")(\s*:)?|(-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)|(true|false|null)/g;

function Line({ text }: { text: string }) {
  const parts: { text: string; tone: string }[] = [];
  let from = 0;
  for (const m of text.matchAll(token)) {
    if (m.index > from) parts.push({ text: text.slice(from, m.index), tone: "text-muted" });
    if (m[1] && m[2] !== undefined) {
      parts.push({ text: m[1], tone: "text-text" }, { text: m[2], tone: "text-muted" });
    } else parts.push({ text: m[0], tone: m[1] ? "text-good" : m[3] ? "text-warn" : "text-accent-text" });
    from = m.index + m[0].length;
  }
  if (from < text.length) parts.push({ text: text.slice(from), tone: "text-muted" });
  return parts.map((p, i) => (
    <span key={i} className={p.tone}>
      {p.text}
    </span>
  ));
}

export function Json({
  text,
  mark,
  label,
  className,
}: {
  text: string;
  mark?: string | undefined;
  label: string;
  className?: string;
}) {
  const lines = useMemo(() => jsonLines(text, mark), [text, mark]);
  const plain = useMemo(() => lines.map((l) => l.text).join("\n"), [lines]);
  const found = lines.some((l) => l.marked);
  return (
    <div className={cx("relative rounded-lg bg-surface ring-1 ring-line ring-inset", className)}>
      <pre tabIndex={0} className="max-h-96 overflow-auto rounded-lg py-2 pr-10 font-mono text-12 leading-5">
        {lines.map((l, i) => (
          <div
            key={i}
            className={cx(
              "whitespace-pre-wrap border-transparent border-l-2 px-3 [overflow-wrap:anywhere]",
              l.marked && "border-bad! bg-bad-soft",
            )}
          >
            {l.marked ? <mark className="bg-transparent text-bad">{l.text}</mark> : <Line text={l.text} />}
          </div>
        ))}
        {mark && !found ? (
          <div className="mt-1 border-bad border-l-2 bg-bad-soft px-3 font-sans text-bad">
            The field <span className="font-mono">{mark}</span> is not there.
          </div>
        ) : null}
      </pre>
      <CopyButton text={plain} label={`Copy ${label}`} className="absolute top-1.5 right-1.5 bg-surface" />
    </div>
  );
}
