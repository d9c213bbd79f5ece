// Tabs: views of one thing. `Tabs` renders the strip; give each panel to
// `TabPanel` inside. Where tabs are pages of their own, use links instead.
import { Tabs as Radix } from "radix-ui";
import type { ReactNode } from "react";
import { cx } from "./class-names";

type Tab<T extends string> = { value: T; label: ReactNode; count?: string };

type Props<T extends string> = {
  label: string;
  value: T;
  tabs: readonly Tab<T>[];
  onChange: (value: T) => void;
  children?: ReactNode;
  className?: string;
};

/** The look of one tab, for strips made of links (`aria-current="page"`). */
export const tabClass =
  "-mb-px flex h-9 items-center gap-1.5 whitespace-nowrap border-transparent border-b-2 px-0.5 -outline-offset-2 font-medium text-13 text-muted hover:text-text data-[state=active]:border-accent data-[state=active]:text-text aria-[current=page]:border-accent aria-[current=page]:text-text";
export const tabStripClass = "flex gap-4 overflow-x-auto border-line border-b";

export function Tabs<T extends string>({ label, value, tabs, onChange, children, className }: Props<T>) {
  return (
    <Radix.Root value={value} onValueChange={(v) => onChange(v as T)} className={className}>
      <Radix.List aria-label={label} className={tabStripClass}>
        {tabs.map((t) => (
          <Radix.Trigger key={t.value} value={t.value} className={tabClass}>
            {t.label}
            {t.count ? <span className="tabular text-12 text-faint">{t.count}</span> : null}
          </Radix.Trigger>
        ))}
      </Radix.List>
      {children}
    </Radix.Root>
  );
}

export function TabPanel({
  value,
  children,
  className,
}: {
  value: string;
  children: ReactNode;
  className?: string;
}) {
  return (
    <Radix.Content value={value} className={cx("outline-offset-4", className)}>
      {children}
    </Radix.Content>
  );
}
