// Chart colours as names of tokens. Colour belongs to the value: the same name
// gets the same place in the palette wherever it is drawn, so long as the places
// are free; "Other" is always grey.

export const paletteSize = 10;
export const otherColor = "var(--color-chart-other)";

/** The colour of a place, 0 to 9. */
export const chartColor = (place: number) => `var(--color-chart-${(place % paletteSize) + 1})`;

function hash(text: string): number {
  let h = 2166136261;
  for (let i = 0; i < text.length; i++) h = Math.imul(h ^ text.charCodeAt(i), 16777619);
  return h >>> 0;
}

/**
 * Places for names that keep theirs whatever else is drawn, as far as ten allow:
 * each takes its own place, or the next free one; beyond ten they repeat.
 */
export function stablePlaces(names: readonly string[]): Map<string, number> {
  const places = new Map<string, number>();
  const taken = new Set<number>();
  for (const name of names) {
    if (places.has(name)) continue;
    let place = hash(name) % paletteSize;
    if (taken.size < paletteSize) while (taken.has(place)) place = (place + 1) % paletteSize;
    taken.add(place);
    places.set(name, place);
  }
  return places;
}

// ECharts draws on a canvas and cannot read oklch() or var(): the browser
// resolves a token to pixels, once a theme.
const resolved = new Map<string, string>();

export function tokenHex(token: string, theme: string): string {
  const key = `${theme} ${token}`;
  const known = resolved.get(key);
  if (known) return known;
  const probe = document.createElement("span");
  probe.style.color = token.startsWith("--") ? `var(${token})` : token;
  document.body.append(probe);
  const color = getComputedStyle(probe).color;
  probe.remove();
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = 1;
  const context = canvas.getContext("2d", { willReadFrequently: true });
  if (!context) return "#888888";
  context.fillStyle = color;
  context.fillRect(0, 0, 1, 1);
  const [r = 0, g = 0, b = 0] = context.getImageData(0, 0, 1, 1).data;
  const hex = `#${[r, g, b].map((n) => n.toString(16).padStart(2, "0")).join("")}`;
  resolved.set(key, hex);
  return hex;
}
