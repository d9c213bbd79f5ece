// Apps: name, time zone, IP policy. What is changed is saved at once and can be
// undone.
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { Boxes, Plus } from "lucide-react";
import { useMemo, useState } from "react";
import { tenancy } from "../../api/clients";
import { describeError } from "../../api/errors";
import { meQuery } from "../../api/queries";
import { inWorkspace } from "../../api/transport";
import { useWorkspace, workspaceSlug } from "../../app/current";
import { Button, buttonClass } from "../../components/button";
import { CopyButton } from "../../components/code-block";
import { Combobox } from "../../components/combobox";
import { Dialog } from "../../components/dialog";
import { date, offsetName, time } from "../../components/format";
import { Field, Input } from "../../components/input";
import { Card } from "../../components/page";
import { QueryBoundary } from "../../components/query-boundary";
import { Select } from "../../components/select";
import { Skeleton } from "../../components/skeleton";
import { EmptyState } from "../../components/states";
import { toast } from "../../components/toast";
import type { App } from "../../gen/causality/tenancy/v1/tenancy_pb";
import { appsQuery } from "./queries";

type Change = { name?: string; timeZone?: string; ipPolicy?: string };

function useUpdateApp() {
  const workspace = useWorkspace();
  const queryClient = useQueryClient();
  const refresh = () =>
    Promise.all([
      queryClient.invalidateQueries({ queryKey: appsQuery(workspace.id).queryKey }),
      queryClient.invalidateQueries({ queryKey: meQuery.queryKey }),
    ]);
  const save = useMutation({
    mutationFn: ({ app, change }: { app: App; change: Change; undone?: boolean }) =>
      tenancy.updateApp({ appId: app.id, ...change }, inWorkspace(workspace.id)),
    onSuccess: async (_, { app, change, undone }) => {
      await refresh();
      if (undone) return;
      const before: Change = {};
      if (change.name !== undefined) before.name = app.name;
      if (change.timeZone !== undefined) before.timeZone = app.timeZone;
      if (change.ipPolicy !== undefined) before.ipPolicy = app.ipPolicy;
      toast.success("Saved", {
        action: { label: "Undo", onClick: () => save.mutate({ app, change: before, undone: true }) },
      });
    },
    onError: async (error) => {
      toast.error(describeError(error).sentence);
      await refresh();
    },
  });
  return save;
}

export function AppsTab() {
  const workspace = useWorkspace();
  const apps = useQuery(appsQuery(workspace.id));
  const [creating, setCreating] = useState(false);
  const create = (
    <Button look="primary" icon={<Plus size={14} strokeWidth={1.5} />} onClick={() => setCreating(true)}>
      Create app
    </Button>
  );
  return (
    <>
      <div className="mb-4 flex flex-wrap items-center gap-3">
        <p className="max-w-140 text-13 text-muted">
          An app is one product whose events belong together. Changes save themselves.
        </p>
        <div className="ml-auto">{create}</div>
      </div>
      <QueryBoundary
        query={apps}
        errorTitle="The apps could not be read"
        skeleton={
          <div className="flex flex-col gap-4">
            {[0, 1].map((i) => (
              <Card key={i} className="grid gap-4 p-4 sm:grid-cols-3">
                <Skeleton className="h-8" />
                <Skeleton className="h-8" />
                <Skeleton className="h-8" />
              </Card>
            ))}
          </div>
        }
        isEmpty={(list) => list.length === 0}
        empty={
          <EmptyState icon={<Boxes size={20} strokeWidth={1.5} />} title="No app yet." actions={create}>
            Create one, put its key into your program, and see its events arrive.
          </EmptyState>
        }
      >
        {(list) => (
          <ul className="flex flex-col gap-4">
            {list.map((app) => (
              <AppCard key={app.id} app={app} />
            ))}
          </ul>
        )}
      </QueryBoundary>
      <CreateApp open={creating} onOpenChange={setCreating} />
    </>
  );
}

const policies = [
  { value: "truncate", label: "Shorten", hint: "The last part becomes 0; enough for the country." },
  { value: "drop", label: "Drop", hint: "Never stored." },
  { value: "keep", label: "Keep", hint: "Stored whole. Needs a reason under most privacy laws." },
] as const;

function AppCard({ app }: { app: App }) {
  const workspace = useWorkspace();
  const save = useUpdateApp();
  const [name, setName] = useState(app.name);
  const [known, setKnown] = useState(app.name);
  if (known !== app.name) {
    setKnown(app.name);
    setName(app.name);
  }
  const trimmed = name.trim();
  const problem =
    trimmed === "" ? "An app needs a name." : trimmed.length > 100 ? "At most 100 characters." : undefined;
  const commit = () => {
    if (problem) setName(app.name);
    else if (trimmed !== app.name) save.mutate({ app, change: { name: trimmed } });
  };
  return (
    <li>
      <Card className="p-4">
        <h2 className="sr-only">{app.name}</h2>
        <div className="grid items-start gap-4 sm:grid-cols-3">
          <Field label="Name" error={problem}>
            <Input
              value={name}
              onChange={(e) => setName(e.target.value)}
              onBlur={commit}
              onKeyDown={(e) => {
                if (e.key === "Enter") e.currentTarget.blur();
                if (e.key === "Escape") setName(app.name);
              }}
            />
          </Field>
          <div className="flex min-w-0 flex-col gap-1">
            <span className="font-medium text-12 text-muted">Time zone</span>
            <TimeZone
              value={app.timeZone || "UTC"}
              onChange={(timeZone) => save.mutate({ app, change: { timeZone } })}
              label={`Time zone of ${app.name}`}
            />
            <span className="tabular text-12 text-faint">
              Now {time(Date.now(), app.timeZone || "UTC", false)}, {offsetName(app.timeZone || "UTC")}
            </span>
          </div>
          <div className="flex min-w-0 flex-col gap-1">
            <span className="font-medium text-12 text-muted">IP addresses</span>
            <Select
              label={`IP addresses of ${app.name}`}
              className="h-8 w-full"
              value={(app.ipPolicy || "truncate") as (typeof policies)[number]["value"]}
              options={policies}
              onChange={(ipPolicy) => save.mutate({ app, change: { ipPolicy } })}
            />
            <span className="text-12 text-faint">
              {policies.find((p) => p.value === (app.ipPolicy || "truncate"))?.hint} From now on.
            </span>
          </div>
        </div>
        <div className="mt-4 flex flex-wrap items-center gap-x-4 gap-y-1 border-line border-t pt-3 text-12 text-faint">
          <span className="flex min-w-0 items-center gap-1">
            <code className="truncate font-mono text-11">{app.id}</code>
            <CopyButton text={app.id} label={`Copy the id of ${app.name}`} />
          </span>
          <span>Created {date(app.createdAt, app.timeZone || "UTC")}</span>
          <Link
            to="/$workspace/settings/$tab"
            params={{ workspace: workspaceSlug(workspace), tab: "install" }}
            search={{ app: app.id }}
            className={buttonClass("ghost", "sm", "ml-auto")}
          >
            Install
          </Link>
        </div>
      </Card>
    </li>
  );
}

/** Every IANA zone, searchable by city, with its offset now. */
export function TimeZone({
  value,
  onChange,
  label,
}: {
  value: string;
  onChange: (zone: string) => void;
  label: string;
}) {
  const options = useMemo(() => {
    const mine = Intl.DateTimeFormat().resolvedOptions().timeZone;
    const all = new Set(["UTC", mine, ...Intl.supportedValuesOf("timeZone"), value]);
    return [...all].map((zone) => ({
      value: zone,
      label: zone.replaceAll("_", " "),
      note: offsetName(zone),
    }));
  }, [value]);
  return (
    <Combobox
      label={label}
      options={options}
      value={value}
      onChange={onChange}
      searchPlaceholder="City or region"
      empty="No time zone is called that."
      className="h-8 w-full"
    />
  );
}

function CreateApp({ open, onOpenChange }: { open: boolean; onOpenChange: (open: boolean) => void }) {
  const workspace = useWorkspace();
  const queryClient = useQueryClient();
  const [name, setName] = useState("");
  const [zone, setZone] = useState(() => Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC");
  const create = useMutation({
    mutationFn: () => tenancy.createApp({ name: name.trim(), timeZone: zone }, inWorkspace(workspace.id)),
    onSuccess: async () => {
      await Promise.all([
        queryClient.invalidateQueries({ queryKey: appsQuery(workspace.id).queryKey }),
        queryClient.invalidateQueries({ queryKey: meQuery.queryKey }),
      ]);
      toast.success(`${name.trim()} created`);
      setName("");
      onOpenChange(false);
    },
  });
  const problem = create.isError ? describeError(create.error).sentence : undefined;
  return (
    <Dialog
      open={open}
      onOpenChange={(next) => {
        if (next === false) create.reset();
        onOpenChange(next);
      }}
      title="Create app"
      description="One for each product whose events belong together."
      footer={
        <>
          <Button onClick={() => onOpenChange(false)}>Cancel</Button>
          <Button
            look="primary"
            type="submit"
            form="create-app"
            disabled={create.isPending}
            why={name.trim() === "" ? "Give it a name first." : undefined}
          >
            Create app
          </Button>
        </>
      }
    >
      <form
        id="create-app"
        className="flex flex-col gap-4"
        onSubmit={(e) => {
          e.preventDefault();
          if (name.trim() && !create.isPending) create.mutate();
        }}
      >
        <Field label="Name" error={problem}>
          <Input
            autoFocus
            value={name}
            maxLength={100}
            placeholder="shop"
            onChange={(e) => setName(e.target.value)}
          />
        </Field>
        <div className="flex flex-col gap-1">
          <span className="font-medium text-12 text-muted">Time zone</span>
          <TimeZone value={zone} onChange={setZone} label="Time zone" />
          <span className="text-12 text-faint">
            Days, weeks and hours of every chart begin by it. It can be changed later.
          </span>
        </div>
      </form>
    </Dialog>
  );
}
