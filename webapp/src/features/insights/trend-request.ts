// From what the editor holds to what the server is asked.
import { localDay, rangeToApi } from "../../components/range";
import type { QueryTrendRequestJson } from "../../gen/causality/insights/v1/insights_pb";
import { soundFormulas } from "./formula";
import type { Question } from "./trend-link";

/** Undefined while there is nothing to count. Formulas with a mistake are left out. */
export function trendRequest(
  question: Question,
  zone: string,
  now = Date.now(),
): QueryTrendRequestJson | undefined {
  const { spec } = question;
  const on = spec.series.filter(
    (s) => !s.off && !(typeof s.measure === "object" && s.measure.property === ""),
  );
  if (on.length === 0) return undefined;
  const letters = new Set(on.map((s) => s.id));
  const formulas = soundFormulas(spec.formulas, letters).map((f) => ({
    id: f.id,
    expr: f.expr.toUpperCase(),
  }));
  const breakdowns = spec.breakdowns.filter((b) => b.property);
  return {
    range: rangeToApi(question.range, localDay(zone, now)),
    timeZone: zone,
    granularity: question.grain,
    series: on.map((s) => ({
      id: s.id,
      event: s.event,
      measure: s.measure,
      ...(s.where ? { where: s.where } : {}),
    })),
    ...(formulas.length > 0 ? { formulas } : {}),
    ...(spec.where ? { where: spec.where } : {}),
    ...(breakdowns.length > 0 ? { breakdowns, top: spec.top } : {}),
    ...(question.compare ? { compare: "previous" } : {}),
    ...(spec.cumulative ? { cumulative: true } : {}),
    ...(spec.rolling > 1 ? { rolling: spec.rolling } : {}),
  };
}
