// Members: who can sign in, and a link that lets one in.
import { useMutation, useQuery } from "@tanstack/react-query";
import { useMemo, useState } from "react";
import { identity } from "../../api/clients";
import { describeError } from "../../api/errors";
import { inWorkspace } from "../../api/transport";
import { landing, useMe, useWorkspace } from "../../app/current";
import { Badge } from "../../components/badge";
import { Button } from "../../components/button";
import { CodeBlock } from "../../components/code-block";
import { Dialog } from "../../components/dialog";
import { date, dateTime } from "../../components/format";
import { Card, Section } from "../../components/page";
import { QueryBoundary } from "../../components/query-boundary";
import { SkeletonRows } from "../../components/skeleton";
import { type Column, Table } from "../../components/table";
import { toast } from "../../components/toast";
import type { User } from "../../gen/causality/identity/v1/identity_pb";
import { usersQuery } from "./queries";

export function MembersTab() {
  const workspace = useWorkspace();
  const me = useMe();
  const zone = landing(me, workspace)?.app?.timeZone || "UTC";
  const users = useQuery(usersQuery(workspace.id));
  const [link, setLink] = useState<{ url: string; expiresAt: string; user: User }>();
  const { mutate, isPending } = useMutation({
    mutationFn: (user: User) => identity.createSignInLink({ user: user.id }, inWorkspace(workspace.id)),
    onSuccess: ({ url, expiresAt }, user) => setLink({ url, expiresAt, user }),
    onError: (error) => toast.error(describeError(error).sentence),
  });
  const columns = useMemo<Column<User>[]>(
    () => [
      {
        id: "name",
        header: "Member",
        value: (u) => u.name || u.email,
        cell: (u) => (
          <span className="flex max-w-48 items-center gap-2 sm:max-w-100">
            <span className="truncate font-medium">{u.name || u.email || "Owner"}</span>
            {u.id === me.user?.id ? <Badge>you</Badge> : null}
          </span>
        ),
      },
      {
        id: "email",
        header: "E-mail",
        value: (u) => u.email,
        cell: (u) => <span className="text-muted">{u.email || "–"}</span>,
      },
      { id: "role", header: "Role", value: (u) => u.role },
      {
        id: "since",
        header: "Since",
        value: (u) => u.createdAt,
        cell: (u) => <span className="text-muted">{date(u.createdAt, zone)}</span>,
      },
      {
        id: "link",
        header: <span className="sr-only">Actions</span>,
        sortable: false,
        numeric: true,
        value: () => null,
        cell: (u) => (
          <Button
            size="sm"
            look="ghost"
            disabled={isPending}
            aria-label={`Create a sign-in link for ${u.name || u.email || "the owner"}`}
            onClick={() => mutate(u)}
          >
            Sign-in link
          </Button>
        ),
      },
    ],
    [me.user?.id, zone, isPending, mutate],
  );
  return (
    <div className="flex flex-col gap-8">
      <QueryBoundary
        query={users}
        errorTitle="The members could not be read"
        skeleton={
          <Card>
            <SkeletonRows rows={3} />
          </Card>
        }
      >
        {(list) => (
          <Card className="overflow-hidden">
            <Table label="Members" columns={columns} rows={list} rowKey={(u) => u.id} />
          </Card>
        )}
      </QueryBoundary>
      <Section title="Locked out?">
        <p className="mb-2 max-w-140 text-13 text-muted">
          On the machine that serves, this prints a link that signs somebody in once. Without an address it is
          the owner's.
        </p>
        <CodeBlock
          className="max-w-140"
          code="causality users link someone@example.com --data DIR"
          label="the command"
        />
      </Section>
      <Dialog
        open={link !== undefined}
        onOpenChange={(open) => !open && setLink(undefined)}
        title={`Sign-in link for ${link?.user.name || link?.user.email || "the owner"}`}
        description={
          link
            ? `It works once, until ${dateTime(link.expiresAt, zone)}. Whoever opens it is signed in as them.`
            : ""
        }
        footer={
          <Button look="primary" onClick={() => setLink(undefined)}>
            Done
          </Button>
        }
      >
        {link ? <CodeBlock code={link.url} label="the link" /> : null}
      </Dialog>
    </div>
  );
}
