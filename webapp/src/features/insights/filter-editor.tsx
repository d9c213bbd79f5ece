// Filters as sentences: property, operator, values. Adding opens the property;
// choosing one moves on to its values with the list open, all by keyboard.
// Leaving a field keeps what was typed, Escape takes it back.
import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { ListFilter, Plus, X } from "lucide-react";
import { type KeyboardEvent, useEffect, useRef, useState } from "react";
import { valuesQuery } from "../../api/queries";
import { useApp } from "../../app/current";
import { Button, IconButton } from "../../components/button";
import { cx } from "../../components/class-names";
import { Combobox } from "../../components/combobox";
import { compact } from "../../components/format";
import { Input } from "../../components/input";
import { Select } from "../../components/select";
import {
  type Condition,
  type FilterValue,
  type Group,
  isGroup,
  operatorsOf,
  replaceAt,
  takes,
  withOperator,
  without,
} from "./filter-model";
import { PropertyPicker, typesOf, useProperties } from "./property-picker";

type Props = {
  group: Group;
  onChange: (group: Group) => void;
  /** Whose properties and values are offered. */
  events: readonly string[];
  /** Where the filter reaches, written: "all series", "series A only". */
  reach: string;
  open?: boolean;
  onOpenChange?: (open: boolean) => void;
};

export function FilterEditor({ group, onChange, events, reach, open, onOpenChange }: Props) {
  const [fresh, setFresh] = useState<string>(); // path of the condition just added
  const add = (path: number[], inside: Group, property: string, types: readonly string[]) => {
    const op = operatorsOf(types)[0]?.op ?? "is";
    const next: Group = { ...inside, items: [...inside.items, { property, op, values: [] }] };
    onChange(path.length === 0 ? next : replaceAt(group, path, next));
    setFresh([...path, inside.items.length].join("."));
  };

  const rows = (inside: Group, path: number[]) => (
    <ul className="flex flex-col gap-1">
      {inside.items.map((item, i) => {
        const at = [...path, i];
        const word = i === 0 ? "Where" : inside.mode === "all" ? "and" : "or";
        return (
          <li key={at.join(".")} className="flex items-start gap-1.5">
            {i === 1 ? (
              <Select
                label="All or any of the conditions"
                look="bare"
                className="w-13 text-12 text-muted"
                value={inside.mode}
                options={[
                  { value: "all", label: "and", hint: "All must hold" },
                  { value: "any", label: "or", hint: "Any may hold" },
                ]}
                onChange={(mode) =>
                  onChange(
                    path.length === 0 ? { ...group, mode } : replaceAt(group, path, { ...inside, mode }),
                  )
                }
              />
            ) : (
              <span className="w-13 shrink-0 px-1.5 text-12 text-muted leading-7">{word}</span>
            )}
            {isGroup(item) ? (
              <div className="min-w-0 flex-1 rounded-md bg-sunken p-1.5 ring-1 ring-line ring-inset">
                {rows(item, at)}
                <PropertyPicker
                  label="Add to the group"
                  events={events}
                  onChange={(p, types) => add(at, item, p, types)}
                  trigger={
                    <Button look="ghost" className="mt-1" icon={<Plus size={14} strokeWidth={1.5} />}>
                      {item.mode === "all" ? "And" : "Or"}
                    </Button>
                  }
                />
              </div>
            ) : (
              <ConditionRow
                condition={item}
                events={events}
                fresh={fresh === at.join(".")}
                onChange={(c) => onChange(replaceAt(group, at, c))}
                onRemove={() => onChange(without(group, at))}
              />
            )}
          </li>
        );
      })}
    </ul>
  );

  return (
    <div className="flex flex-col gap-1">
      {rows(group, [])}
      <div className="flex flex-wrap items-center">
        <PropertyPicker
          label={`Add filter, ${reach}`}
          events={events}
          onChange={(p, types) => add([], group, p, types)}
          {...(open === undefined ? {} : { open })}
          {...(onOpenChange ? { onOpenChange } : {})}
          trigger={
            <Button look="ghost" icon={<ListFilter size={14} strokeWidth={1.5} />}>
              {group.items.length > 0 ? "Add condition" : "Add filter"}
            </Button>
          }
        />
        {group.items.length > 0 && !group.items.some(isGroup) ? (
          <PropertyPicker
            label={
              group.mode === "all"
                ? "Add a group of which any may hold"
                : "Add a group of which all must hold"
            }
            events={events}
            onChange={(property, types) => {
              const op = operatorsOf(types)[0]?.op ?? "is";
              const inner: Group = {
                mode: group.mode === "all" ? "any" : "all",
                items: [{ property, op, values: [] }],
              };
              onChange({ ...group, items: [...group.items, inner] });
              setFresh(`${group.items.length}.0`);
            }}
            trigger={<Button look="ghost">Add group</Button>}
          />
        ) : null}
      </div>
    </div>
  );
}

function ConditionRow({
  condition: c,
  events,
  fresh,
  onChange,
  onRemove,
}: {
  condition: Condition;
  events: readonly string[];
  fresh: boolean;
  onChange: (c: Condition) => void;
  onRemove: () => void;
}) {
  const properties = useProperties(events);
  const types = typesOf(properties.data?.properties, c.property);
  const operators = operatorsOf(types);
  const known = operators.some((o) => o.op === c.op)
    ? operators
    : [...operators, ...operatorsOf(["text", "number"])];
  return (
    <div className="flex min-w-0 flex-1 items-start rounded-md bg-surface ring-1 ring-line ring-inset">
      <div className="flex min-w-0 flex-1 flex-wrap items-center">
        <PropertyPicker
          label="Property"
          events={events}
          value={c.property}
          onChange={(property, next) => {
            const same = operatorsOf(next).some((o) => o.op === c.op);
            onChange({ property, op: same ? c.op : (operatorsOf(next)[0]?.op ?? "is"), values: [] });
          }}
          trigger={
            <button
              type="button"
              className="h-7 max-w-full truncate rounded-md px-2 text-left font-medium text-13 hover:bg-hover"
            >
              {c.property}
            </button>
          }
        />
        <Select
          label="Operator"
          look="bare"
          className="text-muted"
          value={c.op}
          options={known
            .filter((o, i) => known.findIndex((k) => k.op === o.op) === i)
            .map((o) => ({ value: o.op, label: o.label }))}
          onChange={(op) => onChange(withOperator(c, op))}
        />
        <Values
          condition={c}
          events={events}
          fresh={fresh}
          onChange={(values) => onChange({ ...c, values })}
          onNotSet={() => onChange({ ...c, op: c.op === "isNot" ? "isSet" : "isNotSet", values: [] })}
        />
      </div>
      <IconButton label={`Remove ${c.property}`} onClick={onRemove}>
        <X size={14} strokeWidth={1.5} />
      </IconButton>
    </div>
  );
}

function Values({
  condition: c,
  events,
  fresh,
  onChange,
  onNotSet,
}: {
  condition: Condition;
  events: readonly string[];
  fresh: boolean;
  onChange: (values: FilterValue[]) => void;
  onNotSet: () => void;
}) {
  const kind = takes(c.op);
  switch (kind) {
    case "none":
      return null;
    case "many":
      return (
        <ValueList condition={c} events={events} fresh={fresh} onChange={onChange} onNotSet={onNotSet} />
      );
    case "two":
    case "dates": {
      const one = kind === "dates" ? "date" : "number";
      return (
        <span className="flex flex-wrap items-center gap-x-1 pr-1">
          <Typed
            label="From"
            kind={one}
            value={c.values[0]}
            fresh={fresh}
            onChange={(v) => onChange(v === undefined ? [] : [v, c.values[1] ?? ""])}
          />
          <span className="text-12 text-muted">and</span>
          <Typed
            label="To"
            kind={one}
            value={c.values[1]}
            onChange={(v) => onChange(v === undefined ? c.values.slice(0, 1) : [c.values[0] ?? "", v])}
          />
        </span>
      );
    }
    default:
      return (
        <Typed
          label="Value"
          kind={kind}
          value={c.values[0]}
          fresh={fresh}
          onChange={(v) => onChange(v === undefined ? [] : [v])}
        />
      );
  }
}

/** A typed value: applied on blur and Enter, numbers also 300 ms after the last key; Escape takes it back. */
export function Typed({
  label,
  kind,
  value,
  fresh,
  onChange,
  className,
}: {
  label: string;
  kind: "one" | "number" | "date" | "duration";
  value: FilterValue | undefined;
  fresh?: boolean;
  onChange: (value: FilterValue | undefined) => void;
  className?: string;
}) {
  const shown = value === undefined ? "" : String(value);
  const box = useRef<HTMLInputElement>(null);
  useEffect(() => {
    if (!fresh) return;
    const timer = setTimeout(() => box.current?.focus(), 50);
    return () => clearTimeout(timer);
  }, [fresh]);
  const [text, setText] = useState(shown);
  useEffect(() => setText(shown), [shown]);
  const number = kind === "number";
  const wrong =
    text !== "" &&
    ((number && !Number.isFinite(Number(text))) ||
      (kind === "duration" && !/^[1-9]\d{0,3}[hdwm]$/.test(text)));
  const commit = () => {
    if (text === shown || wrong) return;
    onChange(text === "" ? undefined : number ? Number(text) : text);
  };
  // biome-ignore lint/correctness/useExhaustiveDependencies: the timer follows the text alone
  useEffect(() => {
    if (!number) return;
    const timer = setTimeout(commit, 300);
    return () => clearTimeout(timer);
  }, [text]);
  const onKeyDown = (e: KeyboardEvent) => {
    if (e.key === "Enter") commit();
    if (e.key === "Escape" && text !== shown) {
      setText(shown);
      e.stopPropagation();
    }
  };
  return (
    <Input
      aria-label={label}
      aria-invalid={wrong || undefined}
      title={
        wrong ? (number ? "A number, such as 12.5" : "A count and h, d, w or m, such as 30d") : undefined
      }
      ref={box}
      type={kind === "date" ? "date" : "text"}
      inputMode={number ? "decimal" : undefined}
      placeholder={kind === "duration" ? "30d" : "value"}
      value={text}
      onChange={(e) => setText(e.target.value)}
      onBlur={commit}
      onKeyDown={onKeyDown}
      className={cx("m-0.5 h-6 w-24 px-1.5", kind === "date" && "w-32", kind === "one" && "w-32", className)}
    />
  );
}

const notSet = "(not set)";

function ValueList({
  condition: c,
  events,
  fresh,
  onChange,
  onNotSet,
}: {
  condition: Condition;
  events: readonly string[];
  fresh: boolean;
  onChange: (values: FilterValue[]) => void;
  onNotSet: () => void;
}) {
  const { scope } = useApp();
  const [open, setOpen] = useState(false);
  const [search, setSearch] = useState("");
  // While the list is open choices gather; closing it applies them at once.
  const [draft, setDraft] = useState<FilterValue[]>(c.values);
  // The picker that was just closed hands the focus back first; then it moves on.
  useEffect(() => {
    if (!fresh) return;
    const timer = setTimeout(() => setOpen(true), 50);
    return () => clearTimeout(timer);
  }, [fresh]);
  const chosen = (open ? draft : c.values).map(String);
  const values = useQuery({
    ...valuesQuery(scope, c.property, events.includes("") ? [] : events, search),
    enabled: open,
    placeholderData: keepPreviousData,
  });
  const options = [
    ...(values.data ?? []).map((v) => ({
      value: v.value,
      label: v.value === "" ? "(empty)" : v.value,
      note: compact(v.count),
    })),
    ...chosen
      .filter((v) => v.includes(search) && !values.data?.some((d) => d.value === v))
      .map((v) => ({ value: v, label: v, note: undefined })),
    ...(values.data && (search === "" || notSet.includes(search))
      ? [{ value: notSet, label: notSet, note: undefined }]
      : []),
  ].filter((o) => o.value !== "");
  return (
    <Combobox
      label={`Values of ${c.property}`}
      options={options}
      values={chosen}
      open={open}
      onOpenChange={(next) => {
        if (next) setDraft(c.values);
        else if (draft.join("\n") !== c.values.join("\n")) onChange(draft);
        setOpen(next);
      }}
      onSearch={setSearch}
      searchPlaceholder="Search or type a value"
      loading={values.isFetching}
      empty={values.isError ? "The values could not be read; type one." : "No value seen; type one."}
      create={(text) => `Use “${text}”`}
      onChange={(v) => {
        if (v === notSet) {
          setOpen(false);
          onNotSet();
          return;
        }
        setDraft((old) => (old.map(String).includes(v) ? old.filter((x) => String(x) !== v) : [...old, v]));
      }}
      trigger={
        <button
          type="button"
          className={cx(
            "m-0.5 min-h-6 min-w-0 max-w-full truncate rounded-sm px-1.5 text-left text-13 hover:bg-hover",
            chosen.length > 0 ? "bg-accent-soft text-accent-text" : "text-faint",
          )}
        >
          {chosen.length === 0
            ? "choose values"
            : chosen.length > 3
              ? `${chosen.slice(0, 2).join(", ")} and ${chosen.length - 2} more`
              : chosen.join(", ")}
        </button>
      }
    />
  );
}
