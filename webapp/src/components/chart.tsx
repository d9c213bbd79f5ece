// Chart: lines, areas or bars over periods or categories, drawn by ECharts in
// its own chunk; legend and tooltip are HTML. Comparison series are dashed;
// points that are not complete are hollow over a hatched band. The chart takes
// the focus: arrows walk the points and announce them, Enter picks, Escape
// unpins. Colours are tokens ("var(--color-chart-1)"), see palette.ts.
import { lazy, type ReactNode, Suspense, useEffect, useId, useMemo, useRef, useState } from "react";
import type { Drawn } from "./chart-canvas";
import { cx } from "./class-names";
import { changeText, compact, exact, middle } from "./format";
import { Skeleton } from "./skeleton";

const Canvas = lazy(() => import("./chart-canvas"));

export type ChartKind = "line" | "area" | "bar";

export type ChartSeries = {
  key: string;
  name: string;
  color: string;
  values: readonly (number | null)[];
  /** The key of the series that this is the comparison of. */
  compares?: string;
  other?: boolean;
};

export type ChartHandle = { canvas: () => HTMLCanvasElement };

type Props = {
  kind: ChartKind;
  /** Says what is drawn, for those who cannot see it. */
  label: string;
  /** Short names under the axis. */
  categories: readonly string[];
  /** Full names in the tooltip: "Fri 20 Nov 2026, UTC+2". */
  titles?: readonly string[];
  /** Per category; false marks a period that is cut or not over. */
  complete?: readonly boolean[];
  /** Beside the title of an incomplete one: "14 of 24 h". */
  progress?: (index: number) => string | undefined;
  series: readonly ChartSeries[];
  hidden?: ReadonlySet<string>;
  /** Bars and areas stand on each other. */
  stacked?: boolean;
  format?: (value: number | null) => string;
  axisFormat?: (value: number) => string;
  /** Default 320; with a className the class decides. */
  height?: number | string;
  onPick?: (index: number, key: string | undefined) => void;
  handle?: { current: ChartHandle | null };
  className?: string;
};

export function Chart(props: Props) {
  const { label, categories, titles, complete, series, hidden, format = exact } = props;
  const [hover, setHover] = useState<{ index: number; x: number; y: number; value: number | undefined }>();
  const [pinned, setPinned] = useState(false);
  const [all, setAll] = useState(false);
  const drawn = useRef<Drawn | null>(null);
  const box = useRef<HTMLDivElement>(null);
  const tip = useRef<HTMLDivElement>(null);
  const hint = useId();
  const visible = useMemo(() => series.filter((s) => !hidden?.has(s.compares ?? s.key)), [series, hidden]);

  // A new picture has other points.
  // biome-ignore lint/correctness/useExhaustiveDependencies: what changed is what resets it
  useEffect(() => {
    setPinned(false);
    setHover(undefined);
  }, [categories]);

  const rows = useMemo(() => {
    if (!hover) return [];
    return visible
      .filter((s) => !s.compares)
      .map((s) => ({
        series: s,
        value: s.values[hover.index] ?? null,
        before: visible.find((p) => p.compares === s.key)?.values[hover.index],
      }))
      .sort((a, b) => (b.value ?? -Infinity) - (a.value ?? -Infinity));
  }, [hover, visible]);

  const nearest = useMemo(() => {
    const at = hover?.value;
    if (at === undefined || rows.length < 2) return undefined;
    let best: (typeof rows)[number] | undefined;
    for (const r of rows) {
      if (r.value !== null && (!best || Math.abs(r.value - at) < Math.abs((best.value ?? 0) - at))) best = r;
    }
    return best?.series.key;
  }, [hover, rows]);

  function walk(step: number) {
    const from = hover?.index ?? (step > 0 ? -1 : categories.length);
    const index = Math.max(0, Math.min(categories.length - 1, from + step));
    const point = drawn.current?.at(index);
    setHover({ index, x: point?.x ?? 0, y: 24, value: undefined });
    drawn.current?.mark(index);
  }

  const titleAt = (i: number) => titles?.[i] ?? categories[i] ?? "";
  const progressAt = (i: number) =>
    complete?.[i] === false ? (props.progress?.(i) ?? "in progress") : undefined;
  const shown = all ? rows : rows.slice(0, 8);
  const width = box.current?.clientWidth ?? 0;
  const right = hover ? hover.x > width / 2 : false;

  return (
    // biome-ignore lint/a11y/useSemanticElements: a chart that is walked with arrow keys has no element of its own
    <div
      ref={box}
      role="group"
      aria-label={label}
      aria-describedby={hint}
      tabIndex={0}
      className={cx("relative rounded-md", props.className)}
      style={props.className ? undefined : { height: props.height ?? 320 }}
      onKeyDown={(e) => {
        if (e.key === "ArrowRight") walk(1);
        else if (e.key === "ArrowLeft") walk(-1);
        else if (e.key === "Home") walk(-categories.length);
        else if (e.key === "End") walk(categories.length);
        else if (e.key === "Enter" && hover) props.onPick?.(hover.index, nearest ?? rows[0]?.series.key);
        else if (e.key === "Escape" && hover) {
          setHover(undefined);
          setPinned(false);
          drawn.current?.mark(undefined);
          e.stopPropagation();
        } else return;
        e.preventDefault();
      }}
      onMouseLeave={() => {
        if (!pinned) setHover(undefined);
      }}
      onBlur={(e) => {
        if (!e.currentTarget.contains(e.relatedTarget) && !pinned) setHover(undefined);
      }}
    >
      <span id={hint} className="sr-only">
        Arrow keys walk the points.
      </span>
      <Suspense fallback={<ChartSkeleton />}>
        <Canvas
          {...props}
          visible={visible}
          axisFormat={props.axisFormat ?? compact}
          drawn={drawn}
          onHover={(h) => {
            if (!pinned) setHover(h);
          }}
          onClick={(h) => {
            setAll(false);
            setHover(h);
            setPinned((p) => !p);
          }}
        />
      </Suspense>
      {hover && rows.length > 0 ? (
        <div
          ref={tip}
          className={cx(
            "absolute z-10 w-max max-w-[min(360px,90%)] rounded-lg bg-raised p-2.5 text-12 shadow-menu",
            pinned ? "select-text" : "pointer-events-none",
          )}
          style={{
            top: Math.max(
              0,
              Math.min(hover.y - 12, (box.current?.clientHeight ?? 0) - 40 - shown.length * 20),
            ),
            ...(right ? { right: width - hover.x + 14 } : { left: hover.x + 14 }),
          }}
        >
          <div className="mb-1.5 font-medium">
            {titleAt(hover.index)}
            {progressAt(hover.index) ? (
              <span className="font-normal text-muted">, {progressAt(hover.index)}</span>
            ) : null}
          </div>
          <table className="w-full">
            <tbody>
              {shown.map((r) => (
                <tr key={r.series.key} className={r.series.key === nearest ? "font-semibold" : undefined}>
                  <td className="pr-4">
                    <span className="flex items-center gap-1.5">
                      <Swatch color={r.series.color} hatched={r.series.other} />
                      {middle(r.series.name, 44)}
                    </span>
                  </td>
                  <td className="tabular text-right">{format(r.value)}</td>
                  {r.before !== undefined ? (
                    <>
                      <td className="tabular pl-3 text-right font-normal text-muted">{format(r.before)}</td>
                      <td className="tabular pl-2 text-right font-normal text-muted">
                        {changeText(r.value, r.before)}
                      </td>
                    </>
                  ) : null}
                </tr>
              ))}
            </tbody>
          </table>
          {rows.length > shown.length ? (
            pinned ? (
              <button type="button" className="mt-1 text-accent-text" onClick={() => setAll(true)}>
                {rows.length - shown.length} more
              </button>
            ) : (
              <p className="mt-1 text-faint">{rows.length - shown.length} more</p>
            )
          ) : null}
        </div>
      ) : null}
      <span aria-live="polite" className="sr-only">
        {hover
          ? `${titleAt(hover.index)}${progressAt(hover.index) ? `, ${progressAt(hover.index)}` : ""}: ${rows
              .slice(0, 8)
              .map((r) => `${r.series.name} ${format(r.value)}`)
              .join("; ")}`
          : ""}
      </span>
    </div>
  );
}

export function ChartSkeleton({ height = "100%" }: { height?: number | string }) {
  return (
    <div aria-hidden className="flex items-end gap-1.5 px-10 pb-6" style={{ height }}>
      {[38, 46, 41, 60, 55, 70, 52, 64, 78, 66, 74, 88, 70, 80].map((h, i) => (
        <div key={i} className="flex-1" style={{ height: `${h}%` }}>
          <Skeleton className="h-full opacity-50" />
        </div>
      ))}
    </div>
  );
}

export function Swatch({
  color,
  dashed,
  hatched,
}: {
  color: string;
  dashed?: boolean;
  hatched?: boolean | undefined;
}) {
  return dashed ? (
    <span aria-hidden className="w-3 shrink-0 border-t-2 border-dashed" style={{ borderColor: color }} />
  ) : (
    <span
      aria-hidden
      className="size-2.5 shrink-0 overflow-hidden rounded-[3px]"
      style={{ background: color }}
    >
      {hatched ? <span className="hatched block size-full" /> : null}
    </span>
  );
}

type LegendProps = {
  series: readonly {
    key: string;
    name: string;
    color: string;
    value: number | null;
    other?: boolean | undefined;
  }[];
  hidden: ReadonlySet<string>;
  onChange: (hidden: ReadonlySet<string>) => void;
  format?: (value: number | null) => string;
  /** Beside the plot, one a line; default: above it, in a row. */
  side?: boolean;
  note?: ReactNode;
};

/** Legend: a click hides a series, Alt+click shows it alone. Sorted by value. */
export function Legend({ series, hidden, onChange, format = compact, side, note }: LegendProps) {
  const sorted = [...series].sort(
    (a, b) =>
      Number(a.other ?? false) - Number(b.other ?? false) || (b.value ?? -Infinity) - (a.value ?? -Infinity),
  );
  return (
    <div className={cx("flex gap-x-1 gap-y-0.5", side ? "flex-col" : "flex-wrap items-center")}>
      {sorted.map((s) => {
        const on = !hidden.has(s.key);
        return (
          <button
            key={s.key}
            type="button"
            aria-pressed={on}
            title={`${s.name}: ${format(s.value)}. Click hides, Alt+click shows it alone.`}
            onClick={(e) => {
              const others = series.filter((o) => o.key !== s.key).map((o) => o.key);
              if (e.altKey) {
                const alone = on && others.every((o) => hidden.has(o));
                onChange(new Set(alone ? [] : others));
                return;
              }
              const next = new Set(hidden);
              if (on) next.add(s.key);
              else next.delete(s.key);
              onChange(next);
            }}
            className={cx(
              "touch-target flex h-6 min-w-0 items-center gap-1.5 rounded-sm px-1.5 text-12 hover:bg-hover",
              on ? "text-text" : "text-faint line-through",
            )}
          >
            <span className={on ? "contents" : "contents opacity-40"}>
              <Swatch color={on ? s.color : "var(--color-edge)"} hatched={s.other} />
            </span>
            <span className="min-w-0 truncate">{middle(s.name, side ? 28 : 44)}</span>
            <span className={cx("tabular text-muted", side && "ml-auto pl-2")}>{format(s.value)}</span>
          </button>
        );
      })}
      {note}
    </div>
  );
}
