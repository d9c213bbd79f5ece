// What stands where the picture would be: no question, nothing sent yet, nothing
// matched. Each says what to do next.
import { useQueries, useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { eventsQuery } from "../../api/queries";
import { useApp } from "../../app/current";
import { Button, buttonClass } from "../../components/button";
import { compact, exact } from "../../components/format";
import { addDays, daysLabel, localDay, type Range, resolveRange } from "../../components/range";
import { EmptyState } from "../../components/states";
import { conditions, fromFilter, shortText, toFilter, without } from "./filter-model";
import { trendQuery } from "./queries";
import type { Question } from "./trend-link";
import { trendRequest } from "./trend-request";
import type { TrendSpec } from "./trend-spec";

export function NoQuestion({ onPick }: { onPick: (event: string) => void }) {
  const { scope } = useApp();
  const events = useQuery(eventsQuery(scope));
  return (
    <EmptyState
      title="Pick an event to count."
      actions={events.data?.slice(0, 5).map((e) => (
        <Button key={e.name} onClick={() => onPick(e.name)}>
          {e.name}
          <span className="tabular font-normal text-faint">{compact(e.count30d)}</span>
        </Button>
      ))}
    />
  );
}

export function NoEvents() {
  const { params } = useApp();
  return (
    <EmptyState
      title="No events yet. Send the first one."
      actions={
        <Link to="/$workspace/$app/home" params={params} className={buttonClass("primary")}>
          Show the snippet
        </Link>
      }
    />
  );
}

/** A question without one of its conditions, wherever that stands. */
function relaxed(question: Question): { text: string; question: Question; spec: TrendSpec }[] {
  const { spec } = question;
  const out: { text: string; question: Question; spec: TrendSpec }[] = [];
  const push = (text: string, next: TrendSpec) =>
    out.push({ text, spec: next, question: { ...question, spec: next } });
  const whole = fromFilter(spec.where);
  for (const { condition, path } of conditions(whole)) {
    const filter = toFilter(without(whole, path));
    const { where: _, ...rest } = spec;
    push(shortText(condition), filter ? { ...rest, where: filter } : rest);
  }
  for (const s of spec.series) {
    if (s.off) continue;
    const own = fromFilter(s.where);
    for (const { condition, path } of conditions(own)) {
      const filter = toFilter(without(own, path));
      const { where: _, ...rest } = s;
      push(shortText(condition), {
        ...spec,
        series: spec.series.map((x) => (x.id === s.id ? (filter ? { ...rest, where: filter } : rest) : x)),
      });
    }
  }
  return out.slice(0, 4);
}

export function NothingMatched({
  question,
  onChange,
}: {
  question: Question;
  onChange: (question: Question) => void;
}) {
  const { scope, zone } = useApp();
  const { from, to } = resolveRange(question.range, localDay(zone));
  const tries = relaxed(question);
  // What would be there without each condition; the one that costs most is named.
  const answers = useQueries({
    queries: tries.map((t) => ({
      ...trendQuery(
        scope,
        trendRequest({ ...t.question, compare: false, spec: { ...t.spec, breakdowns: [] } }, zone) ?? {},
      ),
      select: (a: { series: { total?: number }[] }) => a.series[0]?.total ?? 0,
    })),
  });
  let guilty: { text: string; spec: TrendSpec; would: number } | undefined;
  answers.forEach((a, i) => {
    const t = tries[i];
    if (t && a.data && (!guilty || a.data > guilty.would))
      guilty = { text: t.text, spec: t.spec, would: a.data };
  });
  const events = useQuery(eventsQuery(scope));
  const names = question.spec.series.filter((s) => !s.off && s.event).map((s) => s.event);
  const silent = names.length === 1 ? events.data?.find((e) => e.name === names[0]) : undefined;
  const today = localDay(zone);
  const lastDay = silent?.lastSeen ? localDay(zone, silent.lastSeen) : undefined;
  // An event of long ago, as after an import: 90 days would be as empty, its own last days are not.
  const wider: Range =
    lastDay && lastDay < addDays(today, -89)
      ? { kind: "between", from: addDays(lastDay, -29), to: lastDay }
      : { kind: "last", n: 90, unit: "d", complete: false };
  return (
    <EmptyState
      title={
        <>
          Nothing matched from {daysLabel(from, to).replace(" – ", " to ")}.
          {guilty ? (
            <>
              {" "}
              Without <em>{guilty.text}</em> there would be {exact(guilty.would)}.
            </>
          ) : null}
        </>
      }
      actions={
        <>
          {guilty ? (
            <Button look="primary" onClick={() => guilty && onChange({ ...question, spec: guilty.spec })}>
              Remove filter
            </Button>
          ) : null}
          <Button onClick={() => onChange({ ...question, range: wider })}>
            {wider.kind === "between" ? daysLabel(wider.from, wider.to) : "Last 90 days"}
          </Button>
        </>
      }
    >
      {lastDay && lastDay < from ? (
        <p>
          <em>{silent?.name}</em> was last seen {daysLabel(lastDay, lastDay)}.
        </p>
      ) : names.length === 1 && events.data && !silent ? (
        <p>
          <em>{names[0]}</em> has never been seen.{" "}
          {today < from ? "The range lies in the future." : "Check its spelling."}
        </p>
      ) : null}
    </EmptyState>
  );
}
