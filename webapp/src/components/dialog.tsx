// Dialog and Sheet. A Dialog interrupts for one decision or one look; a Sheet
// slides in from the side (on a phone from below, nearly full height) and holds
// a form or detail. Both trap focus, close on Escape and name themselves.
import { X } from "lucide-react";
import { Dialog as Radix } from "radix-ui";
import type { ReactNode } from "react";
import { buttonClass } from "./button";
import { cx } from "./class-names";

type Props = {
  open: boolean;
  onOpenChange: (open: boolean) => void;
  title: ReactNode;
  description?: ReactNode;
  children: ReactNode;
  /** Buttons at the foot, the main one last. */
  footer?: ReactNode;
  className?: string;
};

function Close() {
  return (
    <Radix.Close aria-label="Close" className={buttonClass("ghost", "icon", "-mr-1.5")}>
      <X size={16} strokeWidth={1.5} />
    </Radix.Close>
  );
}

function Head({ title, description }: Pick<Props, "title" | "description">) {
  return (
    <div className="flex items-start gap-3 px-4 pt-3.5 pb-3">
      <div className="min-w-0 flex-1">
        <Radix.Title className="font-semibold text-14">{title}</Radix.Title>
        {description ? (
          <Radix.Description className="mt-0.5 text-13 text-muted">{description}</Radix.Description>
        ) : null}
      </div>
      <Close />
    </div>
  );
}

const veil = "fixed inset-0 z-40 bg-veil";

export function Dialog({ open, onOpenChange, title, description, children, footer, className }: Props) {
  return (
    <Radix.Root open={open} onOpenChange={onOpenChange}>
      <Radix.Portal>
        <Radix.Overlay className={veil} />
        <Radix.Content
          {...(description ? {} : { "aria-describedby": undefined })}
          className={cx(
            "fixed inset-x-4 top-[12vh] z-40 mx-auto flex max-h-[76vh] max-w-120 animate-appear flex-col overflow-hidden rounded-xl bg-raised shadow-dialog outline-none",
            className,
          )}
        >
          <Head title={title} description={description} />
          <div className="min-h-0 flex-1 overflow-auto px-4 pb-4">{children}</div>
          {footer ? (
            <div className="flex justify-end gap-2 border-line border-t px-4 py-3">{footer}</div>
          ) : null}
        </Radix.Content>
      </Radix.Portal>
    </Radix.Root>
  );
}

export function Sheet({ open, onOpenChange, title, description, children, footer, className }: Props) {
  return (
    <Radix.Root open={open} onOpenChange={onOpenChange}>
      <Radix.Portal>
        <Radix.Overlay className={veil} />
        <Radix.Content
          {...(description ? {} : { "aria-describedby": undefined })}
          className={cx(
            "fixed z-40 flex flex-col bg-raised shadow-dialog outline-none",
            "max-sm:inset-x-0 max-sm:top-4 max-sm:bottom-0 max-sm:animate-rise max-sm:rounded-t-xl",
            "sm:inset-y-2 sm:right-2 sm:w-110 sm:animate-sheet sm:rounded-xl",
            className,
          )}
        >
          <Head title={title} description={description} />
          <div className="min-h-0 flex-1 overflow-auto px-4 pb-4">{children}</div>
          {footer ? (
            <div className="flex justify-end gap-2 border-line border-t px-4 py-3">{footer}</div>
          ) : null}
        </Radix.Content>
      </Radix.Portal>
    </Radix.Root>
  );
}
