// Chart colours as names of tokens. Colour belongs to the value: a name keeps its
// place in the palette wherever it is drawn; "Other" is always grey.

export const paletteSize = 10;
export const otherColor = "var(--color-chart-other)";

/** The colour of a place, 0 to 9. */
export const chartColor = (place: number) => `var(--color-chart-${(place % paletteSize) + 1})`;

/**
 * Places for the names of one picture. A name keeps the place it had before, if
 * nobody drawn has it; others take the lowest that is free, so that few names
 * get the colours that differ most. Beyond ten they repeat.
 */
export function assignPlaces(
  known: ReadonlyMap<string, number>,
  names: readonly string[],
): Map<string, number> {
  const places = new Map<string, number>();
  const taken = new Set<number>();
  for (const name of names) {
    const place = known.get(name);
    if (place !== undefined && !taken.has(place)) {
      places.set(name, place);
      taken.add(place);
    }
  }
  for (const name of names) {
    if (places.has(name)) continue;
    let place = 0;
    while (taken.has(place) && place < paletteSize) place++;
    if (place === paletteSize) {
      taken.clear();
      place = 0;
    }
    places.set(name, place);
    taken.add(place);
  }
  return places;
}

/** Steps of the shading of tables. */
export const heatSteps = 7;

/** The shade of a step, 1 to 7, with the text that reads on it in both themes. */
export function heat(step: number): { background: string; color: string } {
  const ink = "var(--color-text)";
  const turned = "var(--color-on-accent)";
  return {
    background: `var(--color-heat-${step})`,
    color:
      step >= 6 ? turned : step === 5 ? "light-dark(oklch(0.235 0.018 262), oklch(0.175 0.01 262))" : ink,
  };
}

const mostRemembered = 200;

/**
 * The same, remembered on this device under a subject, such as an app's
 * property: "iOS" looks alike in every question that breaks down by it.
 */
export function rememberedPlaces(subject: string, names: readonly string[]): Map<string, number> {
  const key = `causality.colors.${subject}`;
  let known = new Map<string, number>();
  try {
    const value: unknown = JSON.parse(localStorage.getItem(key) ?? "[]");
    if (Array.isArray(value)) known = new Map(value as [string, number][]);
  } catch {
    // Then colours hold for this picture.
  }
  const places = assignPlaces(known, names);
  try {
    const next = JSON.stringify([...new Map([...known, ...places])].slice(-mostRemembered));
    if (next !== JSON.stringify([...known])) localStorage.setItem(key, next);
  } catch {
    // Likewise.
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
