// What a person used last in an app, kept on this device: events for the
// pickers and questions for Home.

const most = 5;

function read<T>(key: string): T[] {
  try {
    const value: unknown = JSON.parse(localStorage.getItem(key) ?? "[]");
    return Array.isArray(value) ? (value as T[]) : [];
  } catch {
    return [];
  }
}

function write(key: string, values: unknown[]) {
  try {
    localStorage.setItem(key, JSON.stringify(values));
  } catch {
    // Recents are a convenience: a full or refused storage loses nothing else.
  }
}

export const recentEvents = (appId: string) => read<string>(`causality.recentEvents.${appId}`);

export function rememberEvent(appId: string, name: string) {
  write(
    `causality.recentEvents.${appId}`,
    [name, ...recentEvents(appId).filter((n) => n !== name)].slice(0, most),
  );
}

/** A question that was looked at: its address's search and what it is called. */
export type RecentQuestion = { search: Record<string, string>; name: string; at: number };

export const recentQuestions = (appId: string) => read<RecentQuestion>(`causality.recentQuestions.${appId}`);

export function rememberQuestion(appId: string, question: RecentQuestion) {
  const others = recentQuestions(appId).filter((r) => r.name !== question.name);
  write(`causality.recentQuestions.${appId}`, [question, ...others].slice(0, most));
}
