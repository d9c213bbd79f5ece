// What the editor offers while one types: tables and columns of the schema,
// names of events inside quotes, and property names behind `properties`.
import type { Completion, CompletionContext, CompletionResult } from "@codemirror/autocomplete";
import { compact } from "../../components/format";
import type { SeenEvent, SeenProperty } from "../../gen/causality/catalog/v1/catalog_pb";
import type { Table } from "../../gen/causality/query/v1/query_pb";

export type Known = {
  tables: readonly Table[];
  events: readonly Pick<SeenEvent, "name" | "count30d">[];
  properties: readonly Pick<SeenProperty, "name" | "types" | "builtin" | "coverage">[];
};

/** `$.plan`, or `$."odd name"` where a bare path would not be read. */
export function jsonPath(name: string): string {
  return /^[A-Za-z_]\w*$/.test(name) ? `$.${name}` : `$."${name.replaceAll('"', '\\"')}"`;
}

/** The expression that reads a property as text. */
export const propertyExpression = (name: string) => `properties->>'${jsonPath(name).replaceAll("'", "''")}'`;

/** An identifier as SQL reads it. */
export const identifier = (name: string) =>
  /^[a-z_]\w*$/.test(name) ? name : `"${name.replaceAll('"', '""')}"`;

/** A text literal. */
export const literal = (text: string) => `'${text.replaceAll("'", "''")}'`;

/** For lang-sql's own completion: columns by table. */
export function schemaOf(tables: readonly Table[]): Record<string, Completion[]> {
  return Object.fromEntries(
    tables.map((t) => [
      t.name,
      t.columns.map((c) => ({
        label: c.name,
        type: "property",
        detail: c.type.toLowerCase(),
        ...(c.description ? { info: c.description } : {}),
      })),
    ]),
  );
}

/** Completions that depend on the app's data, not on the grammar. */
export function dataCompletions(known: () => Known) {
  return (context: CompletionContext): CompletionResult | null => {
    const line = context.state.doc.lineAt(context.pos);
    const before = line.text.slice(0, context.pos - line.from);
    const { events, properties } = known();

    const path = /properties\s*->>?\s*'?(\$?\.?"?[\w ]*)$/.exec(before);
    if (path) {
      const typed = path[1] ?? "";
      const quoted = /'[^']*$/.test(before.slice(path.index));
      const close = line.text[context.pos - line.from] === "'" ? "" : "'";
      return {
        from: context.pos - typed.length,
        options: properties
          .filter((p) => !p.builtin)
          .map((p, i) => ({
            label: jsonPath(p.name),
            detail: p.types.join(", "),
            type: "variable",
            boost: -i / 100,
            apply: `${quoted ? "" : "'"}${jsonPath(p.name).replaceAll("'", "''")}${quoted ? close : "'"}`,
          })),
        validFor: /^[$."\w ]*$/,
      };
    }

    // Inside a text literal: an odd number of quotes stands before on this line.
    const quote = before.lastIndexOf("'");
    const inText = (before.match(/'/g)?.length ?? 0) % 2 === 1;
    if (
      inText &&
      /\bevent\s*(=|<>|!=|in\s*\([^)]*|like)\s*$/i.test(before.slice(0, quote).replace(/'[^']*'/g, ""))
    ) {
      const close = line.text[context.pos - line.from] === "'" ? "" : "'";
      return {
        from: line.from + quote + 1,
        options: events.map((e, i) => ({
          label: e.name,
          detail: `${compact(e.count30d)} in 30 days`,
          type: "constant",
          boost: -i / 100,
          apply: `${e.name.replaceAll("'", "''")}${close}`,
        })),
        validFor: /^[^']*$/,
      };
    }
    if (inText) return null;

    const word = context.matchBefore(/[\w$]+/);
    if (!word && !context.explicit) return null;
    return {
      from: word?.from ?? context.pos,
      options: [
        ...properties
          .filter((p) => !p.builtin)
          .slice(0, 500)
          .map((p, i) => ({
            label: p.name,
            displayLabel: propertyExpression(p.name),
            detail: p.types.join(", "),
            type: "variable",
            boost: -10 - i / 100,
            apply: propertyExpression(p.name),
          })),
        ...events.slice(0, 500).map((e, i) => ({
          label: e.name,
          displayLabel: literal(e.name),
          detail: "event",
          type: "constant",
          boost: -20 - i / 100,
          apply: literal(e.name),
        })),
      ],
      validFor: /^[\w$]*$/,
    };
  };
}
