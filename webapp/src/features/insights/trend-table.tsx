// The numbers of the picture, exact and sortable. Few periods stand across, one
// series a row; many stand down. Totals come from the answer: unique users of a
// range are no sum of its days.
import { useMemo } from "react";
import { Swatch } from "../../components/chart";
import { changeText, exact } from "../../components/format";
import { marksOf } from "../../components/marks";
import { heat, heatSteps } from "../../components/palette";
import { type Column, Table } from "../../components/table";
import type { Picture, PictureSeries } from "./trend-picture-model";

type Props = {
  picture: Picture;
  sort?: { id: string; desc: boolean } | undefined;
  /** Shade cells by value, all on one scale: shades of one row would not compare with another's. */
  heated: boolean;
  /** Series carry shapes, as their lines do. */
  shapes: boolean;
  onSortChange: (sort: { id: string; desc: boolean } | undefined) => void;
};

type Row = Pick<PictureSeries, "key" | "name" | "color" | "values" | "total" | "other"> & {
  before?: number | null | undefined;
  dashed?: boolean;
};

/** More periods than this read better down than across. */
const mostAcross = 100;

export function TrendTable(props: Props) {
  const { starts, series } = props.picture;
  return starts.length > mostAcross && series.length <= 12 ? <Down {...props} /> : <Across {...props} />;
}

/** The shade of a value among all complete periods of the picture. */
function useShade(picture: Picture, heated: boolean) {
  return useMemo(() => {
    if (!heated) return undefined;
    let least = Number.POSITIVE_INFINITY;
    let most = Number.NEGATIVE_INFINITY;
    for (const s of picture.series) {
      s.values.forEach((v, i) => {
        if (v === null || picture.complete[i] === false) return;
        least = Math.min(least, v);
        most = Math.max(most, v);
      });
    }
    return (value: number | null | undefined, index: number) => {
      if (value == null || picture.complete[index] === false || !(most > least)) return undefined;
      const part = (Math.max(least, Math.min(most, value)) - least) / (most - least);
      return heat(1 + Math.min(heatSteps - 1, Math.floor(part * heatSteps)));
    };
  }, [picture, heated]);
}

function Across({ picture, sort, heated, shapes, onSortChange }: Props) {
  const shade = useShade(picture, heated);
  const marked = useMemo(
    () => (shapes ? marksOf(picture.series) : new Map<string, number>()),
    [picture, shapes],
  );
  const rows = useMemo(
    () =>
      picture.series.flatMap((s): Row[] => {
        const old = picture.previous.find((p) => p.compares === s.key);
        return [
          { ...s, before: s.previousTotal },
          ...(old ? [{ ...old, total: s.previousTotal ?? null, dashed: true }] : []),
        ];
      }),
    [picture],
  );
  const columns = useMemo(
    (): Column<Row>[] => [
      {
        id: "name",
        header: "Series",
        value: (r) => r.name,
        cell: (r) => (
          <span className="flex max-w-40 items-center gap-2 md:max-w-80">
            <Swatch
              color={r.color}
              dashed={Boolean(r.dashed)}
              hatched={r.other}
              mark={r.dashed ? undefined : marked.get(r.key)}
            />
            <span className="truncate" title={r.name}>
              {r.name}
            </span>
          </span>
        ),
      },
      {
        id: "total",
        header: "Total",
        numeric: true,
        value: (r) => r.total,
        cell: (r) => <span className="font-medium">{exact(r.total)}</span>,
      },
      ...(picture.previous.length > 0
        ? [
            {
              id: "change",
              header: "Change",
              numeric: true,
              value: (r: Row) => (r.before && r.total != null ? r.total / r.before - 1 : null),
              cell: (r: Row) => (r.dashed ? "" : changeText(r.total, r.before)),
            },
          ]
        : []),
      ...picture.starts.map(
        (start, i): Column<Row> => ({
          id: start,
          header:
            picture.complete[i] === false ? (
              <span title="Not complete">{picture.categories[i]} *</span>
            ) : (
              picture.categories[i]
            ),
          numeric: true,
          value: (r) => r.values[i],
          cell: (r) => exact(r.values[i]),
          ...(shade ? { shade: (r: Row) => shade(r.values[i], i) } : {}),
        }),
      ),
    ],
    [picture, marked, shade],
  );
  return (
    <Table
      label="Numbers of the chart"
      columns={columns}
      rows={rows}
      rowKey={(r) => r.key}
      compact
      {...(sort ? { sort } : {})}
      onSortChange={onSortChange}
    />
  );
}

type Period = { index: number };

function Down({ picture, sort, heated, shapes, onSortChange }: Props) {
  const shade = useShade(picture, heated);
  const marked = useMemo(
    () => (shapes ? marksOf(picture.series) : new Map<string, number>()),
    [picture, shapes],
  );
  const rows = useMemo(() => picture.starts.map((_, index): Period => ({ index })), [picture]);
  const columns = useMemo(
    (): Column<Period>[] => [
      {
        id: "period",
        header: "Period",
        width: 200,
        value: (r) => picture.starts[r.index],
        cell: (r) => `${picture.titles[r.index]}${picture.complete[r.index] === false ? " *" : ""}`,
      },
      ...[...picture.series, ...picture.previous].map(
        (s): Column<Period> => ({
          id: s.key,
          header: s.name,
          numeric: true,
          value: (r) => s.values[r.index],
          cell: (r) => exact(s.values[r.index]),
          ...(shade ? { shade: (r: Period) => shade(s.values[r.index], r.index) } : {}),
        }),
      ),
    ],
    [picture, shade],
  );
  return (
    <>
      <dl className="flex shrink-0 flex-wrap gap-x-6 gap-y-1 border-line border-b px-3 py-2">
        {picture.series.map((s) => (
          <div key={s.key} className="flex items-center gap-2">
            <Swatch color={s.color} hatched={s.other} mark={marked.get(s.key)} />
            <dt className="text-muted">{s.name}, total</dt>
            <dd className="tabular font-medium">{exact(s.total)}</dd>
          </div>
        ))}
      </dl>
      <Table
        label="Numbers of the chart"
        columns={columns}
        rows={rows}
        rowKey={(r) => String(r.index)}
        compact
        {...(sort ? { sort } : {})}
        onSortChange={onSortChange}
      />
    </>
  );
}
