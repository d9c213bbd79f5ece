/** The declarations that the public ones name and no others, by their paths. */
export function declarations(): Record<string, string>;

/** The minified files of a bundle, by their names. */
export function bundle(
  name: string,
  options: { entry: string; format: "iife" | "esm" },
): Promise<Record<string, string>>;
