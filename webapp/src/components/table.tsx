// Table: rows of one shape with a sticky head, sorting by a click on the head
// and virtual rows past 100. Numbers stand right and line up. The first column
// stays put when the table scrolls sideways. Give columns a stable identity
// (module scope or useMemo): a new array rebuilds the table.
import {
  type CellData,
  type ColumnDef,
  columnSizingFeature,
  createSortedRowModel,
  type RowData,
  rowSortingFeature,
  type SortingState,
  sortFns,
  tableFeatures,
  useTable,
} from "@tanstack/react-table";
import { useVirtualizer } from "@tanstack/react-virtual";
import { ArrowDown, ArrowUp } from "lucide-react";
import { type CSSProperties, type ReactNode, useMemo, useRef, useState } from "react";
import { cx } from "./class-names";

export type Column<T> = {
  id: string;
  header: ReactNode;
  /** What is sorted by; null sorts last. */
  value: (row: T) => string | number | null | undefined;
  /** What is shown; default: the value. */
  cell?: (row: T) => ReactNode;
  numeric?: boolean;
  /** Pixels; columns without one share the rest. */
  width?: number;
  sortable?: boolean;
  /** Colours of a cell, for shading by value. */
  shade?: (row: T) => CSSProperties | undefined;
};

type Props<T> = {
  label: string;
  columns: readonly Column<T>[];
  rows: readonly T[];
  rowKey: (row: T, index: number) => string;
  /** Initial order; without it rows keep theirs. */
  sort?: { id: string; desc: boolean };
  onSortChange?: (sort: { id: string; desc: boolean } | undefined) => void;
  onRowClick?: (row: T) => void;
  /** 32 px rows, or 28 when compact. */
  compact?: boolean;
  /** Height of the scrolling box; default: as tall as its rows, at most 560 px. */
  maxHeight?: number | string;
  className?: string;
};

const features = tableFeatures({
  rowSortingFeature,
  columnSizingFeature,
  sortedRowModel: createSortedRowModel(),
  sortFns,
});

function order(a: unknown, b: unknown): number {
  if (typeof a === "number" && typeof b === "number") return a - b;
  return String(a).localeCompare(String(b), "en", { numeric: true });
}

export function Table<T>({
  label,
  columns,
  rows,
  rowKey,
  sort,
  onSortChange,
  onRowClick,
  compact,
  maxHeight = 560,
  className,
}: Props<T>) {
  const box = useRef<HTMLDivElement>(null);
  const [sorting, setSorting] = useState<SortingState>(sort ? [sort] : []);
  const defs = useMemo(
    () =>
      columns.map(
        (c): ColumnDef<typeof features, RowData, CellData> => ({
          id: c.id,
          accessorFn: (row) => c.value(row as T) ?? undefined,
          enableSorting: c.sortable !== false,
          sortUndefined: "last",
          sortDescFirst: Boolean(c.numeric),
          sortFn: (a, b, id) => order(a.getValue(id), b.getValue(id)),
        }),
      ),
    [columns],
  );
  const data = useMemo(() => rows as unknown as RowData[], [rows]);
  const table = useTable({
    features,
    data,
    columns: defs,
    state: { sorting },
    onSortingChange: (next: SortingState | ((old: SortingState) => SortingState)) => {
      const value = typeof next === "function" ? next(sorting) : next;
      setSorting(value);
      onSortChange?.(value[0]);
    },
  });
  const sorted = table.getRowModel().rows;
  const height = compact ? 28 : 32;
  const virtual = sorted.length > 100;
  const virtualizer = useVirtualizer({
    count: sorted.length,
    getScrollElement: () => box.current,
    estimateSize: () => height,
    overscan: 12,
    enabled: virtual,
  });
  const items = virtual ? virtualizer.getVirtualItems() : undefined;
  const before = items?.[0]?.start ?? 0;
  const after = items ? virtualizer.getTotalSize() - (items.at(-1)?.end ?? 0) : 0;
  const shown = items
    ? items.map((v) => ({ row: sorted[v.index], index: v.index }))
    : sorted.map((row, index) => ({ row, index }));
  const byId = new Map(columns.map((c) => [c.id, c]));

  return (
    <section
      ref={box}
      aria-label={label}
      tabIndex={0}
      style={{ maxHeight }}
      className={cx("overflow-auto", className)}
    >
      <table className="w-full border-separate border-spacing-0 text-13" aria-rowcount={sorted.length + 1}>
        <thead>
          <tr>
            {table.getHeaderGroups()[0]?.headers.map((h, i) => {
              const c = byId.get(h.column.id);
              const sortable = h.column.getCanSort();
              const direction = h.column.getIsSorted();
              return (
                <th
                  key={h.id}
                  scope="col"
                  aria-sort={
                    direction === "asc" ? "ascending" : direction === "desc" ? "descending" : undefined
                  }
                  style={c?.width ? { width: c.width, minWidth: c.width } : undefined}
                  className={cx(
                    "sticky top-0 h-8 whitespace-nowrap border-line border-b bg-surface px-3 font-medium text-12 text-muted",
                    i === 0 ? "left-0 z-20" : "z-10",
                    c?.numeric ? "text-right" : "text-left",
                  )}
                >
                  {sortable ? (
                    <button
                      type="button"
                      onClick={h.column.getToggleSortingHandler()}
                      className={cx(
                        "inline-flex items-center gap-1 rounded-sm hover:text-text",
                        direction && "text-text",
                        c?.numeric && "flex-row-reverse",
                      )}
                    >
                      {c?.header}
                      {direction === "asc" ? <ArrowUp size={12} /> : null}
                      {direction === "desc" ? <ArrowDown size={12} /> : null}
                    </button>
                  ) : (
                    c?.header
                  )}
                </th>
              );
            })}
          </tr>
        </thead>
        <tbody>
          {before > 0 ? (
            <tr aria-hidden>
              <td colSpan={columns.length} style={{ height: before }} />
            </tr>
          ) : null}
          {shown.map(({ row, index }) => {
            if (!row) return null;
            const value = row.original as T;
            return (
              <tr
                key={rowKey(value, row.index)}
                aria-rowindex={index + 2}
                onClick={onRowClick ? () => onRowClick(value) : undefined}
                className={cx("group", onRowClick && "cursor-pointer")}
                style={{ height }}
              >
                {columns.map((c, i) => (
                  <td
                    key={c.id}
                    style={c.shade?.(value)}
                    className={cx(
                      "max-w-100 truncate whitespace-nowrap border-line/70 border-b px-3 group-last:border-b-0",
                      i === 0 && "sticky left-0 z-1 bg-surface",
                      onRowClick && "group-hover:bg-sunken",
                      c.numeric && "tabular text-right",
                    )}
                  >
                    {c.cell ? c.cell(value) : (c.value(value) ?? "–")}
                  </td>
                ))}
              </tr>
            );
          })}
          {after > 0 ? (
            <tr aria-hidden>
              <td colSpan={columns.length} style={{ height: after }} />
            </tr>
          ) : null}
        </tbody>
      </table>
    </section>
  );
}
