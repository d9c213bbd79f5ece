// FirstEvent: each platform's snippet with the key inside, then listening until
// an event comes from there. After a minute without one it says why, as far as
// can be known.
import { keepPreviousData, useQuery, useQueryClient } from "@tanstack/react-query";
import { Link, useParams } from "@tanstack/react-router";
import { CircleCheck, Radio, Send } from "lucide-react";
import { useEffect, useRef, useState } from "react";
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
import { TabPanel, Tabs } from "../../components/tabs";
import { toast } from "../../components/toast";
import type { App, Key } from "../../gen/causality/identity/v1/identity_pb";
import { type Row, title } from "../live/feed";
import { follow, type LiveState } from "../live/sse";
import { liveUrl, rowOf } from "../live/use-live";
import { diagnose, type Finding } from "./diagnose";
import { isUsable, shortKey, snippetKey } from "./keys";
import {
  fromOf,
  type Heard,
  hear,
  heardElsewhere,
  nothingHeard,
  type Platform,
  platformFrom,
  platforms,
  testEvent,
} from "./platforms";
import { browserSdkQuery, keysQuery, sendersQuery } from "./queries";
import { type Target, type Way, waysOf } from "./snippets";
import { sendTestEvent } from "./test-event";

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
        return <Steps key={app.id} app={app} apiKey={key} />;
      }}
    </QueryBoundary>
  );
}

function Steps({ app, apiKey }: { app: App; apiKey: Key }) {
  const workspace = useWorkspace();
  const [chosen, setChosen] = useState(() => ({ platform: "web" as Platform, since: Date.now() }));
  const [heard, setHeard] = useState(nothingHeard);
  const senders = useQuery(sendersQuery({ workspaceId: workspace.id, appId: app.id }));
  const sdk = useQuery(browserSdkQuery);
  const sends = (p: Platform) => heard.first[p] !== undefined || senders.data?.includes(p);
  const target: Target = {
    origin: location.origin,
    key: apiKey.display,
    script: sdk.data?.script ?? "/sdk/causality.js",
    ingestPath: sdk.data?.ingestPath ?? "",
  };
  return (
    <div className="flex flex-col gap-4">
      <Tabs
        label="Platform"
        value={chosen.platform}
        onChange={(platform) => setChosen({ platform, since: Date.now() })}
        tabs={platforms.map((p) => ({
          value: p.id,
          label: sends(p.id) ? (
            <span className="flex items-center gap-1" title="Has sent events in the last 30 days">
              {p.label}
              <CircleCheck size={12} strokeWidth={2} className="text-good" aria-hidden />
              <span className="sr-only">has sent events</span>
            </span>
          ) : (
            p.label
          ),
        }))}
      >
        {platforms.map((p) => (
          <TabPanel key={p.id} value={p.id} className="pt-4">
            <Ways ways={waysOf(p.id, target)} app={app} />
            {p.id === "web" && sdk.data?.version === "" ? (
              <p className="mt-3 rounded-md bg-warn-soft px-3 py-2 text-13">
                <span className="font-medium text-warn">This server was built without the script.</span> The
                npm package works meanwhile. <code className="font-mono text-12">make build</code> in the
                repository builds a server that has it.
              </p>
            ) : null}
          </TabPanel>
        ))}
      </Tabs>
      <Listening
        app={app}
        apiKey={apiKey}
        platform={chosen.platform}
        since={chosen.since}
        heard={heard}
        onRow={(row) => setHeard((before) => hear(before, row))}
      />
    </div>
  );
}

/** The ways to begin on a platform, each a few blocks to copy. */
function Ways({ ways, app }: { ways: readonly Way[]; app: App }) {
  const [id, setId] = useState(ways[0]?.id);
  const way = ways.find((w) => w.id === id) ?? ways[0];
  if (!way) return null;
  return (
    <>
      <div className="mb-3 flex flex-wrap items-center gap-x-3 gap-y-2">
        {ways.length > 1 ? (
          <Segments
            label="Way to begin"
            value={way.id}
            onChange={setId}
            options={ways.map((w) => ({ value: w.id, label: w.label }))}
          />
        ) : null}
        <p className="min-w-0 text-12 text-faint">
          With the write key of {app.name}. It is public: it can only send.
        </p>
      </div>
      <ol className="flex flex-col gap-3">
        {way.blocks.map((block) => (
          <li key={block.label}>
            <p className="mb-1 text-12 text-muted">{block.title}</p>
            <CodeBlock code={block.code} label={block.label} />
          </li>
        ))}
      </ol>
    </>
  );
}

const patience = 60; // seconds until it says why

function Listening({
  app,
  apiKey,
  platform,
  since,
  heard,
  onRow,
}: {
  app: App;
  apiKey: Key;
  platform: Platform;
  /** When it began to wait for this platform, ms. */
  since: number;
  heard: Heard;
  onRow: (row: Row) => void;
}) {
  const workspace = useWorkspace();
  const [now, setNow] = useState(since);
  const [state, setState] = useState<LiveState>({ status: "connecting" });
  const [sending, setSending] = useState(false);
  const arrived = heard.first[platform] ?? (platform === "http" ? heard.test : undefined);
  const done = arrived !== undefined;
  const elsewhere = done ? undefined : heardElsewhere(heard, platform);

  const row = useRef(onRow);
  row.current = onRow;
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
          const next = rowOf(message);
          if (next) row.current(next);
        },
      },
    );
    return () => abort.abort();
  }, [workspace.id, app.id]);

  useEffect(() => {
    if (done) return;
    setNow(Date.now());
    const timer = setInterval(() => setNow(Date.now()), 1000);
    return () => clearInterval(timer);
  }, [done]);

  const seconds = Math.max(0, Math.floor((now - since) / 1000));
  const late = !done && seconds >= patience;
  const library = elsewhere && (elsewhere.context?.library?.name ?? "");
  const findings = useQuery({
    queryKey: ["settings", "diagnose", app.id, since, library],
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
        platform,
        heard: library === undefined ? undefined : { library },
        rejected,
      });
    },
    enabled: late,
    refetchInterval: late ? 10_000 : false,
    placeholderData: keepPreviousData,
  });

  const sendTest = async () => {
    setSending(true);
    try {
      await sendTestEvent(location.origin, apiKey.display);
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
    <Card
      className={cx(
        "z-10 p-4 shadow-menu [@media(min-height:1000px)]:sticky [@media(min-height:1000px)]:bottom-4",
        done && "bg-good-soft ring-good/40",
      )}
    >
      <div className="flex flex-wrap items-center gap-3">
        {done ? (
          <CircleCheck size={20} strokeWidth={1.75} className="shrink-0 text-good" aria-hidden />
        ) : (
          <Dot tone={state.status === "live" ? "accent" : "warn"} pulse />
        )}
        <div className="min-w-0 flex-1 max-sm:basis-56" role="status">
          {arrived ? (
            <p className="font-medium text-13">
              <span className="text-good">It works:</span>{" "}
              {arrived.name === testEvent
                ? "your test event arrived."
                : `${title(arrived)} arrived ${platformFrom(platform)}.`}
            </p>
          ) : state.status === "live" || state.status === "connecting" ? (
            <p className="text-13">
              Listening for <code className="font-mono text-12">{shortKey(apiKey.display)}</code>{" "}
              <span className="text-muted">{platformFrom(platform)}</span>
            </p>
          ) : (
            <p className="text-13">
              {state.sentence} {state.status === "waiting" ? "It is tried again by itself." : ""}
            </p>
          )}
          {!done && heard.test ? (
            <p className="text-12 text-good">The server and the key work: your test event arrived.</p>
          ) : null}
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
      {!done && heard.rejected ? (
        <Told
          title="An event arrived and was rejected."
          what={`${heard.rejected.message} (${heard.rejected.code}).`}
          app={app}
          rejected
        />
      ) : null}
      {late && findings.data
        ? findings.data
            .filter((f) => !(heard.rejected && f.rejected)) // said above, from Live
            .map((f) => <Told key={f.title} {...f} app={app} />)
        : null}
      {late && findings.isError ? (
        <Told
          title="Nothing has arrived for a minute."
          what={`Why cannot be said: ${describeError(findings.error).sentence}`}
          app={app}
        />
      ) : null}
      {!done && !late ? (
        <p className="mt-2 text-12 text-faint">
          {elsewhere
            ? `${title(elsewhere)} arrived ${fromOf(library)}. This turns green at the first event ${platformFrom(platform)}.`
            : "Run the lines above; this turns green at the first event."}
        </p>
      ) : null}
    </Card>
  );
}

function Told({ title: head, what, app, rejected }: Finding & { app: App }) {
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
