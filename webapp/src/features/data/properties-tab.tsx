// Properties as they were seen, of all events or of one.
import { type UseQueryResult, useMutation, useQueryClient } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { Braces } from "lucide-react";
import { useMemo, useState } from "react";
import { catalog } from "../../api/clients";
import { describeError } from "../../api/errors";
import { inWorkspace } from "../../api/transport";
import { useApp } from "../../app/current";
import { Badge } from "../../components/badge";
import { ago, dateTime, exact, percent } from "../../components/format";
import { Card } from "../../components/page";
import { QueryBoundary } from "../../components/query-boundary";
import { SkeletonRows } from "../../components/skeleton";
import { EmptyState } from "../../components/states";
import { Switch } from "../../components/switch";
import { type Column, Table } from "../../components/table";
import { toast } from "../../components/toast";
import type { ListPropertiesResponse, SeenProperty } from "../../gen/causality/catalog/v1/catalog_pb";
import { encodeTrendSearch, seriesOf } from "../insights/trend-link";
import { SearchField } from "./events-tab";

/** Several kinds of value under one name are usually a mistake of a sender. */
export function Types({ types }: { types: readonly string[] }) {
  const mixed = types.length > 1;
  return (
    <span
      className="inline-flex items-center gap-1"
      title={mixed ? "Senders do not agree on the kind of value" : undefined}
    >
      {types.map((t) => (
        <Badge key={t} tone={mixed ? "warn" : "neutral"}>
          {t}
        </Badge>
      ))}
    </span>
  );
}

export function Coverage({ ratio }: { ratio: number }) {
  return (
    <span className="inline-flex items-center gap-2">
      <span aria-hidden className="h-1.5 w-14 overflow-hidden rounded-full bg-line">
        <span
          className="block h-full rounded-full bg-chart-1"
          style={{ width: `${Math.round(ratio * 100)}%` }}
        />
      </span>
      <span className="tabular w-12 text-right">{percent(ratio)}</span>
    </span>
  );
}

/** Gives a property a column of its own, or takes it away; can be undone. */
function usePromotion() {
  const { scope } = useApp();
  const queryClient = useQueryClient();
  const change = useMutation({
    mutationFn: async ({ property, promote }: { property: string; promote: boolean; undone?: boolean }) => {
      const request = { appId: scope.appId, property };
      const headers = inWorkspace(scope.workspaceId);
      await (promote ? catalog.promote(request, headers) : catalog.demote(request, headers));
    },
    onSuccess: async (_, { property, promote, undone }) => {
      await queryClient.invalidateQueries({ queryKey: ["properties", scope] });
      if (undone) return;
      const said = promote
        ? `${property} gets a column as files are merged`
        : `${property} gets no column any more`;
      toast.success(said, {
        action: {
          label: "Undo",
          onClick: () => change.mutate({ property, promote: !promote, undone: true }),
        },
      });
    },
    onError: (error) => toast.error(describeError(error).sentence),
  });
  return change.mutate;
}

/** Lists and objects have no column. */
const scalar = (p: SeenProperty) => p.types.some((t) => t !== "list" && t !== "object");

export function PropertiesTab({ properties }: { properties: UseQueryResult<ListPropertiesResponse> }) {
  const { zone, params } = useApp();
  const [search, setSearch] = useState("");
  const [builtin, setBuiltin] = useState(false);
  const promotion = usePromotion();
  const columns = useMemo<Column<SeenProperty>[]>(
    () => [
      {
        id: "name",
        header: "Property",
        value: (p) => p.name,
        cell: (p) => (
          <span className="flex items-center gap-2">
            <span className="truncate font-mono text-12" title={p.name}>
              {p.name}
            </span>
            {p.builtin ? <Badge>built in</Badge> : null}
            {p.promoted ? (
              <span title={`Questions read its ${p.promoted} column instead of all properties`}>
                <Badge tone="accent">promoted</Badge>
              </span>
            ) : null}
          </span>
        ),
      },
      { id: "types", header: "Type", value: (p) => p.types.join(), cell: (p) => <Types types={p.types} /> },
      {
        id: "coverage",
        header: "On events",
        numeric: true,
        value: (p) => p.coverage,
        cell: (p) => <Coverage ratio={p.coverage} />,
      },
      { id: "count", header: "Seen", numeric: true, value: (p) => p.count, cell: (p) => exact(p.count) },
      {
        id: "samples",
        header: "Samples",
        sortable: false,
        value: (p) => p.samples.join(", "),
        cell: (p) => (
          <span className="font-mono text-11 text-muted" title={p.samples.join("\n")}>
            {p.samples.slice(0, 3).join(", ") || "–"}
          </span>
        ),
      },
      {
        id: "last",
        header: "Last seen",
        value: (p) => p.lastSeen,
        cell: (p) => (
          <span title={dateTime(p.lastSeen, zone)} className="text-muted">
            {ago(p.lastSeen, zone)}
          </span>
        ),
      },
      {
        id: "open",
        header: <span className="sr-only">Actions</span>,
        sortable: false,
        value: () => null,
        cell: (p) => (
          <span className="flex items-center justify-end gap-4">
            {p.builtin || !(p.promoted || scalar(p)) ? null : (
              <button
                type="button"
                aria-label={`${p.promoted ? "Demote" : "Promote"} ${p.name}`}
                title={
                  p.promoted
                    ? undefined
                    : "Gives it a column of its own, so that questions about it read less"
                }
                className="rounded-sm text-accent-text hover:underline"
                onClick={() => promotion({ property: p.name, promote: !p.promoted })}
              >
                {p.promoted ? "Demote" : "Promote"}
              </button>
            )}
            <Link
              to="/$workspace/$app/insights/new/trend"
              params={params}
              search={brokenDown(p.name)}
              aria-label={`Break down a trend by ${p.name}`}
              className="rounded-sm text-accent-text hover:underline"
            >
              Break down
            </Link>
          </span>
        ),
      },
    ],
    [zone, params, promotion],
  );
  return (
    <QueryBoundary
      query={properties}
      errorTitle="The properties could not be read"
      skeleton={
        <Card>
          <SkeletonRows rows={10} />
        </Card>
      }
      isEmpty={(r) => r.properties.length === 0}
      empty={
        <EmptyState icon={<Braces size={20} strokeWidth={1.5} />} title="No properties yet.">
          Properties are what an event carries, such as its plan or price. They are listed here once events
          bring some.
        </EmptyState>
      }
    >
      {(r) => {
        const query = search.trim().toLowerCase();
        const found = r.properties.filter(
          (p) => (builtin || !p.builtin) && (query === "" || p.name.toLowerCase().includes(query)),
        );
        return (
          <>
            <div className="mb-3 flex flex-wrap items-center gap-4">
              <SearchField label="Search properties" value={search} onChange={setSearch} />
              <Switch label="Show built-in" checked={builtin} onChange={setBuiltin} />
            </div>
            {r.truncated ? (
              <p className="mb-3 rounded-md bg-warn-soft px-3 py-2 text-13 text-warn">
                The app sends more names than are kept. Names made of ids or dates are the usual cause: put
                them in values.
              </p>
            ) : null}
            {found.length === 0 ? (
              <EmptyState
                title={
                  query
                    ? `No property is called “${search.trim()}”.`
                    : "The events carry no properties of their own."
                }
              />
            ) : (
              <Card className="overflow-hidden">
                <Table
                  label="Properties"
                  columns={columns}
                  rows={found}
                  rowKey={(p) => `${p.builtin ? "b" : "o"}:${p.name}`}
                  sort={{ id: "coverage", desc: true }}
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

/** A trend of an event, or of any, by a property. */
export function brokenDown(property: string, event = "") {
  const question = seriesOf(event, "total");
  return encodeTrendSearch({ ...question, spec: { ...question.spec, breakdowns: [{ property }] } });
}
