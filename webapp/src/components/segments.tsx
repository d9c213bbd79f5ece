// Segments: one of two to five, all in sight. An option with `why` cannot be
// taken and says so.
import { ToggleGroup } from "radix-ui";
import type { ReactNode } from "react";
import { Tooltip } from "./tooltip";

type Props<T extends string> = {
  label: string;
  value: T;
  options: readonly { value: T; label: string; icon?: ReactNode; why?: string | undefined }[];
  onChange: (value: T) => void;
};

export function Segments<T extends string>({ label, value, options, onChange }: Props<T>) {
  return (
    <ToggleGroup.Root
      type="single"
      value={value}
      aria-label={label}
      onValueChange={(v) => {
        const option = options.find((o) => o.value === v);
        if (option && !option.why) onChange(option.value);
      }}
      className="inline-flex h-7 shrink-0 items-center rounded-md bg-sunken p-0.5 ring-1 ring-line ring-inset"
    >
      {options.map((o) => {
        const item = (
          <ToggleGroup.Item
            key={o.value}
            value={o.value}
            aria-disabled={o.why ? true : undefined}
            aria-label={o.icon ? o.label : undefined}
            className="flex h-6 items-center gap-1 rounded-sm px-2 font-medium text-12 text-muted hover:text-text aria-disabled:cursor-not-allowed aria-disabled:opacity-50 aria-checked:bg-raised aria-checked:text-text aria-checked:shadow-line aria-checked:ring-1 aria-checked:ring-line"
          >
            {o.icon ?? o.label}
          </ToggleGroup.Item>
        );
        return o.why || o.icon ? (
          <Tooltip key={o.value} label={o.why ?? o.label}>
            {item}
          </Tooltip>
        ) : (
          item
        );
      })}
    </ToggleGroup.Root>
  );
}
