// FirstEvent: the snippet with the key inside, then listening until an event
// comes. After a minute without one it says why, as far as can be known.
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { Link, useParams } from "@tanstack/react-router";
import { CircleCheck, Radio, Send } from "lucide-react";
import { useEffect, useState } from "react";
import { catalog, identity } from "../../api/clients";
import { describeError } from "../../api/errors";
import { inWorkspace } from "../../api/transport";
import { appSlug, useMe, useWorkspace, workspaceSlug } from "../../app/current";
import { Dot } from "../../components/badge";
import { Button, buttonClass } from "../../components/button";
import { cx } from "../../components/class-names";
import { CodeBlock } from "../../components/code-block";
import { Card } from "../../components/page";
import { QueryBoundary } from "../../components/query-boundary";
import { Segments } from "../../components/segments";
import { Skeleton } from "../../components/skeleton";
import { EmptyState } from "../../components/states";
import { toast } from "../../components/toast";
import type { App, Key } from "../../gen/causality/identity/v1/identity_pb";
import { type LiveEvent, title } from "../live/feed";
import { follow, type LiveState } from "../live/sse";
import { liveUrl, rowOf } from "../live/use-live";
import { diagnose, type Finding } from "./diagnose";
import { isUsable, shortKey, snippetKey } from "./keys";
import { keysQuery } from "./queries";
import { curlSnippet, goInstall, goSnippet } from "./snippets";

/** Of the page's app, or of the one named. */
export function FirstEvent({ app: named }: { app?: App }) {
  const workspace = useWorkspace();
  const me = useMe();
  const { app: slug } = useParams({ strict: false });
  const app =
    named ??
    me.workspaces.find((w) => w.id === workspace.id)?.apps.find((a) => a.id === slug || a.name === slug) ??
    workspace.apps[0];
  const keys = useQuery(keysQuery(workspace.id));
  const queryClient = useQueryClient();
  const [creating, setCreating] = useState(false);
  if (!app) return null;
  return (
    <QueryBoundary
      query={keys}
      errorTitle="The keys could not be read"
      skeleton={
        <div className="flex flex-col gap-4">
          <Skeleton className="h-7 w-32" />
          <Skeleton className="h-72 rounded-lg" />
          <Skeleton className="h-16 rounded-lg" />
        </div>
      }
    >
      {(all) => {
        const key = snippetKey(all, app.id);
        if (!key) {
          return (
            <EmptyState
              title={`${app.name} has no write key.`}
              actions={
                <Button
                  look="primary"
                  disabled={creating}
                  onClick={async () => {
                    setCreating(true);
                    try {
                      await identity.createKey(
                        { appId: app.id, kind: "write", name: "default" },
                        inWorkspace(workspace.id),
                      );
                      await queryClient.invalidateQueries({ queryKey: keysQuery(workspace.id).queryKey });
                    } catch (error) {
                      toast.error(describeError(error).sentence);
                    } finally {
                      setCreating(false);
                    }
                  }}
                >
                  Create a write key
                </Button>
              }
            >
              A write key is public: it can only send events, never read them.
            </EmptyState>
          );
        }
        return <Steps key={app.id} app={app} apiKey={key} keys={all} />;
      }}
    </QueryBoundary>
  );
}

function Steps({ app, apiKey, keys }: { app: App; apiKey: Key; keys: readonly Key[] }) {
  const [language, setLanguage] = useState<"go" | "curl">("go");
  const origin = location.origin;
  return (
    <div className="flex flex-col gap-4">
      <div>
        <div className="mb-2 flex items-center gap-3">
          <Segments
            label="Language"
            value={language}
            onChange={setLanguage}
            options={[
              { value: "go", label: "Go" },
              { value: "curl", label: "curl" },
            ]}
          />
          <p className="min-w-0 truncate text-12 text-faint">
            With the write key of {app.name}. It is public: it can only send.
          </p>
        </div>
        {language === "go" ? (
          <div className="flex flex-col gap-2">
            <CodeBlock code={goInstall} label="the install command" />
            <CodeBlock code={goSnippet(origin, apiKey.display)} label="the Go program" />
          </div>
        ) : (
          <CodeBlock code={curlSnippet(origin, apiKey.display)} label="the curl line" />
        )}
      </div>
      <Listening app={app} apiKey={apiKey} keys={keys} />
    </div>
  );
}

const testEvent = "test_event";
const patience = 60; // seconds until it says why

type Arrived = { kind: "event"; event: LiveEvent } | { kind: "rejected"; message: string; code: string };

function Listening({ app, apiKey, keys }: { app: App; apiKey: Key; keys: readonly Key[] }) {
  const workspace = useWorkspace();
  const [since] = useState(() => Date.now());
  const [now, setNow] = useState(since);
  const [state, setState] = useState<LiveState>({ status: "connecting" });
  const [arrived, setArrived] = useState<Arrived>();
  const [sending, setSending] = useState(false);
  const done = arrived?.kind === "event";

  useEffect(() => {
    const abort = new AbortController();
    void follow(
      liveUrl({ workspaceId: workspace.id, appId: app.id }),
      { "Causality-Workspace": workspace.id },
      abort.signal,
      {
        state: setState,
        gap: () => {},
        message: (message) => {
          const row = rowOf(message);
          if (!row || row.kind === "gap") return;
          if (row.kind === "rejected") {
            const { message: reason, code } = row.rejected;
            setArrived((before) =>
              before?.kind === "event" ? before : { kind: "rejected", message: reason, code },
            );
            return;
          }
          // The first one tells that it works; of the later only the test is waited for.
          const { event } = row;
          setArrived((before) =>
            before?.kind === "event" && event.name !== testEvent ? before : { kind: "event", event },
          );
        },
      },
    );
    return () => abort.abort();
  }, [workspace.id, app.id]);

  useEffect(() => {
    if (done) return;
    const timer = setInterval(() => setNow(Date.now()), 1000);
    return () => clearInterval(timer);
  }, [done]);

  const seconds = Math.max(0, Math.floor((now - since) / 1000));
  const late = !done && seconds >= patience;
  const findings = useQuery({
    queryKey: ["settings", "diagnose", app.id, since],
    queryFn: async ({ signal }): Promise<Finding[]> => {
      const options = inWorkspace(workspace.id, signal);
      const [fresh, rejected] = await Promise.all([
        identity.listKeys({}, options).then((r) => r.keys),
        catalog.listRejected({ appId: app.id, limit: 5 }, options).then((r) => r.events),
      ]);
      return diagnose({
        since,
        origin: location.origin,
        appId: app.id,
        appName: app.name,
        key: fresh.find((k) => k.id === apiKey.id) ?? apiKey,
        keys: fresh,
        rejected,
      });
    },
    enabled: late,
    refetchInterval: late ? 10_000 : false,
  });

  const sendTest = async () => {
    setSending(true);
    try {
      const response = await fetch("/v1/events", {
        method: "POST",
        headers: { Authorization: `Bearer ${apiKey.display}`, "Content-Type": "application/json" },
        body: JSON.stringify([
          { name: testEvent, anonymousId: "causality-test", properties: { sent_from: "settings" } },
        ]),
      });
      const answer = (await response.json().catch(() => null)) as {
        message?: string;
        rejected?: { message: string }[];
      } | null;
      if (!response.ok) throw new Error(answer?.message ?? `The server answered ${response.status}`);
      if (answer?.rejected?.[0]) throw new Error(answer.rejected[0].message);
      // Connected, this card says it by itself.
      if (state.status !== "live") toast.success("Test event accepted");
    } catch (error) {
      toast.error(describeError(error).sentence);
    } finally {
      setSending(false);
    }
  };

  const clock = `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
  const usable = isUsable(apiKey);
  return (
    <Card className={cx("sticky bottom-4 z-10 p-4 shadow-menu", done && "bg-good-soft ring-good/40")}>
      <div className="flex flex-wrap items-center gap-3">
        {done ? (
          <CircleCheck size={20} strokeWidth={1.75} className="shrink-0 text-good" aria-hidden />
        ) : (
          <Dot tone={state.status === "live" ? "accent" : "warn"} pulse />
        )}
        <div className="min-w-0 flex-1 max-sm:basis-56" role="status">
          {arrived?.kind === "event" ? (
            <p className="font-medium text-13">
              <span className="text-good">It works:</span>{" "}
              {arrived.event.name === testEvent
                ? "your test event arrived."
                : `${title(arrived.event)} arrived${arrived.event.userId ? ` from ${arrived.event.userId}` : ""}.`}
            </p>
          ) : state.status === "live" || state.status === "connecting" ? (
            <p className="text-13">
              Listening for <code className="font-mono text-12">{shortKey(apiKey.display)}</code>
            </p>
          ) : (
            <p className="text-13">
              {state.sentence} {state.status === "waiting" ? "It is tried again by itself." : ""}
            </p>
          )}
        </div>
        {done ? null : (
          <span role="timer" className="tabular text-13 text-muted">
            {clock}
          </span>
        )}
        <Button
          size="sm"
          icon={<Send size={14} strokeWidth={1.5} />}
          onClick={sendTest}
          disabled={sending}
          why={usable ? undefined : "The key is not valid any more."}
        >
          Send test event
        </Button>
        {done ? (
          <Link
            to="/$workspace/$app/live"
            params={{ workspace: workspaceSlug(workspace), app: appSlug(app) }}
            className={buttonClass("secondary", "sm")}
          >
            <Radio size={14} strokeWidth={1.5} aria-hidden />
            Watch Live
          </Link>
        ) : null}
      </div>
      {arrived?.kind === "rejected" ? (
        <Told
          title="An event arrived and was rejected."
          what={`${arrived.message} (${arrived.code}).`}
          app={app}
          rejected
        />
      ) : null}
      {late && findings.data
        ? findings.data.map((f) => (
            <Told key={f.title} {...f} app={app} rejected={f.title.includes("rejected")} />
          ))
        : null}
      {late && findings.isError ? (
        <Told
          title="Nothing has arrived for a minute."
          what={`Why cannot be said: ${describeError(findings.error).sentence}`}
          app={app}
        />
      ) : null}
      {!done && !late && keys.length > 0 ? (
        <p className="mt-2 text-12 text-faint">Run the lines above; this turns green at the first event.</p>
      ) : null}
    </Card>
  );
}

function Told({ title: head, what, app, rejected }: Finding & { app: App; rejected?: boolean }) {
  const workspace = useWorkspace();
  return (
    <div className="mt-3 rounded-md bg-warn-soft px-3 py-2">
      <p className="font-medium text-13 text-warn">{head}</p>
      <p className="text-pretty text-13">{what}</p>
      {rejected ? (
        <Link
          to="/$workspace/$app/data"
          params={{ workspace: workspaceSlug(workspace), app: appSlug(app) }}
          search={{ tab: "rejected" }}
          className="font-medium text-13 text-accent-text hover:underline"
        >
          Show rejected events
        </Link>
      ) : null}
    </div>
  );
}
