// ⌘K: every page, app, action and event, one keystroke away. Its own chunk,
// loaded at the first use.
import { useQuery } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { Command } from "cmdk";
import { Activity, Boxes, ChartLine, Keyboard, Link2, Moon, Plus, Sun, Zap } from "lucide-react";
import { type ReactNode, useState } from "react";
import { eventsQuery } from "../api/queries";
import { copyToClipboard } from "../components/clipboard";
import { compact } from "../components/format";
import { Kbd } from "../components/kbd";
import { toast } from "../components/toast";
import { encodeTrendSearch, seriesOf } from "../features/insights/trend-link";
import type { App, Workspace } from "../gen/causality/identity/v1/identity_pb";
import { appSlug, useMe, workspaceSlug } from "./current";
import { pages } from "./navigation";
import { setTheme, useTheme } from "./theme";

type Props = {
  open: boolean;
  onOpenChange: (open: boolean) => void;
  place: { workspace: Workspace; app: App | undefined };
  onKeys: () => void;
};

const item =
  "flex min-h-9 cursor-default select-none items-center gap-3 rounded-md px-2.5 text-13 data-[selected=true]:bg-hover";

export default function CommandPalette({ open, onOpenChange, place, onKeys }: Props) {
  const me = useMe();
  const navigate = useNavigate();
  const { resolved } = useTheme();
  const [search, setSearch] = useState("");
  const workspace = workspaceSlug(place.workspace);
  const app = place.app ? appSlug(place.app) : "";
  const events = useQuery({
    ...eventsQuery({ workspaceId: place.workspace.id, appId: place.app?.id ?? "" }),
    enabled: open && Boolean(place.app),
  });
  const run = (action: () => unknown) => () => {
    onOpenChange(false);
    setSearch("");
    action();
  };
  const row = (value: string, icon: ReactNode, label: ReactNode, action: () => unknown, note?: ReactNode) => (
    <Command.Item key={value} value={value} onSelect={run(action)} className={item}>
      <span className="text-faint">{icon}</span>
      <span className="min-w-0 flex-1 truncate">{label}</span>
      {note}
    </Command.Item>
  );
  const icon = { size: 16, strokeWidth: 1.5, "aria-hidden": true } as const;
  return (
    <Command.Dialog
      open={open}
      onOpenChange={(next) => {
        onOpenChange(next);
        if (!next) setSearch("");
      }}
      label="Search pages, apps, actions and events"
      overlayClassName="fixed inset-0 z-40 bg-veil"
      contentClassName="fixed inset-x-4 top-[12vh] z-40 mx-auto max-w-140 animate-appear overflow-hidden rounded-xl bg-raised shadow-dialog outline-none"
    >
      <Command.Input
        value={search}
        onValueChange={setSearch}
        placeholder="Go to a page, an app or an event"
        className="h-12 w-full border-line border-b bg-transparent px-4 text-14 outline-none"
      />
      <Command.List className="max-h-[60vh] scroll-py-2 overflow-auto p-2 [&_[cmdk-group-heading]]:px-2.5 [&_[cmdk-group-heading]]:py-1.5 [&_[cmdk-group-heading]]:text-11 [&_[cmdk-group-heading]]:text-faint">
        <Command.Empty className="px-2.5 py-6 text-center text-muted">
          Nothing is called that here.
        </Command.Empty>
        <Command.Group heading="Pages">
          {pages
            .filter((p) => place.app || p.id === "settings")
            .map((p) =>
              row(
                `page ${p.label}`,
                <p.icon {...icon} />,
                p.label,
                () => navigate({ to: p.to, params: { workspace, app, tab: "apps" } }),
                <Kbd keys={`g>${p.jump}`} />,
              ),
            )}
          {row("page Health", <Activity {...icon} />, "Health", () =>
            navigate({ to: "/$workspace/health", params: { workspace } }),
          )}
        </Command.Group>
        <Command.Group heading="Actions">
          {place.app
            ? row(
                "action New trend insight",
                <Plus {...icon} />,
                "New trend",
                () =>
                  navigate({
                    to: "/$workspace/$app/insights/new/trend",
                    params: { workspace, app },
                    search: {},
                  }),
                <Kbd keys="c" />,
              )
            : null}
          {row("action Create app", <Plus {...icon} />, "Create app", () =>
            navigate({ to: "/$workspace/settings/$tab", params: { workspace, tab: "apps" } }),
          )}
          {row("action Copy link to this page", <Link2 {...icon} />, "Copy link to this page", async () => {
            await copyToClipboard(location.href);
            toast.success("Link copied");
          })}
          {row(
            "action Switch theme light dark",
            resolved === "dark" ? <Sun {...icon} /> : <Moon {...icon} />,
            `Use ${resolved === "dark" ? "light" : "dark"} theme`,
            () => setTheme(resolved === "dark" ? "light" : "dark"),
          )}
          {row(
            "action Keyboard shortcuts",
            <Keyboard {...icon} />,
            "Keyboard shortcuts",
            onKeys,
            <Kbd keys="?" />,
          )}
        </Command.Group>
        {me.workspaces.flatMap((w) => w.apps).length > 1 ? (
          <Command.Group heading="Apps">
            {me.workspaces.flatMap((w) =>
              w.apps.map((a) =>
                row(
                  `app ${a.name} ${a.id}`,
                  <Boxes {...icon} />,
                  a.name,
                  () =>
                    navigate({
                      to: "/$workspace/$app/home",
                      params: { workspace: workspaceSlug(w), app: appSlug(a) },
                    }),
                  <span className="text-12 text-faint">{w.name}</span>,
                ),
              ),
            )}
          </Command.Group>
        ) : null}
        {events.data && events.data.length > 0 ? (
          <Command.Group heading="Events">
            {events.data.slice(0, search ? 200 : 5).map((e) =>
              row(
                `event ${e.name}`,
                search ? <ChartLine {...icon} /> : <Zap {...icon} />,
                e.name,
                () =>
                  navigate({
                    to: "/$workspace/$app/insights/new/trend",
                    params: { workspace, app },
                    search: encodeTrendSearch(seriesOf(e.name)),
                  }),
                <span className="tabular text-12 text-faint">{compact(e.count30d)} in 30 days</span>,
              ),
            )}
          </Command.Group>
        ) : null}
      </Command.List>
    </Command.Dialog>
  );
}
