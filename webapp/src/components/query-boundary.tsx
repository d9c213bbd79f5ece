// QueryBoundary: the states of a TanStack query in one place. Loading shows
// `skeleton` (the real shape) after 150 ms; an error has a retry; `empty` stands
// in when `isEmpty` says so; data that is being refreshed stays in place.
import type { UseQueryResult } from "@tanstack/react-query";
import { type ReactNode, useEffect, useState } from "react";
import { SkeletonRows } from "./skeleton";
import { ErrorState } from "./states";

type Props<T> = {
  query: UseQueryResult<T>;
  children: (data: T) => ReactNode;
  skeleton?: ReactNode;
  isEmpty?: (data: T) => boolean;
  empty?: ReactNode;
  /** Starts the sentence of an error, for example "The events could not be read". */
  errorTitle?: string;
};

/** True once `ms` have passed while `on`; for hints that a quick answer never needs. */
export function useAfter(ms: number, on: boolean): boolean {
  const [passed, setPassed] = useState(false);
  useEffect(() => {
    if (!on) {
      setPassed(false);
      return;
    }
    const timer = setTimeout(() => setPassed(true), ms);
    return () => clearTimeout(timer);
  }, [ms, on]);
  return on && passed;
}

export function QueryBoundary<T>({ query, children, skeleton, isEmpty, empty, errorTitle }: Props<T>) {
  const waiting = query.data === undefined && !query.isError;
  const late = useAfter(150, waiting);
  if (query.data !== undefined) {
    return isEmpty?.(query.data) && empty !== undefined ? empty : children(query.data);
  }
  if (query.isError) {
    return (
      <ErrorState
        error={query.error}
        {...(errorTitle ? { title: errorTitle } : {})}
        onRetry={() => void query.refetch()}
      />
    );
  }
  return (
    <div aria-busy className={late ? undefined : "invisible"}>
      <span className="sr-only">Loading</span>
      {skeleton ?? <SkeletonRows />}
    </div>
  );
}
