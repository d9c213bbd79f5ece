// Where statements begin and end in a text: quotes, comments and dollar quotes
// hide semicolons. Offsets are those of the text, so that the editor can mark
// what it ran and where an error stands.

export type Statement = { from: number; to: number; text: string };

/** The end of what begins at `i` and hides semicolons, or `i` when nothing does. */
function skip(text: string, i: number): number {
  const two = text.slice(i, i + 2);
  const c = text[i];
  if (two === "--") {
    const end = text.indexOf("\n", i);
    return end < 0 ? text.length : end;
  }
  if (two === "/*") {
    let depth = 1;
    let at = i + 2;
    while (at < text.length && depth > 0) {
      const here = text.slice(at, at + 2);
      if (here === "/*") depth++;
      else if (here === "*/") depth--;
      at += here === "/*" || here === "*/" ? 2 : 1;
    }
    return at;
  }
  if (c === "'" || c === '"') {
    let at = i + 1;
    while (at < text.length) {
      if (text[at] === c) {
        if (text[at + 1] !== c) return at + 1;
        at++;
      }
      at++;
    }
    return text.length;
  }
  if (c === "$") {
    const tag = /^\$(?:[A-Za-z_]\w*)?\$/.exec(text.slice(i, i + 64))?.[0];
    if (tag && !/\w/.test(text[i - 1] ?? "")) {
      const end = text.indexOf(tag, i + tag.length);
      return end < 0 ? text.length : end + tag.length;
    }
  }
  return i;
}

/** Text without leading and trailing space and comments that belong to no statement. */
function trimmed(text: string, from: number, to: number): Statement | undefined {
  let start = from;
  while (start < to) {
    if (/\s/.test(text[start] ?? "")) start++;
    else if (/^(--|\/\*)/.test(text.slice(start, start + 2))) start = Math.min(to, skip(text, start));
    else break;
  }
  let end = to;
  while (end > start && /\s/.test(text[end - 1] ?? "")) end--;
  return end > start ? { from: start, to: end, text: text.slice(start, end) } : undefined;
}

/** Every statement, without its semicolon. */
export function statements(text: string): Statement[] {
  const found: Statement[] = [];
  let from = 0;
  let i = 0;
  const add = (to: number) => {
    const s = trimmed(text, from, to);
    if (s) found.push(s);
  };
  while (i < text.length) {
    const past = skip(text, i);
    if (past > i) {
      i = past;
      continue;
    }
    if (text[i] === ";") {
      add(i);
      from = i + 1;
    }
    i++;
  }
  add(text.length);
  return found;
}

/** The statement the cursor is in or directly behind; between two, the one before. */
export function statementAt(text: string, position: number): Statement | undefined {
  const all = statements(text);
  let best: Statement | undefined;
  for (const s of all) {
    if (position < s.from) break;
    best = s;
  }
  return best ?? all[0];
}

/** What a run takes: the selection if there is one, else the statement at the cursor. */
export function statementToRun(text: string, from: number, to: number): Statement | undefined {
  if (from === to) return statementAt(text, from);
  const chosen = trimmed(text, from, to);
  if (!chosen) return statementAt(text, from);
  const end = chosen.text.replace(/;\s*$/, "").length;
  return { from: chosen.from, to: chosen.from + end, text: chosen.text.slice(0, end) };
}

/**
 * Where an error of the engine stands, as an offset into the statement: it names
 * `LINE 3:` and, two lines below, points with a caret; or it names the character.
 */
export function errorPosition(message: string, statement: string): { from: number; to: number } | undefined {
  const word = (at: number) => {
    const rest = /^("(?:[^"]|"")*"|[\w.]+|\S)/.exec(statement.slice(at))?.[0] ?? "";
    return { from: at, to: Math.min(statement.length, at + Math.max(1, rest.length)) };
  };
  const named = /\b(?:position|character|offset) (\d+)\b/i.exec(message);
  const line = /LINE (\d+): ?(.*)\n( *)\^/.exec(message);
  if (line) {
    const lines = statement.split("\n");
    const at = Number(line[1]) - 1;
    const whole = lines[at];
    if (whole !== undefined) {
      // The caret is placed under the excerpt, which may be cut on its left ("...").
      const prefix = `LINE ${line[1]}: `.length;
      const column = (line[3]?.length ?? 0) - prefix;
      const excerpt = line[2] ?? "";
      const cut = excerpt.startsWith("...");
      const shown = cut ? excerpt.slice(3).replace(/\.\.\.$/, "") : excerpt;
      const begin = cut ? whole.indexOf(shown) : 0;
      const inLine = begin < 0 ? 0 : begin + column - (cut ? 3 : 0);
      const before = lines.slice(0, at).reduce((n, l) => n + l.length + 1, 0);
      const here = before + Math.max(0, Math.min(whole.length, inLine));
      if (/\S/.test(statement[here] ?? "")) return word(here);
    }
  }
  if (named) {
    const at = Number(named[1]) - 1;
    if (at >= 0 && at < statement.length) return word(at);
  }
  const quoted = /(?:column|table|function|near)\D{0,30}?"([^"]+)"/i.exec(message)?.[1];
  const at = quoted ? statement.toLowerCase().indexOf(quoted.toLowerCase()) : -1;
  return quoted && at >= 0 ? { from: at, to: at + quoted.length } : undefined;
}

/** The message without the excerpt and caret that the editor shows in place. */
export function errorSentence(message: string): string {
  return message
    .replace(/\n*LINE \d+:[\s\S]*$/, "")
    .replace(/^sql: /i, "")
    .trim();
}
