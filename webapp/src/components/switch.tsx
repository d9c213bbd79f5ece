// Switch: a setting that takes effect at once. Its label can be clicked.
import { Switch as Radix } from "radix-ui";
import { type ReactNode, useId } from "react";

export function Switch({
  label,
  hint,
  checked,
  onChange,
  disabled,
}: {
  label: ReactNode;
  hint?: ReactNode;
  checked: boolean;
  onChange: (checked: boolean) => void;
  disabled?: boolean;
}) {
  const id = useId();
  return (
    <div className="flex items-start gap-2.5">
      <Radix.Root
        id={id}
        checked={checked}
        onCheckedChange={onChange}
        disabled={disabled ?? false}
        className="touch-target mt-0.5 h-4 w-7 shrink-0 rounded-full bg-edge p-0.5 transition-colors data-[state=checked]:bg-accent disabled:opacity-50"
      >
        <Radix.Thumb className="block size-3 rounded-full bg-surface transition-transform data-[state=checked]:translate-x-3" />
      </Radix.Root>
      <label htmlFor={id} className="min-w-0 text-13">
        {label}
        {hint ? <span className="block text-12 text-faint">{hint}</span> : null}
      </label>
    </div>
  );
}
