// ResultGrid: a result of any width and up to 100,000 rows. Rows are virtual;
// columns sort by a click and resize by their edge. One cell is current: arrows
// move it, Mod-C copies it, Enter opens its row. NULL is told apart from text.

import {
  type CellData,
  type ColumnDef,
  columnResizingFeature,
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
import { ContextMenu } from "radix-ui";
import { memo, useEffect, useId, useMemo, useRef, useState } from "react";
import { cx } from "../../components/class-names";
import { copyToClipboard } from "../../components/clipboard";
import { CopyButton } from "../../components/code-block";
import { Sheet } from "../../components/dialog";
import { prettyJson } from "../../components/json";
import { toast } from "../../components/toast";
import {
  type Cell,
  cellText,
  compareCells,
  copyText,
  type Result,
  type ResultColumn,
  rowAsJson,
  rowAsText,
  shortType,
} from "./result";

const features = tableFeatures({
  rowSortingFeature,
  columnSizingFeature,
  columnResizingFeature,
  sortedRowModel: createSortedRowModel(),
  sortFns,
});

const rowHeight = 28;

/** Wide enough for the head and for most of the first rows, in pixels. */
function naturalWidth(column: ResultColumn, index: number, rows: readonly Cell[][], zone: string): number {
  const head = column.name.length * 7.2 + shortType(column.type).length * 6.2 + 44;
  const lengths = rows.slice(0, 80).map((r) => cellText(r[index] ?? null, column, zone).length);
  lengths.sort((a, b) => a - b);
  const typical = lengths[Math.floor(lengths.length * 0.95)] ?? 0;
  return Math.round(
    Math.max(
      72,
      Math.min(
        Math.max(head, typical * (column.kind === "text" || column.kind === "json" ? 7.2 : 7.9) + 28),
        340,
      ),
    ),
  );
}

async function copy(text: string, what: string) {
  await copyToClipboard(text);
  toast.success(`${what} copied`);
}

type Props = { result: Result; zone: string; label: string };

export const ResultGrid = memo(function ResultGrid({ result, zone, label }: Props) {
  const { columns, rows } = result;
  const id = useId();
  const box = useRef<HTMLDivElement>(null);
  const [sorting, setSorting] = useState<SortingState>([]);
  const [at, setAt] = useState<{ row: number; column: number }>();
  const [opened, setOpened] = useState<number>();

  // biome-ignore lint/correctness/useExhaustiveDependencies: another result has other columns and cells
  useEffect(() => {
    setSorting([]);
    setAt(undefined);
    setOpened(undefined);
    box.current?.scrollTo(0, 0);
  }, [result]);

  const defs = useMemo(
    () =>
      columns.map(
        (c, i): ColumnDef<typeof features, RowData, CellData> => ({
          id: String(i),
          accessorFn: (row) => (row as Cell[])[i] ?? undefined,
          size: naturalWidth(c, i, rows, zone),
          minSize: 48,
          maxSize: 1200,
          sortUndefined: "last",
          sortDescFirst: c.kind === "number",
          sortFn: (a, b, columnId) =>
            compareCells(a.getValue(columnId) as Cell, b.getValue(columnId) as Cell, c.kind),
        }),
      ),
    [columns, rows, zone],
  );
  const data = useMemo(() => rows as unknown as RowData[], [rows]);
  const table = useTable({
    features,
    data,
    columns: defs,
    columnResizeMode: "onChange",
    state: { sorting },
    onSortingChange: setSorting,
  });
  const sorted = table.getRowModel().rows;
  const headers = table.getHeaderGroups()[0]?.headers ?? [];
  const widths = headers.map((h) => h.getSize());
  const total = widths.reduce((a, b) => a + b, 0);
  const number = Math.max(36, String(rows.length).length * 7.5 + 20);

  const virtualizer = useVirtualizer({
    count: sorted.length,
    getScrollElement: () => box.current,
    estimateSize: () => rowHeight,
    overscan: 16,
  });

  const rowAt = (i: number) => sorted[i]?.original as Cell[] | undefined;

  function move(row: number, column: number) {
    const next = {
      row: Math.max(0, Math.min(sorted.length - 1, row)),
      column: Math.max(0, Math.min(columns.length - 1, column)),
    };
    setAt(next);
    virtualizer.scrollToIndex(next.row);
    // The column: scrolled by hand, since only rows are virtual.
    const left = widths.slice(0, next.column).reduce((a, b) => a + b, number);
    const el = box.current;
    if (!el) return;
    if (left < el.scrollLeft + number) el.scrollLeft = left - number;
    else if (left + (widths[next.column] ?? 0) > el.scrollLeft + el.clientWidth) {
      el.scrollLeft = left + (widths[next.column] ?? 0) - el.clientWidth;
    }
  }

  function onKeyDown(e: React.KeyboardEvent) {
    const { row, column } = at ?? { row: 0, column: 0 };
    const page = Math.max(1, Math.floor((box.current?.clientHeight ?? 300) / rowHeight) - 2);
    const mod = e.metaKey || e.ctrlKey;
    if (e.key === "ArrowDown") move(at ? row + 1 : 0, column);
    else if (e.key === "ArrowUp") move(row - 1, column);
    else if (e.key === "ArrowRight") move(row, at ? column + 1 : 0);
    else if (e.key === "ArrowLeft") move(row, column - 1);
    else if (e.key === "PageDown") move(row + page, column);
    else if (e.key === "PageUp") move(row - page, column);
    else if (e.key === "Home") move(mod ? 0 : row, 0);
    else if (e.key === "End") move(mod ? sorted.length - 1 : row, columns.length - 1);
    else if (e.key === "Enter" && at) setOpened(row);
    else if (mod && e.key.toLowerCase() === "c" && at && !String(getSelection())) {
      void copy(copyText(rowAt(row)?.[column] ?? null), "Cell");
    } else return;
    e.preventDefault();
  }

  const menuItem =
    "flex min-h-7 cursor-default select-none items-center rounded-sm px-2 py-1 text-13 outline-none data-highlighted:bg-hover";
  const current = at && rowAt(at.row);

  return (
    <>
      <ContextMenu.Root modal={false}>
        <ContextMenu.Trigger asChild>
          {/* biome-ignore lint/a11y/useSemanticElements: 100,000 virtual rows are no table element */}
          <div
            ref={box}
            role="grid"
            aria-label={label}
            aria-rowcount={rows.length + 1}
            aria-colcount={columns.length}
            aria-activedescendant={at ? `${id}-${at.row}-${at.column}` : undefined}
            tabIndex={0}
            onKeyDown={onKeyDown}
            className="h-full overflow-auto text-12 focus-visible:-outline-offset-2"
          >
            <div style={{ width: total + number, minWidth: "100%" }} className="relative">
              {/* biome-ignore lint/a11y/useSemanticElements: see grid */}
              {/* biome-ignore lint/a11y/useFocusableInteractive: the grid itself takes the focus */}
              <div
                role="row"
                aria-rowindex={1}
                className="sticky top-0 z-10 flex h-8 border-line border-b bg-surface"
              >
                {/* biome-ignore lint/a11y/useFocusableInteractive: the grid itself takes the focus */}
                {/* biome-ignore lint/a11y/useSemanticElements: see grid */}
                <div
                  role="columnheader"
                  className="sticky left-0 z-1 shrink-0 bg-surface"
                  style={{ width: number }}
                >
                  <span className="sr-only">Row</span>
                </div>
                {headers.map((h, i) => {
                  const c = columns[i];
                  const direction = h.column.getIsSorted();
                  if (!c) return null;
                  return (
                    // biome-ignore lint/a11y/useFocusableInteractive: its button takes the focus
                    // biome-ignore lint/a11y/useSemanticElements: see grid
                    <div
                      key={h.id}
                      role="columnheader"
                      aria-sort={
                        direction === "asc" ? "ascending" : direction === "desc" ? "descending" : "none"
                      }
                      className="relative flex shrink-0 items-center"
                      style={{ width: widths[i] }}
                    >
                      <button
                        type="button"
                        title={`${c.name}: ${c.type}`}
                        onClick={h.column.getToggleSortingHandler()}
                        className={cx(
                          "flex h-full min-w-0 flex-1 items-center gap-1.5 px-3 hover:bg-hover focus-visible:-outline-offset-2",
                          c.kind === "number" && "flex-row-reverse",
                        )}
                      >
                        <span className="truncate font-medium text-text">{c.name}</span>
                        <span className="truncate text-11 text-faint">{shortType(c.type)}</span>
                        {direction === "asc" ? <ArrowUp size={12} className="shrink-0" aria-hidden /> : null}
                        {direction === "desc" ? (
                          <ArrowDown size={12} className="shrink-0" aria-hidden />
                        ) : null}
                      </button>
                      <div
                        aria-hidden
                        onMouseDown={h.getResizeHandler()}
                        onTouchStart={h.getResizeHandler()}
                        onDoubleClick={() => h.column.resetSize()}
                        className={cx(
                          "absolute inset-y-1.5 right-0 w-1.5 cursor-col-resize border-line border-r hover:border-accent hover:border-r-2",
                          h.column.getIsResizing() && "border-accent border-r-2",
                        )}
                      />
                    </div>
                  );
                })}
              </div>
              {/* biome-ignore lint/a11y/useSemanticElements: see grid */}
              <div role="rowgroup" className="relative" style={{ height: virtualizer.getTotalSize() }}>
                {virtualizer.getVirtualItems().map((v) => {
                  const row = rowAt(v.index);
                  if (!row) return null;
                  return (
                    // biome-ignore lint/a11y/useFocusableInteractive: the grid itself takes the focus
                    // biome-ignore lint/a11y/useSemanticElements: see grid
                    <div
                      key={v.key}
                      role="row"
                      aria-rowindex={v.index + 2}
                      className="group absolute inset-x-0 flex border-line/60 border-b hover:bg-sunken"
                      style={{ height: rowHeight, transform: `translateY(${v.start}px)` }}
                      onDoubleClick={() => setOpened(v.index)}
                    >
                      {/* biome-ignore lint/a11y/useFocusableInteractive: the grid itself takes the focus */}
                      {/* biome-ignore lint/a11y/useSemanticElements: see grid */}
                      <div
                        role="rowheader"
                        className="tabular sticky left-0 z-1 shrink-0 bg-surface pr-2 text-right text-11 text-faint leading-7 group-hover:bg-sunken"
                        style={{ width: number }}
                      >
                        {v.index + 1}
                      </div>
                      {columns.map((c, i) => {
                        const cell = row[i] ?? null;
                        const here = at?.row === v.index && at.column === i;
                        return (
                          // biome-ignore lint/a11y/useFocusableInteractive: the grid itself takes the focus
                          // biome-ignore lint/a11y/useSemanticElements: see grid
                          <div
                            key={c.name + String(i)}
                            id={`${id}-${v.index}-${i}`}
                            role="gridcell"
                            aria-selected={here}
                            onMouseDown={() => setAt({ row: v.index, column: i })}
                            className={cx(
                              "shrink-0 truncate px-3 leading-7",
                              here && "outline-2 outline-accent -outline-offset-2",
                              cell === null
                                ? "text-faint italic"
                                : c.kind === "number"
                                  ? ""
                                  : c.kind === "json"
                                    ? "font-mono text-11"
                                    : "",
                              (c.kind === "number" || c.kind === "time" || c.kind === "date") && "tabular",
                              c.kind === "number" && "text-right",
                            )}
                            style={{ width: widths[i] }}
                          >
                            {cellText(cell, c, zone)}
                          </div>
                        );
                      })}
                    </div>
                  );
                })}
              </div>
            </div>
          </div>
        </ContextMenu.Trigger>
        <ContextMenu.Portal>
          <ContextMenu.Content className="z-50 min-w-44 animate-appear rounded-lg bg-raised p-1 shadow-menu">
            <ContextMenu.Item
              className={menuItem}
              onSelect={() => at && void copy(copyText(current?.[at.column] ?? null), "Cell")}
            >
              Copy cell
            </ContextMenu.Item>
            <ContextMenu.Item
              className={menuItem}
              onSelect={() => current && void copy(rowAsText(current), "Row")}
            >
              Copy row
            </ContextMenu.Item>
            <ContextMenu.Item
              className={menuItem}
              onSelect={() => current && void copy(rowAsJson(columns, current), "Row")}
            >
              Copy row as JSON
            </ContextMenu.Item>
            <ContextMenu.Separator className="-mx-1 my-1 h-px bg-line" />
            <ContextMenu.Item className={menuItem} onSelect={() => at && setOpened(at.row)}>
              Open row
            </ContextMenu.Item>
          </ContextMenu.Content>
        </ContextMenu.Portal>
      </ContextMenu.Root>
      <RowSheet
        columns={columns}
        row={opened === undefined ? undefined : rowAt(opened)}
        index={opened ?? 0}
        zone={zone}
        onClose={() => setOpened(undefined)}
      />
    </>
  );
});

/** Every value of one row, whole. */
function RowSheet({
  columns,
  row,
  index,
  zone,
  onClose,
}: {
  columns: readonly ResultColumn[];
  row: Cell[] | undefined;
  index: number;
  zone: string;
  onClose: () => void;
}) {
  return (
    <Sheet
      open={row !== undefined}
      onOpenChange={(open) => !open && onClose()}
      title={`Row ${(index + 1).toLocaleString("en-US")}`}
    >
      <dl className="divide-y divide-line">
        {row
          ? columns.map((c, i) => {
              const cell = row[i] ?? null;
              return (
                <div key={c.name + String(i)} className="py-1.5">
                  <dt className="text-11 text-faint">
                    {c.name} <span className="ml-1">{shortType(c.type)}</span>
                  </dt>
                  <dd className="flex items-start gap-2">
                    <span
                      className={cx(
                        "min-w-0 flex-1 whitespace-pre-wrap text-13 [overflow-wrap:anywhere]",
                        cell === null && "text-faint italic",
                        c.kind === "json" && cell !== null && "font-mono text-12",
                      )}
                    >
                      {c.kind === "json" && typeof cell === "string"
                        ? prettyJson(cell)
                        : cellText(cell, c, zone)}
                    </span>
                    <CopyButton text={copyText(cell)} label={`Copy ${c.name}`} />
                  </dd>
                </div>
              );
            })
          : null}
      </dl>
    </Sheet>
  );
}
