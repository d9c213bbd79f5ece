// The test event that Settings sends, the way that any HTTP client would.
import { testEvent } from "./platforms";

/** Throws what the server says against it, or that it says nothing for as long as patience, ms. */
export async function sendTestEvent(origin: string, key: string, patience = 10_000): Promise<void> {
  const signal = AbortSignal.timeout(patience);
  try {
    const response = await fetch(`${origin}/v1/events`, {
      method: "POST",
      headers: { Authorization: `Bearer ${key}`, "Content-Type": "application/json" },
      body: JSON.stringify([
        { name: testEvent, anonymousId: "causality-test", properties: { sent_from: "settings" } },
      ]),
      signal,
    });
    const text = await response.text();
    const answer = read(text);
    if (!response.ok) throw new Error(answer?.message ?? `The server answered ${response.status}`);
    if (answer?.rejected?.[0]) throw new Error(answer.rejected[0].message);
  } catch (error) {
    if (!signal.aborted) throw error;
    throw new Error(
      `The server gave no answer within ${patience / 1000} s; it may be busy or out of reach. The event may arrive all the same`,
    );
  }
}

function read(text: string): { message?: string; rejected?: { message: string }[] } | null {
  try {
    return JSON.parse(text);
  } catch {
    return null; // of something in between, such as a proxy
  }
}
