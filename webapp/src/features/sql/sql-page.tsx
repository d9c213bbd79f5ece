// SQL: write, run, look. Drafts and history stay on this device; a link with
// `?sql=` opens as a tab of its own and never overwrites a draft.

import { Code, ConnectError } from "@connectrpc/connect";
import { useQuery } from "@tanstack/react-query";
import { useNavigate, useSearch } from "@tanstack/react-router";
import { BarChart3, Clock, Database, Download, Link2, Play, Plus, Rows3, Square, X } from "lucide-react";
import { lazy, Suspense, useCallback, useEffect, useMemo, useRef, useState } from "react";
import { Group, Panel, Separator, useDefaultLayout } from "react-resizable-panels";
import { describeError } from "../../api/errors";
import { eventsQuery, propertiesQuery } from "../../api/queries";
import { useApp } from "../../app/current";
import { useShortcut } from "../../app/keys";
import { Button, IconButton } from "../../components/button";
import { Chart, Legend } from "../../components/chart";
import { cx } from "../../components/class-names";
import { copyToClipboard } from "../../components/clipboard";
import { Sheet } from "../../components/dialog";
import { bytes, compact, count, duration, exact, zoneName } from "../../components/format";
import { FreshnessChip } from "../../components/freshness-chip";
import { Kbd } from "../../components/kbd";
import { Menu, MenuItem, MenuLabel } from "../../components/menu";
import { Page } from "../../components/page";
import { chartColor } from "../../components/palette";
import { useAfter } from "../../components/query-boundary";
import { Segments } from "../../components/segments";
import { Skeleton } from "../../components/skeleton";
import { EmptyState, ErrorState } from "../../components/states";
import { safeStorage } from "../../components/storage";
import { toast } from "../../components/toast";
import type { Known } from "./completions";
import {
  addToHistory,
  type Draft,
  type Drafts,
  type HistoryEntry,
  loadDrafts,
  loadHistory,
  mostTabs,
  newId,
  nextName,
  saveDrafts,
  saveHistory,
} from "./drafts";
import type { EditorHandle, KeptState } from "./editor";
import { History } from "./history";
import { exportStatement, schemaQuery } from "./queries";
import { pictureOf, type Result } from "./result";
import { ResultGrid } from "./result-grid";
import { type Finished, type Run, useRuns } from "./runs";
import { SchemaBrowser } from "./schema-browser";
import { errorPosition, errorSentence } from "./statements";

const Editor = lazy(() => import("./editor"));

const example = `-- ⌘Enter runs the statement that the cursor is in.
select event, count(*) as events, count(distinct user_key) as users
from events
where ts >= now() - interval 30 day
group by event
order by events desc;
`;

const noTables: Known["tables"] = [];
const noEvents: Known["events"] = [];

function useNarrow(): boolean {
  const [narrow, setNarrow] = useState(() => matchMedia("(max-width: 767px)").matches);
  useEffect(() => {
    const media = matchMedia("(max-width: 767px)");
    const changed = () => setNarrow(media.matches);
    media.addEventListener("change", changed);
    return () => media.removeEventListener("change", changed);
  }, []);
  return narrow;
}

export function SqlPage() {
  const { app } = useApp();
  // Drafts belong to an app: another app is another page.
  return <SqlWorkbench key={app.id} />;
}

function SqlWorkbench() {
  const { app, scope, zone, params } = useApp();
  const { sql: linked } = useSearch({ from: "/signed-in/$workspace/$app/sql" });
  const navigate = useNavigate();
  const narrow = useNarrow();
  const [drafts, setDrafts] = useState<Drafts>(() =>
    loadDrafts(app.id, example.replace("⌘", /Mac|iP/.test(navigator.platform) ? "⌘" : "Ctrl+")),
  );
  const [history, setHistory] = useState<HistoryEntry[]>(() => loadHistory(app.id));
  const [sheet, setSheet] = useState<"history" | "schema">();
  const [showSchema, setShowSchema] = useState(true);
  const handle = useRef<EditorHandle | null>(null);
  const states = useRef(new Map<string, KeptState>()).current;

  const tables = useQuery(schemaQuery(scope));
  const events = useQuery(eventsQuery(scope));
  const properties = useQuery(propertiesQuery(scope, []));
  const known = useMemo<Known>(
    () => ({
      tables: tables.data ?? noTables,
      events: events.data ?? noEvents,
      properties: properties.data?.properties ?? [],
    }),
    [tables.data, events.data, properties.data],
  );

  const change = useCallback(
    (update: (before: Drafts) => Drafts) =>
      setDrafts((before) => {
        const next = update(before);
        saveDrafts(app.id, next);
        return next;
      }),
    [app.id],
  );

  const finished = useCallback(
    ({ statement, at, seconds, result, error }: Finished) =>
      setHistory((before) => {
        const next = addToHistory(before, {
          sql: statement,
          at,
          seconds,
          ...(result ? { rows: result.rows.length } : {}),
          ...(result?.truncated ? { truncated: true } : {}),
          ...(error ? { error: errorSentence(describeError(error).sentence) } : {}),
        });
        saveHistory(app.id, next);
        return next;
      }),
    [app.id],
  );
  const { runs, start, cancel, forget } = useRuns(scope, finished);

  const openTab = useCallback(
    (text: string) =>
      change((before) => {
        if (before.tabs.length >= mostTabs) {
          toast.info(`${mostTabs} tabs are open. Close one first.`);
          return before;
        }
        const tab: Draft = { id: newId(), name: nextName(before.tabs), text };
        return { tabs: [...before.tabs, tab], active: tab.id };
      }),
    [change],
  );

  // A link's statement becomes a tab once; the address is then the page's own again.
  const taken = useRef<string>(undefined);
  useEffect(() => {
    if (!linked || taken.current === linked) return;
    taken.current = linked;
    const open = drafts.tabs.find((t) => t.text.trim() === linked.trim());
    if (open) change((before) => ({ ...before, active: open.id }));
    else openTab(linked);
    void navigate({ to: "/$workspace/$app/sql", params, search: {}, replace: true });
  }, [linked, drafts.tabs, change, openTab, navigate, params]);

  const tab = drafts.tabs.find((t) => t.id === drafts.active) ?? drafts.tabs[0];
  const run = tab && runs.get(tab.id);
  const running = run?.status === "running";

  const execute = () => {
    if (!tab) return;
    const statement = handle.current?.toRun();
    if (!statement) {
      toast.info("There is no statement to run.");
      return;
    }
    void start(tab.id, statement);
  };
  const stop = () => {
    if (!tab || !running) return false;
    cancel(tab.id);
    return true;
  };
  useShortcut("mod+enter", execute, { does: "Run the statement or the selection" });
  useShortcut("escape", stop, { does: "Cancel the running query", enabled: running });

  const close = (closing: Draft) => {
    const index = drafts.tabs.indexOf(closing);
    const before = drafts;
    forget(closing.id);
    change((d) => {
      const left = d.tabs.filter((t) => t.id !== closing.id);
      const tabs = left.length > 0 ? left : [{ id: newId(), name: "Query 1", text: "" }];
      const active = d.active === closing.id ? (tabs[Math.min(index, tabs.length - 1)]?.id ?? "") : d.active;
      return { tabs, active };
    });
    if (closing.text.trim() !== "") {
      toast(`${closing.name} closed`, {
        action: {
          label: "Undo",
          onClick: () =>
            change((now) => {
              const tabs = [...now.tabs];
              tabs.splice(Math.min(index, tabs.length), 0, closing);
              return { tabs, active: before.active === closing.id ? closing.id : now.active };
            }),
        },
      });
    }
  };

  const mark = useMemo(() => {
    if (run?.status !== "failed" || !tab) return undefined;
    // The mark stands only as long as the text is the one that was refused.
    if (tab.text.slice(run.statement.from, run.statement.to) !== run.statement.text) return undefined;
    const at = errorPosition(rawMessage(run.error), run.statement.text);
    return at && { from: run.statement.from + at.from, to: run.statement.from + at.to };
  }, [run, tab]);

  const layout = useDefaultLayout({
    id: "causality.sql.panes",
    panelIds: ["editor", "result"],
    storage: safeStorage,
  });
  if (!tab) return null;

  const schema = (
    <SchemaBrowser
      tables={tables}
      events={events.data ?? []}
      properties={properties.data?.properties ?? []}
      onInsert={(text) => {
        setSheet(undefined);
        // The sheet hands the focus back first.
        setTimeout(() => handle.current?.insert(text));
      }}
    />
  );

  return (
    <Page
      title="SQL"
      crumbs={[{ label: app.name }]}
      wide
      aside={
        <span
          className="text-12 text-faint max-sm:hidden"
          title="Times without an offset are shown in the app's time zone"
        >
          {zoneName(zone)}
        </span>
      }
      actions={
        <>
          <Button
            size="sm"
            look="ghost"
            icon={<Database size={14} strokeWidth={1.5} />}
            aria-expanded={narrow ? sheet === "schema" : showSchema}
            onClick={() => (narrow ? setSheet("schema") : setShowSchema((s) => !s))}
          >
            Schema
          </Button>
          <Button
            size="sm"
            look="ghost"
            icon={<Clock size={14} strokeWidth={1.5} />}
            aria-expanded={sheet === "history"}
            onClick={() => setSheet("history")}
          >
            History
          </Button>
        </>
      }
    >
      <div className="flex min-h-0 flex-1">
        {narrow || !showSchema ? null : (
          <aside aria-label="Schema" className="w-60 shrink-0 border-line border-r bg-bg">
            {schema}
          </aside>
        )}
        <div className="flex min-w-0 flex-1 flex-col">
          <TabStrip
            tabs={drafts.tabs}
            active={tab.id}
            runs={runs}
            onSelect={(id) => change((d) => ({ ...d, active: id }))}
            onClose={close}
            onNew={() => openTab("")}
            onRename={(id, name) =>
              change((d) => ({ ...d, tabs: d.tabs.map((t) => (t.id === id ? { ...t, name } : t)) }))
            }
          />
          <Group
            orientation="vertical"
            className="min-h-0 flex-1"
            defaultLayout={layout.defaultLayout}
            onLayoutChanged={layout.onLayoutChanged}
          >
            <Panel id="editor" defaultSize="42%" minSize="96px" className="flex flex-col bg-surface">
              <div className="min-h-0 flex-1">
                <Suspense fallback={<EditorSkeleton text={tab.text} />}>
                  <Editor
                    key={tab.id}
                    stateKey={tab.id}
                    states={states}
                    text={tab.text}
                    known={known}
                    mark={mark}
                    handle={handle}
                    onChange={(text) =>
                      change((d) => ({
                        ...d,
                        tabs: d.tabs.map((t) => (t.id === tab.id ? { ...t, text } : t)),
                      }))
                    }
                    onRun={execute}
                    onCancel={stop}
                  />
                </Suspense>
              </div>
              <div className="flex h-11 shrink-0 items-center gap-2 border-line border-t px-3">
                {running ? (
                  <Button size="sm" icon={<Square size={12} fill="currentColor" />} onClick={stop}>
                    Cancel
                    <Kbd keys="escape" />
                  </Button>
                ) : (
                  <Button
                    size="sm"
                    look="primary"
                    icon={<Play size={12} fill="currentColor" />}
                    onClick={execute}
                    why={tab.text.trim() === "" ? "Write a statement first." : undefined}
                  >
                    Run
                  </Button>
                )}
                <span className="text-12 text-faint max-sm:hidden">
                  {running ? null : <Kbd keys="mod+enter" />}
                </span>
                {running ? <Elapsed since={run.startedAt} /> : null}
                <div className="ml-auto">
                  <IconButton
                    label="Copy a link to this statement"
                    onClick={async () => {
                      const statement = handle.current?.toRun()?.text ?? tab.text;
                      const url = `${location.origin}/app/${params.workspace}/${encodeURIComponent(params.app)}/sql?sql=${encodeURIComponent(statement)}`;
                      if (url.length > 8000) {
                        toast.error("The statement is too long for a link. Copy its text instead.");
                        return;
                      }
                      await copyToClipboard(url);
                      toast.success("Link copied");
                    }}
                  >
                    <Link2 size={14} strokeWidth={1.5} />
                  </IconButton>
                </div>
              </div>
            </Panel>
            <Separator
              aria-label="Resize editor and result"
              className="relative h-px bg-line outline-none before:absolute before:inset-x-0 before:-top-1 before:-bottom-1 before:z-1 hover:bg-accent focus-visible:bg-accent data-[separator=active]:bg-accent"
            />
            <Panel id="result" minSize="120px" className="flex min-h-0 flex-col bg-surface">
              <Answer
                key={tab.id}
                run={run}
                zone={zone}
                onRetry={execute}
                onShow={mark ? () => handle.current?.select(mark.from, mark.to) : undefined}
              />
            </Panel>
          </Group>
        </div>
      </div>
      <Sheet
        open={sheet === "schema" && narrow}
        onOpenChange={(o) => !o && setSheet(undefined)}
        title="Schema"
      >
        <div className="-mx-4 h-[70vh]">{schema}</div>
      </Sheet>
      <Sheet
        open={sheet === "history"}
        onOpenChange={(o) => !o && setSheet(undefined)}
        title="History"
        description="The last 100 statements that ran here, kept on this device."
      >
        <History
          entries={history}
          zone={zone}
          onChoose={(entry) => {
            setSheet(undefined);
            const open = drafts.tabs.find((t) => t.text.trim() === entry.sql.trim());
            if (open) change((d) => ({ ...d, active: open.id }));
            else if (tab.text.trim() === "")
              change((d) => ({
                ...d,
                tabs: d.tabs.map((t) => (t.id === tab.id ? { ...t, text: entry.sql } : t)),
              }));
            else openTab(entry.sql);
          }}
          onClear={() => {
            const before = history;
            setHistory([]);
            saveHistory(app.id, []);
            toast("History cleared", {
              action: {
                label: "Undo",
                onClick: () => {
                  setHistory(before);
                  saveHistory(app.id, before);
                },
              },
            });
          }}
        />
      </Sheet>
    </Page>
  );
}

const rawMessage = (error: unknown) => (error instanceof ConnectError ? error.rawMessage : String(error));

function TabStrip({
  tabs,
  active,
  runs,
  onSelect,
  onClose,
  onNew,
  onRename,
}: {
  tabs: readonly Draft[];
  active: string;
  runs: ReadonlyMap<string, Run>;
  onSelect: (id: string) => void;
  onClose: (tab: Draft) => void;
  onNew: () => void;
  onRename: (id: string, name: string) => void;
}) {
  const [renaming, setRenaming] = useState<string>();
  const strip = useRef<HTMLDivElement>(null);
  // biome-ignore lint/correctness/useExhaustiveDependencies: the tab that became active comes into view
  useEffect(() => {
    strip.current
      ?.querySelector("[aria-current=true]")
      ?.scrollIntoView({ block: "nearest", inline: "nearest" });
  }, [active]);
  return (
    <nav aria-label="Statements" className="flex h-9 shrink-0 items-stretch border-line border-b bg-bg">
      <div ref={strip} className="flex min-w-0 overflow-x-auto [scrollbar-width:none]">
        {tabs.map((tab) => {
          const on = tab.id === active;
          return (
            <div
              key={tab.id}
              className={cx(
                "group flex shrink-0 items-center border-line border-r pr-1",
                on ? "-mb-px bg-surface" : "hover:bg-hover",
              )}
            >
              {renaming === tab.id ? (
                <input
                  // biome-ignore lint/a11y/noAutofocus: the person just asked to rename
                  autoFocus
                  aria-label={`New name of ${tab.name}`}
                  defaultValue={tab.name}
                  maxLength={60}
                  onFocus={(e) => e.target.select()}
                  onBlur={(e) => {
                    const name = e.target.value.trim();
                    if (name) onRename(tab.id, name);
                    setRenaming(undefined);
                  }}
                  onKeyDown={(e) => {
                    if (e.key === "Enter") e.currentTarget.blur();
                    if (e.key === "Escape") setRenaming(undefined);
                  }}
                  className="mx-2 h-6 w-28 rounded-sm bg-surface px-1 text-12 ring-1 ring-edge ring-inset"
                />
              ) : (
                <button
                  type="button"
                  aria-current={on}
                  title="Double-click renames"
                  onClick={() => onSelect(tab.id)}
                  onDoubleClick={() => setRenaming(tab.id)}
                  className={cx(
                    "h-full max-w-44 truncate pr-1 pl-3 text-12 focus-visible:-outline-offset-2",
                    on ? "font-medium text-text" : "text-muted",
                  )}
                >
                  {tab.name}
                  {runs.get(tab.id)?.status === "running" ? (
                    <span className="text-faint"> running</span>
                  ) : null}
                </button>
              )}
              <button
                type="button"
                aria-label={`Close ${tab.name}`}
                onClick={() => onClose(tab)}
                className={cx(
                  "touch-target flex size-6 items-center justify-center rounded-sm text-faint hover:bg-hover hover:text-text",
                  !on && "opacity-0 focus-visible:opacity-100 group-hover:opacity-100",
                )}
              >
                <X size={12} strokeWidth={2} aria-hidden />
              </button>
            </div>
          );
        })}
      </div>
      <IconButton label="New tab" onClick={onNew} className="m-1">
        <Plus size={14} strokeWidth={1.5} />
      </IconButton>
    </nav>
  );
}

function EditorSkeleton({ text }: { text: string }) {
  return (
    <pre aria-hidden className="overflow-hidden whitespace-pre-wrap py-2 pl-11 font-mono text-13 text-muted">
      {text}
    </pre>
  );
}

/** Seconds since a run began, from the first full one on. */
function Elapsed({ since }: { since: number }) {
  const [now, setNow] = useState(Date.now());
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), 100);
    return () => clearInterval(timer);
  }, []);
  const seconds = (now - since) / 1000;
  if (seconds < 1) return null;
  return (
    <span role="timer" className="tabular text-12 text-muted">
      {seconds < 60 ? `${seconds.toFixed(1)} s` : duration(Math.floor(seconds))}
      {seconds > 10 ? <span className="text-faint max-sm:hidden">. A filter on ts reads less.</span> : null}
    </span>
  );
}

function Answer({
  run,
  zone,
  onRetry,
  onShow,
}: {
  run: Run | undefined;
  zone: string;
  onRetry: () => void;
  onShow: (() => void) | undefined;
}) {
  const running = run?.status === "running";
  const late = useAfter(200, running);
  if (!run) {
    return (
      <EmptyState icon={<Rows3 size={20} strokeWidth={1.5} />} title="Nothing has run in this tab yet.">
        <Kbd keys="mod+enter" /> runs the statement under the cursor, or what is selected.
      </EmptyState>
    );
  }
  const { result } = run;
  return (
    <div className="relative flex min-h-0 flex-1 flex-col" aria-busy={running}>
      {late ? (
        <div
          className="absolute inset-x-0 top-0 z-20 h-0.5 overflow-hidden"
          role="progressbar"
          aria-label="Running"
        >
          <div className="h-full w-1/4 animate-progress bg-accent" />
        </div>
      ) : null}
      <span aria-live="polite" className="sr-only">
        {run.status === "done" && result
          ? `${count(result.rows.length, "row")} in ${duration(run.seconds)}`
          : ""}
        {run.status === "canceled" ? "Cancelled" : ""}
      </span>
      {run.status === "failed" ? <Failure run={run} onRetry={onRetry} onShow={onShow} /> : null}
      {run.status === "canceled" ? (
        <p className="shrink-0 border-line border-b bg-sunken px-4 py-2 text-12 text-muted">
          Cancelled after {duration(run.seconds)}; the server stopped it.
          {result ? " This is the answer from before." : ""}
        </p>
      ) : null}
      {result && run.status !== "failed" ? (
        <div className={cx("flex min-h-0 flex-1 flex-col transition-opacity", late && "opacity-60")}>
          <ResultView
            result={result}
            total={run.total}
            zone={zone}
            seconds={run.status === "done" ? run.seconds : undefined}
          />
        </div>
      ) : running ? (
        late ? (
          <ResultSkeleton />
        ) : null
      ) : null}
    </div>
  );
}

function ResultSkeleton() {
  return (
    <div aria-hidden className="flex flex-col gap-4 p-4">
      {Array.from({ length: 7 }, (_, i) => (
        <div key={i} className="flex gap-6">
          <Skeleton className="h-3 w-6" />
          <Skeleton className="h-3 w-32" />
          <Skeleton className="h-3 w-44" />
          <Skeleton className="h-3 w-20" />
        </div>
      ))}
    </div>
  );
}

function Failure({
  run,
  onRetry,
  onShow,
}: {
  run: Run;
  onRetry: () => void;
  onShow: (() => void) | undefined;
}) {
  // What the engine says about the statement is the answer; all else is a fault of ours or the network's.
  if (!(run.error instanceof ConnectError && run.error.code === Code.InvalidArgument)) {
    return <ErrorState error={run.error} title="The query failed" onRetry={onRetry} />;
  }
  return (
    <div role="alert" className="overflow-auto p-4">
      <p className="font-medium text-13 text-bad">The statement was refused</p>
      <p className="mt-1 max-w-180 whitespace-pre-wrap font-mono text-12 [overflow-wrap:anywhere]">
        {errorSentence(run.error.rawMessage)}
      </p>
      {onShow ? (
        <Button size="sm" className="mt-3" onClick={onShow}>
          Go to the place
        </Button>
      ) : null}
    </div>
  );
}

function ResultView({
  result,
  total,
  zone,
  seconds,
}: {
  result: Result;
  total: Run["total"];
  zone: string;
  seconds: number | undefined;
}) {
  const { scope, app } = useApp();
  const picture = useMemo(() => pictureOf(result, zone), [result, zone]);
  const [view, setView] = useState<"table" | "chart">("table");
  const shown = picture ? view : "table";
  const rows = result.rows.length;
  const cut = result.truncated
    ? typeof total === "number"
      ? `First ${exact(rows)} of ${exact(total)} rows`
      : total === "counting"
        ? `First ${exact(rows)} rows, counting the rest`
        : `First ${exact(rows)} rows; there are more`
    : undefined;

  const exportAll = (format: "csv" | "json") => {
    const abort = new AbortController();
    const day = new Date().toISOString().slice(0, 10);
    const name = `${app.name.replace(/[^\w.-]+/g, "-")}-${day}.${format === "csv" ? "csv" : "ndjson"}`;
    const id = toast.loading("Exporting all rows", {
      action: { label: "Cancel", onClick: () => abort.abort() },
      duration: Number.POSITIVE_INFINITY,
    });
    exportStatement(scope, result.sql, format, name, abort.signal, (n) =>
      toast.loading(`Exporting: ${bytes(n)}`, {
        id,
        action: { label: "Cancel", onClick: () => abort.abort() },
      }),
    ).then(
      (n) => toast.success(`${name} saved, ${bytes(n)}`, { id, duration: 4000, action: undefined }),
      (error) =>
        abort.signal.aborted
          ? toast.info("Export cancelled", { id, duration: 4000, action: undefined })
          : toast.error(`The export failed: ${describeError(error).sentence}`, {
              id,
              duration: 10_000,
              action: undefined,
            }),
    );
  };

  return (
    <>
      <div className="flex min-h-10 shrink-0 flex-wrap items-center gap-x-3 gap-y-1 border-line border-b px-3 py-1.5">
        <p
          className={cx(
            "tabular text-12",
            cut ? "rounded-sm bg-warn-soft px-1.5 font-medium text-warn" : "text-muted",
          )}
        >
          {cut ?? count(rows, "row")}
        </p>
        <p className="tabular text-12 text-faint">
          {seconds === undefined ? null : `${duration(seconds)}`}
          {result.scannedRows > 0 ? `, ${compact(result.scannedRows)} rows read` : ""}
        </p>
        <span className="max-sm:hidden">
          <FreshnessChip freshTo={result.freshTo} zone={zone} now={result.at} />
        </span>
        <div className="ml-auto flex items-center gap-2">
          <Segments
            label="Show the result as"
            value={shown}
            onChange={setView}
            options={[
              { value: "table", label: "Table", icon: <Rows3 size={14} strokeWidth={1.5} /> },
              {
                value: "chart",
                label: "Chart",
                icon: <BarChart3 size={14} strokeWidth={1.5} />,
                why: picture ? undefined : "A chart needs a date or a name, and numbers beside it.",
              },
            ]}
          />
          <Menu
            align="end"
            trigger={
              <Button size="sm" icon={<Download size={14} strokeWidth={1.5} />} aria-label="Export">
                <span className="max-sm:hidden">Export</span>
              </Button>
            }
          >
            <MenuLabel>
              {result.truncated
                ? `All rows, not only the first ${exact(rows)}`
                : `All ${count(rows, "row")}, computed anew`}
            </MenuLabel>
            <MenuItem onSelect={() => exportAll("csv")}>CSV</MenuItem>
            <MenuItem onSelect={() => exportAll("json")}>JSON, one object a line</MenuItem>
          </Menu>
        </div>
      </div>
      <div className="min-h-0 flex-1">
        {rows === 0 ? (
          <EmptyState title="The statement ran and found no rows.">
            {result.columns.length > 0
              ? `Its columns: ${result.columns.map((c) => c.name).join(", ")}.`
              : null}
          </EmptyState>
        ) : shown === "chart" && picture ? (
          <ResultChart picture={picture} note={cut} />
        ) : (
          <ResultGrid result={result} zone={zone} label={cut ?? count(rows, "row")} />
        )}
      </div>
    </>
  );
}

function ResultChart({
  picture,
  note,
}: {
  picture: NonNullable<ReturnType<typeof pictureOf>>;
  note: string | undefined;
}) {
  const [hidden, setHidden] = useState<ReadonlySet<string>>(new Set());
  const series = useMemo(
    () =>
      picture.series.map((s, i) => ({
        key: String(i),
        name: s.name,
        color: chartColor(i),
        values: s.values,
      })),
    [picture],
  );
  return (
    <div className="flex h-full min-h-60 flex-col gap-2 p-3">
      <Legend
        series={series.map((s) => ({ ...s, value: s.values.reduce<number>((a, b) => a + (b ?? 0), 0) }))}
        hidden={hidden}
        onChange={setHidden}
        note={note ? <span className="px-1.5 text-12 text-warn">{note}</span> : null}
      />
      <Chart
        kind={picture.kind}
        label={`${picture.kind === "bar" ? "Bars" : "Lines"} of ${picture.series.map((s) => s.name).join(", ")}`}
        categories={picture.categories}
        titles={picture.titles}
        series={series}
        hidden={hidden}
        className="min-h-0 flex-1"
      />
    </div>
  );
}
