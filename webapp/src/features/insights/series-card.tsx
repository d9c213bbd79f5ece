// One series as a sentence: event, measure, its own filters. Cards are moved by
// their handle or Alt+arrows, duplicated, renamed, switched off, removed.
import { useSortable } from "@dnd-kit/sortable";
import { Copy, Ellipsis, Eye, EyeOff, GripVertical, PenLine, Trash2 } from "lucide-react";
import { useState } from "react";
import { buttonClass, IconButton } from "../../components/button";
import { cx } from "../../components/class-names";
import { Input } from "../../components/input";
import { Menu, MenuItem, MenuSeparator } from "../../components/menu";
import { chartColor } from "../../components/palette";
import { Select } from "../../components/select";
import { EventPicker } from "./event-picker";
import { FilterEditor } from "./filter-editor";
import { fromFilter, type Group, toFilter } from "./filter-model";
import { PropertyPicker } from "./property-picker";
import {
  aggregateNames,
  aggregates,
  type Measure,
  measureNames,
  type Series,
  simpleMeasures,
} from "./trend-spec";

type Props = {
  series: Series;
  onChange: (series: Series) => void;
  onDuplicate: (() => void) | undefined;
  onRemove: () => void;
  onMove: (by: -1 | 1) => void;
  colored: boolean;
};

const measureOptions = [
  ...simpleMeasures.map((m) => ({ value: m as string, label: measureNames[m] })),
  ...aggregates.map((a) => ({ value: a as string, label: `${aggregateNames[a]} of …` })),
];

export function SeriesCard({ series, onChange, onDuplicate, onRemove, onMove, colored }: Props) {
  const { attributes, listeners, setNodeRef, setActivatorNodeRef, transform, transition, isDragging } =
    useSortable({
      id: series.id,
    });
  const [renaming, setRenaming] = useState(false);
  const { measure } = series;
  return (
    <li
      ref={setNodeRef}
      style={{ transform: transform ? `translateY(${transform.y}px)` : undefined, transition }}
      className={cx(
        "group rounded-lg bg-surface shadow-line ring-1 ring-line",
        isDragging && "z-10 shadow-menu",
        series.off && "opacity-60",
      )}
      // Alt+arrows move the card from any of its controls.
      onKeyDown={(e) => {
        if (!e.altKey || (e.key !== "ArrowUp" && e.key !== "ArrowDown")) return;
        e.preventDefault();
        onMove(e.key === "ArrowUp" ? -1 : 1);
      }}
    >
      <div className="flex items-center gap-1 pt-1.5 pr-1 pl-1.5">
        <button
          ref={setActivatorNodeRef}
          type="button"
          {...attributes}
          {...listeners}
          aria-label={`Move series ${series.id}; Alt and arrow keys move it too`}
          className="flex h-6 cursor-grab touch-none items-center rounded-sm text-faint hover:text-text"
        >
          <GripVertical size={14} strokeWidth={1.5} />
          <span
            className="flex size-5 items-center justify-center rounded-sm font-semibold text-11 text-surface"
            style={{
              background:
                colored && !series.off ? chartColor(series.id.charCodeAt(0) - 65) : "var(--color-faint)",
            }}
          >
            {series.id}
          </span>
        </button>
        <div className="min-w-0 flex-1">
          {renaming ? (
            <Input
              aria-label={`Name of series ${series.id}`}
              autoFocus
              defaultValue={series.name ?? ""}
              placeholder="Name in the legend"
              className="h-7"
              onBlur={(e) => {
                setRenaming(false);
                const name = e.target.value.trim();
                const { name: old, ...rest } = series;
                if (name !== (old ?? "")) onChange(name ? { ...rest, name } : rest);
              }}
              onKeyDown={(e) => {
                if (e.key === "Enter") e.currentTarget.blur();
                if (e.key === "Escape") {
                  e.stopPropagation();
                  setRenaming(false);
                }
              }}
            />
          ) : (
            <EventPicker
              label={`Event of series ${series.id}`}
              value={series.event}
              onChange={(event) => onChange({ ...series, event })}
              className="w-full bg-transparent font-medium shadow-none ring-0 hover:bg-hover"
            />
          )}
        </div>
        <IconButton
          label={series.off ? "Switch on" : "Switch off"}
          aria-pressed={!series.off}
          onClick={() => {
            const { off, ...rest } = series;
            onChange(off ? rest : { ...rest, off: true });
          }}
        >
          {series.off ? <EyeOff size={14} strokeWidth={1.5} /> : <Eye size={14} strokeWidth={1.5} />}
        </IconButton>
        <Menu
          align="end"
          trigger={
            <button
              type="button"
              aria-label={`More for series ${series.id}`}
              className={buttonClass("ghost", "sm", "w-7 px-0")}
            >
              <Ellipsis size={14} strokeWidth={1.5} />
            </button>
          }
        >
          <MenuItem
            icon={<PenLine size={14} strokeWidth={1.5} />}
            onSelect={() => setTimeout(() => setRenaming(true))}
          >
            Rename
          </MenuItem>
          <MenuItem
            icon={<Copy size={14} strokeWidth={1.5} />}
            disabled={!onDuplicate}
            onSelect={() => onDuplicate?.()}
          >
            Duplicate
          </MenuItem>
          <MenuSeparator />
          <MenuItem danger icon={<Trash2 size={14} strokeWidth={1.5} />} onSelect={onRemove}>
            Remove
          </MenuItem>
        </Menu>
      </div>
      <div className="flex flex-col gap-1 px-1.5 pt-0.5 pb-1.5">
        {series.name && !renaming ? (
          <p className="truncate px-2 text-12 text-faint">shown as “{series.name}”</p>
        ) : null}
        <div className="flex min-w-0 flex-wrap items-center">
          <span className="px-1.5 text-12 text-muted">counted as</span>
          <Select
            label={`Measure of series ${series.id}`}
            look="bare"
            value={typeof measure === "string" ? measure : measure.agg}
            options={measureOptions}
            onChange={(m) => {
              const simple = simpleMeasures.find((s) => s === m);
              const agg = aggregates.find((a) => a === m);
              const property = typeof measure === "object" ? measure.property : "";
              onChange({ ...series, measure: (simple ?? { property, agg: agg ?? "sum" }) as Measure });
            }}
          />
          {typeof measure === "object" ? (
            <PropertyPicker
              label={`Property of series ${series.id}`}
              events={[series.event]}
              numeric
              value={measure.property || undefined}
              onChange={(property) => onChange({ ...series, measure: { ...measure, property } })}
              className="bg-transparent shadow-none ring-0 hover:bg-hover"
            />
          ) : null}
        </div>
        {typeof measure === "object" && !measure.property ? (
          <p className="px-1.5 text-12 text-bad">
            Choose the property to take the {aggregateNames[measure.agg].toLowerCase()} of.
          </p>
        ) : null}
        <SeriesFilter series={series} onChange={onChange} />
      </div>
    </li>
  );
}

function SeriesFilter({ series, onChange }: Pick<Props, "series" | "onChange">) {
  const [group, setGroup] = useDraftGroup(series.where, (where) => {
    const { where: _, ...rest } = series;
    onChange(where ? { ...rest, where } : rest);
  });
  return (
    <FilterEditor
      group={group}
      onChange={setGroup}
      events={[series.event]}
      reach={`series ${series.id} only`}
    />
  );
}

/**
 * A filter that is edited here and asked only where it is ready: a condition
 * without a value stays on screen and out of the question.
 */
export function useDraftGroup(
  where: Series["where"],
  onCommit: (where: Series["where"]) => void,
): [Group, (group: Group) => void] {
  const committed = JSON.stringify(where ?? null);
  const [draft, setDraft] = useState<{ of: string; group: Group }>();
  const group = draft?.of === committed ? draft.group : fromFilter(where);
  return [
    group,
    (next) => {
      const filter = toFilter(next);
      setDraft({ of: JSON.stringify(filter ?? null), group: next });
      if (JSON.stringify(filter ?? null) !== committed) onCommit(filter);
    },
  ];
}
