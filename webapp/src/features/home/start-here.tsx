// The first event: a snippet with the key inside, then listening until it
// arrives. After a minute of silence it looks for the reason instead of waiting
// for ever.
import { useMutation, useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { Send } from "lucide-react";
import { useEffect, useState } from "react";
import { catalog, identity } from "../../api/clients";
import { describeError } from "../../api/errors";
import { eventsQuery, healthQuery } from "../../api/queries";
import { inWorkspace } from "../../api/transport";
import { useApp } from "../../app/current";

import { Dot } from "../../components/badge";
import { Button, buttonClass } from "../../components/button";
import { CodeBlock } from "../../components/code-block";
import { ago, count } from "../../components/format";
import { Card } from "../../components/page";
import { Skeleton } from "../../components/skeleton";
import { EmptyState } from "../../components/states";
import { TabPanel, Tabs } from "../../components/tabs";
import { curlSnippet, goSnippet } from "../settings/snippets";

const everyMs = 3000;
const diagnoseAfter = 60; // seconds

const clock = (seconds: number) => `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
const shortKey = (key: string) => (key.length > 12 ? `${key.slice(0, 3)}…${key.slice(-3)}` : key);

export function StartHere() {
  const { app, scope, workspace, params } = useApp();
  const [language, setLanguage] = useState<"curl" | "go">("curl");
  const [seconds, setSeconds] = useState(0);
  useEffect(() => {
    const timer = setInterval(() => setSeconds((s) => s + 1), 1000);
    return () => clearInterval(timer);
  }, []);
  // Listening: Home shows itself as soon as this finds an event.
  useQuery({ ...eventsQuery(scope), refetchInterval: everyMs });
  const keys = useQuery({
    queryKey: ["keys", workspace.id, app.id],
    queryFn: ({ signal }) => identity.listKeys({ appId: app.id }, inWorkspace(workspace.id, signal)),
    refetchInterval: seconds >= diagnoseAfter ? everyMs * 2 : false,
  });
  const key = keys.data?.keys.find((k) => k.kind === "write" && !k.revokedAt);
  const host = location.origin;
  const test = useMutation({
    mutationFn: async (display: string) => {
      const response = await fetch("/v1/events", {
        method: "POST",
        headers: { Authorization: `Bearer ${display}`, "Content-Type": "application/json" },
        body: JSON.stringify([
          { name: "test_event", user_id: "test-user", properties: { from: "Causality" } },
        ]),
      });
      const answer = (await response.json().catch(() => ({}))) as {
        message?: string;
        rejected?: { message?: string }[];
      };
      if (!response.ok) throw new Error(answer.message ?? `The server answered ${response.status}`);
      const rejected = answer.rejected?.[0]?.message;
      if (rejected) throw new Error(rejected);
    },
  });

  if (keys.isPending) {
    return (
      <Card className="p-6">
        <Skeleton className="h-6 w-60" />
        <Skeleton className="mt-4 h-40 w-full" />
      </Card>
    );
  }
  if (!key) {
    return (
      <Card>
        <EmptyState
          title="No events yet. Send the first one."
          actions={
            <Link
              to="/$workspace/settings/$tab"
              params={{ workspace: params.workspace, tab: "keys" }}
              className={buttonClass("primary", "md")}
            >
              Create a write key
            </Link>
          }
        >
          {keys.isError
            ? describeError(keys.error).sentence
            : `${app.name} has no write key: events are sent with one.`}
        </EmptyState>
      </Card>
    );
  }
  return (
    <Card className="overflow-hidden">
      <div className="px-5 pt-5">
        <h2 className="font-semibold text-16">No events yet. Send the first one.</h2>
        <p className="mt-1 text-muted">
          Run this anywhere that reaches this server. The key is {app.name}'s own.
        </p>
      </div>
      <Tabs
        label="Ways to send"
        value={language}
        onChange={setLanguage}
        tabs={[
          { value: "curl", label: "curl" },
          { value: "go", label: "Go" },
        ]}
        className="px-5 pt-2"
      >
        <TabPanel value="curl" className="py-4">
          <CodeBlock label="curl command" code={curlSnippet(host, key.display)} />
        </TabPanel>
        <TabPanel value="go" className="py-4">
          <CodeBlock label="Go program" code={goSnippet(host, key.display)} />
        </TabPanel>
      </Tabs>
      <div className="flex flex-wrap items-center gap-3 border-line border-t bg-sunken px-5 py-3">
        <span role="status" className="tabular flex items-center gap-2 text-muted">
          <Dot tone="accent" pulse />
          Listening for {shortKey(key.display)}, {clock(seconds)}
        </span>
        <Button
          className="ml-auto"
          icon={<Send size={14} strokeWidth={1.5} />}
          disabled={test.isPending}
          onClick={() => test.mutate(key.display)}
        >
          Send test event
        </Button>
        {test.isError ? (
          <p role="alert" className="w-full text-bad">
            The test event was not accepted: {describeError(test.error).sentence}
          </p>
        ) : test.isSuccess ? (
          <p role="status" className="w-full text-good">
            The test event was accepted. It appears here within a few seconds.
          </p>
        ) : null}
      </div>
      {seconds >= diagnoseAfter ? <Diagnosis lastUsedAt={key.lastUsedAt} /> : null}
    </Card>
  );
}

function Diagnosis({ lastUsedAt }: { lastUsedAt: string }) {
  const { scope, zone, params, workspace } = useApp();
  const rejected = useQuery({
    queryKey: ["rejected", scope, "diagnosis"],
    queryFn: ({ signal }) =>
      catalog.listRejected({ appId: scope.appId, limit: 1 }, inWorkspace(scope.workspaceId, signal)),
    refetchInterval: everyMs * 2,
  });
  const health = useQuery(healthQuery(workspace.id));
  const group = rejected.data?.groups[0];
  const broken = health.data?.components.find((c) => c.status !== "ok");
  const waiting = health.data?.apps.find((a) => a.appId === scope.appId)?.counters?.waiting ?? 0;
  return (
    <div role="status" className="border-line border-t px-5 py-4">
      <h3 className="font-medium">What we see</h3>
      <ul className="mt-1.5 flex list-disc flex-col gap-1 pl-4 text-muted">
        {group ? (
          <li>
            {count(group.count, "event")} arrived and {group.count === 1 ? "was" : "were"} rejected:{" "}
            {group.message} {group.remedy}{" "}
            <Link
              to="/$workspace/$app/data"
              params={params}
              search={{ tab: "rejected" }}
              className="text-accent-text underline decoration-accent-text/40 underline-offset-2 hover:decoration-accent-text"
            >
              See them
            </Link>
          </li>
        ) : null}
        {waiting > 0 ? <li>{count(waiting, "event")} accepted, not queryable yet.</li> : null}
        {broken ? (
          <li>
            {broken.name} is {broken.status}: {broken.message}{" "}
            <Link
              to="/$workspace/health"
              params={{ workspace: params.workspace }}
              className="text-accent-text underline decoration-accent-text/40 underline-offset-2 hover:decoration-accent-text"
            >
              Health
            </Link>
          </li>
        ) : null}
        {!group && waiting === 0 && lastUsedAt ? (
          <li>The key was last used {ago(lastUsedAt, zone)}, but no event of this app came of it.</li>
        ) : null}
        {!group && waiting === 0 && !lastUsedAt ? (
          <>
            <li>Nothing arrived with this key. Does the sender reach {location.origin}?</li>
            <li>
              A 401 answer means that the key was cut or mistyped; a 403 that it was revoked or the origin is
              blocked.
            </li>
          </>
        ) : null}
      </ul>
    </div>
  );
}
