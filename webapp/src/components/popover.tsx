// Popover: something small beside its trigger. Focus moves in, Escape and a
// click outside close it and hand focus back.
import { Popover as Radix } from "radix-ui";
import type { ReactNode } from "react";
import { cx } from "./class-names";

type Props = {
  /** One focusable element that opens it. */
  trigger: ReactNode;
  children: ReactNode;
  open?: boolean;
  onOpenChange?: (open: boolean) => void;
  align?: "start" | "center" | "end";
  side?: "top" | "bottom" | "left" | "right";
  className?: string;
  label?: string;
};

export function Popover({
  trigger,
  children,
  open,
  onOpenChange,
  align = "start",
  side,
  className,
  label,
}: Props) {
  return (
    <Radix.Root {...(open === undefined ? {} : { open })} {...(onOpenChange ? { onOpenChange } : {})}>
      <Radix.Trigger asChild>{trigger}</Radix.Trigger>
      <Radix.Portal>
        <Radix.Content
          align={align}
          {...(side ? { side } : {})}
          sideOffset={4}
          collisionPadding={8}
          aria-label={label}
          className={cx(
            "z-50 max-h-(--radix-popover-content-available-height) max-w-[calc(100vw-16px)] animate-appear overflow-auto rounded-lg bg-raised shadow-menu outline-none",
            className,
          )}
        >
          {children}
        </Radix.Content>
      </Radix.Portal>
    </Radix.Root>
  );
}
