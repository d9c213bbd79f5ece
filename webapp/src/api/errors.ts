// Errors as sentences: what happened and what to do. Details that a person can
// copy hold the code, the reference and the time, never what they typed.
import { Code, ConnectError } from "@connectrpc/connect";

export type SaidError = {
  sentence: string;
  remedy?: string;
  fields: { field: string; sentence: string }[];
  /** Names the entry in the server's log. */
  reference?: string;
  details: string;
};

const remedies: Partial<Record<Code, string>> = {
  [Code.Unavailable]: "The server may be starting or busy; it is usually back within a minute.",
  [Code.DeadlineExceeded]: "A shorter range or fewer breakdowns will answer sooner.",
  [Code.ResourceExhausted]: "Wait a moment, or ask for less at once.",
  [Code.PermissionDenied]: "Ask an admin of the workspace.",
  [Code.Internal]: "It is recorded in the server's log under the reference.",
};

function capital(text: string): string {
  const t = text.trim();
  const sentence = t.charAt(0).toUpperCase() + t.slice(1);
  return /[.!?]$/.test(sentence) ? sentence : `${sentence}.`;
}

type BadRequestJson = { fieldViolations?: { field?: string; description?: string }[] };

function violations(error: ConnectError): SaidError["fields"] {
  return error.details.flatMap((d) => {
    if (!("type" in d) || d.type !== "google.rpc.BadRequest") return [];
    const found = (d.debug as BadRequestJson | undefined)?.fieldViolations ?? [];
    return found.map((v) => ({ field: v.field ?? "", sentence: v.description ?? "" }));
  });
}

export function isUnauthenticated(error: unknown): boolean {
  return error instanceof ConnectError && error.code === Code.Unauthenticated;
}

/** True when the call was given up by us: nothing to tell. */
export function isCanceled(error: unknown): boolean {
  return (
    (error instanceof ConnectError && error.code === Code.Canceled) ||
    (error instanceof DOMException && error.name === "AbortError")
  );
}

/** True when trying again by itself may help. */
export function isTransient(error: unknown): boolean {
  return error instanceof ConnectError && error.code === Code.Unavailable;
}

export function describeError(error: unknown, now = new Date()): SaidError {
  if (error instanceof ConnectError) {
    // A browser reports an unreachable server as a bare "Failed to fetch".
    const offline = error.code === Code.Unknown && /fetch|network/i.test(error.rawMessage);
    // The server writes it into the sentence of a failure that is its own.
    const reference = /\breference ([0-9A-F]{4,})\b/.exec(error.rawMessage)?.[1];
    const sentence = offline
      ? "The server could not be reached."
      : capital(error.rawMessage || Code[error.code]);
    const remedy = offline ? "Check that it is running and that you are online." : remedies[error.code];
    return {
      sentence,
      fields: violations(error),
      ...(remedy ? { remedy } : {}),
      ...(reference ? { reference } : {}),
      details: [
        `code: ${Code[error.code]}`,
        `message: ${error.rawMessage}`,
        ...(reference ? [`reference: ${reference}`] : []),
        `page: ${globalThis.location?.pathname ?? ""}`,
        `time: ${now.toISOString()}`,
      ].join("\n"),
    };
  }
  const message = error instanceof Error ? error.message : String(error);
  return {
    sentence: capital(message || "Something went wrong"),
    fields: [],
    details: `message: ${message}\npage: ${globalThis.location?.pathname ?? ""}\ntime: ${now.toISOString()}`,
  };
}
