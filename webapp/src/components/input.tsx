// Input, Textarea and Field. A Field ties a label, a hint and an error to its
// control; the error names the remedy.
import { type ComponentProps, cloneElement, type ReactElement, type ReactNode, useId } from "react";
import { cx } from "./class-names";

export const inputClass =
  "h-8 w-full min-w-0 rounded-md bg-surface px-2.5 text-13 text-text ring-1 ring-inset ring-edge/70 transition-[box-shadow] hover:ring-edge focus:outline-2 focus:-outline-offset-1 focus:outline-accent disabled:opacity-50 aria-invalid:ring-bad";

export function Input({ className, ...rest }: ComponentProps<"input">) {
  return <input {...rest} className={cx(inputClass, className)} />;
}

export function Textarea({ className, ...rest }: ComponentProps<"textarea">) {
  return <textarea {...rest} className={cx(inputClass, "h-auto py-1.5 leading-5", className)} />;
}

type FieldProps = {
  label: ReactNode;
  hint?: ReactNode;
  error?: ReactNode;
  /** The label is read out but not shown. */
  hideLabel?: boolean;
  children: ReactElement<{ id?: string; "aria-describedby"?: string; "aria-invalid"?: boolean }>;
  className?: string;
};

export function Field({ label, hint, error, hideLabel, children, className }: FieldProps) {
  const id = useId();
  const control = children.props.id ?? id;
  const note = error ?? hint;
  return (
    <div className={cx("flex flex-col gap-1", className)}>
      <label htmlFor={control} className={hideLabel ? "sr-only" : "font-medium text-12 text-muted"}>
        {label}
      </label>
      {cloneElement(children, {
        id: control,
        ...(note ? { "aria-describedby": `${control}-note` } : {}),
        ...(error ? { "aria-invalid": true } : {}),
      })}
      {note ? (
        <p id={`${control}-note`} className={cx("text-12", error ? "text-bad" : "text-faint")}>
          {note}
        </p>
      ) : null}
    </div>
  );
}
