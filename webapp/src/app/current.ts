// Which workspace and app a page is about. Both stand in the URL; the router
// resolves them before a page renders, so pages read them without waiting.
import { useSuspenseQuery } from "@tanstack/react-query";
import { useParams } from "@tanstack/react-router";
import { useMemo } from "react";
import { meQuery } from "../api/queries";
import type { Scope } from "../api/transport";
import type { App, MeResponse, Workspace } from "../gen/causality/identity/v1/identity_pb";

const reserved = new Set(["settings", "health"]);

/** An app's name in URLs where it reads well, else its id. */
export function appSlug(app: Pick<App, "id" | "name">): string {
  return /^[a-z0-9][\w.-]*$/i.test(app.name) && !reserved.has(app.name) ? app.name : app.id;
}

export const workspaceSlug = (workspace: Pick<Workspace, "id" | "slug">) => workspace.slug || workspace.id;

export function findWorkspace(me: MeResponse, slug: string): Workspace | undefined {
  return me.workspaces.find((w) => w.slug === slug || w.id === slug);
}

export function findApp(workspace: Workspace, slug: string): App | undefined {
  return workspace.apps.find((a) => a.id === slug) ?? workspace.apps.find((a) => a.name === slug);
}

const lastAppKey = "causality.lastApp";

export function rememberApp(workspace: Workspace, app: App) {
  try {
    localStorage.setItem(lastAppKey, JSON.stringify([workspace.id, app.id]));
  } catch {
    // Then the first app opens.
  }
}

/** Where a person lands: the app they used last, else the first. */
export function landing(
  me: MeResponse,
  only?: Workspace,
): { workspace: Workspace; app: App | undefined } | undefined {
  let last: unknown;
  try {
    last = JSON.parse(localStorage.getItem(lastAppKey) ?? "null");
  } catch {
    last = null;
  }
  const [workspaceId, appId] = Array.isArray(last) ? last : [];
  const workspaces = only ? [only] : me.workspaces;
  const workspace =
    workspaces.find((w) => w.id === workspaceId) ??
    workspaces.find((w) => w.apps.length > 0) ??
    workspaces[0];
  if (!workspace) return undefined;
  return { workspace, app: workspace.apps.find((a) => a.id === appId) ?? workspace.apps[0] };
}

export function useMe(): MeResponse {
  return useSuspenseQuery(meQuery).data;
}

/** The workspace of the page. */
export function useWorkspace(): Workspace {
  const me = useMe();
  const { workspace } = useParams({ strict: false });
  const found = findWorkspace(me, workspace ?? "");
  if (!found) throw new Error("This page doesn't exist, or you can't see it");
  return found;
}

/** The app of the page, or undefined on pages of the workspace (settings, health). */
export function useMaybeApp(): App | undefined {
  const workspace = useWorkspace();
  const { app } = useParams({ strict: false });
  return app === undefined ? undefined : findApp(workspace, app);
}

/** What every page of an app needs: the scope for queries, the zone for dates, the slugs for links. */
export function useApp(): {
  app: App;
  workspace: Workspace;
  scope: Scope;
  zone: string;
  params: { workspace: string; app: string };
} {
  const workspace = useWorkspace();
  const app = useMaybeApp();
  if (!app) throw new Error("This page doesn't exist, or you can't see it");
  return useMemo(
    () => ({
      app,
      workspace,
      scope: { workspaceId: workspace.id, appId: app.id },
      zone: app.timeZone || "UTC",
      params: { workspace: workspaceSlug(workspace), app: appSlug(app) },
    }),
    [app, workspace],
  );
}
