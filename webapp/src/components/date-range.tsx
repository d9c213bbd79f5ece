// DateRange: text first ("last 12 weeks", "since 1 Sep", "15 to 1 days ago"),
// then presets that tell *Last 7 days* from *Last week*, then a calendar. The
// resolved dates and the zone always stand beside the choice.
import { CalendarDays } from "lucide-react";
import { lazy, Suspense, useState } from "react";
import { Button } from "./button";
import { cx } from "./class-names";
import { offsetName } from "./format";
import { Input } from "./input";
import { Popover } from "./popover";
import {
  daysLabel,
  localDay,
  parseRangeText,
  type Range,
  rangeCode,
  rangeLabel,
  resolveRange,
} from "./range";
import { Switch } from "./switch";

const Calendar = lazy(() => import("./calendar"));

type Props = {
  value: Range;
  zone: string;
  onChange: (range: Range) => void;
  open?: boolean;
  onOpenChange?: (open: boolean) => void;
};

const last = (n: number, unit: "h" | "d" | "w" | "m", complete = false): Range => ({
  kind: "last",
  n,
  unit,
  complete,
});

const presets: { title: string; ranges: Range[] }[] = [
  { title: "Up to now", ranges: [last(1, "d"), last(7, "d"), last(30, "d"), last(90, "d"), last(12, "m")] },
  { title: "Whole periods", ranges: [last(1, "d", true), last(1, "w", true), last(1, "m", true)] },
  { title: "This period", ranges: [last(1, "w"), last(1, "m")] },
];

export function DateRange({ value, zone, onChange, open: controlled, onOpenChange }: Props) {
  const [own, setOwn] = useState(false);
  const [text, setText] = useState("");
  const open = controlled ?? own;
  const today = localDay(zone);
  const resolved = resolveRange(value, today);
  const typed = text.trim() === "" ? undefined : parseRangeText(text, today);
  const setOpen = (next: boolean) => {
    setOwn(next);
    onOpenChange?.(next);
    setText("");
  };
  const choose = (range: Range) => {
    onChange(range);
    setOpen(false);
  };
  const days = typed ? resolveRange(typed, today) : undefined;
  return (
    <Popover
      open={open}
      onOpenChange={setOpen}
      label="Date range"
      className="w-80 p-0 sm:w-auto"
      trigger={
        <Button
          icon={<CalendarDays size={14} strokeWidth={1.5} className="text-faint" />}
          title={`${daysLabel(resolved.from, resolved.to)}, ${zone}`}
        >
          {rangeLabel(value)}
          <span className="font-normal text-faint max-md:hidden">
            {value.kind === "between" ? "" : `${daysLabel(resolved.from, resolved.to)}, `}
            {zone === "UTC" ? "UTC" : zone.split("/").at(-1)?.replaceAll("_", " ")}
          </span>
        </Button>
      }
    >
      <form
        className="border-line border-b p-3"
        onSubmit={(e) => {
          e.preventDefault();
          if (typed) choose(typed);
        }}
      >
        <Input
          aria-label="Range in words"
          aria-describedby="range-meaning"
          placeholder="last 12 weeks, since 1 Sep, 15 to 1 days ago"
          value={text}
          onChange={(e) => setText(e.target.value)}
        />
        <p id="range-meaning" className={cx("mt-1.5 text-12", text && !typed ? "text-bad" : "text-faint")}>
          {days
            ? `${daysLabel(days.from, days.to)}, ${zone} (${offsetName(zone)}). Enter applies.`
            : text
              ? "Not a range yet. Try “last 12 weeks” or “1 to 20 Nov”."
              : `${daysLabel(resolved.from, resolved.to)}, ${zone} (${offsetName(zone)})`}
        </p>
      </form>
      <div className="flex max-sm:flex-col">
        <div className="shrink-0 p-2 sm:w-44">
          {presets.map((group) => (
            <div key={group.title} className="mb-1">
              <p className="px-2 pt-1 pb-0.5 text-11 text-faint">{group.title}</p>
              {group.ranges.map((range) => {
                const code = rangeCode(range);
                const on = code === rangeCode(value);
                return (
                  <button
                    key={code}
                    type="button"
                    aria-pressed={on}
                    onClick={() => choose(range)}
                    className={cx(
                      "flex h-7 w-full items-center rounded-sm px-2 text-left text-13 hover:bg-hover",
                      on && "bg-accent-soft text-accent-text hover:bg-accent-soft",
                    )}
                  >
                    {rangeLabel(range)}
                  </button>
                );
              })}
            </div>
          ))}
        </div>
        <div className="border-line p-3 max-sm:border-t sm:border-l">
          <Suspense fallback={<div className="h-72 sm:w-124" />}>
            <Calendar
              from={resolved.from}
              to={resolved.to}
              today={today}
              onChange={(from, to) => choose({ kind: "between", from, to })}
            />
          </Suspense>
          {value.kind === "last" && !(value.n === 1 && value.unit === "d") ? (
            <div className="mt-2 border-line border-t pt-3">
              <Switch
                label="Complete periods only"
                hint="Leaves out the one that is not over yet"
                checked={value.complete}
                onChange={(complete) => onChange({ ...value, complete })}
              />
            </div>
          ) : null}
        </div>
      </div>
    </Popover>
  );
}
