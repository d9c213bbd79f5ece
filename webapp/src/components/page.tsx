// Page: the frame of every page: breadcrumbs or title, actions on the right, an
// optional second bar, then content. `wide` lets content use the whole width
// and own its scrolling (editors); otherwise it is centred at 1,120 px.
import { Link } from "@tanstack/react-router";
import { ChevronRight } from "lucide-react";
import { type ReactNode, useEffect } from "react";
import { cx } from "./class-names";

export type Crumb = { label: string; to?: string };

type Props = {
  title: string;
  crumbs?: readonly Crumb[];
  /** Beside the title: freshness, a badge. */
  aside?: ReactNode;
  actions?: ReactNode;
  bar?: ReactNode;
  wide?: boolean;
  children: ReactNode;
};

export function Page({ title, crumbs, aside, actions, bar, wide, children }: Props) {
  useEffect(() => {
    document.title = `${title} · Causality`;
  }, [title]);
  return (
    <div className={cx("flex min-h-full flex-col", wide && "h-full")}>
      <header className="sticky top-0 z-20 border-line border-b bg-bg">
        <div className="flex h-12 items-center gap-3 px-4 lg:px-6">
          <div className="flex min-w-0 items-center gap-1.5">
            {crumbs?.map((c) => (
              <span key={c.label} className="flex items-center gap-1.5 min-w-0 text-14 text-muted">
                {c.to ? (
                  <Link to={c.to} className="rounded-sm hover:text-text">
                    {c.label}
                  </Link>
                ) : (
                  c.label
                )}
                <ChevronRight size={14} strokeWidth={1.5} className="text-faint" aria-hidden />
              </span>
            ))}
            <h1 className="truncate font-semibold text-14">{title}</h1>
          </div>
          {aside ? <div className="min-w-0 shrink-0">{aside}</div> : null}
          {actions ? <div className="ml-auto flex shrink-0 items-center gap-2">{actions}</div> : null}
        </div>
        {bar ? (
          <div className="flex min-h-11 flex-wrap items-center gap-2 border-line border-t px-4 py-2 lg:px-6">
            {bar}
          </div>
        ) : null}
      </header>
      {wide ? (
        <div className="flex min-h-0 flex-1 flex-col">{children}</div>
      ) : (
        <div className="mx-auto w-full max-w-280 flex-1 px-4 py-6 lg:px-6">{children}</div>
      )}
    </div>
  );
}

/** Section: a titled part of a page. */
export function Section({
  title,
  actions,
  children,
  className,
}: {
  title: ReactNode;
  actions?: ReactNode;
  children: ReactNode;
  className?: string;
}) {
  return (
    <section className={className}>
      <div className="mb-2 flex min-h-7 items-center gap-2">
        <h2 className="whitespace-nowrap font-semibold text-13">{title}</h2>
        {actions ? <div className="ml-auto flex min-w-0 items-center gap-2 text-right">{actions}</div> : null}
      </div>
      {children}
    </section>
  );
}

/** Card: a surface with a line around it. */
export function Card({ children, className }: { children: ReactNode; className?: string }) {
  return (
    <div className={cx("rounded-lg bg-surface shadow-line ring-1 ring-line", className)}>{children}</div>
  );
}
