// All pages and their addresses. A page is its own chunk; its loader fetches
// what it will show while the chunk loads, on hover already. To add a page: a
// route here, a line in navigation.ts.
import type { QueryClient } from "@tanstack/react-query";
import {
  createRootRouteWithContext,
  createRoute,
  createRouter,
  lazyRouteComponent,
  notFound,
  Outlet,
  redirect,
} from "@tanstack/react-router";
import { isUnauthenticated } from "../api/errors";
import { eventsQuery, healthQuery, meQuery } from "../api/queries";
import type { Scope } from "../api/transport";
import { appSlug, findApp, findWorkspace, landing, rememberApp, workspaceSlug } from "./current";
import { NotFoundPage, PageError } from "./page-states";
import { Shell } from "./shell";

type Context = { queryClient: QueryClient };

const rootRoute = createRootRouteWithContext<Context>()({
  component: Outlet,
  notFoundComponent: NotFoundPage,
});

const text = (value: unknown) => (typeof value === "string" && value !== "" ? value : undefined);

export const signInRoute = createRoute({
  getParentRoute: () => rootRoute,
  path: "/sign-in",
  validateSearch: (search): { next?: string } => {
    const next = text(search.next);
    // Only a page of this app: "//host" would leave it.
    return next?.startsWith("/") && !next.startsWith("//") ? { next } : {};
  },
  component: lazyRouteComponent(() => import("../features/identity/sign-in-page"), "SignInPage"),
});

const signedIn = createRoute({
  getParentRoute: () => rootRoute,
  id: "signed-in",
  beforeLoad: async ({ context, location }) => {
    try {
      return { me: await context.queryClient.ensureQueryData(meQuery) };
    } catch (error) {
      if (isUnauthenticated(error)) {
        throw redirect({ to: "/sign-in", search: location.pathname === "/" ? {} : { next: location.href } });
      }
      throw error;
    }
  },
  component: Shell,
});

const indexRoute = createRoute({
  getParentRoute: () => signedIn,
  path: "/",
  beforeLoad: ({ context }) => {
    const found = landing(context.me);
    if (!found) throw notFound();
    const workspace = workspaceSlug(found.workspace);
    if (!found.app) throw redirect({ to: "/$workspace/settings/$tab", params: { workspace, tab: "apps" } });
    throw redirect({ to: "/$workspace/$app/home", params: { workspace, app: appSlug(found.app) } });
  },
});

const workspaceRoute = createRoute({
  getParentRoute: () => signedIn,
  path: "/$workspace",
  beforeLoad: ({ context, params }) => {
    const workspace = findWorkspace(context.me, params.workspace);
    if (!workspace) throw notFound();
    return { workspace };
  },
  notFoundComponent: NotFoundPage,
});

const workspaceIndex = createRoute({
  getParentRoute: () => workspaceRoute,
  path: "/",
  beforeLoad: ({ context, params }) => {
    const app = landing(context.me, context.workspace)?.app;
    if (!app) {
      throw redirect({
        to: "/$workspace/settings/$tab",
        params: { workspace: params.workspace, tab: "apps" },
      });
    }
    throw redirect({
      to: "/$workspace/$app/home",
      params: { workspace: params.workspace, app: appSlug(app) },
    });
  },
});

const settingsIndex = createRoute({
  getParentRoute: () => workspaceRoute,
  path: "/settings",
  beforeLoad: ({ params }) => {
    throw redirect({ to: "/$workspace/settings/$tab", params: { workspace: params.workspace, tab: "apps" } });
  },
});

const settingsRoute = createRoute({
  getParentRoute: () => workspaceRoute,
  path: "/settings/$tab",
  validateSearch: (search): { app?: string } => {
    const app = text(search.app);
    return app ? { app } : {};
  },
  component: lazyRouteComponent(() => import("../features/settings/settings-page"), "SettingsPage"),
});

const healthRoute = createRoute({
  getParentRoute: () => workspaceRoute,
  path: "/health",
  loader: ({ context }) => void context.queryClient.prefetchQuery(healthQuery(context.workspace.id)),
  component: lazyRouteComponent(() => import("../features/health/health-page"), "HealthPage"),
});

const appRoute = createRoute({
  getParentRoute: () => workspaceRoute,
  path: "/$app",
  beforeLoad: ({ context, params, preload }) => {
    const app = findApp(context.workspace, params.app);
    if (!app) throw notFound();
    if (!preload) rememberApp(context.workspace, app);
    const scope: Scope = { workspaceId: context.workspace.id, appId: app.id };
    return { app, scope };
  },
  notFoundComponent: NotFoundPage,
});

const appIndex = createRoute({
  getParentRoute: () => appRoute,
  path: "/",
  beforeLoad: ({ params }) => {
    throw redirect({ to: "/$workspace/$app/home", params });
  },
});

const homeRoute = createRoute({
  getParentRoute: () => appRoute,
  path: "/home",
  loader: ({ context }) => context.queryClient.prefetchQuery(eventsQuery(context.scope)),
  component: lazyRouteComponent(() => import("../features/home/home-page"), "HomePage"),
});

const insightsRoute = createRoute({
  getParentRoute: () => appRoute,
  path: "/insights",
  beforeLoad: ({ params }) => {
    throw redirect({ to: "/$workspace/$app/insights/new/trend", params });
  },
});

/** All of a question that stands in the address; see features/insights/trend-link.ts. */
export type TrendSearch = { range?: string; grain?: string; vs?: string; q?: string; v?: string };

const trendRoute = createRoute({
  getParentRoute: () => appRoute,
  path: "/insights/new/trend",
  validateSearch: (search): TrendSearch => {
    const out: TrendSearch = {};
    for (const key of ["range", "grain", "vs", "q", "v"] as const) {
      const value = text(search[key]);
      if (value) out[key] = value;
    }
    return out;
  },
  loader: ({ context }) => context.queryClient.prefetchQuery(eventsQuery(context.scope)),
  component: lazyRouteComponent(() => import("../features/insights/trend-page"), "TrendPage"),
});

const sqlRoute = createRoute({
  getParentRoute: () => appRoute,
  path: "/sql",
  validateSearch: (search): { sql?: string } => {
    const sql = text(search.sql);
    return sql ? { sql } : {};
  },
  component: lazyRouteComponent(() => import("../features/sql/sql-page"), "SqlPage"),
});

const liveRoute = createRoute({
  getParentRoute: () => appRoute,
  path: "/live",
  component: lazyRouteComponent(() => import("../features/live/live-page"), "LivePage"),
});

const dataRoute = createRoute({
  getParentRoute: () => appRoute,
  path: "/data",
  validateSearch: (search): { tab?: string; event?: string } => {
    const [tab, event] = [text(search.tab), text(search.event)];
    return { ...(tab ? { tab } : {}), ...(event ? { event } : {}) };
  },
  loader: ({ context }) => void context.queryClient.prefetchQuery(eventsQuery(context.scope)),
  component: lazyRouteComponent(() => import("../features/data/data-page"), "DataPage"),
});

const routeTree = rootRoute.addChildren([
  signInRoute,
  signedIn.addChildren([
    indexRoute,
    workspaceRoute.addChildren([
      workspaceIndex,
      settingsIndex,
      settingsRoute,
      healthRoute,
      appRoute.addChildren([appIndex, homeRoute, insightsRoute, trendRoute, sqlRoute, liveRoute, dataRoute]),
    ]),
  ]),
]);

export function createAppRouter(queryClient: QueryClient) {
  return createRouter({
    routeTree,
    basepath: "/app",
    context: { queryClient },
    defaultPreload: "intent",
    defaultPreloadDelay: 50, // ms
    defaultPreloadStaleTime: 0, // freshness is the query cache's business
    defaultErrorComponent: PageError,
    defaultNotFoundComponent: NotFoundPage,
    defaultPendingMs: 1000, // the old page stays until then
    scrollRestoration: true,
    scrollToTopSelectors: ["#content"],
    // Values stay the text that they are: "1.50" is no number here.
    parseSearch: (search) => Object.fromEntries(new URLSearchParams(search)),
    stringifySearch: (search) => {
      const out = new URLSearchParams();
      for (const [key, value] of Object.entries(search)) {
        if (value !== undefined && value !== "") out.set(key, String(value));
      }
      const query = out.toString();
      return query ? `?${query}` : "";
    },
  });
}

declare module "@tanstack/react-router" {
  interface Register {
    router: ReturnType<typeof createAppRouter>;
  }
}
