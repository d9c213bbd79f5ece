// Trends: the editor. The question lives in the address, so a link is a report
// and Back undoes one edit; how it is looked at lives in `v`.
import { useIsFetching, useQuery, useQueryClient } from "@tanstack/react-query";
import { Link, useNavigate, useSearch } from "@tanstack/react-router";
import {
  ChartArea,
  ChartColumn,
  ChartLine,
  ChartNoAxesColumn,
  ChevronDown,
  Copy,
  Download,
  GitCompareArrows,
  Grid3x3,
  Hash,
  Image,
  Link2,
  PanelLeftClose,
  PanelLeftOpen,
  RotateCw,
  SlidersHorizontal,
  SquareTerminal,
  Table2,
  ZoomIn,
} from "lucide-react";
import { type ReactNode, useCallback, useEffect, useMemo, useRef, useState } from "react";
import { Group, Panel, Separator, useDefaultLayout } from "react-resizable-panels";
import { isCanceled } from "../../api/errors";
import { eventsQuery } from "../../api/queries";
import { useApp } from "../../app/current";
import { useShortcut } from "../../app/keys";
import { useTheme } from "../../app/theme";
import { Button, buttonClass, IconButton } from "../../components/button";
import { Chart, type ChartHandle, ChartSkeleton, Legend } from "../../components/chart";
import { cx } from "../../components/class-names";
import { copyToClipboard } from "../../components/clipboard";
import { CodeBlock } from "../../components/code-block";
import { DateRange } from "../../components/date-range";
import { Dialog, Sheet } from "../../components/dialog";
import { Figure } from "../../components/figure";
import { compact, count, duration, exact, time } from "../../components/format";
import { Page } from "../../components/page";
import { rememberedPlaces } from "../../components/palette";
import { useAfter } from "../../components/query-boundary";
import {
  daysLabel,
  grainProblem,
  localDay,
  type Range,
  rangeLabel,
  resolveRange,
  shiftRange,
} from "../../components/range";
import { Segments } from "../../components/segments";
import { Sparkline } from "../../components/sparkline";
import { ErrorState } from "../../components/states";
import { safeStorage } from "../../components/storage";
import { toast } from "../../components/toast";
import type { Meta, QueryTrendResponse } from "../../gen/causality/insights/v1/insights_pb";
import { keepWithinApp, trendKey, trendQuery } from "./queries";
import { rememberQuestion } from "./recents";
import { TrendEditor } from "./trend-editor";
import { exportCsv, exportPng } from "./trend-export";
import {
  type ChartType,
  decodeTrendSearch,
  encodeTrendSearch,
  type Question,
  seriesOf,
  type View,
} from "./trend-link";
import { isBlank, type Picture, picture, progressText, zoomTo } from "./trend-picture-model";
import { trendRequest } from "./trend-request";
import { grains, seriesLabel, type TrendSpec } from "./trend-spec";
import { NoEvents, NoQuestion, NothingMatched } from "./trend-states";
import { TrendTable } from "./trend-table";

const route = "/signed-in/$workspace/$app/insights/new/trend" as const;

/** What a question is called where it has no name of its own. */
function titleOf(spec: TrendSpec): string {
  const on = spec.series.filter((s) => !s.off);
  const [first] = on;
  if (!first) return "Trend";
  const by = spec.breakdowns.map((b) => b.property).join(", ");
  const what = on.length === 1 ? seriesLabel(first) : `${seriesLabel(first)} and ${on.length - 1} more`;
  return by ? `${what} by ${by}` : what;
}

export function TrendPage() {
  const { app, scope, zone, params } = useApp();
  const search = useSearch({ from: route });
  const navigate = useNavigate({ from: "/$workspace/$app/insights/new/trend" });
  const queryClient = useQueryClient();
  const { resolved: theme } = useTheme();
  const events = useQuery(eventsQuery(scope));
  const decoded = useMemo(() => decodeTrendSearch(search), [search]);
  const { view, unreadable } = decoded;
  const top = events.data?.[0]?.name;
  const question = useMemo((): Question => {
    if (search.q || top === undefined) return decoded.question;
    return { ...decoded.question, spec: seriesOf(top).spec };
  }, [search.q, top, decoded]);
  const today = localDay(zone);
  const request = useMemo(() => trendRequest(question, zone), [question, zone]);
  const query = useQuery({
    ...trendQuery(scope, request ?? {}),
    enabled: request !== undefined,
    placeholderData: keepWithinApp(scope),
  });

  const [adding, setAdding] = useState<"filter" | "breakdown">();
  const [panel, setPanel] = useState(true);
  const [sheet, setSheet] = useState(false);
  const [sql, setSql] = useState(false);
  const [dates, setDates] = useState(false);
  const chart = useRef<ChartHandle | null>(null);
  const [ready, setReady] = useState(false);

  const commit = useCallback(
    (next: Question, nextView: View = view) => {
      const fits = grainProblem(next.range, next.grain, localDay(zone));
      // A longer range may need a coarser grain; a finer one is never taken back by itself.
      const grain = fits
        ? (grains.find((g) => !grainProblem(next.range, g, localDay(zone))) ?? "month")
        : next.grain;
      void navigate({ search: encodeTrendSearch({ ...next, grain }, nextView) });
    },
    [navigate, view, zone],
  );
  const look = useCallback(
    (part: Partial<View>) => {
      void navigate({ search: encodeTrendSearch(question, { ...view, ...part }), replace: true });
    },
    [navigate, question, view],
  );
  const setRange = (range: Range) => commit({ ...question, range });

  // The answer on screen with the question it belongs to: a new question must
  // not relabel the old picture while it waits.
  const shown = useRef<
    { answer: QueryTrendResponse; at: number; question: Question; search: typeof search } | undefined
  >(undefined);
  if (
    query.data &&
    !query.isPlaceholderData &&
    (shown.current?.answer !== query.data || shown.current.question !== question)
  ) {
    shown.current = { answer: query.data, at: query.dataUpdatedAt, question, search };
  }
  const answered = query.data ? shown.current : undefined;
  const drawn = useMemo(
    () =>
      answered
        ? picture(answered.answer, answered.question.spec, answered.question.grain, zone, (names) =>
            rememberedPlaces(
              `${app.id}.${answered.question.spec.breakdowns.map((b) => b.property).join(",")}`,
              names,
            ),
          )
        : undefined,
    [answered, zone, app.id],
  );

  const waiting = query.isFetching && (query.isPlaceholderData || !query.data);
  const dim = useAfter(200, waiting && Boolean(query.data));
  const late = useAfter(1000, waiting);
  const [canceled, setCanceled] = useState(false);
  const cancel = useCallback(() => {
    if (!request) return;
    void queryClient.cancelQueries({ queryKey: trendKey(scope, request), exact: true });
    const last = shown.current;
    if (last && query.data) void navigate({ search: last.search, replace: true });
    else setCanceled(true);
  }, [queryClient, scope, request, navigate, query.data]);
  const run = useCallback(() => {
    if (!request) return;
    setCanceled(false);
    void queryClient.fetchQuery({ ...trendQuery(scope, request, true), staleTime: 0 }).catch(() => {
      // The observer shows the error.
    });
  }, [queryClient, scope, request]);

  useEffect(() => {
    if (answered && !waiting && search.q) {
      rememberQuestion(app.id, {
        search: encodeTrendSearch(answered.question) as Record<string, string>,
        name: `${titleOf(answered.question.spec)}, ${rangeLabel(answered.question.range).toLowerCase()}`,
        at: Date.now(),
      });
    }
  }, [answered, waiting, search.q, app.id]);

  const title = titleOf(question.spec);
  const copyLink = async () => {
    const link = new URL(location.href);
    const encoded = new URLSearchParams(encodeTrendSearch(question, view) as Record<string, string>);
    link.search = encoded.toString();
    await copyToClipboard(link.href);
    toast.success("Link copied", { description: "It reproduces this picture." });
  };
  const rangeNote = () => {
    const { from, to } = resolveRange(question.range, today);
    return `${daysLabel(from, to)}, by ${question.grain}, ${zone}`;
  };
  const png = () => {
    if (chart.current && drawn) {
      exportPng(chart.current.canvas(), drawn, new Set(view.hidden), title, rangeNote(), theme);
    }
  };
  const saveCsv = () => {
    if (drawn) exportCsv(drawn, title);
  };

  const last = (n: number): Range => ({ kind: "last", n, unit: "d", complete: false });
  useShortcut("t", () => look({ noTable: !view.noTable }), { does: "Show or hide the table" });
  useShortcut("x", () => commit({ ...question, compare: !question.compare }), {
    does: "Compare with the previous period",
  });
  useShortcut("f", () => openPicker("filter"), { does: "Add filter" });
  useShortcut("b", () => openPicker("breakdown"), { does: "Add breakdown" });
  useShortcut("r", run, { does: "Compute anew" });
  useShortcut("\\", () => setPanel(!panel), { does: "Show or hide the query" });
  useShortcut("1", () => setRange(last(1)), { does: "Today" });
  useShortcut("7", () => setRange(last(7)), { does: "Last 7 days" });
  useShortcut("3", () => setRange(last(30)), { does: "Last 30 days" });
  useShortcut("9", () => setRange(last(90)), { does: "Last 90 days" });
  useShortcut("[", () => setRange(shiftRange(question.range, -1, today)), { does: "Previous period" });
  useShortcut("]", () => setRange(shiftRange(question.range, 1, today)), { does: "Next period" });
  useShortcut("escape", cancel, { does: "Cancel a running question", enabled: waiting });

  function openPicker(which: "filter" | "breakdown") {
    if (matchMedia("(max-width: 767px)").matches) setSheet(true);
    else setPanel(true);
    setAdding(which);
  }

  const editor = (
    <TrendEditor
      spec={question.spec}
      onChange={(spec) => commit({ ...question, spec })}
      adding={adding}
      onAdding={setAdding}
    />
  );

  return (
    <Page
      wide
      title="Trends"
      crumbs={[{ label: app.name }]}
      actions={
        <>
          <Button
            className="md:hidden"
            icon={<SlidersHorizontal size={14} strokeWidth={1.5} />}
            onClick={() => setSheet(true)}
          >
            Query
          </Button>
          <IconButton label="Compute anew" keys="r" onClick={run}>
            <RotateCw size={14} strokeWidth={1.5} />
          </IconButton>
          <Button icon={<Link2 size={14} strokeWidth={1.5} />} onClick={() => void copyLink()}>
            <span className="max-sm:sr-only">Copy link</span>
          </Button>
        </>
      }
      bar={
        <>
          <IconButton
            label={panel ? "Hide the query" : "Show the query"}
            keys="\"
            className="-ml-1.5 max-md:hidden"
            onClick={() => setPanel(!panel)}
          >
            {panel ? (
              <PanelLeftClose size={16} strokeWidth={1.5} />
            ) : (
              <PanelLeftOpen size={16} strokeWidth={1.5} />
            )}
          </IconButton>
          <DateRange
            value={question.range}
            zone={zone}
            onChange={setRange}
            open={dates}
            onOpenChange={setDates}
          />
          <Segments
            label="Granularity"
            value={question.grain}
            options={grains.map((g) => ({
              value: g,
              label: g.charAt(0).toUpperCase() + g.slice(1),
              why: grainProblem(question.range, g, today),
            }))}
            onChange={(grain) => commit({ ...question, grain })}
          />
          <Button
            aria-pressed={question.compare}
            icon={<GitCompareArrows size={14} strokeWidth={1.5} />}
            onClick={() => commit({ ...question, compare: !question.compare })}
            className={question.compare ? "bg-accent-soft text-accent-text hover:bg-accent-soft" : undefined}
          >
            <span className="max-sm:sr-only">Compare</span>
          </Button>
          <div className="ml-auto">
            <Segments<ChartType>
              label="Chart type"
              value={view.chart}
              options={[
                { value: "line", label: "Line", icon: <ChartLine size={14} strokeWidth={1.5} /> },
                { value: "area", label: "Area", icon: <ChartArea size={14} strokeWidth={1.5} /> },
                { value: "bar", label: "Bars", icon: <ChartColumn size={14} strokeWidth={1.5} /> },
                { value: "number", label: "Numbers", icon: <Hash size={14} strokeWidth={1.5} /> },
              ]}
              onChange={(type) => look({ chart: type })}
            />
          </div>
        </>
      }
    >
      <Sheet open={sheet} onOpenChange={setSheet} title="Query" className="md:hidden">
        <div className="-mx-4">{editor}</div>
      </Sheet>
      <Frame panel={panel} editor={editor}>
        <div className="relative flex min-w-0 flex-1 flex-col overflow-y-auto">
          {waiting ? (
            <div
              className="absolute inset-x-0 top-0 z-10 h-0.5 overflow-hidden"
              role="progressbar"
              aria-label="Computing"
            >
              <div className="h-full w-1/4 animate-progress bg-accent" />
            </div>
          ) : null}
          <span aria-live="polite" className="sr-only">
            {answered && !waiting ? `Updated: ${title}` : ""}
          </span>
          {late ? (
            <Waiting key={query.dataUpdatedAt} onCancel={cancel} onShorter={() => setRange(last(30))} />
          ) : null}
          {unreadable ? (
            <ErrorState
              error={
                new Error("This link's question cannot be read; it may have been cut when it was copied")
              }
              actions={<Button onClick={() => void navigate({ search: {} })}>Start anew</Button>}
            />
          ) : events.data?.length === 0 ? (
            <NoEvents />
          ) : request === undefined ? (
            events.isPending ? (
              <ChartSkeleton height={360} />
            ) : (
              <NoQuestion
                onPick={(event) => {
                  const series =
                    question.spec.series.length > 0 ? question.spec.series : seriesOf(event).spec.series;
                  commit({
                    ...question,
                    spec: {
                      ...question.spec,
                      series: series.map((s, i) =>
                        i === 0 ? { id: s.id, event, measure: "uniqueUsers" } : s,
                      ),
                    },
                  });
                }}
              />
            )
          ) : query.isError && !isCanceled(query.error) ? (
            <ErrorState error={query.error} title="The query failed" onRetry={run} />
          ) : drawn && answered ? (
            <div className={cx("flex flex-1 flex-col transition-opacity md:min-h-130", dim && "opacity-60")}>
              <Notes
                meta={answered.answer.meta}
                answeredAt={answered.at}
                outdated={query.isPlaceholderData}
                spec={answered.question.spec}
                zone={zone}
                onRetry={run}
                onMore={() =>
                  commit({ ...question, spec: { ...question.spec, top: question.spec.top < 25 ? 25 : 250 } })
                }
              />
              {isBlank(drawn) ? (
                <NothingMatched question={question} onChange={commit} />
              ) : (
                <PictureView
                  drawn={drawn}
                  question={answered.question}
                  view={view}
                  title={title}
                  zone={zone}
                  handle={chart}
                  onReady={() => setReady(true)}
                  onHidden={(hidden) => look({ hidden })}
                  onZoom={(from, to) => {
                    const next = zoomTo(drawn, answered.question.grain, from, to, zone);
                    if (next) commit({ ...question, ...next });
                  }}
                  onBreakDown={() => openPicker("breakdown")}
                />
              )}
              <Foot
                meta={answered.answer.meta}
                zone={zone}
                table={!view.noTable}
                onTable={() => look({ noTable: !view.noTable })}
                heat={Boolean(view.heat)}
                onHeat={() => look({ heat: !view.heat })}
                onSql={() => setSql(true)}
                onCsv={saveCsv}
                pngWhy={ready ? undefined : "The picture is still being drawn."}
                onPng={view.chart === "number" || isBlank(drawn) ? undefined : png}
              />
              {view.noTable || isBlank(drawn) ? null : (
                <div className="flex flex-col border-line border-y bg-surface md:max-h-[45%] md:min-h-0">
                  <TrendTable
                    picture={drawn}
                    sort={view.sort}
                    heated={Boolean(view.heat)}
                    shapes={view.chart !== "bar"}
                    onSortChange={(sort) => {
                      const { sort: _, ...rest } = view;
                      void navigate({
                        search: encodeTrendSearch(question, sort ? { ...rest, sort } : rest),
                        replace: true,
                      });
                    }}
                  />
                </div>
              )}
            </div>
          ) : canceled && !query.isFetching ? (
            <div className="flex flex-col items-center gap-3 py-16">
              <p className="font-medium text-14">Cancelled before an answer came.</p>
              <Button look="primary" onClick={run}>
                Run again
              </Button>
            </div>
          ) : (
            <div className="p-4">
              <ChartSkeleton height={360} />
            </div>
          )}
        </div>
      </Frame>
      {answered?.answer.meta?.sql ? (
        <Dialog
          open={sql}
          onOpenChange={setSql}
          title="The SQL that ran"
          description="It gives the same numbers on the SQL page."
          className="max-w-180"
          footer={
            <Link
              to="/$workspace/$app/sql"
              params={params}
              search={{ sql: answered.answer.meta.sql }}
              className={buttonClass("primary", "md")}
            >
              Open in SQL page
            </Link>
          }
        >
          <CodeBlock code={answered.answer.meta.sql} label="SQL" className="max-h-[50vh] overflow-auto" />
        </Dialog>
      ) : null}
    </Page>
  );
}

/** The query on the left, 320 to 480 px wide as people like it; the picture takes the rest. */
function Frame({ panel, editor, children }: { panel: boolean; editor: ReactNode; children: ReactNode }) {
  const layout = useDefaultLayout({
    id: "causality.trend.panes",
    panelIds: ["query", "picture"],
    storage: safeStorage,
  });
  const [wide, setWide] = useState(() => matchMedia("(min-width: 768px)").matches);
  useEffect(() => {
    const media = matchMedia("(min-width: 768px)");
    const update = () => setWide(media.matches);
    media.addEventListener("change", update);
    return () => media.removeEventListener("change", update);
  }, []);
  if (!panel || !wide) return <div className="flex min-h-0 flex-1">{children}</div>;
  return (
    <Group
      orientation="horizontal"
      className="min-h-0 flex-1"
      defaultLayout={layout.defaultLayout}
      onLayoutChanged={layout.onLayoutChanged}
    >
      <Panel
        id="query"
        defaultSize="360px"
        minSize="320px"
        maxSize="480px"
        groupResizeBehavior="preserve-pixel-size"
      >
        <aside aria-label="Query" className="h-full overflow-y-auto">
          {editor}
        </aside>
      </Panel>
      <Separator
        aria-label="Resize the query"
        className="relative w-px bg-line outline-none before:absolute before:inset-y-0 before:-right-1 before:-left-1 before:z-1 hover:bg-accent focus-visible:bg-accent data-[separator=active]:bg-accent"
      />
      <Panel id="picture" className="flex min-h-0">
        {children}
      </Panel>
    </Group>
  );
}

function Waiting({ onCancel, onShorter }: { onCancel: () => void; onShorter: () => void }) {
  const [seconds, setSeconds] = useState(1);
  useEffect(() => {
    const timer = setInterval(() => setSeconds((s) => s + 1), 1000);
    return () => clearInterval(timer);
  }, []);
  return (
    <div className="absolute inset-x-0 top-3 z-10 flex justify-center">
      <div className="flex items-center gap-2 rounded-lg bg-raised py-1 pr-1 pl-3 text-13 shadow-menu">
        <span className="tabular">Still computing: {seconds} s</span>
        {seconds >= 10 ? <Button onClick={onShorter}>Try 30 days</Button> : null}
        <Button look="ghost" onClick={onCancel}>
          Cancel <span className="text-12 text-faint">Esc</span>
        </Button>
      </div>
    </div>
  );
}

/** Every cut, gap and delay of an answer is said before its numbers. */
function Notes({
  meta,
  answeredAt,
  outdated,
  spec,
  zone,
  onRetry,
  onMore,
}: {
  meta: Meta | undefined;
  answeredAt: number;
  /** The answer belongs to the question before. */
  outdated: boolean;
  spec: TrendSpec;
  zone: string;
  onRetry: () => void;
  /** Shows more values of the breakdown. */
  onMore: () => void;
}) {
  const { params } = useApp();
  const [online, setOnline] = useState(navigator.onLine);
  useEffect(() => {
    const update = () => setOnline(navigator.onLine);
    addEventListener("online", update);
    addEventListener("offline", update);
    return () => {
      removeEventListener("online", update);
      removeEventListener("offline", update);
    };
  }, []);
  if (!meta) return null;
  const behind = meta.freshTo ? (Date.now() - new Date(meta.freshTo).getTime()) / 1000 : 0;
  const warnings = [
    !online && (
      <span key="offline">
        Offline. This is the answer from {time(answeredAt, zone, false)}
        {outdated ? ", to the question before" : ""}.
      </span>
    ),
    meta.partial && (
      <span key="partial">
        A part of the range could not be read, so totals are too low.{" "}
        <button type="button" className="font-medium underline" onClick={onRetry}>
          Retry
        </button>
      </span>
    ),
    online && behind > 120 && !meta.cached && (
      <span key="stale">
        Data to {time(meta.freshTo, zone, false)}. Ingest is {duration(behind)} behind.{" "}
        <Link
          to="/$workspace/health"
          params={{ workspace: params.workspace }}
          className="font-medium underline"
        >
          Health
        </Link>
      </span>
    ),
  ].filter(Boolean);
  const cuts = [
    spec.breakdowns.length > 0 && meta.groupsTotal > spec.top && (
      <span key="cut">
        Top {spec.top} of {exact(meta.groupsTotal)} values; the rest is Other.{" "}
        {spec.top < 250 ? (
          <button
            type="button"
            className="font-medium text-accent-text underline decoration-accent-text/40 underline-offset-2 hover:decoration-accent-text"
            onClick={onMore}
          >
            Show {Math.min(250, spec.top < 25 ? 25 : 250)}
          </button>
        ) : null}
      </span>
    ),
    meta.skipped > 0 && (
      <span key="skipped">
        {count(meta.skipped, "value that is no number was", "values that are no numbers were")} skipped.
      </span>
    ),
  ].filter(Boolean);
  const bar = "flex flex-wrap gap-x-4 gap-y-1 border-line border-b px-4 py-1.5 text-12";
  return (
    <>
      {warnings.length > 0 ? <div className={cx(bar, "bg-warn-soft text-warn")}>{warnings}</div> : null}
      {cuts.length > 0 ? <div className={cx(bar, "text-muted")}>{cuts}</div> : null}
    </>
  );
}

function PictureView({
  drawn,
  question,
  view,
  title,
  zone,
  handle,
  onReady,
  onHidden,
  onZoom,
  onBreakDown,
}: {
  drawn: Picture;
  question: Question;
  view: View;
  title: string;
  zone: string;
  handle: { current: ChartHandle | null };
  onReady: () => void;
  onHidden: (hidden: string[]) => void;
  onZoom: (from: number, to: number) => void;
  onBreakDown: () => void;
}) {
  const hidden = useMemo(() => new Set(view.hidden), [view.hidden]);
  const series = useMemo(() => [...drawn.previous, ...drawn.series], [drawn]);
  const format = exact;
  const chart = view.chart;
  const stacked =
    (chart === "bar" || chart === "area") &&
    question.spec.breakdowns.length > 0 &&
    question.spec.series.filter((s) => !s.off).every((s) => s.measure === "total");
  if (chart === "number") {
    return (
      <div className="grid sm:grid-cols-[repeat(auto-fill,minmax(260px,1fr))]">
        {drawn.series.map((s) => (
          <div key={s.key} className="-mb-px border-line border-r border-b p-5">
            <Figure
              label={s.name}
              value={s.total}
              text={compact(s.total)}
              before={question.compare ? s.previousTotal : undefined}
              {...(question.compare ? { beforeLabel: `${exact(s.previousTotal)} in the period before` } : {})}
            >
              <div className="mt-3">
                <Sparkline
                  values={s.values}
                  open={drawn.complete.at(-1) === false}
                  color={s.color}
                  width={220}
                  height={44}
                  label={`${s.name} over time`}
                />
              </div>
            </Figure>
          </div>
        ))}
      </div>
    );
  }
  const side = drawn.series.length > 6;
  const legend = (
    <Legend
      series={drawn.series.map((s) => ({
        key: s.key,
        name: s.name,
        color: s.color,
        value: s.total,
        other: s.other,
      }))}
      hidden={hidden}
      onChange={(next) => onHidden([...next])}
      side={side}
      shapes={chart !== "bar"}
      note={
        drawn.previous.length > 0 ? (
          <span className="flex h-6 items-center gap-1.5 px-1.5 text-12 text-muted">
            <span aria-hidden className="w-4 border-edge border-t-2 border-dashed" />
            previous period
          </span>
        ) : null
      }
    />
  );
  return (
    <div
      className={cx(
        "flex flex-col gap-2 px-4 pt-3 pb-2 md:min-h-80 md:flex-1",
        side && "lg:flex-row-reverse lg:gap-4",
      )}
    >
      <div className={cx("max-h-24 shrink-0 overflow-y-auto", side && "lg:max-h-none lg:w-60")}>{legend}</div>
      <Chart
        kind={chart}
        label={`${title}, ${rangeLabel(question.range).toLowerCase()} by ${question.grain}`}
        categories={drawn.categories}
        titles={drawn.titles}
        complete={drawn.complete}
        progress={(i) =>
          progressText(drawn.starts[i] ?? "", question.grain, i === drawn.starts.length - 1, zone)
        }
        series={series}
        hidden={hidden}
        stacked={stacked}
        format={format}
        handle={handle}
        onReady={onReady}
        onZoom={onZoom}
        actions={(index, key, close) => {
          const of = drawn.series.find((s) => s.key === key);
          const value = of?.values[index];
          return (
            <>
              {zoomTo(drawn, question.grain, index, index, zone) ? (
                <PointAction
                  icon={<ZoomIn size={14} strokeWidth={1.5} />}
                  onClick={() => {
                    close();
                    onZoom(index, index);
                  }}
                >
                  Zoom into this {question.grain === "hour" ? "day" : question.grain}
                </PointAction>
              ) : null}
              <PointAction
                icon={<ChartNoAxesColumn size={14} strokeWidth={1.5} />}
                onClick={() => {
                  close();
                  onBreakDown();
                }}
              >
                Break down by…
              </PointAction>
              {of && value != null ? (
                <PointAction
                  icon={<Copy size={14} strokeWidth={1.5} />}
                  onClick={() => {
                    close();
                    void copyToClipboard(String(value)).then(
                      () => toast.success(`Copied ${exact(value)}`, { description: of.name }),
                      (error: unknown) => toast.error(String(error instanceof Error ? error.message : error)),
                    );
                  }}
                >
                  Copy {exact(value)}
                </PointAction>
              ) : null}
            </>
          );
        }}
        className="h-60 min-w-0 shrink-0 md:h-auto md:min-h-60 md:flex-1"
      />
    </div>
  );
}

function PointAction({
  icon,
  onClick,
  children,
}: {
  icon: ReactNode;
  onClick: () => void;
  children: ReactNode;
}) {
  return (
    <button
      type="button"
      onClick={onClick}
      className="flex min-h-7 select-none items-center gap-2 rounded-sm px-1.5 text-left text-13 hover:bg-hover focus-visible:outline-offset-0 pointer-coarse:min-h-11"
    >
      <span className="text-faint">{icon}</span>
      {children}
    </button>
  );
}

function Foot({
  meta,
  zone,
  table,
  onTable,
  heat,
  onHeat,
  onSql,
  onCsv,
  pngWhy,
  onPng,
}: {
  meta: Meta | undefined;
  zone: string;
  table: boolean;
  onTable: () => void;
  heat: boolean;
  onHeat: () => void;
  onSql: () => void;
  onCsv: () => void;
  pngWhy: string | undefined;
  onPng: (() => void) | undefined;
}) {
  const fetching = useIsFetching({ queryKey: ["insights", "trend"] }) > 0;
  const engines: Record<string, string> = { duckdb: "DuckDB", sequence: "Sequence", trino: "Trino" };
  return (
    <div className="flex flex-wrap items-center gap-x-2 gap-y-1 border-line border-t px-4 py-1.5">
      {meta ? (
        <p className="tabular text-12 text-muted" aria-busy={fetching}>
          Data to {time(meta.freshTo, zone)}
          <span className="md:hidden"> {zone}</span>, {duration(meta.seconds)}
          {meta.cached ? " (cached)" : ""}, {compact(meta.scannedRows)} rows,{" "}
          {engines[meta.engine] ?? meta.engine}
        </p>
      ) : null}
      <div className="ml-auto flex items-center gap-0.5">
        {meta?.sql ? (
          <Button look="ghost" icon={<SquareTerminal size={14} strokeWidth={1.5} />} onClick={onSql}>
            SQL
          </Button>
        ) : null}
        <Button look="ghost" icon={<Download size={14} strokeWidth={1.5} />} onClick={onCsv}>
          CSV
        </Button>
        {onPng ? (
          <Button look="ghost" icon={<Image size={14} strokeWidth={1.5} />} why={pngWhy} onClick={onPng}>
            PNG
          </Button>
        ) : null}
        {table ? (
          <IconButton
            label={heat ? "Shade no cells" : "Shade cells by value"}
            aria-pressed={heat}
            onClick={onHeat}
            className={heat ? "bg-hover text-text" : undefined}
          >
            <Grid3x3 size={14} strokeWidth={1.5} />
          </IconButton>
        ) : null}
        <Button
          look="ghost"
          aria-expanded={table}
          icon={<Table2 size={14} strokeWidth={1.5} />}
          onClick={onTable}
        >
          Table
          <ChevronDown size={12} className={table ? "rotate-180" : undefined} />
        </Button>
      </div>
    </div>
  );
}
