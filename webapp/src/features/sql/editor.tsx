// The SQL editor and the only importer of CodeMirror: its own chunk. It knows
// text, cursor and completion; running is the page's business. Tab moves the
// focus on, as everywhere (Mod-] indents); it only accepts a completion that is
// open.
import {
  acceptCompletion,
  autocompletion,
  type CompletionContext,
  closeBrackets,
  closeBracketsKeymap,
  completionKeymap,
  completionStatus,
} from "@codemirror/autocomplete";
import {
  defaultKeymap,
  history,
  historyField,
  historyKeymap,
  indentLess,
  indentMore,
} from "@codemirror/commands";
import { PostgreSQL, SQLDialect, type SQLNamespace, sql } from "@codemirror/lang-sql";
import { bracketMatching, HighlightStyle, indentOnInput, syntaxHighlighting } from "@codemirror/language";
import { highlightSelectionMatches, searchKeymap } from "@codemirror/search";
import { Compartment, EditorState, type Extension, Prec, StateEffect, StateField } from "@codemirror/state";
import {
  Decoration,
  type DecorationSet,
  drawSelection,
  EditorView,
  highlightSpecialChars,
  keymap,
  lineNumbers,
  placeholder,
} from "@codemirror/view";
import { tags as t } from "@lezer/highlight";
import { useEffect, useRef } from "react";
import { dataCompletions, type Known, schemaOf } from "./completions";
import { type Statement, statementAt, statements, statementToRun } from "./statements";

export type EditorHandle = {
  focus: () => void;
  insert: (text: string) => void;
  toRun: () => Statement | undefined;
  select: (from: number, to: number) => void;
};

type Callbacks = { change: (text: string) => void; run: () => void; cancel: () => boolean };

/** Text, selection and undo history of a tab that is not shown. */
export type KeptState = { doc: string } & Record<string, unknown>;

type Props = {
  text: string;
  known: Known;
  /** What the last run refused, as offsets of the text. */
  mark: { from: number; to: number } | undefined;
  onChange: (text: string) => void;
  onRun: () => void;
  /** True when there was something to cancel. */
  onCancel: () => boolean;
  handle: { current: EditorHandle | null };
  /** Where a tab's undo history waits while another tab is shown. */
  states: Map<string, KeptState>;
  stateKey: string;
};

const dialect = SQLDialect.define({
  ...PostgreSQL.spec,
  keywords: `${PostgreSQL.spec.keywords ?? ""} qualify pivot unpivot asof positional exclude replace summarize describe sample semi anti`,
});

const functions = [
  "count",
  "sum",
  "avg",
  "min",
  "max",
  "median",
  "quantile_cont",
  "approx_count_distinct",
  "arg_max",
  "arg_min",
  "list",
  "string_agg",
  "date_trunc",
  "date_part",
  "date_diff",
  "strftime",
  "time_bucket",
  "epoch",
  "now",
  "current_date",
  "coalesce",
  "nullif",
  "greatest",
  "least",
  "round",
  "floor",
  "ceil",
  "abs",
  "lower",
  "upper",
  "length",
  "substr",
  "replace",
  "regexp_matches",
  "regexp_extract",
  "contains",
  "starts_with",
  "split_part",
  "try_cast",
  "row_number",
  "rank",
  "lag",
  "lead",
  "first_value",
  "last_value",
  "json_extract_string",
  "json_keys",
  "unnest",
  "range",
].map((label) => ({ label, type: "function", detail: "function", boost: -5, apply: `${label}(` }));

// Colours are tokens, so that both themes are served by one style sheet.
const highlighting = HighlightStyle.define([
  { tag: [t.keyword, t.operatorKeyword, t.modifier], color: "var(--color-accent-text)", fontWeight: "500" },
  { tag: [t.string, t.special(t.string)], color: "var(--color-good)" },
  { tag: [t.number, t.bool, t.null], color: "var(--color-warn)" },
  { tag: [t.lineComment, t.blockComment], color: "var(--color-faint)", fontStyle: "italic" },
  { tag: [t.typeName, t.standard(t.name)], color: "var(--color-muted)" },
  { tag: [t.operator, t.punctuation], color: "var(--color-muted)" },
]);

const theme = EditorView.theme({
  "&": {
    height: "100%",
    backgroundColor: "var(--color-surface)",
    color: "var(--color-text)",
    fontSize: "13px",
  },
  "&.cm-focused": { outline: "none" },
  ".cm-scroller": { fontFamily: "var(--font-mono)", lineHeight: "20px", fontVariantLigatures: "none" },
  ".cm-content": { padding: "8px 0", caretColor: "var(--color-accent)" },
  ".cm-line": { padding: "0 16px 0 8px" },
  ".cm-cursor": { borderLeftColor: "var(--color-accent)", borderLeftWidth: "2px" },
  ".cm-selectionBackground, &.cm-focused > .cm-scroller > .cm-selectionLayer .cm-selectionBackground": {
    backgroundColor: "var(--color-accent-soft)",
  },
  ".cm-selectionMatch": { backgroundColor: "var(--color-hover)" },
  "&.cm-focused .cm-matchingBracket": {
    backgroundColor: "var(--color-hover)",
    outline: "1px solid var(--color-edge)",
  },
  ".cm-gutters": {
    backgroundColor: "transparent",
    color: "var(--color-faint)",
    border: "none",
    paddingLeft: "4px",
  },
  ".cm-lineNumbers .cm-gutterElement": { minWidth: "28px", fontSize: "11px" },
  ".cm-statement": { boxShadow: "inset 2px 0 var(--color-accent)" },
  ".cm-placeholder": { color: "var(--color-faint)" },
  ".cm-refused": {
    textDecoration: "underline wavy var(--color-bad)",
    textUnderlineOffset: "3px",
    backgroundColor: "var(--color-bad-soft)",
  },
  ".cm-tooltip": {
    backgroundColor: "var(--color-raised)",
    color: "var(--color-text)",
    border: "none",
    borderRadius: "8px",
    boxShadow: "var(--shadow-menu)",
    overflow: "hidden",
  },
  ".cm-tooltip.cm-tooltip-autocomplete > ul": {
    fontFamily: "var(--font-mono)",
    fontSize: "12px",
    maxHeight: "240px",
    padding: "4px",
  },
  ".cm-tooltip.cm-tooltip-autocomplete > ul > li": {
    display: "flex",
    gap: "12px",
    padding: "3px 8px",
    borderRadius: "4px",
    lineHeight: "20px",
  },
  ".cm-tooltip-autocomplete ul li[aria-selected]": {
    backgroundColor: "var(--color-accent-soft)",
    color: "var(--color-text)",
  },
  ".cm-completionMatchedText": {
    textDecoration: "none",
    fontWeight: "600",
    color: "var(--color-accent-text)",
  },
  ".cm-completionDetail": {
    marginLeft: "auto",
    color: "var(--color-faint)",
    fontStyle: "normal",
    fontFamily: "var(--font-sans)",
  },
  ".cm-completionInfo": {
    padding: "8px 12px",
    maxWidth: "280px",
    fontSize: "12px",
    fontFamily: "var(--font-sans)",
  },
  ".cm-panels": { backgroundColor: "var(--color-sunken)", color: "var(--color-text)", border: "none" },
  ".cm-panel.cm-search": { padding: "6px 12px", fontFamily: "var(--font-sans)" },
  ".cm-textfield": {
    backgroundColor: "var(--color-surface)",
    border: "1px solid var(--color-edge)",
    borderRadius: "4px",
    color: "inherit",
  },
  ".cm-button": {
    backgroundImage: "none",
    backgroundColor: "var(--color-surface)",
    border: "1px solid var(--color-line)",
    borderRadius: "4px",
    color: "inherit",
  },
  ".cm-panel.cm-search [name=close]": { color: "inherit" },
  ".cm-searchMatch": { backgroundColor: "var(--color-warn-soft)" },
});

const setRefused = StateEffect.define<{ from: number; to: number } | undefined>();
const refused = StateField.define<DecorationSet>({
  create: () => Decoration.none,
  update(marks, transaction) {
    let next = marks.map(transaction.changes);
    for (const effect of transaction.effects) {
      if (!effect.is(setRefused)) continue;
      const at = effect.value;
      const end = Math.min(at?.to ?? 0, transaction.newDoc.length);
      next =
        at && at.from < end
          ? Decoration.set(Decoration.mark({ class: "cm-refused" }).range(at.from, end))
          : Decoration.none;
    }
    return next;
  },
  provide: (field) => EditorView.decorations.from(field),
});

// A browser that replaces a selection by itself writes style attributes into the
// text for a moment, which the page's security policy refuses and reports. What is
// typed over a selection is therefore put in from here.
const typedOverSelection = EditorView.domEventHandlers({
  beforeinput(event, view) {
    const { data } = event;
    const { main } = view.state.selection;
    if (event.inputType !== "insertText" || data === null || main.empty || view.composing) return false;
    const insert = () =>
      view.state.update(view.state.replaceSelection(data), { userEvent: "input.type", scrollIntoView: true });
    const taken = view.state
      .facet(EditorView.inputHandler)
      .some((handler) => handler(view, main.from, main.to, data, insert));
    if (!taken) view.dispatch(insert());
    event.preventDefault();
    return true;
  },
});

// With several statements a bar at the left says which one a run would take.
const currentStatement = EditorView.decorations.compute(["doc", "selection"], (state) => {
  const text = state.doc.toString();
  const { main } = state.selection;
  if (!main.empty || statements(text).length < 2) return Decoration.none;
  const at = statementAt(text, main.head);
  if (!at) return Decoration.none;
  const lines = [];
  for (let pos = at.from; pos <= at.to; ) {
    const line = state.doc.lineAt(pos);
    lines.push(Decoration.line({ class: "cm-statement" }).range(line.from));
    pos = line.to + 1;
  }
  return Decoration.set(lines);
});

const language = new Compartment();

function languageOf(known: Known): Extension {
  const tables = schemaOf(known.tables) as SQLNamespace;
  const support = sql({
    dialect,
    schema: tables,
    ...(known.tables.some((table) => table.name === "events") ? { defaultTable: "events" } : {}),
    upperCaseKeywords: false,
  });
  return [
    support,
    support.language.data.of({ autocomplete: dataCompletions(() => known) }),
    support.language.data.of({
      autocomplete: (context: CompletionContext) => {
        const word = context.matchBefore(/[a-z_]\w*/i);
        return word ? { from: word.from, options: functions, validFor: /^\w*$/ } : null;
      },
    }),
  ];
}

export default function SqlEditor(props: Props) {
  const box = useRef<HTMLDivElement>(null);
  const view = useRef<EditorView | null>(null);
  const { text, known, mark, handle, states, stateKey, onChange, onRun, onCancel } = props;
  const calls = useRef<Callbacks>({ change: onChange, run: onRun, cancel: onCancel });
  calls.current = { change: onChange, run: onRun, cancel: onCancel };
  const first = useRef({ text, known });

  useEffect(() => {
    if (!box.current) return;
    const extensions: Extension = [
      lineNumbers(),
      highlightSpecialChars(),
      history(),
      drawSelection(),
      indentOnInput(),
      bracketMatching(),
      closeBrackets(),
      autocompletion({ icons: false, maxRenderedOptions: 60 }),
      highlightSelectionMatches(),
      syntaxHighlighting(highlighting),
      theme,
      refused,
      currentStatement,
      typedOverSelection,
      placeholder("select event, count(*) from events group by all order by 2 desc"),
      EditorView.lineWrapping,
      EditorView.contentAttributes.of({
        "aria-label": "SQL editor",
        spellcheck: "false",
        autocorrect: "off",
      }),
      Prec.highest(
        keymap.of([
          {
            key: "Mod-Enter",
            run: () => {
              live.run();
              return true;
            },
          },
          {
            key: "Tab",
            run: (v) => {
              if (completionStatus(v.state) !== "active") return false;
              acceptCompletion(v); // refuses in the list's first moment; the focus stays all the same
              return true;
            },
          },
          { key: "Mod-]", run: indentMore },
          { key: "Mod-[", run: indentLess },
        ]),
      ),
      keymap.of([
        ...completionKeymap,
        { key: "Escape", run: () => live.cancel() },
        ...closeBracketsKeymap,
        ...searchKeymap,
        ...historyKeymap,
        ...defaultKeymap,
      ]),
      EditorView.updateListener.of((update) => {
        if (update.docChanged) live.change(update.state.doc.toString());
      }),
    ];
    // Callbacks are read when they are called: the editor outlives the render that made it.
    const live: Callbacks = {
      change: (value) => calls.current.change(value),
      run: () => calls.current.run(),
      cancel: () => calls.current.cancel(),
    };
    const kept = states.get(stateKey);
    const initial = first.current.text;
    const config = { extensions: [extensions, language.of(languageOf(first.current.known))] };
    const state =
      kept?.doc === initial
        ? EditorState.fromJSON(kept, config, { history: historyField })
        : EditorState.create({ ...config, doc: initial, selection: { anchor: initial.length } });
    const editor = new EditorView({ state, parent: box.current });
    view.current = editor;
    handle.current = {
      focus: () => editor.focus(),
      insert: (snippet) => {
        editor.dispatch(editor.state.replaceSelection(snippet), { scrollIntoView: true, userEvent: "input" });
        editor.focus();
      },
      toRun: () => {
        const { main } = editor.state.selection;
        return statementToRun(editor.state.doc.toString(), main.from, main.to);
      },
      select: (from, to) => {
        const end = editor.state.doc.length;
        editor.dispatch({
          selection: { anchor: Math.min(from, end), head: Math.min(to, end) },
          scrollIntoView: true,
        });
        editor.focus();
      },
    };
    if (!matchMedia("(pointer: coarse)").matches) editor.focus();
    return () => {
      states.set(stateKey, editor.state.toJSON({ history: historyField }) as KeptState);
      editor.destroy();
      view.current = null;
      handle.current = null;
    };
  }, [handle, states, stateKey]);

  // Text that changed from outside, such as a statement out of the history.
  useEffect(() => {
    const editor = view.current;
    if (!editor || editor.state.doc.toString() === text) return;
    editor.dispatch({
      changes: { from: 0, to: editor.state.doc.length, insert: text },
      selection: { anchor: text.length },
    });
  }, [text]);

  useEffect(() => {
    view.current?.dispatch({ effects: language.reconfigure(languageOf(known)) });
  }, [known]);

  useEffect(() => {
    view.current?.dispatch({ effects: setRefused.of(mark) });
  }, [mark]);

  return <div ref={box} className="h-full min-h-0 overflow-hidden" />;
}
