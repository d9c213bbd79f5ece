// Settings of a workspace: apps, keys, installing, members. Searchable; changes
// save themselves and can be undone.
import { Link, useNavigate, useParams, useSearch } from "@tanstack/react-router";
import { useState } from "react";
import { useMe, useWorkspace, workspaceSlug } from "../../app/current";
import { Input } from "../../components/input";
import { Page } from "../../components/page";
import { Select } from "../../components/select";
import { EmptyState } from "../../components/states";
import { tabClass, tabStripClass } from "../../components/tabs";
import type { App } from "../../gen/causality/identity/v1/identity_pb";
import { AppsTab } from "./apps-tab";
import { FirstEvent } from "./first-event";
import { KeysTab } from "./keys-tab";
import { MembersTab } from "./members-tab";
import { findSettings, type SettingsTab, settingsTabs } from "./settings-index";

export function SettingsPage() {
  const workspace = useWorkspace();
  const me = useMe();
  const params = useParams({ from: "/signed-in/$workspace/settings/$tab" });
  const { app: wanted } = useSearch({ from: "/signed-in/$workspace/settings/$tab" });
  const navigate = useNavigate();
  const [search, setSearch] = useState("");
  const tab: SettingsTab = settingsTabs.some((t) => t.id === params.tab)
    ? (params.tab as SettingsTab)
    : "apps";
  const apps = me.workspaces.find((w) => w.id === workspace.id)?.apps ?? [];
  const app = apps.find((a) => a.id === wanted || a.name === wanted) ?? apps[0];
  const slug = workspaceSlug(workspace);
  const found = findSettings(search);
  const choose = (next: App) =>
    void navigate({
      to: "/$workspace/settings/$tab",
      params: { workspace: slug, tab },
      search: { app: next.id },
    });
  return (
    <Page
      title="Settings"
      crumbs={[{ label: workspace.name }]}
      actions={
        <Input
          type="search"
          aria-label="Search settings"
          placeholder="Search settings"
          value={search}
          onChange={(e) => setSearch(e.target.value)}
          onKeyDown={(e) => e.key === "Escape" && setSearch("")}
          className="h-7 w-44 sm:w-56"
        />
      }
    >
      <nav aria-label="Settings" className={tabStripClass}>
        {settingsTabs.map((t) => (
          <Link
            key={t.id}
            to="/$workspace/settings/$tab"
            params={{ workspace: slug, tab: t.id }}
            search={wanted ? { app: wanted } : {}}
            aria-current={tab === t.id ? "page" : undefined}
            className={tabClass}
            onClick={() => setSearch("")}
          >
            {t.label}
          </Link>
        ))}
      </nav>
      <div className="pt-6">
        {search.trim() ? (
          found.length === 0 ? (
            <EmptyState title={`No setting is about “${search.trim()}”.`} />
          ) : (
            <ul className="flex flex-col gap-1">
              {found.map((s) => (
                <li key={s.label}>
                  <Link
                    to="/$workspace/settings/$tab"
                    params={{ workspace: slug, tab: s.tab }}
                    search={wanted ? { app: wanted } : {}}
                    onClick={() => setSearch("")}
                    className="block rounded-md px-3 py-2 hover:bg-hover"
                  >
                    <span className="font-medium text-13">{s.label}</span>
                    <span className="ml-2 text-12 text-faint">
                      {settingsTabs.find((t) => t.id === s.tab)?.label}
                    </span>
                    <span className="block text-12 text-muted">{s.about}</span>
                  </Link>
                </li>
              ))}
            </ul>
          )
        ) : tab === "apps" ? (
          <AppsTab />
        ) : tab === "keys" ? (
          <KeysTab apps={apps} />
        ) : tab === "members" ? (
          <MembersTab />
        ) : app ? (
          <div className="mx-auto max-w-180">
            <div className="mb-4 flex flex-wrap items-center gap-3">
              <h2 className="font-semibold text-16">Send the first event</h2>
              {apps.length > 1 ? (
                <Select
                  label="App"
                  className="ml-auto max-w-48"
                  value={app.id}
                  options={apps.map((a) => ({ value: a.id, label: a.name }))}
                  onChange={(id) => {
                    const next = apps.find((a) => a.id === id);
                    if (next) choose(next);
                  }}
                />
              ) : null}
            </div>
            <FirstEvent key={app.id} app={app} />
          </div>
        ) : (
          <EmptyState title="There is no app yet.">
            Create one under Apps; its key is then put into the snippet here.
          </EmptyState>
        )}
      </div>
    </Page>
  );
}
