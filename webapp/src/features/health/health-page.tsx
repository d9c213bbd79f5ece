// Health: whether everything received can be queried, and if not, why not and
// what to do. Refreshes itself every five seconds.
import { useQuery } from "@tanstack/react-query";
import { CircleAlert, CircleCheck, CircleDashed, TriangleAlert } from "lucide-react";
import { Fragment, type ReactNode, useMemo } from "react";
import { healthQuery } from "../../api/queries";
import { landing, useMe, useWorkspace } from "../../app/current";
import { Badge } from "../../components/badge";
import { Chart } from "../../components/chart";
import { cx } from "../../components/class-names";
import {
  ago,
  bytes,
  compact,
  dateTime,
  duration,
  exact,
  missing,
  time,
  zoneName,
} from "../../components/format";
import { Card, Page, Section } from "../../components/page";
import { QueryBoundary } from "../../components/query-boundary";
import { Skeleton } from "../../components/skeleton";
import { type Column, Table } from "../../components/table";
import { Tooltip } from "../../components/tooltip";
import type {
  AppHealth,
  Component,
  Counters,
  Disk,
  Figure,
  ReportResponse,
} from "../../gen/causality/health/v1/health_pb";
import { type Tone, verdict } from "./verdict";

export function HealthPage() {
  const workspace = useWorkspace();
  const me = useMe();
  const zone = landing(me, workspace)?.app?.timeZone || "UTC";
  const report = useQuery({ ...healthQuery(workspace.id), refetchInterval: 5_000, staleTime: 0 });
  return (
    <Page
      title="Health"
      crumbs={[{ label: workspace.name }]}
      aside={<span className="text-12 text-faint max-sm:hidden">Times in {zoneName(zone)}</span>}
      actions={
        report.isError && report.data ? (
          <Badge tone="warn">Not reachable; this is from {time(report.dataUpdatedAt, zone)}</Badge>
        ) : (
          <span className="tabular text-12 text-faint">
            {report.dataUpdatedAt ? `Checked at ${time(report.dataUpdatedAt, zone)}` : null}
          </span>
        )
      }
    >
      <QueryBoundary
        query={report}
        skeleton={<HealthSkeleton />}
        errorTitle="The state of the server could not be read"
      >
        {(data) => <Report report={data} zone={zone} />}
      </QueryBoundary>
    </Page>
  );
}

const looks: Record<Tone, { icon: ReactNode; soft: string }> = {
  good: { icon: <CircleCheck size={20} strokeWidth={1.75} className="text-good" />, soft: "" },
  warn: { icon: <TriangleAlert size={20} strokeWidth={1.75} className="text-warn" />, soft: "bg-warn-soft" },
  bad: { icon: <CircleAlert size={20} strokeWidth={1.75} className="text-bad" />, soft: "bg-bad-soft" },
  neutral: { icon: <CircleDashed size={20} strokeWidth={1.75} className="text-faint" />, soft: "" },
};

function Report({ report, zone }: { report: ReportResponse; zone: string }) {
  const says = verdict(report);
  const look = looks[says.tone];
  return (
    <div className="flex flex-col gap-8">
      <Card>
        <div className={cx("flex items-start gap-3 rounded-t-lg px-4 py-4 sm:px-5", look.soft)}>
          <span className="mt-1 shrink-0">{look.icon}</span>
          <div className="min-w-0">
            <h2 className="text-balance font-semibold text-20 tracking-tight">{says.sentence}</h2>
            {says.note ? (
              <p className={cx("mt-0.5 text-pretty text-13", look.soft ? "text-text" : "text-muted")}>
                {says.note}
              </p>
            ) : null}
          </div>
        </div>
        {report.counters ? <Equation counters={report.counters} /> : null}
      </Card>

      <div className="grid gap-8 lg:grid-cols-[2fr_1fr]">
        <Lag report={report} zone={zone} />
        <Disks disks={report.disks} />
      </div>

      <Section title="Parts of the server">
        <div className="grid gap-3 sm:grid-cols-2">
          {report.components.map((c) => (
            <Part key={c.name} component={c} />
          ))}
        </div>
      </Section>

      <Section title="Apps">
        <Card className="overflow-hidden">
          <Apps apps={report.apps} zone={zone} />
        </Card>
      </Section>

      <Section title="Versions">
        <dl className="flex flex-wrap gap-x-8 gap-y-2">
          {report.versions.map((v) => (
            <div key={v.name}>
              <dt className="text-12 text-faint">{v.name}</dt>
              <dd className="font-mono text-12">{v.version}</dd>
            </div>
          ))}
          <div>
            <dt className="text-12 text-faint">Running since</dt>
            <dd className="text-12">{dateTime(report.startedAt, zone)}</dd>
          </div>
        </dl>
      </Section>
    </div>
  );
}

const definitions = {
  Accepted: "Events that senders were told are taken (answered with 200), ever.",
  waiting: "Kept durably in the stream, on their way into the lake.",
  "dead letters": "Set aside, since they could not be written: see causality lake dead-letters.",
  Stored: "Written to the lake.",
  duplicates: "Sent again with an id that was stored already. They count once.",
  removed: "Erased on request, or past the app's retention.",
  Queryable: "Rows that every question reads.",
};

/** accepted − waiting − dead letters = stored, stored − duplicates − removed = queryable. */
function Equation({ counters: c }: { counters: Counters }) {
  const terms: {
    sign: string;
    name: keyof typeof definitions;
    value: number;
    small?: boolean;
    warn?: boolean;
  }[] = [
    { sign: "", name: "Accepted", value: c.accepted },
    { sign: "−", name: "waiting", value: c.waiting, small: true },
    ...(c.deadLetters > 0
      ? [{ sign: "−", name: "dead letters" as const, value: c.deadLetters, small: true }]
      : []),
    { sign: "=", name: "Stored", value: c.stored },
    { sign: "−", name: "duplicates", value: c.duplicates, small: true },
    ...(c.removed > 0 ? [{ sign: "−", name: "removed" as const, value: c.removed, small: true }] : []),
    { sign: "=", name: "Queryable", value: c.queryable },
  ];
  return (
    <div className="border-line border-t px-4 py-4 sm:px-5">
      <dl className="flex flex-wrap items-end gap-x-4 gap-y-3 max-sm:flex-col max-sm:items-stretch max-sm:gap-y-1.5">
        {terms.map((t) => (
          <Fragment key={t.name}>
            {t.sign ? (
              <span aria-hidden className="pb-0.5 text-16 text-faint max-sm:hidden">
                {t.sign}
              </span>
            ) : null}
            <div className="max-sm:flex max-sm:items-baseline max-sm:justify-between">
              <dt className="text-12 text-muted">
                <span aria-hidden className="inline-block w-4 text-faint sm:hidden">
                  {t.sign}
                </span>
                <Tooltip label={definitions[t.name]}>
                  <span
                    tabIndex={0}
                    className="cursor-help underline decoration-edge/50 decoration-dotted underline-offset-3"
                  >
                    {t.name}
                  </span>
                </Tooltip>
              </dt>
              <dd
                className={cx(
                  "tabular font-semibold tracking-tight max-sm:text-14",
                  t.small ? "text-16 text-muted" : "text-20",
                )}
              >
                {exact(t.value)}
              </dd>
            </div>
          </Fragment>
        ))}
      </dl>
      <p className="tabular mt-4 text-12 text-muted">
        Not in the sum: {exact(c.rejected)} rejected, answered with a reason and kept under Data;{" "}
        {exact(c.droppedBySenders)} dropped by senders before sending, as their SDKs report.
      </p>
    </div>
  );
}

function Lag({ report, zone }: { report: ReportResponse; zone: string }) {
  const history = report.lagHistory;
  const categories = useMemo(() => history.map((s) => time(s.at, zone, false)), [history, zone]);
  const series = useMemo(
    () => [
      {
        key: "p95",
        name: "95% queryable within",
        color: "var(--color-chart-1)",
        values: history.map((s) => s.p95Seconds),
      },
    ],
    [history],
  );
  return (
    <Section title="From accepted to queryable">
      <Card className="p-4">
        <div className="flex flex-wrap gap-x-8 gap-y-2">
          <div>
            <p className="text-12 text-muted">Oldest event waiting</p>
            <p className="tabular font-semibold text-20">
              {report.lagSeconds > 0 ? duration(report.lagSeconds) : "none"}
            </p>
          </div>
          <div>
            <p className="text-12 text-muted">95% within, last 5 minutes</p>
            <p className="tabular font-semibold text-20">
              {report.lagP95Seconds > 0 ? duration(report.lagP95Seconds) : missing}
            </p>
          </div>
        </div>
        {history.length > 1 ? (
          <Chart
            kind="line"
            label="Time within which 95% of events were queryable, each minute of the last hour"
            categories={categories}
            series={series}
            format={duration}
            axisFormat={duration}
            className="mt-3 h-35"
          />
        ) : (
          <p className="mt-3 text-12 text-faint">
            The last hour is drawn here once two minutes with events have passed.
          </p>
        )}
      </Card>
    </Section>
  );
}

// Folders on one disk report the same size and nearly the same free space.
function byDisk(folders: readonly Disk[]): Disk[][] {
  const groups: Disk[][] = [];
  for (const f of folders) {
    const same = groups.find(
      ([g]) =>
        g && g.totalBytes === f.totalBytes && Math.abs(g.freeBytes - f.freeBytes) < 0.01 * f.totalBytes,
    );
    if (same) same.push(f);
    else groups.push([f]);
  }
  return groups;
}

const parts = ["bg-chart-1", "bg-chart-3", "bg-chart-2", "bg-chart-4"];

function Disks({ disks }: { disks: readonly Disk[] }) {
  return (
    <Section title="Disk">
      <Card className="flex flex-col gap-5 p-4">
        {disks.length === 0 ? <p className="text-13 text-muted">No disk is reported.</p> : null}
        {byDisk(disks).map((folders) => (
          <OneDisk key={folders.map((f) => f.path).join()} folders={folders} />
        ))}
      </Card>
    </Section>
  );
}

function OneDisk({ folders }: { folders: readonly Disk[] }) {
  const total = folders[0]?.totalBytes ?? 0;
  const free = Math.min(...folders.map((f) => f.freeBytes));
  const ours = folders.reduce((sum, f) => sum + f.usedBytes, 0);
  const others = Math.max(0, total - free - ours);
  const low = total > 0 && free / total < 0.1;
  const share = (n: number) => `${total > 0 ? (n / total) * 100 : 0}%`;
  return (
    <div>
      <div className="flex items-baseline justify-between gap-3">
        <span className={cx("tabular font-semibold text-20", low && "text-bad")}>{bytes(free)} free</span>
        <span className="tabular text-12 text-muted">of {bytes(total)}</span>
      </div>
      <div
        aria-hidden
        className="mt-2 flex h-2 overflow-hidden rounded-full bg-sunken ring-1 ring-line ring-inset"
      >
        {folders.map((f, i) => (
          <div
            key={f.path}
            className={parts[i % parts.length]}
            style={{ width: share(f.usedBytes), minWidth: f.usedBytes > 0 ? 2 : 0 }}
          />
        ))}
        <div className="bg-edge/50" style={{ width: share(others) }} />
      </div>
      <ul className="mt-2 flex flex-col gap-0.5 text-12">
        {folders.map((f, i) => (
          <li key={f.path} className="flex items-center gap-2" title={f.path}>
            <span aria-hidden className={cx("size-2 rounded-[2px]", parts[i % parts.length])} />
            <span className="truncate text-muted">{f.name}</span>
            <span className="tabular ml-auto">{bytes(f.usedBytes)}</span>
          </li>
        ))}
        <li className="flex items-center gap-2">
          <span aria-hidden className="size-2 rounded-[2px] bg-edge/50" />
          <span className="text-muted">Everything else</span>
          <span className="tabular ml-auto">{bytes(others)}</span>
        </li>
      </ul>
      {low ? (
        <p className="mt-2 text-12 text-bad">
          Free some space: when the disk is full, senders get 503 and keep their events.
        </p>
      ) : null}
    </div>
  );
}

const statusLook: Record<string, { tone: "good" | "warn" | "bad" | "neutral"; word: string }> = {
  ok: { tone: "good", word: "OK" },
  degraded: { tone: "warn", word: "Needs attention" },
  down: { tone: "bad", word: "Down" },
};

function figureText({ value, unit }: Figure): string {
  if (unit === "bytes") return bytes(value);
  if (unit === "seconds") return duration(value);
  return compact(value);
}

function Part({ component: c }: { component: Component }) {
  const look = statusLook[c.status] ?? { tone: "neutral" as const, word: c.status };
  return (
    <Card className="flex flex-col p-4">
      <div className="flex items-center gap-2">
        <h3 className="font-medium text-13">{c.name}</h3>
        <span className="ml-auto">
          <Badge tone={look.tone}>{look.word}</Badge>
        </span>
      </div>
      <p className={cx("mt-1 text-pretty text-12", c.status === "ok" ? "text-muted" : "text-text")}>
        {c.message ||
          (c.status === "ok" ? "Working; nothing to do." : "It gave no reason; look at the server's log.")}
      </p>
      {c.figures.length > 0 ? (
        <dl className="mt-auto flex flex-wrap gap-x-6 gap-y-1 pt-3">
          {c.figures.map((f) => (
            <div key={f.name}>
              <dt className="text-11 text-faint">{f.name}</dt>
              <dd className="tabular text-12" title={exact(f.value)}>
                {figureText(f)}
              </dd>
            </div>
          ))}
        </dl>
      ) : null}
    </Card>
  );
}

function Apps({ apps, zone }: { apps: readonly AppHealth[]; zone: string }) {
  const columns = useMemo<Column<AppHealth>[]>(() => {
    const counter = (
      id: keyof Omit<Counters, "$typeName" | "$unknown">,
      header: string,
    ): Column<AppHealth> => ({
      id,
      header,
      numeric: true,
      value: (a) => a.counters?.[id] ?? 0,
      cell: (a) => exact(a.counters?.[id] ?? 0),
    });
    return [
      {
        id: "app",
        header: "App",
        value: (a) => a.appName,
        cell: (a) => <span className="font-medium">{a.appName}</span>,
      },
      counter("accepted", "Accepted"),
      counter("waiting", "Waiting"),
      counter("queryable", "Queryable"),
      counter("duplicates", "Duplicates"),
      counter("rejected", "Rejected"),
      {
        id: "last",
        header: "Last received",
        value: (a) => a.lastReceivedAt || null,
        cell: (a) => (
          <span title={a.lastReceivedAt ? dateTime(a.lastReceivedAt, zone) : undefined}>
            {a.lastReceivedAt ? ago(a.lastReceivedAt, zone) : "never"}
          </span>
        ),
      },
    ];
  }, [zone]);
  return (
    <Table
      label="Apps"
      columns={columns}
      rows={apps}
      rowKey={(a) => a.appId}
      sort={{ id: "accepted", desc: true }}
    />
  );
}

function HealthSkeleton() {
  return (
    <div className="flex flex-col gap-8">
      <Card className="p-5">
        <Skeleton className="h-7 w-4/5 max-w-120" />
        <div className="mt-8 flex flex-wrap gap-8">
          <Skeleton className="h-10 w-28" />
          <Skeleton className="h-10 w-16" />
          <Skeleton className="h-10 w-28" />
          <Skeleton className="h-10 w-28" />
        </div>
      </Card>
      <div className="grid gap-8 lg:grid-cols-[2fr_1fr]">
        <Card className="h-60 p-4">
          <Skeleton className="h-10 w-40" />
        </Card>
        <Card className="h-40 p-4">
          <Skeleton className="h-4 w-32" />
        </Card>
      </div>
      <div className="grid gap-3 sm:grid-cols-2">
        {Array.from({ length: 4 }, (_, i) => (
          <Card key={i} className="h-24 p-4">
            <Skeleton className="h-4 w-24" />
          </Card>
        ))}
      </div>
    </div>
  );
}
