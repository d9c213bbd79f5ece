// CodeBlock: text to read and copy, such as a snippet, SQL or a key. CopyButton
// alone for a value that already stands on the page.

import { Check, Copy } from "lucide-react";
import { useState } from "react";
import { IconButton } from "./button";
import { cx } from "./class-names";
import { copyToClipboard } from "./clipboard";

export function CopyButton({
  text,
  label = "Copy",
  className,
}: {
  text: string;
  label?: string;
  className?: string;
}) {
  const [copied, setCopied] = useState(false);
  return (
    <IconButton
      label={copied ? "Copied" : label}
      className={cx(className)}
      onClick={async () => {
        await copyToClipboard(text);
        setCopied(true);
        setTimeout(() => setCopied(false), 1500);
      }}
    >
      {copied ? <Check size={14} className="text-good" /> : <Copy size={14} strokeWidth={1.5} />}
    </IconButton>
  );
}

export function CodeBlock({ code, label, className }: { code: string; label: string; className?: string }) {
  return (
    <div className={cx("relative rounded-lg bg-sunken ring-1 ring-line ring-inset", className)}>
      <pre tabIndex={0} className="overflow-auto rounded-lg p-3 pr-10 font-mono text-12 leading-5">
        <code>{code}</code>
      </pre>
      <CopyButton text={code} label={`Copy ${label}`} className="absolute top-1.5 right-1.5 bg-sunken" />
    </div>
  );
}
