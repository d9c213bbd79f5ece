// FreshnessChip: to which instant an answer is complete. Older than a minute
// reads as a warning, because everything after that instant is missing.

import { Dot } from "./badge";
import { dateTime, duration, time } from "./format";
import { Tooltip } from "./tooltip";

export function FreshnessChip({
  freshTo,
  zone,
  now = Date.now(),
}: {
  freshTo: string | undefined;
  zone: string;
  now?: number;
}) {
  if (!freshTo) return null;
  const behind = (now - new Date(freshTo).getTime()) / 1000;
  const stale = behind > 60;
  return (
    <Tooltip
      label={
        stale
          ? `Events accepted after ${dateTime(freshTo, zone)} are not in yet: ${duration(behind)} behind.`
          : `Everything accepted before ${time(freshTo, zone)} is counted.`
      }
    >
      <span
        tabIndex={0}
        className="tabular inline-flex items-center gap-1.5 whitespace-nowrap rounded-sm text-12 text-muted"
      >
        <Dot tone={stale ? "warn" : "good"} />
        Data to {time(freshTo, zone)}
      </span>
    </Tooltip>
  );
}
