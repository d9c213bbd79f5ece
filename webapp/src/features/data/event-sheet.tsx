// One event, opened: what it is, how it runs, and the properties it carries.
import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { ChartLine, SquareTerminal } from "lucide-react";
import { propertiesQuery } from "../../api/queries";
import { useApp } from "../../app/current";
import { Badge } from "../../components/badge";
import { buttonClass } from "../../components/button";
import { Sheet } from "../../components/dialog";
import { ago, compact, dateTime, exact } from "../../components/format";
import { QueryBoundary } from "../../components/query-boundary";
import { SkeletonRows } from "../../components/skeleton";
import type { SeenEvent } from "../../gen/causality/catalog/v1/catalog_pb";
import { encodeTrendSearch, seriesOf } from "../insights/trend-link";
import { brokenDown, Coverage, Types } from "./properties-tab";

export function EventSheet({
  name,
  seen,
  onClose,
}: {
  name: string | undefined;
  seen: SeenEvent | undefined;
  onClose: () => void;
}) {
  return (
    <Sheet
      open={name !== undefined}
      onOpenChange={(open) => !open && onClose()}
      title={
        <span className="flex items-center gap-2">
          <span className="min-w-0 [overflow-wrap:anywhere]">{name}</span>
          {seen?.typed ? <Badge tone="accent">typed</Badge> : null}
        </span>
      }
      {...(seen?.description ? { description: seen.description } : {})}
      className="sm:w-130"
    >
      {name === undefined ? null : <Opened name={name} seen={seen} />}
    </Sheet>
  );
}

function Opened({ name, seen }: { name: string; seen: SeenEvent | undefined }) {
  const { scope, zone, params } = useApp();
  const properties = useQuery(propertiesQuery(scope, [name]));
  const statement = `select ts, user_id, properties\nfrom events\nwhere event = '${name.replaceAll("'", "''")}'\norder by ts desc\nlimit 100`;
  return (
    <>
      {seen ? (
        <dl className="grid grid-cols-2 gap-x-4 gap-y-3 sm:grid-cols-4">
          {(
            [
              [
                "30 days",
                <span key="m" title={exact(seen.count30d)}>
                  {compact(seen.count30d)}
                </span>,
              ],
              [
                "All time",
                <span key="a" title={exact(seen.count)}>
                  {compact(seen.count)}
                </span>,
              ],
              [
                "First seen",
                <span key="f" title={dateTime(seen.firstSeen, zone)}>
                  {ago(seen.firstSeen, zone).split(",")[0]}
                </span>,
              ],
              [
                "Last seen",
                <span key="l" title={dateTime(seen.lastSeen, zone)}>
                  {ago(seen.lastSeen, zone).split(",")[0]}
                </span>,
              ],
            ] as const
          ).map(([label, value]) => (
            <div key={label}>
              <dt className="text-12 text-faint">{label}</dt>
              <dd className="tabular font-medium text-13">{value}</dd>
            </div>
          ))}
        </dl>
      ) : null}
      <div className="mt-4 flex flex-wrap gap-2">
        <Link
          to="/$workspace/$app/insights/new/trend"
          params={params}
          search={encodeTrendSearch(seriesOf(name))}
          className={buttonClass("primary", "sm")}
        >
          <ChartLine size={14} strokeWidth={1.5} aria-hidden />
          Open in Trends
        </Link>
        <Link
          to="/$workspace/$app/sql"
          params={params}
          search={{ sql: statement }}
          className={buttonClass("secondary", "sm")}
        >
          <SquareTerminal size={14} strokeWidth={1.5} aria-hidden />
          Open in SQL
        </Link>
      </div>
      <h3 className="mt-6 mb-1 font-semibold text-13">Properties</h3>
      <QueryBoundary
        query={properties}
        errorTitle="Its properties could not be read"
        skeleton={<SkeletonRows rows={6} />}
      >
        {(r) => {
          const own = r.properties.filter((p) => !p.builtin);
          if (own.length === 0)
            return <p className="text-13 text-muted">It carries no properties of its own.</p>;
          return (
            <ul className="divide-y divide-line">
              {own.map((p) => (
                <li key={p.name} className="py-2">
                  <div className="flex items-center gap-2">
                    <Link
                      to="/$workspace/$app/insights/new/trend"
                      params={params}
                      search={brokenDown(p.name, name)}
                      title="Break its trend down by this"
                      className="min-w-0 truncate rounded-sm font-mono text-12 hover:text-accent-text"
                    >
                      {p.name}
                    </Link>
                    <Types types={p.types} />
                    <span className="ml-auto text-12 text-muted">
                      <Coverage ratio={p.coverage} />
                    </span>
                  </div>
                  <p className="mt-0.5 truncate font-mono text-11 text-faint" title={p.samples.join("\n")}>
                    {p.samples.join(", ") || "no samples"}
                  </p>
                </li>
              ))}
            </ul>
          );
        }}
      </QueryBoundary>
    </>
  );
}
