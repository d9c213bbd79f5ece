// Select: one of a short, fixed list (up to about 15). For anything searchable
// use Combobox. A disabled option says why in `hint`.
import { Check, ChevronDown } from "lucide-react";
import { Select as Radix } from "radix-ui";
import type { ReactNode } from "react";
import { cx } from "./class-names";

export type SelectOption<T extends string> = {
  value: T;
  label: string;
  hint?: ReactNode;
  disabled?: boolean;
};

type Props<T extends string> = {
  label: string;
  value: T;
  options: readonly SelectOption<T>[];
  onChange: (value: T) => void;
  /** `bare` has no outline until hovered, for sentences and toolbars. */
  look?: "outline" | "bare";
  icon?: ReactNode;
  disabled?: boolean;
  className?: string;
};

export function Select<T extends string>({
  label,
  value,
  options,
  onChange,
  look = "outline",
  icon,
  disabled,
  className,
}: Props<T>) {
  return (
    <Radix.Root value={value} onValueChange={(v) => onChange(v as T)} disabled={disabled ?? false}>
      <Radix.Trigger
        aria-label={label}
        className={cx(
          "touch-target inline-flex h-7 min-w-0 shrink-0 items-center gap-1.5 rounded-md text-13 text-text transition-colors hover:bg-hover data-[state=open]:bg-hover disabled:opacity-50",
          look === "outline" ? "bg-surface px-2.5 shadow-line ring-1 ring-line ring-inset" : "px-1.5",
          className,
        )}
      >
        {icon}
        <span className="truncate">
          <Radix.Value />
        </span>
        <Radix.Icon className="ml-auto text-faint">
          <ChevronDown size={14} strokeWidth={1.5} />
        </Radix.Icon>
      </Radix.Trigger>
      <Radix.Portal>
        <Radix.Content
          position="popper"
          sideOffset={4}
          collisionPadding={8}
          className="z-50 max-h-(--radix-select-content-available-height) min-w-(--radix-select-trigger-width) max-w-80 animate-appear overflow-hidden rounded-lg bg-raised p-1 shadow-menu"
        >
          <Radix.Viewport>
            {options.map((o) => (
              <Radix.Item
                key={o.value}
                value={o.value}
                disabled={o.disabled ?? false}
                className="flex cursor-default select-none items-start gap-2 rounded-sm py-1 pr-3 pl-2 text-13 text-text outline-none data-highlighted:bg-hover data-disabled:text-faint"
              >
                <span className="flex h-5 w-4 shrink-0 items-center text-accent-text">
                  <Radix.ItemIndicator>
                    <Check size={14} strokeWidth={2} />
                  </Radix.ItemIndicator>
                </span>
                <span className="min-w-0">
                  <Radix.ItemText>{o.label}</Radix.ItemText>
                  {o.hint ? <span className="block text-12 text-faint">{o.hint}</span> : null}
                </span>
              </Radix.Item>
            ))}
          </Radix.Viewport>
        </Radix.Content>
      </Radix.Portal>
    </Radix.Root>
  );
}
