// Figure: one number with its name, its change against the period before, and
// on hover how it is counted. Delta alone shows just the change.
import { ArrowDown, ArrowUp } from "lucide-react";
import type { ReactNode } from "react";
import { cx } from "./class-names";
import { changeText, compact, exact } from "./format";
import { Tooltip } from "./tooltip";

export function Delta({
  now,
  before,
  downIsGood,
}: {
  now: number | null | undefined;
  before: number | null | undefined;
  downIsGood?: boolean;
}) {
  if (now == null || before == null || before === 0) return <span className="text-12 text-faint">–</span>;
  const change = now / before - 1;
  const flat = Math.abs(change) < 0.0005;
  const tone = flat ? "text-faint" : change > 0 !== Boolean(downIsGood) ? "text-good" : "text-bad";
  const Arrow = change > 0 ? ArrowUp : ArrowDown;
  return (
    <span className={cx("tabular inline-flex items-center gap-0.5 font-medium text-12", tone)}>
      {flat ? null : <Arrow size={12} strokeWidth={2} aria-hidden />}
      {changeText(now, before)}
    </span>
  );
}

export function Figure({
  label,
  value,
  text,
  before,
  beforeLabel,
  definition,
  children,
}: {
  label: string;
  value: number | null | undefined;
  /** Replaces the compact number, for durations and sizes. */
  text?: string;
  before?: number | null | undefined;
  beforeLabel?: string;
  /** How it is counted and how fresh it is. */
  definition?: string;
  children?: ReactNode;
}) {
  const name = <span className="text-12 text-muted">{label}</span>;
  return (
    <div className="min-w-0">
      {definition ? (
        <Tooltip label={definition}>
          <span
            tabIndex={0}
            className="cursor-help underline decoration-edge/50 decoration-dotted underline-offset-3"
          >
            {name}
          </span>
        </Tooltip>
      ) : (
        name
      )}
      <div className="mt-1 flex items-baseline gap-2">
        <span
          className="tabular font-semibold text-24 tracking-tight"
          title={value == null ? undefined : exact(value)}
        >
          {text ?? (value == null ? "–" : compact(value))}
        </span>
        {before === undefined ? null : <Delta now={value} before={before} />}
      </div>
      {beforeLabel ? <p className="mt-0.5 truncate text-12 text-faint">{beforeLabel}</p> : null}
      {children}
    </div>
  );
}
