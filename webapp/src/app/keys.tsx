// Shortcuts in one place: `useShortcut` binds a key and lists it on the key
// sheet (`?`) while its owner is on the page. Keys without a modifier can be
// turned off (WCAG 2.1.4) and never fire in fields, menus or dialogs.
import { useEffect, useSyncExternalStore } from "react";
import { useHotkeys } from "react-hotkeys-hook";
import { Dialog } from "../components/dialog";
import { Kbd } from "../components/kbd";
import { Switch } from "../components/switch";

type Listed = { keys: string; does: string; group: string };

const listed = new Map<string, Listed>();
const listeners = new Set<() => void>();
let snapshot: Listed[] = [];
const storageKey = "causality.singleKeys";
let singleKeys = read();

function read(): boolean {
  try {
    return localStorage.getItem(storageKey) !== "off";
  } catch {
    return true;
  }
}

function changed() {
  snapshot = [...listed.values()];
  for (const listener of listeners) listener();
}

const subscribe = (listener: () => void) => {
  listeners.add(listener);
  return () => listeners.delete(listener);
};

type Options = {
  /** What it does, for the key sheet; without it the key is not listed. */
  does?: string;
  group?: string;
  enabled?: boolean;
  /** Also while typing in a field, for chords such as mod+enter. */
  inFields?: boolean;
};

/** `keys` as react-hotkeys-hook writes them: "mod+k", "g>h", "t"; "," separates alternatives. */
export function useShortcut(keys: string, run: (event: KeyboardEvent) => void, options: Options = {}) {
  const { does, group = "This page", enabled = true, inFields = false } = options;
  const single = !/mod|ctrl|meta|alt/.test(keys) && keys !== "escape";
  const allowed = useSyncExternalStore(subscribe, () => singleKeys);
  // "?" and brackets depend on the layout: match what is typed, not where the key is.
  const typed = /^[?[\]/\\]$/.test(keys);
  useHotkeys(keys === "?" ? "shift+?" : keys, run, {
    enabled: enabled && (allowed || !single),
    preventDefault: true,
    // Choices that take no text leave single keys free.
    enableOnFormTags: inFields ? true : ["radio"],
    enableOnContentEditable: inFields,
    useKey: typed,
    ignoreEventWhen: (e) =>
      single &&
      Boolean((e.target as Element | null)?.closest?.("[role=menu],[role=listbox],[role=dialog],.cm-editor")),
  });
  useEffect(() => {
    if (!does || !enabled) return;
    listed.set(keys, { keys, does, group });
    changed();
    return () => {
      listed.delete(keys);
      changed();
    };
  }, [keys, does, group, enabled]);
}

export function KeySheet({ open, onOpenChange }: { open: boolean; onOpenChange: (open: boolean) => void }) {
  const all = useSyncExternalStore(subscribe, () => snapshot);
  const allowed = useSyncExternalStore(subscribe, () => singleKeys);
  const groups = [...new Set(all.map((l) => l.group))].sort(
    (a, b) => Number(b === "This page") - Number(a === "This page"),
  );
  return (
    <Dialog open={open} onOpenChange={onOpenChange} title="Keyboard shortcuts" className="max-w-160">
      <div className="gap-x-8 sm:columns-2">
        {groups.map((group) => (
          <section key={group} className="mb-4 break-inside-avoid">
            <h3 className="mb-1 font-medium text-12 text-faint">{group}</h3>
            <dl>
              {all
                .filter((l) => l.group === group)
                .map((l) => (
                  <div key={l.keys} className="flex h-7 items-center justify-between gap-4">
                    <dt>{l.does}</dt>
                    <dd className="flex gap-1.5">
                      {l.keys.split(",").map((k) => (
                        <Kbd key={k} keys={k} />
                      ))}
                    </dd>
                  </div>
                ))}
            </dl>
          </section>
        ))}
      </div>
      <div className="border-line border-t pt-4">
        <Switch
          label="Single-key shortcuts"
          hint="Keys without Ctrl, ⌘ or Alt. They never fire while you type in a field."
          checked={allowed}
          onChange={(on) => {
            singleKeys = on;
            try {
              localStorage.setItem(storageKey, on ? "on" : "off");
            } catch {
              // Then it lasts for this page only.
            }
            changed();
          }}
        />
      </div>
    </Dialog>
  );
}
