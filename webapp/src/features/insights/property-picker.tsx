// Choosing a property: ranked by how many of the chosen events carry it, those
// that none carried below a line, with type and samples beside the list.
import { useQuery } from "@tanstack/react-query";
import { Braces, Hash, List, ToggleLeft, Type } from "lucide-react";
import type { ReactNode } from "react";
import { propertiesQuery } from "../../api/queries";
import { useApp } from "../../app/current";
import { Combobox } from "../../components/combobox";
import { ago, compact, percent } from "../../components/format";
import type { SeenProperty } from "../../gen/causality/catalog/v1/catalog_pb";

const icons: Record<string, typeof Type> = {
  text: Type,
  number: Hash,
  boolean: ToggleLeft,
  list: List,
  object: Braces,
};

export function useProperties(events: readonly string[]) {
  const { scope } = useApp();
  // An empty name means any event: then all properties count.
  return useQuery(propertiesQuery(scope, events.includes("") ? [] : events));
}

export function typesOf(properties: readonly SeenProperty[] | undefined, name: string): readonly string[] {
  return properties?.find((p) => p.name === name)?.types ?? ["text"];
}

type Props = {
  label: string;
  events: readonly string[];
  value?: string | undefined;
  onChange: (property: string, types: readonly string[]) => void;
  /** Puts numbers first, for sums and averages. */
  numeric?: boolean;
  placeholder?: string;
  trigger?: ReactNode;
  open?: boolean;
  onOpenChange?: (open: boolean) => void;
  className?: string;
};

export function PropertyPicker({ label, events, value, onChange, numeric, placeholder, ...rest }: Props) {
  const { zone } = useApp();
  const properties = useProperties(events);
  // A name can be a property of the events and a column of every event at once,
  // as currency is; questions name it alike, so it is offered once.
  const byName = new Map<string, SeenProperty>();
  for (const p of properties.data?.properties ?? []) if (!byName.has(p.name)) byName.set(p.name, p);
  const found = [...byName.values()].sort((a, b) =>
    numeric
      ? Number(b.types.includes("number")) - Number(a.types.includes("number")) || b.coverage - a.coverage
      : b.coverage - a.coverage,
  );
  return (
    <Combobox
      {...rest}
      label={label}
      value={value}
      placeholder={placeholder ?? "Choose a property"}
      searchPlaceholder="Search properties"
      loading={properties.isFetching}
      empty={
        properties.isError
          ? "The properties could not be read. Close and open to try again."
          : "No property is called that."
      }
      options={found.map((p) => {
        const Icon = icons[p.types[0] ?? "text"] ?? Type;
        return {
          value: p.name,
          label: p.name,
          icon: <Icon size={14} strokeWidth={1.5} />,
          note: p.coverage > 0 ? percent(p.coverage) : undefined,
          low: p.coverage === 0 || Boolean(numeric && !p.types.includes("number")),
        };
      })}
      create={(text) => `Use “${text}”, not seen yet`}
      onChange={(name) => onChange(name, typesOf(found, name))}
      detail={(name) => {
        const p = found.find((f) => f.name === name);
        if (!p) return null;
        return (
          <div className="flex flex-col gap-2 text-12">
            <p className="break-all font-medium text-13">{p.name}</p>
            <dl className="grid grid-cols-[auto_1fr] gap-x-3 gap-y-1">
              <dt className="text-faint">Type</dt>
              <dd>
                {p.types.join(", ") || "unknown"}
                {p.builtin ? ", built in" : ""}
              </dd>
              <dt className="text-faint">On</dt>
              <dd className="tabular">{percent(p.coverage)} of the chosen events</dd>
              <dt className="text-faint">Count</dt>
              <dd className="tabular">{compact(p.count)}</dd>
              <dt className="text-faint">Last seen</dt>
              <dd>{ago(p.lastSeen, zone)}</dd>
            </dl>
            {p.samples.length > 0 ? (
              <ul className="flex flex-col gap-0.5">
                {p.samples.slice(0, 5).map((s) => (
                  <li key={s} className="truncate font-mono text-11 text-muted">
                    {s}
                  </li>
                ))}
              </ul>
            ) : null}
          </div>
        );
      }}
    />
  );
}
