// The drawing half of Chart and the only importer of ECharts. It draws; what
// the tooltip and legend say is Chart's.
import { BarChart, LineChart } from "echarts/charts";
import { AriaComponent, AxisPointerComponent, GridComponent, MarkAreaComponent } from "echarts/components";
import { type ECharts, type EChartsCoreOption, init, use } from "echarts/core";
import { CanvasRenderer } from "echarts/renderers";
import { useEffect, useRef } from "react";
import { useTheme } from "../app/theme";
import type { ChartHandle, ChartKind, ChartSeries } from "./chart";
import { marks } from "./marks";
import { tokenHex } from "./palette";

use([
  LineChart,
  BarChart,
  GridComponent,
  MarkAreaComponent,
  AriaComponent,
  AxisPointerComponent,
  CanvasRenderer,
]);

type Hover = { index: number; x: number; y: number; value: number | undefined };

export type Drawn = {
  /** Where a category stands, in pixels. */
  at: (index: number) => { x: number } | undefined;
  /** The category under a point of the plot. */
  index: (x: number, y: number) => number | undefined;
  /** From where to where some categories reach. */
  stretch: (from: number, to: number) => { left: number; right: number };
  mark: (index: number | undefined) => void;
};

type Props = {
  kind: ChartKind;
  label: string;
  categories: readonly string[];
  complete?: readonly boolean[];
  visible: readonly ChartSeries[];
  /** Shapes of marks.ts, by series. */
  marked: ReadonlyMap<string, number>;
  stacked?: boolean;
  axisFormat: (value: number) => string;
  drawn: { current: Drawn | null };
  handle?: { current: ChartHandle | null };
  onReady?: () => void;
  onHover: (hover: Hover | undefined) => void;
  onClick: (hover: Hover) => void;
};

function hatching(color: string): HTMLCanvasElement {
  const tile = document.createElement("canvas");
  tile.width = tile.height = 6;
  const context = tile.getContext("2d");
  if (!context) return tile;
  context.strokeStyle = color;
  context.lineWidth = 1;
  context.beginPath();
  for (const offset of [-6, 0, 6]) {
    context.moveTo(offset, 6);
    context.lineTo(offset + 6, 0);
  }
  context.stroke();
  return tile;
}

function option(p: Props, theme: string): EChartsCoreOption {
  const hex = (token: string) => tokenHex(token, theme);
  const text = hex("--color-faint");
  const line = hex("--color-line");
  const surface = hex("--color-surface");
  const n = p.categories.length;
  const bars = p.kind === "bar";
  const compared = p.visible.some((s) => s.compares);
  // The unfinished stretch at the end (a cut first period is told by its hollow point).
  let open = n;
  while (open > 0 && p.complete?.[open - 1] === false) open--;
  const band =
    open < n && !bars
      ? {
          silent: true,
          itemStyle: { color: { image: hatching(line), repeat: "repeat" } },
          data: [[{ xAxis: Math.max(0, open - 1) }, { xAxis: n - 1 }]],
        }
      : undefined;
  return {
    animation: false,
    aria: { enabled: true, label: { description: p.label } },
    grid: { left: 4, right: 12, top: 12, bottom: 4, containLabel: true },
    xAxis: {
      type: "category",
      data: p.categories,
      boundaryGap: bars,
      axisLine: { lineStyle: { color: line } },
      axisTick: { show: false },
      axisLabel: {
        color: text,
        fontFamily: "Inter Variable",
        fontSize: 11,
        hideOverlap: true,
        margin: 10,
        // The latest period is what people look for first: the one before it makes room.
        showMaxLabel: true,
        ...(bars ? {} : { alignMaxLabel: "right" }),
      },
      axisPointer: {
        show: true,
        type: bars ? "shadow" : "line",
        triggerTooltip: false,
        label: { show: false },
        lineStyle: { color: hex("--color-edge"), type: "solid", width: 1 },
        shadowStyle: { color: hex("--color-edge"), opacity: 0.12 },
      },
    },
    yAxis: {
      type: "value",
      splitNumber: 4,
      axisLabel: { color: text, fontFamily: "Inter Variable", fontSize: 11, formatter: p.axisFormat },
      splitLine: { lineStyle: { color: line, width: 1 } },
    },
    series: p.visible.map((s, i) => {
      const color = hex(s.color);
      const stack = p.stacked && !s.compares ? "all" : undefined;
      const mark = marks[p.marked.get(s.key) ?? -1];
      if (bars && !s.compares) {
        return {
          type: "bar",
          id: s.key,
          name: s.name,
          stack,
          barMaxWidth: 40,
          barCategoryGap: "28%",
          data: s.values.map((value, at) =>
            p.complete?.[at] === false
              ? {
                  value,
                  itemStyle: {
                    color: { image: hatching(color), repeat: "repeat" },
                    borderColor: color,
                    borderWidth: 1,
                  },
                }
              : value,
          ),
          // The dashed line of the period before has the same hue: bars step back for it.
          itemStyle: { color, opacity: compared ? 0.5 : 1, borderRadius: stack ? 0 : [2, 2, 0, 0] },
        };
      }
      return {
        type: "line",
        id: s.key,
        name: s.name,
        stack,
        z: s.compares ? (bars ? 4 : 1) : 3,
        showSymbol: true,
        showAllSymbol: true,
        symbol: mark ? `path://${mark.path}` : "circle",
        lineStyle: {
          color,
          width: s.compares ? 1.5 : 2,
          type: s.compares ? [4, 4] : "solid",
          opacity: s.compares && !bars ? 0.75 : 1,
          cap: "round",
        },
        itemStyle: { color },
        ...(p.kind === "area" && !s.compares ? { areaStyle: { color, opacity: stack ? 0.55 : 0.14 } } : {}),
        emphasis: { disabled: true },
        data: s.values.map((value, at) => {
          const hollow = p.complete?.[at] === false && !s.compares;
          // A value between two gaps has no line to be seen by; series past six need their shapes.
          const lonely = value !== null && s.values[at - 1] == null && s.values[at + 1] == null;
          const marker = mark && at % Math.max(1, Math.round(n / 8)) === 0;
          return {
            value,
            symbolSize: hollow || marker ? 8 : lonely ? 6 : 0,
            itemStyle:
              hollow || (marker && mark.hollow)
                ? { color: surface, borderColor: color, borderWidth: 1.75 }
                : { color },
          };
        }),
        ...(band && i === 0 ? { markArea: band } : {}),
      };
    }),
  };
}

export default function ChartCanvas(props: Props) {
  const box = useRef<HTMLDivElement>(null);
  const chart = useRef<ECharts | null>(null);
  const latest = useRef(props);
  latest.current = props;
  const { resolved } = useTheme();
  const theme = useRef(resolved);
  theme.current = resolved;
  const { drawn, handle } = props;

  useEffect(() => {
    if (!box.current) return;
    const c = init(box.current, null, { renderer: "canvas" });
    chart.current = c;
    const pixel = (index: number) => c.convertToPixel({ xAxisIndex: 0 }, index) as unknown as number;
    const hover = (x: number, y: number): Hover | undefined => {
      if (!c.containPixel({ gridIndex: 0 }, [x, y])) return undefined;
      const [at, value] = c.convertFromPixel({ xAxisIndex: 0, yAxisIndex: 0 }, [x, y]) as [number, number];
      const index = Math.max(0, Math.min(latest.current.categories.length - 1, Math.round(at)));
      return { index, x: pixel(index), y, value };
    };
    const zr = c.getZr();
    zr.on("mousemove", (e) => latest.current.onHover(hover(e.offsetX, e.offsetY)));
    zr.on("click", (e) => {
      const h = hover(e.offsetX, e.offsetY);
      if (h) latest.current.onClick(h);
    });
    drawn.current = {
      at: (index) => ({ x: pixel(index) }),
      index: (x, y) => hover(x, y)?.index,
      stretch: (from, to) => {
        // Bars stand in the middle of their category, lines have no width.
        const half =
          latest.current.kind === "bar" && latest.current.categories.length > 1
            ? Math.abs(pixel(1) - pixel(0)) / 2
            : 0;
        return { left: pixel(from) - half, right: pixel(to) + half };
      },
      mark: (index) => {
        if (index === undefined) c.dispatchAction({ type: "updateAxisPointer", currTrigger: "leave" });
        else {
          c.dispatchAction({
            type: "updateAxisPointer",
            x: pixel(index),
            y: c.getHeight() / 2,
            currTrigger: "mousemove",
          });
        }
      },
    };
    if (handle) {
      handle.current = {
        canvas: () =>
          c.renderToCanvas({ pixelRatio: 2, backgroundColor: tokenHex("--color-surface", theme.current) }),
      };
    }
    const observer = new ResizeObserver(() => c.resize());
    observer.observe(box.current);
    return () => {
      observer.disconnect();
      c.dispose();
      chart.current = null;
      drawn.current = null;
      if (handle) handle.current = null;
    };
  }, [drawn, handle]);

  const { kind, label, categories, complete, visible, marked, stacked, axisFormat } = props;
  // biome-ignore lint/correctness/useExhaustiveDependencies: callbacks are read when they are called
  useEffect(() => {
    chart.current?.setOption(option(props, resolved), { notMerge: true });
    latest.current.onReady?.();
  }, [kind, label, categories, complete, visible, marked, stacked, axisFormat, resolved]);

  return <div ref={box} className="absolute inset-0" />;
}
