// Button and IconButton: every action of the app. 28 px high (`sm`) in tools
// and tables, 32 px (`md`) in forms and dialogs. A disabled button that needs
// explaining takes `why`: it stays focusable and says it in a tooltip.
import type { ComponentProps, ReactNode } from "react";
import { cx } from "./class-names";
import { Tooltip } from "./tooltip";

type Look = "primary" | "secondary" | "ghost" | "danger";
type Size = "sm" | "md" | "icon";

const looks: Record<Look, string> = {
  primary: "bg-accent text-on-accent hover:brightness-108 active:brightness-95",
  secondary: "bg-surface text-text shadow-line ring-1 ring-inset ring-line hover:bg-sunken",
  ghost: "text-muted hover:bg-hover hover:text-text aria-expanded:bg-hover aria-expanded:text-text",
  danger: "bg-surface text-bad ring-1 ring-inset ring-line hover:bg-bad-soft",
};

/** The look of a button, for links that act as one. */
export function buttonClass(look: Look = "secondary", size: Size = "sm", extra?: string): string {
  return cx(
    "touch-target inline-flex shrink-0 [&>svg]:shrink-0 select-none items-center justify-center gap-1.5 whitespace-nowrap rounded-md font-medium text-13 transition-[background-color,filter,color]",
    "disabled:pointer-events-none disabled:opacity-50 aria-disabled:cursor-not-allowed aria-disabled:opacity-50",
    size === "icon" ? "size-7" : size === "sm" ? "h-7 px-2.5" : "h-8 px-3",
    looks[look],
    extra,
  );
}

type ButtonProps = ComponentProps<"button"> & {
  look?: Look;
  size?: Size;
  icon?: ReactNode;
  /** Why the button cannot be used now; disables it. */
  why?: string | undefined;
};

export function Button({ look, size, icon, why, className, children, onClick, ...rest }: ButtonProps) {
  const button = (
    <button
      type="button"
      {...rest}
      aria-disabled={why ? true : rest["aria-disabled"]}
      onClick={why ? (e) => e.preventDefault() : onClick}
      className={buttonClass(look, size, className)}
    >
      {icon}
      {children}
    </button>
  );
  return why ? <Tooltip label={why}>{button}</Tooltip> : button;
}

type IconButtonProps = Omit<ComponentProps<"button">, "aria-label" | "children"> & {
  /** Names the action, for everybody: it is the accessible name and the tooltip. */
  label: string;
  /** A shortcut to show in the tooltip, such as "t". */
  keys?: string;
  children: ReactNode;
  look?: "ghost" | "secondary";
  side?: "top" | "bottom" | "left" | "right";
};

export function IconButton({ label, keys, look = "ghost", side, className, ...rest }: IconButtonProps) {
  return (
    <Tooltip label={label} keys={keys} side={side}>
      <button type="button" {...rest} aria-label={label} className={buttonClass(look, "icon", className)} />
    </Tooltip>
  );
}
