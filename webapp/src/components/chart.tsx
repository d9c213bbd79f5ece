// Chart: lines, areas or bars over periods or categories, drawn by ECharts in
// its own chunk; legend and tooltip are HTML. Comparison series are dashed;
// points that are not complete are hollow over a hatched band. The chart takes
// the focus: arrows walk the points and announce them, Enter or a click pins
// the tooltip with what can be done with its point, Escape unpins. Dragging
// across the plot picks a stretch. Colours are tokens ("var(--color-chart-1)"), see palette.ts.
import {
  lazy,
  type PointerEvent,
  type ReactNode,
  Suspense,
  useEffect,
  useId,
  useLayoutEffect,
  useMemo,
  useRef,
  useState,
} from "react";
import type { Drawn } from "./chart-canvas";
import { cx } from "./class-names";
import { changeText, compact, exact, middle } from "./format";
import { marks, marksOf } from "./marks";
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
  /** What can be done with a point and its nearest series: the foot of a pinned tooltip. */
  actions?: (index: number, key: string | undefined, close: () => void) => ReactNode;
  /** A stretch was dragged across, both ends in. */
  onZoom?: (from: number, to: number) => void;
  handle?: { current: ChartHandle | null };
  /** The first picture is drawn, the handle usable. */
  onReady?: () => void;
  className?: string;
};

export function Chart(props: Props) {
  const { label, categories, titles, complete, series, hidden, format = exact } = props;
  const [hover, setHover] = useState<{ index: number; x: number; y: number; value: number | undefined }>();
  const [pinned, setPinned] = useState(false);
  const [all, setAll] = useState(false);
  const [drag, setDrag] = useState<{ from: number; to: number; x: number; far: boolean }>();
  const drawn = useRef<Drawn | null>(null);
  const box = useRef<HTMLDivElement>(null);
  const tip = useRef<HTMLDivElement>(null);
  const focusTip = useRef(false);
  const hint = useId();
  const visible = useMemo(() => series.filter((s) => !hidden?.has(s.compares ?? s.key)), [series, hidden]);
  const marked = useMemo(
    () => (props.kind === "bar" ? new Map<string, number>() : marksOf(series)),
    [series, props.kind],
  );

  // A new picture has other points; a fresher answer to the same question has not.
  const periods = categories.join("\n");
  // biome-ignore lint/correctness/useExhaustiveDependencies: what changed is what resets it
  useEffect(() => {
    setPinned(false);
    setHover(undefined);
    setDrag(undefined);
  }, [periods]);

  // A click elsewhere lets the point go; Enter moved the focus into its tooltip.
  useEffect(() => {
    if (!pinned) return;
    if (focusTip.current) tip.current?.querySelector("button")?.focus();
    focusTip.current = false;
    const away = (e: globalThis.PointerEvent) => {
      if (box.current?.contains(e.target as Node)) return;
      setPinned(false);
      setHover(undefined);
    };
    document.addEventListener("pointerdown", away);
    return () => document.removeEventListener("pointerdown", away);
  }, [pinned]);

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
    setPinned(false);
    setHover({ index, x: point?.x ?? 0, y: 24, value: undefined });
    drawn.current?.mark(index);
  }

  function close() {
    setHover(undefined);
    setPinned(false);
    drawn.current?.mark(undefined);
    box.current?.focus({ preventScroll: true });
  }

  const indexUnder = (e: PointerEvent) => {
    const frame = box.current?.getBoundingClientRect();
    return frame ? drawn.current?.index(e.clientX - frame.left, e.clientY - frame.top) : undefined;
  };
  const dragged = drag?.far
    ? drawn.current?.stretch(Math.min(drag.from, drag.to), Math.max(drag.from, drag.to))
    : undefined;

  const titleAt = (i: number) => titles?.[i] ?? categories[i] ?? "";
  const progressAt = (i: number) =>
    complete?.[i] === false ? (props.progress?.(i) ?? "in progress") : undefined;
  // Eight rows, and the nearest though it may stand further down.
  const shown = all ? rows : rows.filter((r, i) => i < 8 || r.series.key === nearest);
  const actions =
    hover && pinned ? props.actions?.(hover.index, nearest ?? rows[0]?.series.key, close) : null;
  const width = box.current?.clientWidth ?? 0;

  // Beside the point, on the side with more room, and never over the chart's edge.
  // biome-ignore lint/correctness/useExhaustiveDependencies: its rows and actions decide how wide it is
  useLayoutEffect(() => {
    const element = tip.current;
    if (!element || !hover) return;
    const wide = element.offsetWidth;
    const left = hover.x > width / 2 ? hover.x - 14 - wide : hover.x + 14;
    element.style.left = `${Math.max(0, Math.min(left, width - wide))}px`;
  }, [hover, pinned, all, width, rows]);

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
        if (e.key === "Escape" && (hover || drag)) {
          setDrag(undefined);
          close();
          e.stopPropagation();
        } else if (e.target !== e.currentTarget) return;
        else if (e.key === "ArrowRight") walk(1);
        else if (e.key === "ArrowLeft") walk(-1);
        else if (e.key === "Home") walk(-categories.length);
        else if (e.key === "End") walk(categories.length);
        else if (e.key === "Enter" && hover && props.actions) {
          focusTip.current = true;
          setPinned(true);
        } else return;
        e.preventDefault();
      }}
      onPointerDown={(e) => {
        // A finger scrolls the page; only a mouse drags out a stretch.
        if (!props.onZoom || e.pointerType !== "mouse" || e.button !== 0) return;
        if (tip.current?.contains(e.target as Node)) return;
        const at = indexUnder(e);
        if (at !== undefined) setDrag({ from: at, to: at, x: e.clientX, far: false });
      }}
      onPointerMove={(e) => {
        if (!drag) return;
        const far = drag.far || Math.abs(e.clientX - drag.x) > 8;
        if (far && !drag.far) {
          e.currentTarget.setPointerCapture(e.pointerId);
          setPinned(false);
          setHover(undefined);
        }
        setDrag({ ...drag, far, to: indexUnder(e) ?? drag.to });
      }}
      onPointerUp={() => {
        setDrag(undefined);
        if (drag?.far) props.onZoom?.(Math.min(drag.from, drag.to), Math.max(drag.from, drag.to));
      }}
      onPointerCancel={() => setDrag(undefined)}
      onMouseLeave={() => {
        if (!pinned) setHover(undefined);
      }}
      onBlur={(e) => {
        if (!e.currentTarget.contains(e.relatedTarget) && !pinned) setHover(undefined);
      }}
    >
      <span id={hint} className="sr-only">
        Arrow keys walk the points{props.actions ? "; Enter shows what can be done with one" : ""}.
      </span>
      <Suspense
        fallback={
          <div className="absolute inset-0">
            <ChartSkeleton />
          </div>
        }
      >
        <Canvas
          {...props}
          visible={visible}
          marked={marked}
          axisFormat={props.axisFormat ?? compact}
          drawn={drawn}
          onHover={(h) => {
            if (!pinned && !drag?.far) setHover(h);
          }}
          onClick={(h) => {
            setAll(false);
            setHover(h);
            setPinned((p) => !p);
          }}
        />
      </Suspense>
      {drag?.far && dragged ? (
        <>
          <div
            aria-hidden
            className="pointer-events-none absolute top-3 bottom-7 border-accent border-x bg-accent/12"
            style={{ left: dragged.left, width: Math.max(1, dragged.right - dragged.left) }}
          />
          <p
            className="pointer-events-none absolute top-4 -translate-x-1/2 whitespace-nowrap rounded-md bg-raised px-2 py-1 text-12 shadow-menu"
            style={{ left: Math.max(90, Math.min(width - 90, (dragged.left + dragged.right) / 2)) }}
          >
            {categories[Math.min(drag.from, drag.to)]}
            {drag.from === drag.to ? "" : ` – ${categories[Math.max(drag.from, drag.to)]}`}
          </p>
        </>
      ) : null}
      {hover && rows.length > 0 && !drag?.far ? (
        <div
          ref={tip}
          className={cx(
            "absolute z-10 w-max max-w-[min(360px,90%)] rounded-lg bg-raised p-2.5 text-12 shadow-menu",
            pinned ? "select-text" : "pointer-events-none",
          )}
          style={{
            top: Math.max(
              0,
              Math.min(
                hover.y - 12,
                (box.current?.clientHeight ?? 0) - 60 - shown.length * 20 - (actions ? 100 : 0),
              ),
            ),
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
                      <Swatch
                        color={r.series.color}
                        hatched={r.series.other}
                        mark={marked.get(r.series.key)}
                      />
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
          {actions ? (
            <div className="-mx-1.5 mt-2 -mb-1 flex flex-col border-line border-t pt-1">{actions}</div>
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
  mark,
}: {
  color: string;
  dashed?: boolean;
  hatched?: boolean | undefined;
  /** A shape of marks.ts; default: a plain square. */
  mark?: number | undefined;
}) {
  const shape = mark === undefined ? undefined : marks[mark];
  if (dashed) {
    return (
      <svg aria-hidden width={14} height={10} className="shrink-0">
        <path d="M0 5h14" stroke={color} strokeWidth={2} strokeDasharray="4 3" opacity={0.8} />
      </svg>
    );
  }
  if (shape) {
    return (
      <svg aria-hidden width={10} height={10} viewBox="0 0 10 10" className="shrink-0 overflow-visible">
        <path
          d={shape.path}
          fill={shape.hollow ? "none" : color}
          stroke={color}
          strokeWidth={shape.hollow ? 1.75 : 0.5}
          strokeLinejoin="round"
        />
      </svg>
    );
  }
  return (
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
  /** Shapes past six series, as lines have them; bars have none. */
  shapes?: boolean;
  note?: ReactNode;
};

/** Legend: a click hides a series, Alt+click shows it alone. Sorted by value. */
export function Legend({
  series,
  hidden,
  onChange,
  format = compact,
  side,
  shapes = true,
  note,
}: LegendProps) {
  const marked = useMemo(() => (shapes ? marksOf(series) : new Map<string, number>()), [series, shapes]);
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
              <Swatch color={on ? s.color : "var(--color-edge)"} hatched={s.other} mark={marked.get(s.key)} />
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
