// The one connection to the server: Connect with JSON on the page's own origin.
// The session is a cookie, so calls carry no token; each names its workspace.
import type { CallOptions } from "@connectrpc/connect";
import { createConnectTransport } from "@connectrpc/connect-web";

export const transport = createConnectTransport({ baseUrl: "/", useBinaryFormat: false });

/** Where a question is asked: in every query key, so that switching never shows another's data. */
export type Scope = { workspaceId: string; appId: string };

export function inWorkspace(workspaceId: string, signal?: AbortSignal): CallOptions {
  return { headers: { "Causality-Workspace": workspaceId }, ...(signal ? { signal } : {}) };
}
