// SchemaBrowser: what can be asked. Tables with their columns, then events and
// properties of the app; a click writes the name into the editor.
import type { UseQueryResult } from "@tanstack/react-query";
import { ChevronRight, Search } from "lucide-react";
import { type ReactNode, useMemo, useState } from "react";
import { cx } from "../../components/class-names";
import { compact } from "../../components/format";
import { inputClass } from "../../components/input";
import { QueryBoundary } from "../../components/query-boundary";
import { Skeleton } from "../../components/skeleton";
import type { SeenEvent, SeenProperty } from "../../gen/causality/catalog/v1/catalog_pb";
import type { Table } from "../../gen/causality/query/v1/query_pb";
import { identifier, literal, propertyExpression } from "./completions";
import { shortType } from "./result";

type Props = {
  tables: UseQueryResult<Table[]>;
  events: readonly SeenEvent[];
  properties: readonly SeenProperty[];
  onInsert: (text: string) => void;
};

// Every name is drawn only so far; typing narrows.
const mostNames = 200;

export function SchemaBrowser({ tables, events, properties, onInsert }: Props) {
  const [search, setSearch] = useState("");
  const [open, setOpen] = useState<ReadonlySet<string>>(new Set(["table:events"]));
  const query = search.trim().toLowerCase();
  const toggle = (key: string) =>
    setOpen((before) => {
      const next = new Set(before);
      if (!next.delete(key)) next.add(key);
      return next;
    });
  const own = useMemo(() => properties.filter((p) => !p.builtin), [properties]);
  const hit = (...texts: string[]) => query === "" || texts.some((t) => t.toLowerCase().includes(query));

  return (
    <div className="flex h-full min-h-0 flex-col">
      <div className="relative shrink-0 p-2">
        <Search
          size={14}
          strokeWidth={1.5}
          className="-translate-y-1/2 absolute top-1/2 left-4.5 text-faint"
          aria-hidden
        />
        <input
          type="search"
          value={search}
          onChange={(e) => setSearch(e.target.value)}
          aria-label="Search tables, columns, events and properties"
          placeholder="Search"
          className={cx(inputClass, "h-7 pl-8")}
        />
      </div>
      <div className="min-h-0 flex-1 overflow-auto px-2 pb-4">
        <QueryBoundary
          query={tables}
          errorTitle="The schema could not be read"
          skeleton={
            <div className="flex flex-col gap-3 px-2 pt-2">
              {["w-20", "w-32", "w-28", "w-36", "w-24", "w-16", "w-24"].map((w, i) => (
                <Skeleton key={i} className={cx("h-3", w, i > 0 && i < 5 && "ml-4")} />
              ))}
            </div>
          }
        >
          {(found) => {
            const shown = found.filter((t) => hit(t.name, ...t.columns.map((c) => c.name)));
            const foundEvents = events.filter((e) => hit(e.name));
            const foundProperties = own.filter((p) => hit(p.name));
            if (shown.length + foundEvents.length + foundProperties.length === 0) {
              return (
                <p className="px-2 py-3 text-12 text-muted">Nothing here is called “{search.trim()}”.</p>
              );
            }
            return (
              <>
                {shown.map((t) => {
                  const columns = hit(t.name) ? t.columns : t.columns.filter((c) => hit(c.name));
                  return (
                    <Group
                      key={t.name}
                      name={t.name}
                      mono
                      note={`${t.columns.length}`}
                      title={t.description}
                      open={query !== "" || open.has(`table:${t.name}`)}
                      onToggle={() => toggle(`table:${t.name}`)}
                    >
                      {columns.map((c) => (
                        <Name
                          key={c.name}
                          name={c.name}
                          note={shortType(c.type)}
                          description={c.description}
                          onClick={() => onInsert(identifier(c.name))}
                        />
                      ))}
                    </Group>
                  );
                })}
                {foundEvents.length > 0 ? (
                  <Group
                    name="Event names"
                    note={`${events.length}`}
                    open={query !== "" || open.has("events")}
                    onToggle={() => toggle("events")}
                  >
                    {foundEvents.slice(0, mostNames).map((e) => (
                      <Name
                        key={e.name}
                        name={e.name}
                        note={compact(e.count30d)}
                        description={e.description}
                        onClick={() => onInsert(literal(e.name))}
                      />
                    ))}
                  </Group>
                ) : null}
                {foundProperties.length > 0 ? (
                  <Group
                    name="Properties"
                    note={`${own.length}`}
                    open={query !== "" || open.has("properties")}
                    onToggle={() => toggle("properties")}
                  >
                    {foundProperties.slice(0, mostNames).map((p) => (
                      <Name
                        key={p.name}
                        name={p.name}
                        note={p.types.join(", ")}
                        description={propertyExpression(p.name)}
                        onClick={() => onInsert(propertyExpression(p.name))}
                      />
                    ))}
                  </Group>
                ) : null}
              </>
            );
          }}
        </QueryBoundary>
      </div>
    </div>
  );
}

function Group({
  name,
  note,
  title,
  mono,
  open,
  onToggle,
  children,
}: {
  name: string;
  note: string;
  title?: string;
  mono?: boolean;
  open: boolean;
  onToggle: () => void;
  children: ReactNode;
}) {
  return (
    <div className="mb-0.5">
      <button
        type="button"
        aria-expanded={open}
        onClick={onToggle}
        title={title}
        className="touch-target flex h-7 w-full items-center gap-1.5 rounded-sm px-1.5 hover:bg-hover"
      >
        <ChevronRight
          size={14}
          strokeWidth={1.5}
          aria-hidden
          className={cx("shrink-0 text-faint transition-transform", open && "rotate-90")}
        />
        <span className={cx("truncate font-medium text-12", mono && "font-mono")}>{name}</span>
        <span className="tabular ml-auto text-11 text-faint">{note}</span>
      </button>
      {open ? (
        <div>
          {title ? <p className="px-7 pb-1 text-11 text-faint">{title}</p> : null}
          <ul>{children}</ul>
        </div>
      ) : null}
    </div>
  );
}

function Name({
  name,
  note,
  description,
  onClick,
}: {
  name: string;
  note: string;
  description: string;
  onClick: () => void;
}) {
  return (
    <li>
      <button
        type="button"
        onClick={onClick}
        title={description ? `${name} (${note}): ${description}` : `${name} (${note})`}
        className="touch-target block w-full rounded-sm py-1 pr-1.5 pl-7 text-left hover:bg-hover"
      >
        <span className="flex items-baseline gap-2">
          <span className="min-w-0 truncate font-mono text-12">{name}</span>
          <span className="ml-auto max-w-[50%] shrink-0 truncate text-11 text-faint">{note}</span>
        </span>
        {description ? <span className="block truncate text-11 text-faint">{description}</span> : null}
      </button>
    </li>
  );
}
