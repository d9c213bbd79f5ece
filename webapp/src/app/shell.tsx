// The frame around every signed-in page: sidebar (232 px, 48 collapsed), bottom
// bar on phones, palette, key sheet and jumps.
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { Link, Outlet, useNavigate, useParams, useRouter, useRouterState } from "@tanstack/react-router";
import {
  Activity,
  Check,
  ChevronsUpDown,
  CircleUser,
  Ellipsis,
  Keyboard,
  LogOut,
  Monitor,
  Moon,
  PanelLeftClose,
  PanelLeftOpen,
  Plus,
  Search,
  Sun,
} from "lucide-react";
import { lazy, type ReactNode, Suspense, useEffect, useState } from "react";
import { identity } from "../api/clients";
import { healthQuery } from "../api/queries";
import { Dot } from "../components/badge";
import { cx } from "../components/class-names";
import { Sheet } from "../components/dialog";
import { Kbd } from "../components/kbd";
import { Menu, MenuItem, MenuLabel, MenuSeparator } from "../components/menu";
import { Toaster, toast } from "../components/toast";
import { Tooltip } from "../components/tooltip";
import type { App, Workspace } from "../gen/causality/identity/v1/identity_pb";
import { appSlug, findApp, findWorkspace, landing, useMe, workspaceSlug } from "./current";
import { KeySheet, useShortcut } from "./keys";
import { type NavigationPage, pages } from "./navigation";
import { setTheme, useTheme } from "./theme";

const CommandPalette = lazy(() => import("./command-palette"));

const collapsedKey = "causality.sidebar";

/** The place the frame is about: the page's, else where the person was last. */
export function usePlace(): { workspace: Workspace; app: App | undefined } | undefined {
  const me = useMe();
  const params = useParams({ strict: false });
  const named = params.workspace ? findWorkspace(me, params.workspace) : undefined;
  const fallback = landing(me, named);
  if (!named) return fallback;
  const app = params.app ? findApp(named, params.app) : undefined;
  return { workspace: named, app: app ?? fallback?.app };
}

export function Shell() {
  const place = usePlace();
  const [collapsed, setCollapsed] = useState(() => {
    try {
      return localStorage.getItem(collapsedKey) === "collapsed";
    } catch {
      return false;
    }
  });
  const [palette, setPalette] = useState(false);
  const [paletteUsed, setPaletteUsed] = useState(false);
  const [sheet, setSheet] = useState(false);
  const navigate = useNavigate();
  const open = () => {
    setPaletteUsed(true);
    setPalette(true);
  };
  const toggle = () => {
    const next = !collapsed;
    setCollapsed(next);
    try {
      localStorage.setItem(collapsedKey, next ? "collapsed" : "open");
    } catch {
      // Then it lasts for this page only.
    }
  };
  useShortcut("mod+k", open, { does: "Search and jump", group: "Everywhere", inFields: true });
  useShortcut("?", () => setSheet(true), { does: "Show this sheet", group: "Everywhere" });
  useShortcut(
    "c",
    () => {
      if (place?.app) {
        void navigate({
          to: "/$workspace/$app/insights/new/trend",
          params: { workspace: workspaceSlug(place.workspace), app: appSlug(place.app) },
          search: {},
        });
      }
    },
    { does: "New trend", group: "Everywhere", enabled: Boolean(place?.app) },
  );

  return (
    <div className="flex h-full">
      <a
        href="#content"
        className="fixed top-2 left-2 z-50 -translate-y-16 rounded-md bg-accent px-3 py-1.5 font-medium text-on-accent focus:translate-y-0"
      >
        Skip to content
      </a>
      {place ? (
        <>
          <Sidebar
            place={place}
            collapsed={collapsed}
            onToggle={toggle}
            onSearch={open}
            onKeys={() => setSheet(true)}
          />
          {pages.map((page) => (
            <Jump key={page.id} page={page} place={place} />
          ))}
        </>
      ) : null}
      <div className="flex min-w-0 flex-1 flex-col">
        <Progress />
        <main id="content" tabIndex={-1} className="min-h-0 flex-1 overflow-auto outline-none">
          <Outlet />
        </main>
        {place ? <BottomBar place={place} onSearch={open} onKeys={() => setSheet(true)} /> : null}
      </div>
      {paletteUsed && place ? (
        <Suspense fallback={null}>
          <CommandPalette
            open={palette}
            onOpenChange={setPalette}
            place={place}
            onKeys={() => setSheet(true)}
          />
        </Suspense>
      ) : null}
      <KeySheet open={sheet} onOpenChange={setSheet} />
      <Toaster />
    </div>
  );
}

/** A thin line while a page that is not ready loads; the old one stays. */
function Progress() {
  const loading = useRouterState({ select: (s) => s.status === "pending" });
  const [late, setLate] = useState(false);
  useEffect(() => {
    if (!loading) {
      setLate(false);
      return;
    }
    const timer = setTimeout(() => setLate(true), 200);
    return () => clearTimeout(timer);
  }, [loading]);
  return late ? (
    <div
      className="fixed inset-x-0 top-0 z-50 h-0.5 overflow-hidden"
      role="progressbar"
      aria-label="Loading page"
    >
      <div className="h-full w-1/4 animate-progress bg-accent" />
    </div>
  ) : null;
}

type Place = { workspace: Workspace; app: App | undefined };

function Jump({ page, place }: { page: NavigationPage; place: Place }) {
  const navigate = useNavigate();
  useShortcut(
    `g>${page.jump}`,
    () => {
      const workspace = workspaceSlug(place.workspace);
      if (page.id === "settings")
        void navigate({ to: "/$workspace/settings/$tab", params: { workspace, tab: "apps" } });
      else if (place.app)
        void navigate({ to: page.to, params: { workspace, app: appSlug(place.app), tab: "apps" } });
    },
    { does: page.label, group: "Go to", enabled: page.id === "settings" || Boolean(place.app) },
  );
  return null;
}

function NavigationLink({
  page,
  place,
  className,
  children,
  onClick,
}: {
  page: NavigationPage;
  place: Place;
  className: string;
  children: ReactNode;
  onClick?: () => void;
}) {
  const workspace = workspaceSlug(place.workspace);
  const path = useRouterState({ select: (s) => s.location.pathname });
  const app = place.app ? appSlug(place.app) : "";
  const on =
    page.id === "settings" ? path.startsWith(`/${workspace}/settings`) : path.includes(`/${app}/${page.id}`);
  return (
    <Link
      to={page.to}
      params={{ workspace, app, tab: "apps" }}
      aria-current={on ? "page" : undefined}
      className={className}
      onClick={onClick}
    >
      {children}
    </Link>
  );
}

const rowClass =
  "flex h-8 items-center gap-2.5 rounded-md px-2 text-13 font-medium text-muted hover:bg-hover hover:text-text aria-[current=page]:bg-hover aria-[current=page]:text-text";

function Sidebar({
  place,
  collapsed,
  onToggle,
  onSearch,
  onKeys,
}: {
  place: Place;
  collapsed: boolean;
  onToggle: () => void;
  onSearch: () => void;
  onKeys: () => void;
}) {
  const shown = place.app ? pages : pages.filter((p) => p.id === "settings");
  const named = (label: string, row: ReactNode) =>
    collapsed ? (
      <Tooltip key={label} label={label} side="right">
        {row}
      </Tooltip>
    ) : (
      row
    );
  const link = (page: NavigationPage) => (
    <li key={page.id}>
      <NavigationLink page={page} place={place} className={cx(rowClass, collapsed && "justify-center px-0")}>
        <page.icon size={16} strokeWidth={1.5} className="shrink-0" aria-hidden />
        <span className={collapsed ? "sr-only" : "truncate"}>{page.label}</span>
      </NavigationLink>
    </li>
  );
  return (
    <nav
      aria-label="Main"
      className={cx(
        "flex h-full shrink-0 flex-col border-line border-r bg-bg p-2 transition-[width] duration-140 max-md:hidden",
        collapsed ? "w-12" : "w-58",
      )}
    >
      <AppSwitcher place={place} collapsed={collapsed} />
      {named(
        "Search",
        <button
          type="button"
          onClick={onSearch}
          className={cx(rowClass, "mt-1 w-full", collapsed && "justify-center px-0")}
        >
          <Search size={16} strokeWidth={1.5} className="shrink-0" aria-hidden />
          <span className={collapsed ? "sr-only" : "flex-1 text-left"}>Search</span>
          {collapsed ? null : <Kbd keys="mod+k" />}
        </button>,
      )}
      <div className="mt-3 flex min-h-0 flex-1 flex-col gap-3 overflow-y-auto">
        {(["", "Analyse", "Operate"] as const).map((group) => {
          const inside = shown.filter((p) => p.group === group);
          if (inside.length === 0) return null;
          return (
            <div key={group}>
              {group ? (
                <p className={cx("mb-0.5 px-2 text-11 text-faint", collapsed && "sr-only")}>{group}</p>
              ) : null}
              <ul className="flex flex-col gap-px">{inside.map(link)}</ul>
            </div>
          );
        })}
      </div>
      <ul className="flex flex-col gap-px">
        <li>
          <HealthLink place={place} collapsed={collapsed} />
        </li>
        {shown.filter((p) => p.group === "foot").map(link)}
        <li className={cx("flex gap-px", collapsed && "flex-col")}>
          <Account collapsed={collapsed} onKeys={onKeys} />
          <Tooltip label={collapsed ? "Expand sidebar" : "Collapse sidebar"} side="right">
            <button
              type="button"
              aria-label={collapsed ? "Expand sidebar" : "Collapse sidebar"}
              onClick={onToggle}
              className={cx(rowClass, "w-8 shrink-0 justify-center px-0")}
            >
              {collapsed ? (
                <PanelLeftOpen size={16} strokeWidth={1.5} />
              ) : (
                <PanelLeftClose size={16} strokeWidth={1.5} />
              )}
            </button>
          </Tooltip>
        </li>
      </ul>
    </nav>
  );
}

function AppSwitcher({ place, collapsed }: { place: Place; collapsed?: boolean }) {
  const me = useMe();
  const navigate = useNavigate();
  const path = useRouterState({ select: (s) => s.location.pathname });
  // The same page of the other app, without the question that belonged to this one.
  const rest = /^\/[^/]+\/[^/]+\/(home|insights\/new\/trend|sql|live|data)/.exec(path)?.[1] ?? "home";
  const name = place.app?.name ?? place.workspace.name;
  return (
    <Menu
      className="w-60"
      trigger={
        <button
          type="button"
          aria-label={`App ${name}, workspace ${place.workspace.name}: switch`}
          className={cx(
            "flex h-9 w-full items-center gap-2 rounded-md px-1.5 text-left hover:bg-hover data-[state=open]:bg-hover",
            collapsed && "justify-center px-0",
          )}
        >
          <Monogram name={name} />
          {collapsed ? null : (
            <>
              <span className="min-w-0 flex-1">
                <span className="block truncate font-semibold text-13 leading-4">{name}</span>
                <span className="block truncate text-11 text-faint leading-4">{place.workspace.name}</span>
              </span>
              <ChevronsUpDown size={14} strokeWidth={1.5} className="text-faint" aria-hidden />
            </>
          )}
        </button>
      }
    >
      {me.workspaces.map((w) => (
        <div key={w.id}>
          <MenuLabel>{w.name}</MenuLabel>
          {w.apps.map((a) => (
            <MenuItem
              key={a.id}
              icon={
                a.id === place.app?.id ? (
                  <Check size={14} className="text-accent-text" />
                ) : (
                  <span className="block size-3.5" />
                )
              }
              onSelect={() =>
                void navigate({ href: `/${workspaceSlug(w)}/${encodeURIComponent(appSlug(a))}/${rest}` })
              }
            >
              {a.name}
            </MenuItem>
          ))}
        </div>
      ))}
      <MenuSeparator />
      <MenuItem
        icon={<Plus size={14} strokeWidth={1.5} />}
        onSelect={() =>
          void navigate({
            to: "/$workspace/settings/$tab",
            params: { workspace: workspaceSlug(place.workspace), tab: "apps" },
          })
        }
      >
        Create app
      </MenuItem>
    </Menu>
  );
}

function Monogram({ name }: { name: string }) {
  return (
    <span
      aria-hidden
      className="flex size-6 shrink-0 items-center justify-center rounded-md bg-accent font-semibold text-12 text-on-accent"
    >
      {name.charAt(0).toUpperCase()}
    </span>
  );
}

/** One word and one colour for the state of the installation. */
export function useHealthSummary(workspaceId: string): {
  tone: "good" | "warn" | "bad" | "neutral";
  says: string;
} {
  const health = useQuery(healthQuery(workspaceId));
  if (health.isError) return { tone: "bad", says: "Health unknown" };
  if (!health.data) return { tone: "neutral", says: "Checking" };
  const worst =
    health.data.components.find((c) => c.status === "down") ??
    health.data.components.find((c) => c.status !== "ok");
  if (worst) return { tone: worst.status === "down" ? "bad" : "warn", says: `${worst.name} ${worst.status}` };
  if (health.data.lagSeconds > 60) {
    return { tone: "warn", says: `Ingest ${Math.round(health.data.lagSeconds / 60)} min behind` };
  }
  return { tone: "good", says: "All events queryable" };
}

function HealthLink({ place, collapsed }: { place: Place; collapsed: boolean }) {
  const { tone, says } = useHealthSummary(place.workspace.id);
  const link = (
    <Link
      to="/$workspace/health"
      params={{ workspace: workspaceSlug(place.workspace) }}
      className={cx(rowClass, collapsed && "justify-center px-0")}
    >
      <span className="flex size-4 shrink-0 items-center justify-center">
        <Dot tone={tone} />
      </span>
      <span className={collapsed ? "sr-only" : "truncate"}>
        Health
        <span className="ml-1.5 font-normal text-12 text-faint">{says}</span>
      </span>
    </Link>
  );
  return collapsed ? (
    <Tooltip label={`Health: ${says}`} side="right">
      {link}
    </Tooltip>
  ) : (
    link
  );
}

function useSignOut() {
  const queryClient = useQueryClient();
  const router = useRouter();
  return async () => {
    try {
      await identity.signOut({});
    } catch {
      toast.error("Signing out did not reach the server. Try again.");
      return;
    }
    await router.navigate({ to: "/sign-in", search: {} });
    queryClient.clear();
  };
}

function ThemeItems() {
  const { theme } = useTheme();
  const options = [
    { value: "system", label: "System theme", icon: <Monitor size={14} strokeWidth={1.5} /> },
    { value: "light", label: "Light theme", icon: <Sun size={14} strokeWidth={1.5} /> },
    { value: "dark", label: "Dark theme", icon: <Moon size={14} strokeWidth={1.5} /> },
  ] as const;
  return options.map((o) => (
    <MenuItem key={o.value} icon={o.icon} onSelect={() => setTheme(o.value)}>
      <span className="flex items-center justify-between gap-2">
        {o.label}
        {theme === o.value ? <Check size={14} className="text-accent-text" aria-label="chosen" /> : null}
      </span>
    </MenuItem>
  ));
}

function Account({ collapsed, onKeys }: { collapsed: boolean; onKeys: () => void }) {
  const { user } = useMe();
  const signOut = useSignOut();
  const name = user?.name || user?.email || "Account";
  return (
    <Menu
      side="top"
      className="w-56"
      trigger={
        <button
          type="button"
          aria-label={`Account: ${name}`}
          className={cx(rowClass, "min-w-0 flex-1", collapsed && "justify-center px-0")}
        >
          <CircleUser size={16} strokeWidth={1.5} className="shrink-0" aria-hidden />
          {collapsed ? null : <span className="truncate">{name}</span>}
        </button>
      }
    >
      <MenuLabel>{user?.email || name}</MenuLabel>
      <ThemeItems />
      <MenuSeparator />
      <MenuItem icon={<Keyboard size={14} strokeWidth={1.5} />} keys="?" onSelect={onKeys}>
        Keyboard shortcuts
      </MenuItem>
      <MenuItem icon={<LogOut size={14} strokeWidth={1.5} />} onSelect={() => void signOut()}>
        Sign out
      </MenuItem>
    </Menu>
  );
}

function BottomBar({ place, onSearch, onKeys }: { place: Place; onSearch: () => void; onKeys: () => void }) {
  const [more, setMore] = useState(false);
  const { tone, says } = useHealthSummary(place.workspace.id);
  const signOut = useSignOut();
  const { theme } = useTheme();
  const close = () => setMore(false);
  const cell =
    "flex h-14 min-w-0 flex-1 flex-col items-center justify-center gap-0.5 text-11 text-muted aria-[current=page]:text-accent-text";
  const row = "flex h-11 w-full items-center gap-3 rounded-md px-2 text-14 hover:bg-hover";
  return (
    <nav
      aria-label="Main"
      className="flex border-line border-t bg-surface pb-[env(safe-area-inset-bottom)] md:hidden"
    >
      {place.app
        ? pages
            .filter((p) => p.bottom)
            .map((page) => (
              <NavigationLink key={page.id} page={page} place={place} className={cell}>
                <page.icon size={20} strokeWidth={1.5} aria-hidden />
                {page.label}
              </NavigationLink>
            ))
        : null}
      <button type="button" className={cell} onClick={() => setMore(true)}>
        <Ellipsis size={20} strokeWidth={1.5} aria-hidden />
        More
      </button>
      <Sheet open={more} onOpenChange={setMore} title="More">
        <AppSwitcher place={place} />
        <div className="my-2 h-px bg-line" />
        <button
          type="button"
          className={row}
          onClick={() => {
            close();
            onSearch();
          }}
        >
          <Search size={20} strokeWidth={1.5} aria-hidden /> Search
        </button>
        {pages
          .filter((p) => !p.bottom && (place.app || p.id === "settings"))
          .map((page) => (
            <NavigationLink key={page.id} page={page} place={place} className={row} onClick={close}>
              <page.icon size={20} strokeWidth={1.5} aria-hidden />
              {page.label}
            </NavigationLink>
          ))}
        <Link
          to="/$workspace/health"
          params={{ workspace: workspaceSlug(place.workspace) }}
          className={row}
          onClick={close}
        >
          <Activity size={20} strokeWidth={1.5} aria-hidden />
          Health
          <span className="ml-auto flex items-center gap-2 text-12 text-muted">
            {says} <Dot tone={tone} />
          </span>
        </Link>
        <div className="my-2 h-px bg-line" />
        <button
          type="button"
          className={row}
          onClick={() => setTheme(theme === "system" ? "light" : theme === "light" ? "dark" : "system")}
        >
          {theme === "dark" ? (
            <Moon size={20} strokeWidth={1.5} />
          ) : theme === "light" ? (
            <Sun size={20} strokeWidth={1.5} />
          ) : (
            <Monitor size={20} strokeWidth={1.5} />
          )}
          Theme: {theme}
        </button>
        <button
          type="button"
          className={row}
          onClick={() => {
            close();
            onKeys();
          }}
        >
          <Keyboard size={20} strokeWidth={1.5} aria-hidden /> Keyboard shortcuts
        </button>
        <button type="button" className={row} onClick={() => void signOut()}>
          <LogOut size={20} strokeWidth={1.5} aria-hidden /> Sign out
        </button>
      </Sheet>
    </nav>
  );
}
