// Formulas over series and other formulas: their names, numbers, + - * / and
// brackets, such as (A+B)/C*100 or F1*2. Checked here so that the mistake is shown under its character;
// the server computes.

export type FormulaProblem = { at: number; says: string };

type Formula = { id?: string; expr?: string };

/** The names a text uses, in capitals. */
const namesIn = (text: string) => (text.match(/[A-Za-z]\w*/g) ?? []).map((n) => n.toUpperCase());

/** The other formulas that one may name: those that do not lead back to it. */
export function usableIn(id: string, formulas: readonly Formula[]): string[] {
  const leadsBack = (from: string, seen: Set<string>): boolean => {
    if (from === id) return true;
    if (seen.has(from)) return false;
    seen.add(from);
    const of = formulas.find((f) => f.id === from);
    return namesIn(of?.expr ?? "").some((n) => formulas.some((f) => f.id === n) && leadsBack(n, seen));
  };
  return formulas.flatMap((f) => (f.id && !leadsBack(f.id, new Set()) ? [f.id] : []));
}

/** The formulas without a mistake, in theirs or in one that they name. */
export function soundFormulas<F extends Formula>(
  formulas: readonly F[],
  letters: ReadonlySet<string>,
): (F & { id: string; expr: string })[] {
  let sound = formulas.flatMap((f) => (f.id && f.expr ? [{ ...f, id: f.id, expr: f.expr }] : []));
  for (let before = -1; before !== sound.length; ) {
    before = sound.length;
    const left = sound;
    sound = left.filter((f) => !checkFormula(f.expr, new Set([...letters, ...usableIn(f.id, left)])));
  }
  return sound;
}

/** What is wrong, or undefined. `letters` can be named, formulas by F1 and so on; `off` are switched off. */
export function checkFormula(
  text: string,
  letters: ReadonlySet<string>,
  off: ReadonlySet<string> = new Set(),
): FormulaProblem | undefined {
  let at = 0;
  let problem: FormulaProblem | undefined;
  let named = 0;
  const fail = (says: string, where = at) => {
    problem ??= { at: where, says };
  };
  const skip = () => {
    while (text[at] === " ") at++;
  };

  function value(depth: number): void {
    skip();
    const c = text[at];
    const number = /^(\d+(\.\d*)?|\.\d+)/.exec(text.slice(at))?.[0];
    const word = /^[A-Za-z]\w*/.exec(text.slice(at))?.[0];
    if (depth > 50) {
      fail("Too many brackets inside each other.");
    } else if (c === undefined) {
      fail("Something is missing at the end: a letter or a number.");
    } else if (c === "-") {
      at++;
      value(depth + 1);
    } else if (c === "(") {
      const open = at++;
      sum(depth + 1);
      skip();
      if (text[at] === ")") at++;
      else fail("This bracket is never closed.", open);
    } else if (number) {
      at += number.length;
    } else if (word) {
      const name = word.toUpperCase();
      if (off.has(name)) fail(`${name} is switched off; switch it on or leave it out.`);
      else if (!letters.has(name)) {
        fail(`There is no ${word} to use here; use ${[...letters].join(", ") || "a series' letter"}.`);
      }
      named++;
      at += word.length;
    } else {
      fail(`“${c}” cannot stand here; use a letter, a number or a bracket.`);
    }
  }
  function product(depth: number): void {
    value(depth);
    skip();
    while (!problem && (text[at] === "*" || text[at] === "/")) {
      at++;
      value(depth);
      skip();
    }
  }
  function sum(depth: number): void {
    product(depth);
    skip();
    while (!problem && (text[at] === "+" || text[at] === "-")) {
      at++;
      product(depth);
      skip();
    }
  }

  if (text.trim() === "") return { at: 0, says: "Write a formula over the letters, such as A/B*100." };
  if (text.length > 200) return { at: 200, says: "A formula has at most 200 characters." };
  sum(0);
  if (problem) return problem;
  if (at < text.length) return { at, says: `“${text[at]}” cannot stand here; an operator is missing.` };
  if (named === 0) return { at: 0, says: "Name at least one series by its letter." };
  return undefined;
}
