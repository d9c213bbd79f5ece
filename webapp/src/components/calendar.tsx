// Two months to choose first and last day from. Its own chunk: most ranges are
// presets or typed. Days are plain calendar days, whatever the browser's zone.
import { ChevronLeft, ChevronRight } from "lucide-react";
import { useState } from "react";
import { type DateRange, DayPicker } from "react-day-picker";
import { buttonClass } from "./button";

const toDate = (day: string) => {
  const [y = 0, m = 1, d = 1] = day.split("-").map(Number);
  return new Date(y, m - 1, d);
};
const toDay = (d: Date) =>
  `${d.getFullYear()}-${String(d.getMonth() + 1).padStart(2, "0")}-${String(d.getDate()).padStart(2, "0")}`;

function Chevron({ orientation }: { orientation?: "up" | "down" | "left" | "right" }) {
  const Icon = orientation === "left" ? ChevronLeft : ChevronRight;
  return <Icon size={16} strokeWidth={1.5} />;
}

export default function Calendar({
  from,
  to,
  today,
  onChange,
}: {
  from: string;
  to: string;
  today: string;
  onChange: (from: string, to: string) => void;
}) {
  const [start, setStart] = useState<Date>();
  const selected: DateRange = start ? { from: start, to: undefined } : { from: toDate(from), to: toDate(to) };
  const before = toDate(today);
  before.setMonth(before.getMonth() - (matchMedia("(min-width: 640px)").matches ? 1 : 0));
  return (
    <DayPicker
      mode="range"
      numberOfMonths={matchMedia("(min-width: 640px)").matches ? 2 : 1}
      weekStartsOn={1}
      defaultMonth={before}
      today={toDate(today)}
      disabled={{ after: toDate(today) }}
      selected={selected}
      onSelect={(_, day) => {
        if (!start) setStart(day);
        else {
          const [a, b] = start <= day ? [start, day] : [day, start];
          setStart(undefined);
          onChange(toDay(a), toDay(b));
        }
      }}
      components={{ Chevron }}
      footer={
        <span className="text-12 text-faint">
          {start ? "Choose the last day." : "Choose the first day, then the last."}
        </span>
      }
      classNames={{
        root: "relative",
        months: "flex gap-6",
        month: "w-56",
        month_caption: "flex h-7 items-center justify-center",
        caption_label: "font-medium text-13",
        nav: "absolute inset-x-0 top-0 flex justify-between",
        button_previous: buttonClass("ghost", "sm", "w-7 px-0"),
        button_next: buttonClass("ghost", "sm", "w-7 px-0"),
        month_grid: "mt-1 w-full border-collapse",
        weekday: "h-7 w-8 font-normal text-11 text-faint",
        day: "h-8 w-8 p-0 text-center",
        day_button:
          "tabular h-7 w-8 rounded-sm text-12 hover:bg-hover disabled:text-faint disabled:opacity-50",
        today: "font-semibold text-accent-text",
        outside: "opacity-40",
        range_start: "rounded-l-sm bg-accent text-on-accent [&>button]:text-on-accent",
        range_end: "rounded-r-sm bg-accent text-on-accent [&>button]:text-on-accent",
        range_middle: "bg-accent-soft text-accent-text",
        selected: "",
        footer: "mt-2 block",
      }}
    />
  );
}
