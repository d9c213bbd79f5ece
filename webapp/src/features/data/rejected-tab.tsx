// Rejected events: grouped by reason with the remedy, then the newest one by one
// with the bad field marked. Senders were told the same in their answers.
import { useInfiniteQuery } from "@tanstack/react-query";
import { ChevronRight, ShieldCheck } from "lucide-react";
import { useId, useState } from "react";
import type { Scope } from "../../api/transport";
import { useApp } from "../../app/current";
import { Badge } from "../../components/badge";
import { Button } from "../../components/button";
import { cx } from "../../components/class-names";
import { ago, count, dateTime, exact } from "../../components/format";
import { Json } from "../../components/json";
import { Card, Section } from "../../components/page";
import { QueryBoundary } from "../../components/query-boundary";
import { Skeleton, SkeletonRows } from "../../components/skeleton";
import { EmptyState } from "../../components/states";
import type { RejectedEvent, RejectedGroup } from "../../gen/causality/catalog/v1/catalog_pb";
import { rejectedQuery } from "./queries";

/** How many were rejected in all; undefined until known. */
export function useRejectedCount(scope: Scope): number | undefined {
  const { data } = useInfiniteQuery(rejectedQuery(scope, ""));
  return data?.pages[0]?.groups.reduce((sum, g) => sum + g.count, 0);
}

export function RejectedTab() {
  const { scope, zone } = useApp();
  const [code, setCode] = useState("");
  const all = useInfiniteQuery(rejectedQuery(scope, ""));
  const chosen = useInfiniteQuery(rejectedQuery(scope, code));
  return (
    <QueryBoundary
      query={all}
      errorTitle="The rejected events could not be read"
      skeleton={
        <div className="flex flex-col gap-3">
          <Skeleton className="h-24 rounded-lg" />
          <Skeleton className="h-24 rounded-lg" />
          <SkeletonRows rows={5} />
        </div>
      }
      isEmpty={(d) => (d.pages[0]?.groups.length ?? 0) === 0}
      empty={
        <EmptyState icon={<ShieldCheck size={20} strokeWidth={1.5} />} title="Nothing was rejected.">
          An event that cannot be taken is kept here as it came, with the reason and what to change.
        </EmptyState>
      }
    >
      {(data) => (
        <div className="flex flex-col gap-8">
          <Section title="By reason">
            <ul className="flex flex-col gap-3">
              {data.pages[0]?.groups.map((g) => (
                <Group
                  key={g.code + g.field}
                  group={g}
                  zone={zone}
                  on={code === g.code}
                  onToggle={() => setCode(code === g.code ? "" : g.code)}
                />
              ))}
            </ul>
          </Section>
          <Section
            title={code ? <>Newest with {code}</> : "Newest"}
            actions={
              code ? (
                <Button size="sm" look="ghost" onClick={() => setCode("")}>
                  Show all reasons
                </Button>
              ) : null
            }
          >
            <QueryBoundary
              query={chosen}
              errorTitle="They could not be read"
              skeleton={<SkeletonRows rows={6} />}
            >
              {(pages) => {
                const events = pages.pages.flatMap((p) => p.events);
                return (
                  <>
                    <Card className="overflow-hidden">
                      <ul className="divide-y divide-line">
                        {events.map((e, i) => (
                          <Row key={`${e.receivedAt} ${e.id} ${e.index} ${i}`} event={e} zone={zone} />
                        ))}
                      </ul>
                    </Card>
                    <div className="mt-3 flex justify-center">
                      {chosen.hasNextPage ? (
                        <Button
                          onClick={() => void chosen.fetchNextPage()}
                          disabled={chosen.isFetchingNextPage}
                          aria-busy={chosen.isFetchingNextPage}
                        >
                          {chosen.isFetchingNextPage ? "Loading older" : "Load older"}
                        </Button>
                      ) : (
                        <p className="text-12 text-faint">
                          {count(events.length, "event")}; there are no older ones.
                        </p>
                      )}
                    </div>
                  </>
                );
              }}
            </QueryBoundary>
          </Section>
        </div>
      )}
    </QueryBoundary>
  );
}

function Group({
  group: g,
  zone,
  on,
  onToggle,
}: {
  group: RejectedGroup;
  zone: string;
  on: boolean;
  onToggle: () => void;
}) {
  return (
    <li>
      <Card className={cx("p-4", on && "ring-accent!")}>
        <div className="flex flex-wrap items-center gap-x-2 gap-y-1">
          <Badge tone="bad">{g.code}</Badge>
          {g.field ? <code className="font-mono text-12">{g.field}</code> : null}
          <span className="tabular ml-auto text-12 text-muted">
            {exact(g.count)}, last <span title={dateTime(g.lastSeen, zone)}>{ago(g.lastSeen, zone)}</span>
          </span>
        </div>
        <p className="mt-2 text-13 [overflow-wrap:anywhere]">{g.message}</p>
        {g.remedy ? <p className="mt-0.5 text-13 text-muted">{g.remedy}</p> : null}
        <Button size="sm" look="ghost" aria-pressed={on} onClick={onToggle} className="-ml-2.5 mt-1">
          {on ? "Show all reasons" : "Show only these"}
        </Button>
      </Card>
    </li>
  );
}

function Row({ event: e, zone }: { event: RejectedEvent; zone: string }) {
  const [open, setOpen] = useState(false);
  const id = useId();
  return (
    <li>
      <button
        type="button"
        aria-expanded={open}
        aria-controls={id}
        onClick={() => setOpen(!open)}
        className="grid w-full grid-cols-[16px_1fr] items-center gap-x-2 px-3 py-1.5 text-left hover:bg-sunken focus-visible:-outline-offset-2 sm:grid-cols-[16px_150px_140px_1fr]"
      >
        <ChevronRight
          size={14}
          strokeWidth={1.5}
          aria-hidden
          className={cx("text-faint transition-transform max-sm:row-span-3", open && "rotate-90")}
        />
        <span className="tabular text-12 text-muted" title={dateTime(e.receivedAt, zone)}>
          {ago(e.receivedAt, zone)}
        </span>
        <span className="truncate font-medium text-13">{e.name || "(no name)"}</span>
        <span className="truncate text-12 text-muted" title={e.message}>
          {e.message}
        </span>
      </button>
      {open ? (
        <div id={id} className="px-3 pb-3 sm:pl-9">
          <p className="mb-2 flex flex-wrap gap-x-4 text-12 text-muted">
            <span>
              <code className="font-mono">{e.code}</code> in{" "}
              <code className="font-mono">{e.field || "the event"}</code>
            </span>
            <span>event {e.index + 1} of its request</span>
            <span className="tabular">{dateTime(e.receivedAt, zone)}</span>
          </p>
          <Json text={e.event} mark={e.field || undefined} label="the event" />
        </div>
      ) : null}
    </li>
  );
}
