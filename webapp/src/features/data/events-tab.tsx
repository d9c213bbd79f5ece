// Events as they were seen: how many, how lately, and their last 30 days.
import { type UseQueryResult, useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { Inbox, Search } from "lucide-react";
import { useMemo, useState } from "react";
import { useApp } from "../../app/current";
import { Badge } from "../../components/badge";
import { buttonClass } from "../../components/button";
import { ago, dateTime, exact } from "../../components/format";
import { Input } from "../../components/input";
import { Card } from "../../components/page";
import { QueryBoundary } from "../../components/query-boundary";
import { SkeletonRows } from "../../components/skeleton";
import { Sparkline } from "../../components/sparkline";
import { EmptyState } from "../../components/states";
import { type Column, Table } from "../../components/table";
import { Tooltip } from "../../components/tooltip";
import type { SeenEvent } from "../../gen/causality/catalog/v1/catalog_pb";
import { volumesQuery } from "./queries";

export function SearchField({
  value,
  onChange,
  label,
}: {
  value: string;
  onChange: (value: string) => void;
  label: string;
}) {
  return (
    <div className="relative w-full sm:w-64">
      <Search
        size={14}
        strokeWidth={1.5}
        className="-translate-y-1/2 absolute top-1/2 left-2.5 text-faint"
        aria-hidden
      />
      <Input
        type="search"
        aria-label={label}
        placeholder={label}
        value={value}
        onChange={(e) => onChange(e.target.value)}
        className="pl-8!"
      />
    </div>
  );
}

// An event that has not come for this long has probably stopped being sent.
const silentAfter = 7 * 86_400_000; // ms

export function EventsTab({
  events,
  onOpen,
}: {
  events: UseQueryResult<SeenEvent[]>;
  onOpen: (event: string) => void;
}) {
  const { scope, zone, params } = useApp();
  const [search, setSearch] = useState("");
  const names = useMemo(() => events.data?.map((e) => e.name) ?? [], [events.data]);
  const volumes = useQuery(volumesQuery(scope, names));
  const columns = useMemo<Column<SeenEvent>[]>(
    () => [
      {
        id: "name",
        header: "Event",
        value: (e) => e.name,
        cell: (e) => (
          <span className="flex max-w-44 items-center gap-2 sm:max-w-100">
            <button
              type="button"
              onClick={(click) => {
                click.stopPropagation();
                onOpen(e.name);
              }}
              className="min-w-0 truncate rounded-sm font-medium hover:text-accent-text"
              title={e.name}
            >
              {e.name}
            </button>
            {e.typed ? (
              <Tooltip label="One of the typed events: its properties are checked against a schema.">
                <span tabIndex={0} className="rounded-sm">
                  <Badge tone="accent">typed</Badge>
                </span>
              </Tooltip>
            ) : null}
          </span>
        ),
      },
      {
        id: "shape",
        header: "Last 30 days",
        width: 144,
        sortable: false,
        value: () => null,
        cell: (e) => {
          const volume = volumes.data?.get(e.name);
          return volume ? (
            <Sparkline
              values={volume.values}
              open={volume.open}
              width={120}
              height={24}
              label={`${exact(e.count30d)} events in the last 30 days`}
            />
          ) : (
            <span className="text-faint">{volumes.isLoading ? "" : "–"}</span>
          );
        },
      },
      {
        id: "count30d",
        header: "30 days",
        numeric: true,
        value: (e) => e.count30d,
        cell: (e) => exact(e.count30d),
      },
      { id: "count", header: "All time", numeric: true, value: (e) => e.count, cell: (e) => exact(e.count) },
      {
        id: "last",
        header: "Last seen",
        value: (e) => e.lastSeen,
        cell: (e) => {
          const silent = Date.now() - Date.parse(e.lastSeen) > silentAfter;
          return (
            <span title={dateTime(e.lastSeen, zone)} className={silent ? "text-warn" : "text-muted"}>
              {ago(e.lastSeen, zone)}
            </span>
          );
        },
      },
    ],
    [volumes.data, volumes.isLoading, zone, onOpen],
  );
  return (
    <QueryBoundary
      query={events}
      errorTitle="The events could not be read"
      skeleton={
        <Card>
          <SkeletonRows rows={10} />
        </Card>
      }
      isEmpty={(list) => list.length === 0}
      empty={
        <EmptyState
          icon={<Inbox size={20} strokeWidth={1.5} />}
          title="No events yet. Send the first one."
          actions={
            <Link
              to="/$workspace/settings/$tab"
              params={{ workspace: params.workspace, tab: "install" }}
              search={{ app: params.app }}
              className={buttonClass("primary")}
            >
              Show the snippet
            </Link>
          }
        >
          Every event that this app sends is listed here within seconds.
        </EmptyState>
      }
    >
      {(list) => {
        const query = search.trim().toLowerCase();
        const found = query ? list.filter((e) => e.name.toLowerCase().includes(query)) : list;
        return (
          <>
            <div className="mb-3">
              <SearchField label="Search events" value={search} onChange={setSearch} />
            </div>
            {found.length === 0 ? (
              <EmptyState title={`No event is called “${search.trim()}”.`} />
            ) : (
              <Card className="overflow-hidden">
                <Table
                  label="Events"
                  columns={columns}
                  rows={found}
                  rowKey={(e) => e.name}
                  sort={{ id: "count30d", desc: true }}
                  onRowClick={(e) => onOpen(e.name)}
                  maxHeight="calc(100dvh - 220px)"
                />
              </Card>
            )}
          </>
        );
      }}
    </QueryBoundary>
  );
}
