// Live: events while they arrive. It holds still under the pointer, when it is
// scrolled, while text is selected and while a row is open; what came meanwhile
// waits behind one button. Gaps and samples are stated where they are.
import { useQuery } from "@tanstack/react-query";
import { useVirtualizer } from "@tanstack/react-virtual";
import { ChevronRight, CircleX, Pause, Play, Trash2, UserRound, X } from "lucide-react";
import { useCallback, useEffect, useMemo, useRef, useState } from "react";
import { eventsQuery } from "../../api/queries";
import { useApp } from "../../app/current";
import { useShortcut } from "../../app/keys";
import { Badge, Dot } from "../../components/badge";
import { Button, IconButton } from "../../components/button";
import { cx } from "../../components/class-names";
import { Combobox } from "../../components/combobox";
import { ago, compact, count, dateTime, exact, time, zoneName } from "../../components/format";
import { Input } from "../../components/input";
import { Json } from "../../components/json";
import { Page } from "../../components/page";
import { Select } from "../../components/select";
import { Skeleton } from "../../components/skeleton";
import { EmptyState } from "../../components/states";
import { FirstEvent } from "../settings/first-event";
import {
  type Feed,
  type LiveFilter,
  matches,
  mostRows,
  noFilter,
  origin,
  type Row,
  summary,
  title,
} from "./feed";
import type { LiveState } from "./sse";
import { useLive } from "./use-live";

export function LivePage() {
  const { app } = useApp();
  return <Live key={app.id} />;
}

const rowHeight = 32;
const noEvents: readonly string[] = [];

function Live() {
  const { app, scope, zone } = useApp();
  const [filter, setFilter] = useState<LiveFilter>(noFilter);
  const [hover, setHover] = useState(false);
  const [focused, setFocused] = useState(false);
  const [scrolled, setScrolled] = useState(false);
  const [selecting, setSelecting] = useState(false);
  const [manual, setManual] = useState(false);
  const [open, setOpen] = useState<ReadonlySet<number>>(new Set());
  const box = useRef<HTMLDivElement>(null);
  const paused = manual || scrolled || selecting || open.size > 0 || focused || hover;
  // One event name or several are filtered where they are sent, so that rare ones are not sampled away.
  const names = filter.events.length > 0 ? filter.events : noEvents;
  const { feed, state, perSecond, resume, clear, retry } = useLive(scope, names, paused, (from, to) => {
    return `Not connected from ${time(from, zone)} to ${time(to, zone)}. What came in between is stored, but not shown here.`;
  });
  const events = useQuery(eventsQuery(scope));
  const rows = useMemo(() => feed.rows.filter((r) => matches(r, filter)), [feed.rows, filter]);
  const waiting = useMemo(
    () =>
      filter === noFilter
        ? feed.pendingCount
        : feed.pending.filter((r) => r.kind !== "gap" && matches(r, filter)).length,
    [feed.pending, feed.pendingCount, filter],
  );

  // Nothing holds it any more: show what waited.
  const held = useRef(false);
  useEffect(() => {
    if (held.current && !paused) resume();
    held.current = paused;
  }, [paused, resume]);

  useEffect(() => {
    const changed = () => {
      const selection = getSelection();
      setSelecting(
        Boolean(selection && !selection.isCollapsed && box.current?.contains(selection.anchorNode)),
      );
    };
    document.addEventListener("selectionchange", changed);
    return () => document.removeEventListener("selectionchange", changed);
  }, []);

  const showWaiting = useCallback(() => {
    setManual(false);
    setOpen(new Set());
    getSelection()?.removeAllRanges();
    if (box.current) box.current.scrollTop = 0;
    resume();
  }, [resume]);

  useShortcut("space", () => (paused && !hover ? showWaiting() : setManual((m) => !m)), {
    does: "Pause or resume",
  });

  const change = (part: Partial<LiveFilter>) =>
    setFilter((before) => {
      const next = { ...before, ...part };
      return next.events.length === 0 && next.user === "" && next.text === "" && next.kind === "all"
        ? noFilter
        : next;
    });

  const toggle = useCallback(
    (key: number) =>
      setOpen((before) => {
        const next = new Set(before);
        if (!next.delete(key)) next.add(key);
        return next;
      }),
    [],
  );

  const nothing = feed.rows.length === 0 && feed.pending.length === 0;
  return (
    <Page
      title="Live"
      crumbs={[{ label: app.name }]}
      wide
      aside={
        <span className="flex items-center gap-3">
          <Status state={state} />
          <span className="text-12 text-faint max-lg:hidden">{zoneName(zone)}</span>
        </span>
      }
      actions={
        <>
          <span className="tabular text-12 text-muted" title="Over the last ten seconds">
            {state.status === "live"
              ? `${perSecond < 10 ? perSecond.toFixed(1) : compact(Math.round(perSecond))} a second`
              : null}
          </span>
          <IconButton
            label={manual ? "Resume" : "Pause"}
            keys="space"
            onClick={() => (manual ? showWaiting() : setManual(true))}
          >
            {manual ? <Play size={14} strokeWidth={1.5} /> : <Pause size={14} strokeWidth={1.5} />}
          </IconButton>
          <IconButton label="Clear the list" onClick={clear}>
            <Trash2 size={14} strokeWidth={1.5} />
          </IconButton>
        </>
      }
      bar={<FilterBar filter={filter} onChange={change} names={events.data ?? []} />}
    >
      <div className="relative flex min-h-0 flex-1 flex-col">
        {waiting > 0 ? (
          <div className="pointer-events-none absolute inset-x-0 top-2 z-20 flex sm:top-10 justify-center">
            <button
              type="button"
              onClick={showWaiting}
              className="pointer-events-auto flex h-7 items-center gap-2 rounded-full bg-accent px-3 font-medium text-12 text-on-accent shadow-menu hover:brightness-108"
            >
              <span className="tabular">{exact(waiting)} new</span>
            </button>
          </div>
        ) : null}
        {nothing ? (
          <div className="min-h-0 flex-1 overflow-auto">
            <Quiet
              state={state}
              lastSeen={lastSeen(events.data)}
              zone={zone}
              filtered={filter !== noFilter}
              onRetry={retry}
            />
          </div>
        ) : (
          <>
            {state.status === "stopped" ? (
              <div
                role="alert"
                className="flex items-center gap-3 border-line border-b bg-bad-soft px-4 py-2 text-13 text-bad lg:px-6"
              >
                {state.sentence}
                <Button size="sm" onClick={retry} className="ml-auto">
                  Connect again
                </Button>
              </div>
            ) : null}
            <List
              box={box}
              rows={rows}
              feed={feed}
              open={open}
              zone={zone}
              onToggle={toggle}
              onHover={setHover}
              onFocus={setFocused}
              onScrolled={setScrolled}
              filtered={filter !== noFilter}
              onClearFilter={() => setFilter(noFilter)}
            />
          </>
        )}
      </div>
    </Page>
  );
}

const lastSeen = (events: readonly { lastSeen: string }[] | undefined) =>
  events?.map((e) => e.lastSeen).sort((a, b) => Date.parse(b) - Date.parse(a))[0];

function Status({ state }: { state: LiveState }) {
  const [now, setNow] = useState(Date.now());
  const ticking = state.status === "waiting";
  useEffect(() => {
    if (!ticking) return;
    setNow(Date.now());
    const timer = setInterval(() => setNow(Date.now()), 1000);
    return () => clearInterval(timer);
  }, [ticking]);
  const [tone, says] =
    state.status === "live"
      ? (["good", "Connected"] as const)
      : state.status === "connecting"
        ? (["neutral", "Connecting"] as const)
        : state.status === "waiting"
          ? (["warn", `Reconnecting in ${Math.max(1, Math.ceil((state.at - now) / 1000))} s`] as const)
          : (["bad", "Not connected"] as const);
  return (
    <span
      role="status"
      title={"sentence" in state ? state.sentence : undefined}
      className="tabular inline-flex items-center gap-1.5 whitespace-nowrap text-12 text-muted"
    >
      <Dot tone={tone} pulse={tone === "good"} />
      {says}
    </span>
  );
}

function FilterBar({
  filter,
  onChange,
  names,
}: {
  filter: LiveFilter;
  onChange: (part: Partial<LiveFilter>) => void;
  names: readonly { name: string; count30d: number }[];
}) {
  const label =
    filter.events.length === 0
      ? "All events"
      : filter.events.length === 1
        ? filter.events[0]
        : `${filter.events.length} events`;
  return (
    <>
      <Combobox
        label="Events to show"
        options={names.map((e) => ({ value: e.name, label: e.name, note: compact(e.count30d) }))}
        values={filter.events}
        onChange={(name) =>
          onChange({
            events: filter.events.includes(name)
              ? filter.events.filter((e) => e !== name)
              : [...filter.events, name],
          })
        }
        create={(text) => `Only “${text}”`}
        empty="No event is called that."
        searchPlaceholder="Event name"
        trigger={
          <Button size="sm" className="max-w-48">
            <span className="truncate">{label}</span>
          </Button>
        }
        {...(filter.events.length > 0
          ? {
              footer: (
                <Button size="sm" look="ghost" onClick={() => onChange({ events: [] })}>
                  Show all events
                </Button>
              ),
            }
          : {})}
      />
      <Select
        label="Kind"
        value={filter.kind}
        onChange={(kind) => onChange({ kind })}
        options={[
          { value: "all", label: "Every kind" },
          { value: "TRACK", label: "Events" },
          { value: "people", label: "People and groups" },
          { value: "rejected", label: "Rejected" },
        ]}
      />
      <Input
        type="search"
        aria-label="User"
        placeholder="User id"
        value={filter.user}
        onChange={(e) => onChange({ user: e.target.value })}
        className="h-7 w-36 max-sm:w-auto max-sm:min-w-36 max-sm:flex-1"
      />
      <Input
        type="search"
        aria-label="Text in the event"
        placeholder="Text in the event"
        value={filter.text}
        onChange={(e) => onChange({ text: e.target.value })}
        className="h-7 w-48 max-sm:w-auto max-sm:min-w-36 max-sm:flex-1"
      />
      {filter === noFilter ? null : (
        <Button
          size="sm"
          look="ghost"
          icon={<X size={14} strokeWidth={1.5} />}
          onClick={() => onChange(noFilter)}
        >
          Clear
        </Button>
      )}
    </>
  );
}

function Quiet({
  state,
  lastSeen,
  zone,
  filtered,
  onRetry,
}: {
  state: LiveState;
  lastSeen: string | undefined;
  zone: string;
  filtered: boolean;
  onRetry: () => void;
}) {
  if (state.status === "stopped" || state.status === "waiting") {
    return (
      <EmptyState
        title={state.status === "stopped" ? `Live cannot be shown: ${state.sentence}` : state.sentence}
        actions={<Button onClick={onRetry}>Try now</Button>}
      >
        {state.status === "waiting"
          ? "It is tried again by itself. Events are accepted and stored meanwhile."
          : null}
      </EmptyState>
    );
  }
  if (state.status === "connecting") {
    return (
      <div aria-busy className="divide-y divide-line">
        <span className="sr-only">Connecting</span>
        {Array.from({ length: 8 }, (_, i) => (
          <div key={i} className="flex h-8 items-center gap-4 px-4 lg:px-6">
            <Skeleton className="h-3 w-16" />
            <Skeleton className="h-3 w-32" />
            <Skeleton className="h-3 w-24" />
            <Skeleton className="h-3 w-72 max-sm:hidden" />
          </div>
        ))}
      </div>
    );
  }
  if (filtered) {
    return (
      <EmptyState title="Nothing that fits the filter has come yet.">
        It stays connected and shows the first that does.
      </EmptyState>
    );
  }
  if (lastSeen) {
    return (
      <EmptyState title="Quiet right now.">
        The last event came <span title={dateTime(lastSeen, zone)}>{ago(lastSeen, zone)}</span>. The next one
        appears here by itself.
      </EmptyState>
    );
  }
  return (
    <div className="mx-auto max-w-180 px-4 py-8 lg:px-6">
      <h2 className="font-semibold text-16">No events yet. Send the first one.</h2>
      <p className="mt-1 mb-4 text-13 text-muted">It appears here within a second.</p>
      <FirstEvent />
    </div>
  );
}

// Time, event, user, platform, properties.
const grid =
  "grid items-center gap-x-3 grid-cols-[16px_62px_minmax(0,1fr)] sm:grid-cols-[16px_62px_minmax(120px,200px)_minmax(80px,140px)_72px_minmax(0,1fr)]";

function List({
  box,
  rows,
  feed,
  open,
  zone,
  onToggle,
  onHover,
  onFocus,
  onScrolled,
  filtered,
  onClearFilter,
}: {
  box: React.RefObject<HTMLDivElement | null>;
  rows: readonly Row[];
  feed: Feed;
  open: ReadonlySet<number>;
  zone: string;
  onToggle: (key: number) => void;
  onHover: (over: boolean) => void;
  onFocus: (inside: boolean) => void;
  onScrolled: (scrolled: boolean) => void;
  filtered: boolean;
  onClearFilter: () => void;
}) {
  const virtualizer = useVirtualizer({
    count: rows.length,
    getScrollElement: () => box.current,
    estimateSize: () => rowHeight,
    getItemKey: (i) => rows[i]?.key ?? i,
    overscan: 16,
  });
  // Rows that are gone from the list must not hold it.
  useEffect(() => () => onHover(false), [onHover]);
  return (
    <>
      <div
        className={cx(
          grid,
          "h-8 shrink-0 border-line border-b bg-surface px-4 font-medium text-12 text-muted max-sm:hidden lg:px-6",
        )}
        aria-hidden
      >
        <span />
        <span>Time</span>
        <span>Event</span>
        <span>User</span>
        <span>Platform</span>
        <span>Properties</span>
      </div>
      <section
        ref={box}
        aria-label="Events, newest first"
        tabIndex={0}
        onPointerEnter={(e) => e.pointerType === "mouse" && onHover(true)}
        onPointerLeave={() => onHover(false)}
        onFocus={(e) => onFocus(e.target.matches(":focus-visible"))}
        onBlur={(e) => !e.currentTarget.contains(e.relatedTarget) && onFocus(false)}
        onScroll={(e) => onScrolled(e.currentTarget.scrollTop > 8)}
        className="min-h-0 flex-1 overflow-auto bg-surface focus-visible:-outline-offset-2"
      >
        {rows.length === 0 && filtered ? (
          <EmptyState
            title="Nothing here fits the filter yet."
            actions={<Button onClick={onClearFilter}>Clear the filter</Button>}
          >
            {count(feed.rows.length, "event")} came and did not match.
          </EmptyState>
        ) : null}
        <ul className="relative" style={{ height: virtualizer.getTotalSize() }}>
          {virtualizer.getVirtualItems().map((v) => {
            const row = rows[v.index];
            if (!row) return null;
            return (
              <li
                key={row.key}
                ref={virtualizer.measureElement}
                data-index={v.index}
                className="absolute inset-x-0 border-line/70 border-b"
                style={{ transform: `translateY(${v.start}px)` }}
              >
                {row.kind === "gap" ? (
                  <p className="bg-warn-soft px-4 py-1.5 text-12 text-warn lg:px-6">{row.sentence}</p>
                ) : (
                  <EventRow row={row} open={open.has(row.key)} zone={zone} onToggle={onToggle} />
                )}
              </li>
            );
          })}
        </ul>
        {rows.length >= mostRows || feed.droppedRows > 0 ? (
          <p className="px-4 py-3 text-center text-12 text-faint">
            The newest {exact(mostRows)} are kept here; {exact(feed.droppedRows)} older ones of this visit
            were let go. All are in SQL.
          </p>
        ) : null}
      </section>
    </>
  );
}

function EventRow({
  row,
  open,
  zone,
  onToggle,
}: {
  row: Exclude<Row, { kind: "gap" }>;
  open: boolean;
  zone: string;
  onToggle: (key: number) => void;
}) {
  const rejected = row.kind === "rejected";
  const at = rejected ? row.rejected.receivedAt : row.event.receivedAt;
  const pairs = rejected ? [] : summary(row.event);
  const user = rejected ? "" : (row.event.userId ?? row.event.anonymousId ?? "");
  const known = !rejected && row.event.userId !== undefined;
  return (
    <>
      <button
        type="button"
        aria-expanded={open}
        onClick={() => {
          // A drag that selected text is no click.
          if (!String(getSelection())) onToggle(row.key);
        }}
        className={cx(
          grid,
          "min-h-8 w-full select-text px-4 py-1 text-left hover:bg-sunken focus-visible:-outline-offset-2 lg:px-6",
          open && "bg-sunken",
        )}
      >
        <ChevronRight
          size={14}
          strokeWidth={1.5}
          aria-hidden
          className={cx("text-faint transition-transform max-sm:self-start max-sm:mt-1", open && "rotate-90")}
        />
        <span
          className="tabular text-12 text-muted max-sm:self-start max-sm:leading-5"
          title={dateTime(at, zone)}
        >
          {time(at, zone)}
        </span>
        <span className="flex min-w-0 flex-col sm:contents">
          <span className="flex min-w-0 items-center gap-1.5">
            {rejected ? (
              <CircleX size={14} strokeWidth={1.75} className="shrink-0 text-bad" aria-hidden />
            ) : row.event.type === "TRACK" ? null : (
              <UserRound size={14} strokeWidth={1.5} className="shrink-0 text-faint" aria-hidden />
            )}
            <span className={cx("truncate font-medium text-13", rejected && "text-bad")}>
              {rejected ? row.rejected.name || "(no name)" : title(row.event)}
            </span>
            {rejected ? <Badge tone="bad">rejected</Badge> : null}
          </span>
          <span
            className={cx(
              "truncate text-12",
              known ? "text-text" : "text-faint",
              rejected && "max-sm:hidden",
            )}
            title={user ? (known ? user : `${user}, not identified`) : undefined}
          >
            {user || (rejected ? "" : "–")}
          </span>
          <span
            className="truncate text-12 text-muted max-sm:hidden"
            title={rejected ? undefined : origin(row.event).long}
          >
            {rejected ? "" : origin(row.event).short}
          </span>
          <span className="truncate text-12 text-muted">
            {rejected
              ? row.rejected.message
              : pairs.map(([k, v]) => (
                  <span key={k} className="mr-3">
                    <span className="text-faint">{k}</span> {v}
                  </span>
                ))}
          </span>
        </span>
      </button>
      {open ? (
        <div className="bg-sunken px-4 pb-3 sm:pl-13 lg:px-6 lg:pl-15">
          {rejected ? (
            <p className="mb-2 text-13 text-text">
              {row.rejected.message} <code className="font-mono text-12 text-muted">{row.rejected.code}</code>
            </p>
          ) : null}
          <Json
            text={rejected ? row.rejected.event : JSON.stringify(row.event)}
            mark={rejected ? row.rejected.field || undefined : undefined}
            label="the event"
          />
        </div>
      ) : null}
    </>
  );
}
