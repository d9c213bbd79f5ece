// Kbd: a key or a chord as it stands on the reader's keyboard. `mod` is ⌘ on
// Apple machines and Ctrl elsewhere; keys pressed in turn are joined by ">".
const apple = /Mac|iPhone|iPad/.test(globalThis.navigator?.platform ?? "");

const signs: Record<string, string> = {
  mod: apple ? "⌘" : "Ctrl",
  alt: apple ? "⌥" : "Alt",
  shift: "⇧",
  enter: "↵",
  escape: "Esc",
  arrowup: "↑",
  arrowdown: "↓",
};

const sign = (key: string) => signs[key.toLowerCase()] ?? (key.length === 1 ? key.toUpperCase() : key);

export function Kbd({ keys }: { keys: string }) {
  const turns = keys.split(">");
  return (
    <span className="inline-flex items-center gap-1">
      {turns.map((turn) => (
        <kbd
          key={turn}
          className="inline-flex h-4.5 min-w-4.5 items-center justify-center rounded-sm bg-sunken px-1 font-medium font-sans text-11 text-muted ring-1 ring-line ring-inset"
        >
          {turn.length > 1
            ? turn
                .split("+")
                .map(sign)
                .join(apple ? "" : "+")
            : sign(turn)}
        </kbd>
      ))}
    </span>
  );
}
