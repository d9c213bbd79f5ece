// Badge: a short status or kind. Colour never alone: the word says it too.
import type { ReactNode } from "react";
import { cx } from "./class-names";

type Tone = "neutral" | "accent" | "good" | "warn" | "bad";

const tones: Record<Tone, string> = {
  neutral: "bg-sunken text-muted ring-1 ring-inset ring-line",
  accent: "bg-accent-soft text-accent-text",
  good: "bg-good-soft text-good",
  warn: "bg-warn-soft text-warn",
  bad: "bg-bad-soft text-bad",
};

export function Badge({ tone = "neutral", children }: { tone?: Tone; children: ReactNode }) {
  return (
    <span
      className={cx(
        "inline-flex h-5 items-center gap-1 whitespace-nowrap rounded-sm px-1.5 font-medium text-11",
        tones[tone],
      )}
    >
      {children}
    </span>
  );
}

const dots: Record<Tone, string> = {
  neutral: "bg-edge",
  accent: "bg-accent",
  good: "bg-good",
  warn: "bg-warn",
  bad: "bg-bad",
};

/** Dot: state at a glance, always beside words that say the same. */
export function Dot({ tone, pulse }: { tone: Tone; pulse?: boolean }) {
  return (
    <span
      aria-hidden
      className={cx("inline-block size-2 shrink-0 rounded-full", dots[tone], pulse && "animate-pulse")}
    />
  );
}
