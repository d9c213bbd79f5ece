// Class names joined so that a later one wins over an earlier one that sets the
// same property: a component's `className` can override its own look.
import { extendTailwindMerge } from "tailwind-merge";

// Names of our own tokens, which the defaults would take for colours.
const merge = extendTailwindMerge({
  extend: {
    theme: {
      text: ["11", "12", "13", "14", "16", "20", "24", "32"],
      shadow: ["line", "menu", "dialog"],
      animate: ["appear", "sheet", "rise", "progress", "shimmer", "pulse"],
    },
  },
});

/** Joins class names, leaving out what is false; of two that clash the last one holds. */
export function cx(...names: (string | false | null | undefined)[]): string {
  return merge(names.filter(Boolean).join(" "));
}
