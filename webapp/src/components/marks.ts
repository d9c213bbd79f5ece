// Marker shapes: past six lines colour alone no longer tells them apart, in
// greyscale least of all. Lines, legend and tooltip draw the same shape; a
// series keeps its own whatever else is hidden.

const outlines = [
  "M5 1a4 4 0 1 0 0 8a4 4 0 1 0 0-8z", // circle
  "M1.5 1.5h7v7h-7z", // square
  "M5 .8L9.4 8.6H.6z", // triangle
  "M5 .3L9.7 5L5 9.7L.3 5z", // diamond
  "M.6 1.4H9.4L5 9.2z", // triangle on its tip
] as const;

/** Outlines in a box of 10 by 10, filled first, then hollow. */
export const marks: readonly { path: string; hollow: boolean }[] = [false, true].flatMap((hollow) =>
  outlines.map((path) => ({ path, hollow })),
);

const mostWithoutMarks = 6;

/** The mark of each series, by key; none up to six, none for comparisons and the rest. */
export function marksOf(
  series: readonly { key: string; compares?: string; other?: boolean | undefined }[],
): ReadonlyMap<string, number> {
  const own = series.filter((s) => !s.compares);
  if (own.length <= mostWithoutMarks) return new Map();
  return new Map(
    own.flatMap((s, i): [string, number][] =>
      // Where colours repeat, from the eleventh on, the shapes move on by one.
      s.other ? [] : [[s.key, (i + Math.floor(i / marks.length)) % marks.length]],
    ),
  );
}
