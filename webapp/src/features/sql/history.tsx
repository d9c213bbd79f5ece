// History: what ran here, newest first; a click brings a statement back.
import { useState } from "react";
import { Button } from "../../components/button";
import { ago, count, dateTime, duration } from "../../components/format";
import { Input } from "../../components/input";
import { EmptyState } from "../../components/states";
import { type HistoryEntry, searchHistory } from "./drafts";

export function History({
  entries,
  zone,
  onChoose,
  onClear,
}: {
  entries: readonly HistoryEntry[];
  zone: string;
  onChoose: (entry: HistoryEntry) => void;
  onClear: () => void;
}) {
  const [search, setSearch] = useState("");
  const found = searchHistory(entries, search);
  if (entries.length === 0) {
    return (
      <EmptyState title="Nothing has run yet.">
        Every statement that you run is listed here, with its time and size.
      </EmptyState>
    );
  }
  return (
    <>
      <div className="sticky top-0 z-1 -mx-1 flex gap-2 bg-raised px-1 pb-2">
        <Input
          type="search"
          aria-label="Search history"
          placeholder="Search"
          value={search}
          onChange={(e) => setSearch(e.target.value)}
        />
        <Button look="ghost" onClick={onClear}>
          Clear
        </Button>
      </div>
      {found.length === 0 ? (
        <p className="py-4 text-13 text-muted">No statement here holds “{search.trim()}”.</p>
      ) : null}
      <ul className="-mx-2 flex flex-col">
        {found.map((h) => (
          <li key={h.sql} className="border-line border-b last:border-b-0">
            <button
              type="button"
              onClick={() => onChoose(h)}
              className="block w-full rounded-md px-2 py-2 text-left hover:bg-hover focus-visible:-outline-offset-2"
            >
              <code className="line-clamp-3 whitespace-pre-wrap font-mono text-12 leading-5 [overflow-wrap:anywhere]">
                {h.sql}
              </code>
              <span className="mt-1 flex flex-wrap gap-x-3 text-11 text-faint">
                <span title={dateTime(h.at, zone)}>{ago(h.at, zone)}</span>
                <span className="tabular">{duration(h.seconds)}</span>
                {h.error ? (
                  <span className="truncate text-bad">{h.error.split("\n")[0]}</span>
                ) : (
                  <span className="tabular">
                    {h.truncated ? `first ${count(h.rows ?? 0, "row")}` : count(h.rows ?? 0, "row")}
                  </span>
                )}
              </span>
            </button>
          </li>
        ))}
      </ul>
    </>
  );
}
