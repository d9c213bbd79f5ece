// Keys: create, rotate, revoke. A secret is shown once; revoking names what
// will be refused.

import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { KeyRound, MoreHorizontal, Plus } from "lucide-react";
import { useMemo, useState } from "react";
import { identity } from "../../api/clients";
import { describeError } from "../../api/errors";
import { inWorkspace } from "../../api/transport";
import { useWorkspace } from "../../app/current";
import { Badge } from "../../components/badge";
import { Button, IconButton } from "../../components/button";
import { copyToClipboard } from "../../components/clipboard";
import { CodeBlock } from "../../components/code-block";
import { Dialog } from "../../components/dialog";
import { ago, dateTime, duration, exact } from "../../components/format";
import { Field, Input } from "../../components/input";
import { Menu, MenuItem, MenuSeparator } from "../../components/menu";
import { Card } from "../../components/page";
import { QueryBoundary } from "../../components/query-boundary";
import { Segments } from "../../components/segments";
import { Select } from "../../components/select";
import { SkeletonRows } from "../../components/skeleton";
import { EmptyState } from "../../components/states";
import { Switch } from "../../components/switch";
import { type Column, Table } from "../../components/table";
import { toast } from "../../components/toast";
import type { App, Key } from "../../gen/causality/identity/v1/identity_pb";
import { isUsable, keyState, shortKey } from "./keys";
import { keysQuery } from "./queries";

type Made = { key: Key; secret: string; replaces?: Key };

export function KeysTab({ apps }: { apps: readonly App[] }) {
  const workspace = useWorkspace();
  const keys = useQuery(keysQuery(workspace.id));
  const [creating, setCreating] = useState(false);
  const [made, setMade] = useState<Made>();
  const [rotating, setRotating] = useState<Key>();
  const [revoking, setRevoking] = useState<Key>();
  const [past, setPast] = useState(false);
  const zoneOf = useMemo(() => new Map(apps.map((a) => [a.id, a.timeZone || "UTC"])), [apps]);

  const columns = useMemo<Column<Key>[]>(
    () => [
      {
        id: "name",
        header: "Name",
        value: (k) => k.name,
        cell: (k) => (
          <span className="block max-w-36 truncate font-medium sm:max-w-60">{k.name || "(no name)"}</span>
        ),
      },
      { id: "app", header: "App", value: (k) => k.appName },
      {
        id: "kind",
        header: "Kind",
        value: (k) => k.kind,
        cell: (k) => <Badge tone={k.kind === "secret" ? "warn" : "neutral"}>{k.kind}</Badge>,
      },
      {
        id: "key",
        header: "Key",
        sortable: false,
        value: (k) => k.display,
        cell: (k) => (
          <code className="font-mono text-12">{k.kind === "write" ? shortKey(k.display) : k.display}</code>
        ),
      },
      {
        id: "rate",
        header: "Events a second",
        numeric: true,
        value: (k) => k.rateLimit || null,
        cell: (k) => (k.rateLimit > 0 ? exact(k.rateLimit) : "no limit"),
      },
      {
        id: "used",
        header: "Last used",
        value: (k) => k.lastUsedAt || null,
        cell: (k) => {
          const zone = zoneOf.get(k.appId) ?? "UTC";
          return (
            <span className="text-muted" title={k.lastUsedAt ? dateTime(k.lastUsedAt, zone) : undefined}>
              {k.lastUsedAt ? ago(k.lastUsedAt, zone) : "never"}
            </span>
          );
        },
      },
      {
        id: "state",
        header: "State",
        value: (k) => keyState(k),
        cell: (k) => {
          const zone = zoneOf.get(k.appId) ?? "UTC";
          switch (keyState(k)) {
            case "revoked":
              return (
                <span title={dateTime(k.revokedAt, zone)}>
                  <Badge tone="bad">revoked</Badge>
                </span>
              );
            case "expired":
              return <Badge tone="bad">expired</Badge>;
            case "expiring":
              return (
                <span title={dateTime(k.expiresAt, zone)}>
                  <Badge tone="warn">
                    ends in {duration(Math.max(60, (Date.parse(k.expiresAt) - Date.now()) / 1000))}
                  </Badge>
                </span>
              );
            default:
              return <Badge tone="good">valid</Badge>;
          }
        },
      },
      {
        id: "actions",
        header: <span className="sr-only">Actions</span>,
        sortable: false,
        width: 52,
        value: () => null,
        cell: (k) =>
          isUsable(k) ? (
            <Menu
              align="end"
              trigger={
                <IconButton label={`Actions for ${k.name || k.display}`}>
                  <MoreHorizontal size={16} strokeWidth={1.5} />
                </IconButton>
              }
            >
              {k.kind === "write" ? (
                <MenuItem
                  onSelect={async () => {
                    await copyToClipboard(k.display);
                    toast.success("Key copied");
                  }}
                >
                  Copy key
                </MenuItem>
              ) : null}
              <MenuItem onSelect={() => setRotating(k)}>Rotate</MenuItem>
              <MenuSeparator />
              <MenuItem danger onSelect={() => setRevoking(k)}>
                Revoke
              </MenuItem>
            </Menu>
          ) : null,
      },
    ],
    [zoneOf],
  );

  const create = (
    <Button
      look="primary"
      icon={<Plus size={14} strokeWidth={1.5} />}
      onClick={() => setCreating(true)}
      why={apps.length === 0 ? "A key belongs to an app. Create an app first." : undefined}
    >
      Create key
    </Button>
  );
  return (
    <>
      <div className="mb-4 flex flex-wrap items-center gap-x-4 gap-y-2">
        <p className="max-w-140 text-13 text-muted">
          A write key is public and can only send events. A secret key belongs on servers: it may also read
          and import.
        </p>
        <div className="ml-auto">{create}</div>
      </div>
      <QueryBoundary
        query={keys}
        errorTitle="The keys could not be read"
        skeleton={
          <Card>
            <SkeletonRows rows={4} />
          </Card>
        }
        isEmpty={(list) => list.length === 0}
        empty={
          <EmptyState icon={<KeyRound size={20} strokeWidth={1.5} />} title="No key yet." actions={create}>
            A program needs a write key to send events.
          </EmptyState>
        }
      >
        {(list) => {
          const gone = list.filter((k) => !isUsable(k));
          const shown = past ? list : list.filter((k) => isUsable(k));
          return (
            <>
              <Card className="overflow-hidden">
                {shown.length === 0 ? (
                  <EmptyState title="No key is valid.">
                    Programs cannot send events until there is one.
                  </EmptyState>
                ) : (
                  <Table label="Keys" columns={columns} rows={shown} rowKey={(k) => k.id} />
                )}
              </Card>
              {gone.length > 0 ? (
                <div className="mt-3">
                  <Switch
                    label={`Show ${exact(gone.length)} revoked or expired`}
                    checked={past}
                    onChange={setPast}
                  />
                </div>
              ) : null}
            </>
          );
        }}
      </QueryBoundary>
      <CreateKey open={creating} onOpenChange={setCreating} apps={apps} onMade={setMade} />
      <RotateKey of={rotating} onClose={() => setRotating(undefined)} onMade={setMade} />
      <RevokeKey
        of={revoking}
        onClose={() => setRevoking(undefined)}
        zone={zoneOf.get(revoking?.appId ?? "") ?? "UTC"}
      />
      <MadeKey
        made={made}
        onClose={() => setMade(undefined)}
        zone={zoneOf.get(made?.key.appId ?? "") ?? "UTC"}
      />
    </>
  );
}

function useRefreshKeys() {
  const workspace = useWorkspace();
  const queryClient = useQueryClient();
  return () => queryClient.invalidateQueries({ queryKey: keysQuery(workspace.id).queryKey });
}

const standardRate = 5000;

function CreateKey({
  open,
  onOpenChange,
  apps,
  onMade,
}: {
  open: boolean;
  onOpenChange: (open: boolean) => void;
  apps: readonly App[];
  onMade: (made: Made) => void;
}) {
  const workspace = useWorkspace();
  const refresh = useRefreshKeys();
  const [appId, setAppId] = useState("");
  const [kind, setKind] = useState<"write" | "secret">("write");
  const [name, setName] = useState("");
  const [limited, setLimited] = useState(true);
  const [rate, setRate] = useState(String(standardRate));
  const app = apps.find((a) => a.id === appId) ?? apps[0];
  const perSecond = Number(rate.replaceAll(",", ""));
  const rateProblem =
    limited && !(Number.isFinite(perSecond) && perSecond >= 1 && perSecond <= 1e6)
      ? "A number from 1 to 1,000,000."
      : undefined;
  const create = useMutation({
    mutationFn: () =>
      identity.createKey(
        { appId: app?.id ?? "", kind, name: name.trim(), rateLimit: limited ? perSecond : 0 },
        inWorkspace(workspace.id),
      ),
    onSuccess: async ({ key, secret }) => {
      await refresh();
      onOpenChange(false);
      setName("");
      if (key) onMade({ key, secret });
    },
  });
  return (
    <Dialog
      open={open}
      onOpenChange={(next) => {
        if (!next) create.reset();
        onOpenChange(next);
      }}
      title="Create key"
      footer={
        <>
          <Button onClick={() => onOpenChange(false)}>Cancel</Button>
          <Button
            look="primary"
            type="submit"
            form="create-key"
            disabled={create.isPending}
            why={name.trim() === "" ? "Say what it is for, so that it can be told apart later." : rateProblem}
          >
            Create key
          </Button>
        </>
      }
    >
      <form
        id="create-key"
        className="flex flex-col gap-4"
        onSubmit={(e) => {
          e.preventDefault();
          if (name.trim() && !rateProblem && !create.isPending) create.mutate();
        }}
      >
        <div className="flex flex-col items-start gap-1">
          <span className="font-medium text-12 text-muted">Kind</span>
          <Segments
            label="Kind"
            value={kind}
            onChange={setKind}
            options={[
              { value: "write", label: "Write" },
              { value: "secret", label: "Secret" },
            ]}
          />
          <span className="text-12 text-faint">
            {kind === "write"
              ? "Public. For apps, pages and servers that send events."
              : "For servers only. It reads this app's data and imports; whoever has it can do the same."}
          </span>
        </div>
        <Field
          label="Name"
          hint="What it is for."
          error={create.isError ? describeError(create.error).sentence : undefined}
        >
          <Input
            autoFocus
            value={name}
            maxLength={100}
            placeholder={kind === "write" ? "web" : "warehouse export"}
            onChange={(e) => setName(e.target.value)}
          />
        </Field>
        {apps.length > 1 && app ? (
          <div className="flex flex-col items-start gap-1">
            <span className="font-medium text-12 text-muted">App</span>
            <Select
              label="App"
              className="h-8 w-full"
              value={app.id}
              options={apps.map((a) => ({ value: a.id, label: a.name }))}
              onChange={setAppId}
            />
          </div>
        ) : null}
        <div className="flex flex-col gap-2">
          <Switch
            label="Limit how fast it may send"
            hint="Above it senders are told to wait (429); ten times as much may come at once."
            checked={limited}
            onChange={setLimited}
          />
          {limited ? (
            <Field label="Events a second" error={rateProblem}>
              <Input
                inputMode="numeric"
                className="tabular w-32"
                value={rate}
                onChange={(e) => setRate(e.target.value)}
              />
            </Field>
          ) : null}
        </div>
      </form>
    </Dialog>
  );
}

/** The key itself; a secret is never shown again. */
function MadeKey({ made, onClose, zone }: { made: Made | undefined; onClose: () => void; zone: string }) {
  const secret = made?.key.kind === "secret";
  return (
    <Dialog
      open={made !== undefined}
      onOpenChange={(open) => !open && onClose()}
      title={secret ? "Copy the secret key now" : "The write key"}
      description={
        secret
          ? "It is shown this once: only its hash is kept. If it gets lost, rotate it."
          : "It is public, and can be read here again at any time."
      }
      footer={
        <Button look="primary" onClick={onClose}>
          Done
        </Button>
      }
    >
      {made ? (
        <>
          <CodeBlock code={made.secret || made.key.display} label="the key" />
          {made.replaces?.expiresAt ? (
            <p className="mt-3 text-13 text-muted">
              The old key {shortKey(made.replaces.display)} stays valid until{" "}
              {dateTime(made.replaces.expiresAt, zone)}.
            </p>
          ) : null}
        </>
      ) : null}
    </Dialog>
  );
}

const overlaps = [
  { value: "1h", label: "1 hour" },
  { value: "24h", label: "24 hours" },
  { value: "7d", label: "7 days" },
  { value: "30d", label: "30 days" },
] as const;

function RotateKey({
  of,
  onClose,
  onMade,
}: {
  of: Key | undefined;
  onClose: () => void;
  onMade: (made: Made) => void;
}) {
  const workspace = useWorkspace();
  const refresh = useRefreshKeys();
  const queryClient = useQueryClient();
  const [overlap, setOverlap] = useState<(typeof overlaps)[number]["value"]>("24h");
  const rotate = useMutation({
    mutationFn: (key: Key) => identity.rotateKey({ id: key.id, overlap }, inWorkspace(workspace.id)),
    onSuccess: async ({ key, secret }, old) => {
      await refresh();
      const now = queryClient.getQueryData(keysQuery(workspace.id).queryKey)?.find((k) => k.id === old.id);
      onClose();
      if (key) onMade({ key, secret, replaces: now ?? old });
    },
    onError: (error) => toast.error(describeError(error).sentence),
  });
  return (
    <Dialog
      open={of !== undefined}
      onOpenChange={(open) => !open && onClose()}
      title={`Rotate ${of?.name || shortKey(of?.display ?? "")}`}
      description="A successor is made. Both keys are valid for a while, so that nothing is refused in between."
      footer={
        <>
          <Button onClick={onClose}>Cancel</Button>
          <Button look="primary" disabled={rotate.isPending} onClick={() => of && rotate.mutate(of)}>
            Rotate
          </Button>
        </>
      }
    >
      <div className="flex flex-col items-start gap-1">
        <span className="font-medium text-12 text-muted">The old key stays valid for</span>
        <Segments
          label="The old key stays valid for"
          value={overlap}
          onChange={setOverlap}
          options={overlaps}
        />
      </div>
    </Dialog>
  );
}

function RevokeKey({ of, onClose, zone }: { of: Key | undefined; onClose: () => void; zone: string }) {
  const workspace = useWorkspace();
  const refresh = useRefreshKeys();
  const revoke = useMutation({
    mutationFn: (key: Key) => identity.revokeKey({ id: key.id }, inWorkspace(workspace.id)),
    onSuccess: async (_, key) => {
      await refresh();
      onClose();
      toast.success(`${key.name || shortKey(key.display)} revoked`);
    },
    onError: (error) => toast.error(describeError(error).sentence),
  });
  const name = of?.name || shortKey(of?.display ?? "");
  return (
    <Dialog
      open={of !== undefined}
      onOpenChange={(open) => !open && onClose()}
      title={`Revoke ${name}?`}
      footer={
        <>
          <Button onClick={onClose}>Keep it</Button>
          <Button look="danger" disabled={revoke.isPending} onClick={() => of && revoke.mutate(of)}>
            Revoke {name}
          </Button>
        </>
      }
    >
      {of ? (
        <div className="flex flex-col gap-2 text-13">
          <p>
            Everything that comes with <code className="font-mono text-12">{shortKey(of.display)}</code> is
            refused from now on (403).{" "}
            {of.kind === "write"
              ? `Programs that still hold it lose new events of ${of.appName} once their own queues overflow or age out.`
              : `Servers that still hold it can no longer read or import ${of.appName}.`}
          </p>
          <p className={of.lastUsedAt ? "font-medium" : "text-muted"}>
            {of.lastUsedAt ? `It was last used ${ago(of.lastUsedAt, zone)}.` : "It has never been used."}
          </p>
          <p className="text-muted">This cannot be undone. Rotating instead leaves time to change over.</p>
        </div>
      ) : null}
    </Dialog>
  );
}
