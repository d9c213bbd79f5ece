// EmptyState and ErrorState: what to show instead of content. An empty state
// says what to do and holds the button or the snippet; an error says what
// happened, offers a retry, and has details to copy with their reference.

import { Check, Copy, RotateCw } from "lucide-react";
import { type ReactNode, useState } from "react";
import { describeError } from "../api/errors";
import { Button } from "./button";
import { cx } from "./class-names";
import { copyToClipboard } from "./clipboard";

export function EmptyState({
  icon,
  title,
  children,
  actions,
  className,
}: {
  icon?: ReactNode;
  title: ReactNode;
  children?: ReactNode;
  actions?: ReactNode;
  className?: string;
}) {
  return (
    <div className={cx("mx-auto flex max-w-140 flex-col items-center px-4 py-12 text-center", className)}>
      {icon ? <div className="mb-3 text-faint">{icon}</div> : null}
      <p className="text-balance font-medium text-14">{title}</p>
      {children ? <div className="mt-1 text-pretty text-13 text-muted">{children}</div> : null}
      {actions ? <div className="mt-4 flex flex-wrap justify-center gap-2">{actions}</div> : null}
    </div>
  );
}

export function ErrorState({
  error,
  title,
  onRetry,
  actions,
  className,
}: {
  error: unknown;
  /** Written before the sentence, for example "The query failed". */
  title?: string;
  onRetry?: (() => void) | undefined;
  actions?: ReactNode;
  className?: string;
}) {
  const [copied, setCopied] = useState(false);
  const said = describeError(error);
  return (
    <div
      role="alert"
      className={cx("mx-auto flex max-w-140 flex-col items-center px-4 py-12 text-center", className)}
    >
      <p className="text-balance font-medium text-14">
        {title ? `${title}: ${said.sentence}` : said.sentence}
      </p>
      {said.fields.length > 0 ? (
        <ul className="mt-2 text-13 text-muted">
          {said.fields.map((f) => (
            <li key={f.field + f.sentence}>
              <code className="font-mono text-12">{f.field}</code> {f.sentence}
            </li>
          ))}
        </ul>
      ) : null}
      {said.remedy ? <p className="mt-1 text-pretty text-13 text-muted">{said.remedy}</p> : null}
      <div className="mt-4 flex flex-wrap justify-center gap-2">
        {onRetry ? (
          <Button icon={<RotateCw size={14} strokeWidth={1.5} />} onClick={onRetry}>
            Retry
          </Button>
        ) : null}
        {actions}
        <Button
          look="ghost"
          icon={copied ? <Check size={14} /> : <Copy size={14} strokeWidth={1.5} />}
          onClick={async () => {
            await copyToClipboard(said.details);
            setCopied(true);
            setTimeout(() => setCopied(false), 2000);
          }}
        >
          {copied ? "Copied" : "Copy details"}
          {said.reference ? <span className="text-faint">(reference {said.reference})</span> : null}
        </Button>
      </div>
    </div>
  );
}
