// Choosing an event: recent ones first, then by volume; what is known about the
// event under the cursor stands beside the list.
import { useQuery } from "@tanstack/react-query";
import { Asterisk, Zap } from "lucide-react";
import type { ReactNode } from "react";
import { eventsQuery } from "../../api/queries";
import { useApp } from "../../app/current";
import { Combobox } from "../../components/combobox";
import { ago, compact, date, dateTime, exact } from "../../components/format";
import { recentEvents, rememberEvent } from "./recents";

// cmdk cannot select an empty value, which is how questions name any event.
const any = "*";

type Props = {
  label: string;
  value?: string | undefined;
  onChange: (event: string) => void;
  trigger?: ReactNode;
  open?: boolean;
  onOpenChange?: (open: boolean) => void;
  className?: string;
};

export function EventPicker({ label, value, onChange, ...rest }: Props) {
  const { scope, zone } = useApp();
  const events = useQuery(eventsQuery(scope));
  const recent = recentEvents(scope.appId);
  const place = (name: string) => {
    const at = recent.indexOf(name);
    return at < 0 ? recent.length : at;
  };
  const ranked = [...(events.data ?? [])].sort(
    (a, b) => place(a.name) - place(b.name) || b.count30d - a.count30d,
  );
  return (
    <Combobox
      {...rest}
      label={label}
      value={value === "" ? any : value}
      placeholder="Pick an event"
      searchPlaceholder="Search events"
      loading={events.isFetching && !events.data}
      empty={
        events.isError
          ? "The events could not be read. Close and open to try again."
          : "No event is called that."
      }
      options={[
        ...ranked.map((e) => ({
          value: e.name,
          label: e.name,
          icon: <Zap size={14} strokeWidth={1.5} />,
          note: compact(e.count30d),
          low: e.count30d === 0,
        })),
        { value: any, label: "Any event", icon: <Asterisk size={14} strokeWidth={1.5} /> },
      ]}
      create={(text) => `Use “${text}”, not seen yet`}
      onChange={(name) => {
        const event = name === any ? "" : name;
        if (event) rememberEvent(scope.appId, event);
        onChange(event);
      }}
      detail={(name) => {
        if (name === any) return <p className="text-12 text-muted">Counts every tracked event of the app.</p>;
        const e = ranked.find((r) => r.name === name);
        if (!e) return null;
        return (
          <div className="flex flex-col gap-2 text-12">
            <p className="break-all font-medium text-13">{e.name}</p>
            {e.description ? <p className="text-pretty text-muted">{e.description}</p> : null}
            <dl className="grid grid-cols-[auto_1fr] gap-x-3 gap-y-1">
              <dt className="text-faint">30 days</dt>
              <dd className="tabular">{exact(e.count30d)}</dd>
              <dt className="text-faint">All time</dt>
              <dd className="tabular">{exact(e.count)}</dd>
              <dt className="text-faint">First seen</dt>
              <dd>{date(e.firstSeen, zone)}</dd>
              <dt className="text-faint">Last seen</dt>
              <dd title={dateTime(e.lastSeen, zone)}>{ago(e.lastSeen, zone)}</dd>
              <dt className="text-faint">Kind</dt>
              <dd>{e.typed ? "Typed event" : "Custom event"}</dd>
            </dl>
          </div>
        );
      }}
    />
  );
}
