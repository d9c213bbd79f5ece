// Data: what an app has sent. Events and properties as they were seen, and what
// was refused, with its reason and its remedy.
import { useQuery } from "@tanstack/react-query";
import { useNavigate, useSearch } from "@tanstack/react-router";
import { useCallback } from "react";
import { eventsQuery, propertiesQuery } from "../../api/queries";
import { useApp } from "../../app/current";
import { compact } from "../../components/format";
import { Page } from "../../components/page";
import { TabPanel, Tabs } from "../../components/tabs";
import { EventSheet } from "./event-sheet";
import { EventsTab } from "./events-tab";
import { PropertiesTab } from "./properties-tab";
import { RejectedTab, useRejectedCount } from "./rejected-tab";

type Tab = "events" | "properties" | "rejected";

export function DataPage() {
  const { app, scope, zone, params } = useApp();
  const search = useSearch({ from: "/signed-in/$workspace/$app/data" });
  const navigate = useNavigate();
  const tab: Tab = search.tab === "properties" || search.tab === "rejected" ? search.tab : "events";
  const events = useQuery(eventsQuery(scope));
  const properties = useQuery(propertiesQuery(scope, []));
  const rejected = useRejectedCount(scope);
  const own = properties.data?.properties.filter((p) => !p.builtin).length;
  const go = (next: { tab?: string; event?: string }) =>
    void navigate({ to: "/$workspace/$app/data", params, search: next });
  const open = useCallback(
    (event: string) => void navigate({ to: "/$workspace/$app/data", params, search: { event } }),
    [navigate, params],
  );
  const here = tab === "events" ? {} : { tab };
  return (
    <Page
      title="Data"
      crumbs={[{ label: app.name }]}
      aside={<span className="text-12 text-faint">Times in {zone}</span>}
    >
      <Tabs<Tab>
        label="What was sent"
        value={tab}
        onChange={(next) => go(next === "events" ? {} : { tab: next })}
        tabs={[
          {
            value: "events",
            label: "Events",
            ...(events.data ? { count: compact(events.data.length) } : {}),
          },
          { value: "properties", label: "Properties", ...(own === undefined ? {} : { count: compact(own) }) },
          {
            value: "rejected",
            label: "Rejected",
            ...(rejected === undefined ? {} : { count: compact(rejected) }),
          },
        ]}
      >
        <TabPanel value={tab} className="pt-4">
          {tab === "events" ? <EventsTab events={events} onOpen={open} /> : null}
          {tab === "properties" ? <PropertiesTab properties={properties} /> : null}
          {tab === "rejected" ? <RejectedTab /> : null}
        </TabPanel>
      </Tabs>
      <EventSheet
        name={search.event}
        seen={events.data?.find((e) => e.name === search.event)}
        onClose={() => go(here)}
      />
    </Page>
  );
}
