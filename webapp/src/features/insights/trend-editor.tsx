// The query, in the order of every question: what is counted, filters,
// breakdown, then what is done with the numbers.
import { closestCenter, DndContext, PointerSensor, useSensor, useSensors } from "@dnd-kit/core";
import { arrayMove, SortableContext, verticalListSortingStrategy } from "@dnd-kit/sortable";
import { ChartNoAxesColumn, Plus, Sigma, X } from "lucide-react";
import { type ReactNode, useEffect, useState } from "react";
import { Button, IconButton } from "../../components/button";
import { cx } from "../../components/class-names";
import { Input } from "../../components/input";
import { Select } from "../../components/select";
import { Switch } from "../../components/switch";
import { EventPicker } from "./event-picker";
import { FilterEditor, Typed } from "./filter-editor";
import { checkFormula, usableIn } from "./formula";
import { PropertyPicker } from "./property-picker";
import { SeriesCard, useDraftGroup } from "./series-card";
import { freeLetter, type TrendSpec } from "./trend-spec";

type Props = {
  spec: TrendSpec;
  onChange: (spec: TrendSpec) => void;
  /** Pickers opened by keys, from the page. */
  adding: "filter" | "breakdown" | undefined;
  onAdding: (adding: "filter" | "breakdown" | undefined) => void;
};

function Block({ title, hint, children }: { title: string; hint?: string; children: ReactNode }) {
  return (
    <section className="border-line border-b px-4 py-3 last:border-b-0">
      <h2 className="mb-1.5 flex items-baseline gap-2 font-medium text-12 text-muted">
        {title}
        {hint ? <span className="font-normal text-faint">{hint}</span> : null}
      </h2>
      {children}
    </section>
  );
}

const tops = ["3", "5", "10", "25", "50", "100", "250"];

export function TrendEditor({ spec, onChange, adding, onAdding }: Props) {
  const sensors = useSensors(useSensor(PointerSensor, { activationConstraint: { distance: 4 } }));
  const events = [...new Set(spec.series.filter((s) => !s.off).map((s) => s.event))];
  const letter = freeLetter(spec.series);
  const set = (part: Partial<TrendSpec>) => onChange({ ...spec, ...part });
  const [where, setWhere] = useDraftGroup(spec.where, (next) => {
    const { where: _, ...rest } = spec;
    onChange(next ? { ...rest, where: next } : rest);
  });
  const move = (from: number, to: number) => {
    if (to >= 0 && to < spec.series.length) set({ series: arrayMove(spec.series, from, to) });
  };
  const averages = spec.series.some(
    (s) => s.measure === "perUser" || (typeof s.measure === "object" && s.measure.agg !== "sum"),
  );

  return (
    <>
      <Block title="Count">
        <DndContext
          sensors={sensors}
          collisionDetection={closestCenter}
          onDragEnd={({ active, over }) => {
            if (!over || active.id === over.id) return;
            move(
              spec.series.findIndex((s) => s.id === active.id),
              spec.series.findIndex((s) => s.id === over.id),
            );
          }}
        >
          <SortableContext items={spec.series.map((s) => s.id)} strategy={verticalListSortingStrategy}>
            <ul className="flex flex-col gap-2">
              {spec.series.map((s, i) => (
                <SeriesCard
                  key={s.id}
                  series={s}
                  colored={spec.breakdowns.length === 0}
                  onMove={(by) => move(i, i + by)}
                  onChange={(next) => set({ series: spec.series.map((x) => (x.id === s.id ? next : x)) })}
                  onDuplicate={
                    letter
                      ? () =>
                          set({
                            series: [
                              ...spec.series.slice(0, i + 1),
                              { ...s, id: letter },
                              ...spec.series.slice(i + 1),
                            ],
                          })
                      : undefined
                  }
                  onRemove={() => set({ series: spec.series.filter((x) => x.id !== s.id) })}
                />
              ))}
            </ul>
          </SortableContext>
        </DndContext>
        <div className="mt-1 flex flex-wrap gap-1">
          {letter ? (
            <EventPicker
              label="Add series"
              onChange={(event) =>
                set({ series: [...spec.series, { id: letter, event, measure: "uniqueUsers" }] })
              }
              trigger={
                <Button look="ghost" icon={<Plus size={14} strokeWidth={1.5} />}>
                  Add series
                </Button>
              }
            />
          ) : null}
          {spec.series.length > 0 && spec.formulas.length < 10 ? (
            <Button
              look="ghost"
              icon={<Sigma size={14} strokeWidth={1.5} />}
              onClick={() => {
                const ids = spec.formulas.map((f) => f.id);
                let n = 1;
                while (ids.includes(`F${n}`)) n++;
                set({ formulas: [...spec.formulas, { id: `F${n}`, expr: "" }] });
              }}
            >
              Add formula
            </Button>
          ) : null}
        </div>
        {spec.formulas.map((f) => (
          <FormulaField
            key={f.id}
            id={f.id ?? ""}
            value={f.expr ?? ""}
            spec={spec}
            onChange={(expr) =>
              set({ formulas: spec.formulas.map((x) => (x.id === f.id ? { ...x, expr } : x)) })
            }
            onRemove={() => set({ formulas: spec.formulas.filter((x) => x.id !== f.id) })}
          />
        ))}
      </Block>
      <Block title="Filters" hint="all series">
        <FilterEditor
          group={where}
          onChange={setWhere}
          events={events}
          reach="all series"
          open={adding === "filter"}
          onOpenChange={(open) => onAdding(open ? "filter" : undefined)}
        />
      </Block>
      <Block title="Break down by">
        <ul className="flex flex-col gap-1">
          {spec.breakdowns.map((b, i) => (
            <li
              key={b.property}
              className="flex items-center rounded-md bg-surface ring-1 ring-line ring-inset"
            >
              <PropertyPicker
                label="Property to break down by"
                events={events}
                value={b.property}
                onChange={(property) =>
                  set({
                    breakdowns: spec.breakdowns
                      .map((x, at) => (at === i ? { property } : x))
                      .filter((x, at, all) => all.findIndex((y) => y.property === x.property) === at),
                  })
                }
                className="min-w-0 flex-1 bg-transparent shadow-none ring-0 hover:bg-hover"
              />
              <IconButton
                label={`Remove ${b.property}`}
                onClick={() => set({ breakdowns: spec.breakdowns.filter((_, at) => at !== i) })}
              >
                <X size={14} strokeWidth={1.5} />
              </IconButton>
            </li>
          ))}
        </ul>
        <div className="flex items-center justify-between">
          {spec.breakdowns.length < 3 ? (
            <PropertyPicker
              label="Add breakdown"
              events={events}
              open={adding === "breakdown"}
              onOpenChange={(open) => onAdding(open ? "breakdown" : undefined)}
              onChange={(property) => {
                if (!spec.breakdowns.some((b) => b.property === property)) {
                  set({ breakdowns: [...spec.breakdowns, { property }] });
                }
              }}
              trigger={
                <Button look="ghost" icon={<ChartNoAxesColumn size={14} strokeWidth={1.5} />}>
                  Add breakdown
                </Button>
              }
            />
          ) : (
            <span className="px-2.5 text-12 text-faint leading-7">Three at most</span>
          )}
          {spec.breakdowns.length > 0 ? (
            <Select
              label="How many values"
              look="bare"
              value={String(spec.top)}
              options={[...new Set([...tops, String(spec.top)])]
                .sort((a, b) => Number(a) - Number(b))
                .map((n) => ({ value: n, label: `Top ${n}` }))}
              onChange={(n) => set({ top: Number(n) })}
            />
          ) : null}
        </div>
      </Block>
      <Block title="Numbers">
        <div className="flex flex-col gap-2.5">
          <Switch
            label="Cumulative"
            hint={
              averages
                ? "Not for averages and percentiles"
                : "Each point holds all before it; users count once"
            }
            disabled={averages && !spec.cumulative}
            checked={spec.cumulative}
            onChange={(cumulative) => set({ cumulative })}
          />
          <div className="flex items-center gap-2">
            <Switch
              label={<span className="whitespace-nowrap">Rolling average over</span>}
              checked={spec.rolling > 1}
              onChange={(on) => set({ rolling: on ? 7 : 0 })}
            />
            <Typed
              label="Periods of the rolling average"
              kind="number"
              className="m-0 h-7 w-12 shrink-0 text-right"
              value={spec.rolling || 7}
              onChange={(v) => {
                const n = Math.round(Number(v));
                if (n >= 2 && n <= 365) set({ rolling: n });
              }}
            />
            <span className="text-muted">periods</span>
          </div>
        </div>
      </Block>
    </>
  );
}

function FormulaField({
  id,
  value,
  spec,
  onChange,
  onRemove,
}: {
  id: string;
  value: string;
  spec: TrendSpec;
  onChange: (expr: string) => void;
  onRemove: () => void;
}) {
  const [text, setText] = useState(value);
  useEffect(() => setText(value), [value]);
  const on = new Set([...spec.series.filter((s) => !s.off).map((s) => s.id), ...usableIn(id, spec.formulas)]);
  const off = new Set(spec.series.filter((s) => s.off).map((s) => s.id));
  const problem = checkFormula(text, on, off);
  // biome-ignore lint/correctness/useExhaustiveDependencies: the timer follows the text alone
  useEffect(() => {
    if (text === value || problem) return;
    const timer = setTimeout(() => onChange(text), 300);
    return () => clearTimeout(timer);
  }, [text]);
  return (
    <div className="mt-1.5">
      <div className="flex items-center gap-1">
        <span
          className="w-7 shrink-0 text-center font-medium text-12 text-muted"
          title="Its name in other formulas"
        >
          {id}
        </span>
        <Input
          aria-label={`Formula ${id}`}
          aria-invalid={Boolean(text && problem) || undefined}
          autoFocus={value === ""}
          spellCheck={false}
          placeholder="A/B*100"
          value={text}
          onChange={(e) => setText(e.target.value)}
          onBlur={() => {
            if (text !== value) onChange(text);
          }}
          onKeyDown={(e) => {
            if (e.key === "Escape" && text !== value) {
              setText(value);
              e.stopPropagation();
            }
          }}
          className="font-mono"
        />
        <IconButton label={`Remove formula ${id}`} onClick={onRemove}>
          <X size={14} strokeWidth={1.5} />
        </IconButton>
      </div>
      {problem ? (
        <p className={cx("pl-8 text-12", text ? "text-bad" : "text-faint")}>
          {text ? (
            <span aria-hidden className="block whitespace-pre pl-2.5 font-mono text-13 leading-3">
              {`${" ".repeat(Math.min(problem.at, 40))}^`}
            </span>
          ) : null}
          {problem.says}
        </p>
      ) : null}
    </div>
  );
}
