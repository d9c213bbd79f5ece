// Home: what changed, with its evidence; key figures; the events; and for an app
// without events how to send the first.
import { type UseQueryResult, useQueries, useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { ArrowDown, ArrowUp, ChartLine, Minus, Plus } from "lucide-react";
import { type ReactNode, useMemo, useState } from "react";
import { eventsQuery, propertiesQuery } from "../../api/queries";
import { useApp } from "../../app/current";
import { buttonClass } from "../../components/button";
import { cx } from "../../components/class-names";
import { Figure } from "../../components/figure";
import { ago, compact, dateTime } from "../../components/format";
import { FreshnessChip } from "../../components/freshness-chip";
import { Card, Page, Section } from "../../components/page";
import { QueryBoundary } from "../../components/query-boundary";
import type { Range } from "../../components/range";
import { Skeleton, SkeletonRows } from "../../components/skeleton";
import { Sparkline } from "../../components/sparkline";
import { ErrorState } from "../../components/states";
import { type Column, Table } from "../../components/table";
import type { SeenEvent } from "../../gen/causality/catalog/v1/catalog_pb";
import type { QueryTrendRequestJson, QueryTrendResponse } from "../../gen/causality/insights/v1/insights_pb";
import { trendQuery } from "../insights/queries";
import { recentQuestions } from "../insights/recents";
import { encodeTrendSearch, type Question, seriesOf } from "../insights/trend-link";
import type { Measure } from "../insights/trend-spec";
import { type Change, isSteady, newValues, sayChange, shareChanges, stories, usersChange } from "./changes";
import { StartHere } from "./start-here";

const week: Range = { kind: "last", n: 7, unit: "d", complete: true };
const lastWeek = { range: { last: "7d", complete: true }, granularity: "day", compare: "previous" };

// Two questions: people and events are counted soonest; sessions and first times
// take longer and must not hold them up.
const figures = [
  {
    id: "A",
    label: "Active users",
    measure: "uniqueUsers",
    slow: false,
    how: "People with at least one event, each counted once.",
  },
  {
    id: "B",
    label: "Events",
    measure: "total",
    slow: false,
    how: "Every tracked event, each counted once however often it was sent.",
  },
  {
    id: "C",
    label: "Sessions",
    measure: "sessions",
    slow: true,
    how: "Visits with at least one event; 30 minutes of silence end one on the web.",
  },
  {
    id: "D",
    label: "New users",
    measure: "firstTime",
    slow: true,
    how: "People whose first event ever fell into these days.",
  },
] as const;

/** Where something new shows first. */
const newsProperties = ["app_version", "utm_campaign"] as const;

/** Seven complete days against the seven before, in the editor. */
function asQuestion(event: string, measure: Measure): Question {
  return { ...seriesOf(event, measure), range: week, compare: true };
}

export function HomePage() {
  const { app, scope, zone, params } = useApp();
  const events = useQuery(eventsQuery(scope));
  const any = (events.data?.length ?? 0) > 0;
  const ask = (slow: boolean) => ({
    ...trendQuery(scope, {
      ...lastWeek,
      timeZone: zone,
      series: figures
        .filter((f) => f.slow === slow)
        .map((f) => ({ id: f.id, event: "", measure: f.measure })),
    } satisfies QueryTrendRequestJson),
    enabled: any,
  });
  const total = useQuery(ask(false));
  const later = useQuery(ask(true));
  return (
    <Page
      title="Home"
      crumbs={[{ label: app.name }]}
      aside={<FreshnessChip freshTo={total.data?.meta?.freshTo} zone={zone} />}
      actions={
        any ? (
          <Link
            to="/$workspace/$app/insights/new/trend"
            params={params}
            search={{}}
            className={buttonClass("secondary")}
          >
            <Plus size={14} strokeWidth={1.5} aria-hidden />
            New trend
          </Link>
        ) : undefined
      }
    >
      <QueryBoundary
        query={events}
        isEmpty={(list) => list.length === 0}
        empty={<StartHere />}
        skeleton={<HomeSkeleton />}
        errorTitle="The events could not be read"
      >
        {(list) => (
          <div className="flex flex-col gap-8">
            <Changes events={list} figures={total} />
            <Section
              title="Key figures"
              actions={<span className="text-12 text-faint">7 complete days and the 7 before, {zone}</span>}
            >
              <Card className="grid grid-cols-2 overflow-hidden max-lg:divide-y max-lg:divide-line lg:grid-cols-4 lg:divide-x lg:divide-line">
                {figures.map((f) => (
                  <KeyFigure key={f.id} figure={f} query={f.slow ? later : total} />
                ))}
              </Card>
            </Section>
            <div className="grid gap-8 lg:grid-cols-[minmax(0,1fr)_280px]">
              <TopEvents events={list} />
              <Recents />
            </div>
          </div>
        )}
      </QueryBoundary>
    </Page>
  );
}

function KeyFigure({
  figure: f,
  query,
}: {
  figure: (typeof figures)[number];
  query: UseQueryResult<QueryTrendResponse>;
}) {
  const { params } = useApp();
  return (
    <div className="min-h-39.5 min-w-0 p-4">
      <QueryBoundary
        query={query}
        skeleton={
          <>
            <Skeleton className="mt-1 h-3 w-20" />
            <Skeleton className="mt-3 h-6 w-24" />
            <Skeleton className="mt-7 h-9 w-full" />
          </>
        }
        errorTitle={`${f.label} could not be counted`}
      >
        {(answer) => {
          const now = answer.series.find((s) => s.id === f.id);
          const before = answer.previous?.series.find((s) => s.id === f.id);
          return (
            <Figure
              label={f.label}
              value={now?.total ?? null}
              before={before?.total ?? null}
              beforeLabel={`${compact(before?.total)} before`}
              definition={f.how}
            >
              <Link
                to="/$workspace/$app/insights/new/trend"
                params={params}
                search={encodeTrendSearch(asQuestion("", f.measure))}
                aria-label={`${f.label} in Trends`}
                className="mt-2 block rounded-sm"
              >
                <Sparkline
                  label={`${f.label}, day by day`}
                  values={now?.points.map((p) => p.value ?? null) ?? []}
                  width={226}
                  height={36}
                />
              </Link>
            </Figure>
          );
        }}
      </QueryBoundary>
    </div>
  );
}

function Changes({
  events,
  figures,
}: {
  events: readonly SeenEvent[];
  figures: UseQueryResult<QueryTrendResponse>;
}) {
  const { scope, zone } = useApp();
  const top = useMemo(() => events.slice(0, 20).map((e) => e.name), [events]);
  const names = useMemo(() => new Map(top.map((event, i) => [String.fromCharCode(65 + i), event])), [top]);
  const week = { ...lastWeek, timeZone: zone };
  const did = useQuery(
    trendQuery(scope, {
      ...week,
      series: [...names].map(([id, event]) => ({ id, event, measure: "uniqueUsers" })),
    }),
  );
  const catalog = useQuery(propertiesQuery(scope, []));
  const known = newsProperties.filter((p) => catalog.data?.properties.some((k) => k.name === p));
  const news = useQueries({
    queries: known.map((property) =>
      trendQuery(scope, {
        ...week,
        series: [{ id: "A", event: "", measure: "uniqueUsers" }],
        breakdowns: [{ property }],
        top: 25,
      }),
    ),
  });
  const users = figures.data ? usersChange(figures.data, "A") : undefined;
  // The other two together: the order of the stories is known when all are.
  const ready =
    !did.isPending && !catalog.isPending && news.every((n) => !n.isPending) && users?.kind === "users";
  const told =
    ready && did.data
      ? stories(
          shareChanges(did.data, names, users),
          known.flatMap((property, i) => {
            const answer = news[i]?.data;
            return answer ? newValues(answer, property) : [];
          }),
        )
      : [];
  return (
    <Section title="What changed" actions={<span className="text-12 text-faint">week over week</span>}>
      <QueryBoundary
        query={figures}
        skeleton={<ChangesSkeleton />}
        errorTitle="What changed could not be computed"
      >
        {() => (
          <ul className="grid gap-3 md:grid-cols-3" aria-busy={!ready}>
            {users ? <Statement change={users} /> : null}
            {did.isError ? (
              <li className="rounded-lg ring-1 ring-line ring-inset md:col-span-2">
                <ErrorState
                  error={did.error}
                  title="What people did could not be compared"
                  onRetry={() => void did.refetch()}
                  className="py-4"
                />
              </li>
            ) : ready ? (
              <>
                {told.map((c) => (
                  <Statement key={sayChange(c).subject} change={c} />
                ))}
                {told.length < 2 ? (
                  <li className="flex items-center rounded-lg p-4 text-muted ring-1 ring-line ring-inset">
                    Nothing else stood out: no other of the top {top.length} events moved beyond chance.
                  </li>
                ) : null}
              </>
            ) : (
              [0, 1].map((i) => (
                <li key={i}>
                  <ChangeSkeleton />
                </li>
              ))
            )}
          </ul>
        )}
      </QueryBoundary>
    </Section>
  );
}

/** The trend behind a statement: the same days, the same numbers. */
function questionOf(change: Change): Question {
  switch (change.kind) {
    case "users":
      return asQuestion("", "uniqueUsers");
    case "new":
      return {
        ...asQuestion("", "uniqueUsers"),
        compare: false,
        spec: {
          ...asQuestion("", "uniqueUsers").spec,
          breakdowns: [{ property: change.property }],
        },
      };
    case "share": {
      const { spec, ...rest } = asQuestion(change.event, "uniqueUsers");
      return {
        ...rest,
        spec: {
          ...spec,
          series: [...spec.series, { id: "B", event: "", measure: "uniqueUsers" }],
          formulas: [{ id: "F1", expr: "A/B*100" }],
        },
      };
    }
  }
}

function Statement({ change }: { change: Change }) {
  const { params } = useApp();
  const { subject, verb, by, evidence } = sayChange(change);
  const steady = isSteady(change);
  const up =
    change.kind === "new"
      ? true
      : change.kind === "users"
        ? change.now > change.before
        : change.now.did * change.before.active > change.before.did * change.now.active;
  const Icon = change.kind === "new" ? Plus : steady ? Minus : up ? ArrowUp : ArrowDown;
  return (
    <li>
      <Link
        to="/$workspace/$app/insights/new/trend"
        params={params}
        search={encodeTrendSearch(questionOf(change))}
        className="group flex h-full min-h-33 flex-col rounded-lg bg-surface p-4 shadow-line ring-1 ring-line hover:ring-edge/70"
      >
        <span className="flex items-start gap-2.5">
          <span
            className={cx(
              "mt-0.5 flex size-5 shrink-0 items-center justify-center rounded-full",
              // More users is good; whether more of an event is, only people know.
              steady
                ? "bg-sunken text-muted"
                : change.kind !== "users"
                  ? "bg-accent-soft text-accent-text"
                  : up
                    ? "bg-good-soft text-good"
                    : "bg-bad-soft text-bad",
            )}
          >
            <Icon size={12} strokeWidth={2.25} aria-hidden />
          </span>
          <span className="min-w-0 text-pretty text-14">
            <span className="break-words font-semibold">{subject}</span> {verb}{" "}
            <span className="tabular font-semibold">{by}</span>
          </span>
        </span>
        <span className="tabular mt-1 pl-7.5 text-12 text-muted">{evidence}</span>
        <span className="mt-auto block pt-3 pl-7.5">
          <Sparkline
            label={`${subject}, people a day over 14 days`}
            values={change.days}
            width={280}
            height={36}
            color={steady ? "var(--color-edge)" : "var(--color-chart-1)"}
          />
        </span>
      </Link>
    </li>
  );
}

function TopEvents({ events }: { events: readonly SeenEvent[] }) {
  const { zone, params } = useApp();
  const most = Math.max(1, ...events.map((e) => e.count30d));
  const columns = useMemo(
    (): Column<SeenEvent>[] => [
      {
        id: "name",
        header: "Event",
        value: (e) => e.name,
        cell: (e) => (
          <Link
            to="/$workspace/$app/insights/new/trend"
            params={params}
            search={encodeTrendSearch(seriesOf(e.name))}
            className="block truncate rounded-sm font-medium hover:text-accent-text"
          >
            {e.name}
          </Link>
        ),
      },
      {
        id: "share",
        header: <span className="sr-only">Share</span>,
        value: (e) => e.count30d,
        sortable: false,
        width: 140,
        cell: (e) => (
          <span aria-hidden className="block h-1.5 overflow-hidden rounded-full bg-sunken">
            <span
              className="block h-full rounded-full bg-chart-1"
              style={{ width: `${Math.max(1, (e.count30d / most) * 100)}%` }}
            />
          </span>
        ),
      },
      {
        id: "count",
        header: "30 days",
        numeric: true,
        width: 90,
        value: (e) => e.count30d,
        cell: (e) => compact(e.count30d),
      },
      {
        id: "seen",
        header: "Last seen",
        numeric: true,
        width: 120,
        value: (e) => e.lastSeen,
        cell: (e) => (
          <span className="text-muted" title={dateTime(e.lastSeen, zone)}>
            {ago(e.lastSeen, zone)}
          </span>
        ),
      },
    ],
    [most, params, zone],
  );
  return (
    <Section
      title="Top events"
      actions={
        <Link
          to="/$workspace/$app/data"
          params={params}
          search={{}}
          className="rounded-sm text-12 text-accent-text underline decoration-accent-text/40 underline-offset-2 hover:decoration-accent-text"
        >
          All {events.length}
        </Link>
      }
    >
      <Card className="overflow-hidden">
        <Table label="Top events" columns={columns} rows={events.slice(0, 10)} rowKey={(e) => e.name} />
      </Card>
    </Section>
  );
}

function Recents() {
  const { app, params } = useApp();
  const [recent] = useState(() => recentQuestions(app.id));
  return (
    <Section title="Recent">
      {recent.length > 0 ? (
        <ul className="flex flex-col">
          {recent.map((r) => (
            <li key={r.name}>
              <Link
                to="/$workspace/$app/insights/new/trend"
                params={params}
                search={r.search}
                className="-mx-2 flex min-h-8 items-center gap-2 rounded-md px-2 py-1 hover:bg-hover"
              >
                <ChartLine size={14} strokeWidth={1.5} className="shrink-0 text-faint" aria-hidden />
                <span className="min-w-0 text-pretty">{r.name}</span>
              </Link>
            </li>
          ))}
        </ul>
      ) : (
        <p className="text-muted">
          Questions that you ask on this device appear here.{" "}
          <Link
            to="/$workspace/$app/insights/new/trend"
            params={params}
            search={{}}
            className="text-accent-text underline decoration-accent-text/40 underline-offset-2 hover:decoration-accent-text"
          >
            Ask the first
          </Link>
        </p>
      )}
    </Section>
  );
}

function Boxes({ children, className }: { children: ReactNode; className: string }) {
  return <div className={cx("grid gap-3", className)}>{children}</div>;
}

function ChangeSkeleton() {
  return (
    <Card className="h-33 p-4">
      <Skeleton className="h-4 w-3/4" />
      <Skeleton className="mt-2 h-3 w-1/2" />
      <Skeleton className="mt-6 h-8 w-full" />
    </Card>
  );
}

function ChangesSkeleton() {
  return (
    <Boxes className="md:grid-cols-3">
      {[0, 1, 2].map((i) => (
        <ChangeSkeleton key={i} />
      ))}
    </Boxes>
  );
}

function FiguresSkeleton() {
  return (
    <Card className="grid grid-cols-2 lg:grid-cols-4">
      {[0, 1, 2, 3].map((i) => (
        <div key={i} className="h-39.5 p-4">
          <Skeleton className="h-3 w-20" />
          <Skeleton className="mt-3 h-6 w-24" />
          <Skeleton className="mt-6 h-9 w-full" />
        </div>
      ))}
    </Card>
  );
}

function HomeSkeleton() {
  return (
    <div className="flex flex-col gap-8">
      <ChangesSkeleton />
      <FiguresSkeleton />
      <SkeletonRows rows={8} />
    </div>
  );
}
