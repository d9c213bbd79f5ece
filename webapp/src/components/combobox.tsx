// Combobox: choose from a long list by typing. Options come ranked by the
// caller; typing keeps exact and prefix matches first. At most 100 are drawn:
// typing narrows. `detail` shows what is known about the option under the
// cursor in a side pane. `onSearch` moves the search to the server; `create`
// accepts free entry. Several choices: `values` with check marks.
import { Command } from "cmdk";
import { Check, ChevronDown } from "lucide-react";
import { type ReactNode, useEffect, useState } from "react";
import { cx } from "./class-names";
import { Popover } from "./popover";

export type ComboboxOption = {
  value: string;
  label: string;
  /** On the right: a count, a type. */
  note?: ReactNode;
  icon?: ReactNode;
  /** Options below the line, such as properties the events never carried. */
  low?: boolean;
};

type Props = {
  label: string;
  options: readonly ComboboxOption[];
  value?: string | undefined;
  values?: readonly string[];
  onChange: (value: string) => void;
  placeholder?: string;
  searchPlaceholder?: string;
  onSearch?: (text: string) => void;
  loading?: boolean;
  /** Offers what was typed as a value, for example `(text) => \`Use "\${text}"\``. */
  create?: (text: string) => string;
  detail?: (value: string) => ReactNode;
  empty?: ReactNode;
  /** Your own trigger, a focusable element; default: a select-like button. */
  trigger?: ReactNode;
  open?: boolean;
  onOpenChange?: (open: boolean) => void;
  footer?: ReactNode;
  className?: string;
};

/** Exact, then prefix, then a word's start, then anywhere; ties keep the given order. */
export function rank<T extends { label: string }>(options: readonly T[], text: string): T[] {
  const query = text.trim().toLowerCase();
  if (!query) return [...options];
  const score = (label: string) => {
    const l = label.toLowerCase();
    if (l === query) return 0;
    if (l.startsWith(query)) return 1;
    const at = l.indexOf(query);
    if (at < 0) {
      // Words in any order: "cart add" finds "Add to cart".
      return query.split(/\s+/).every((w) => l.includes(w)) ? 4 : -1;
    }
    return /[^a-z0-9]/.test(l[at - 1] ?? "a") ? 2 : 3;
  };
  return options
    .map((option, index) => ({ option, index, score: score(option.label) }))
    .filter((o) => o.score >= 0)
    .sort((a, b) => a.score - b.score || a.index - b.index)
    .map((o) => o.option);
}

export function Combobox({
  label,
  options: given,
  value,
  values,
  onChange,
  placeholder = "Choose",
  searchPlaceholder = "Search",
  onSearch,
  loading,
  create,
  detail,
  empty = "Nothing matches.",
  trigger,
  open: controlled,
  onOpenChange,
  footer,
  className,
}: Props) {
  const [own, setOwn] = useState(false);
  const [search, setSearch] = useState("");
  const [active, setActive] = useState(value ?? "");
  // Two rows of one value could not be told apart, by React neither.
  const options = [...new Map(given.map((o) => [o.value, o])).values()];
  const open = controlled ?? own;
  const setOpen = (next: boolean) => {
    setOwn(next);
    onOpenChange?.(next);
    if (next) setActive(value ?? "");
    else {
      setSearch("");
      onSearch?.("");
    }
  };
  // While the server searches, what it found before is narrowed here.
  const found = onSearch && !loading ? [...options] : rank(options, search);
  const drawn = found.slice(0, 100);
  const high = drawn.filter((o) => !o.low);
  const low = drawn.filter((o) => o.low);
  const text = search.trim();
  const creatable = create && text !== "" && !options.some((o) => o.value === text);
  const choose = (v: string) => {
    onChange(v);
    if (!values) setOpen(false);
  };
  // The first row is taken by Enter, also when rows arrive after the list opened.
  const first = drawn[0]?.value ?? (creatable ? `create:${text}` : "");
  const preset = search === "" && drawn.some((o) => o.value === value) ? value : undefined;
  useEffect(() => {
    if (open) setActive(preset ?? first);
  }, [open, first, preset]);
  const current = options.find((o) => o.value === value);
  const pane = detail && active ? detail(active) : null;

  const row = (o: ComboboxOption) => {
    const chosen = values ? values.includes(o.value) : o.value === value;
    return (
      <Command.Item
        key={o.value}
        value={o.value}
        onSelect={() => choose(o.value)}
        className="flex min-h-7 cursor-default select-none items-center gap-2 rounded-sm px-2 py-1 text-13 data-[selected=true]:bg-hover"
      >
        {values ? (
          <span
            aria-hidden
            className={cx(
              "flex size-3.5 shrink-0 items-center justify-center rounded-[3px] ring-1 ring-inset",
              chosen ? "bg-accent text-on-accent ring-accent" : "ring-edge",
            )}
          >
            {chosen ? <Check size={11} strokeWidth={3} /> : null}
          </span>
        ) : o.icon ? (
          <span className="shrink-0 text-faint">{o.icon}</span>
        ) : null}
        <span className={cx("min-w-0 flex-1 truncate", o.low && "text-muted")}>
          {o.label}
          {values && chosen ? <span className="sr-only"> (chosen)</span> : null}
        </span>
        {o.note ? <span className="tabular shrink-0 text-12 text-faint">{o.note}</span> : null}
        {!values && chosen ? <Check size={14} className="shrink-0 text-accent-text" /> : null}
      </Command.Item>
    );
  };

  return (
    <Popover
      open={open}
      onOpenChange={setOpen}
      label={label}
      className={cx("flex overflow-hidden p-0", pane ? "sm:w-140" : "w-72")}
      trigger={
        trigger ?? (
          <button
            type="button"
            aria-label={`${label}: ${current?.label ?? value ?? placeholder}`}
            className={cx(
              "touch-target inline-flex h-7 min-w-0 items-center gap-1.5 rounded-md bg-surface px-2.5 text-13 shadow-line ring-1 ring-line ring-inset hover:bg-sunken",
              className,
            )}
          >
            {current?.icon ? <span className="text-faint">{current.icon}</span> : null}
            <span className={cx("truncate", !value && "text-faint")}>
              {current?.label ?? (value || placeholder)}
            </span>
            <ChevronDown size={14} strokeWidth={1.5} className="ml-auto shrink-0 text-faint" />
          </button>
        )
      }
    >
      <Command
        label={label}
        shouldFilter={false}
        value={active}
        onValueChange={setActive}
        className="flex min-w-0 flex-1 flex-col"
      >
        <Command.Input
          value={search}
          onValueChange={(v) => {
            setSearch(v);
            onSearch?.(v);
          }}
          placeholder={searchPlaceholder}
          className="h-9 w-full border-line border-b bg-transparent px-3 text-13 outline-none"
        />
        <Command.List
          className={cx(
            "max-h-72 min-h-0 scroll-py-1 overflow-auto p-1 transition-opacity",
            loading && "opacity-60",
          )}
        >
          {found.length === 0 && !creatable ? (
            <p className="px-2 py-3 text-13 text-muted">{loading ? "Searching" : empty}</p>
          ) : null}
          {high.map(row)}
          {low.length > 0 ? <Command.Separator alwaysRender className="-mx-1 my-1 h-px bg-line" /> : null}
          {low.map(row)}
          {creatable ? (
            <Command.Item
              value={`create:${text}`}
              onSelect={() => choose(text)}
              className="flex min-h-7 cursor-default items-center rounded-sm px-2 py-1 text-13 data-[selected=true]:bg-hover"
            >
              {create(text)}
            </Command.Item>
          ) : null}
          {found.length > drawn.length ? (
            <p className="px-2 py-1.5 text-12 text-faint">
              {found.length - drawn.length} more: type to narrow
            </p>
          ) : null}
        </Command.List>
        {footer ? <div className="border-line border-t p-1">{footer}</div> : null}
      </Command>
      {pane ? (
        <div className="w-60 shrink-0 border-line border-l bg-sunken/50 p-3 max-sm:hidden">{pane}</div>
      ) : null}
    </Popover>
  );
}
