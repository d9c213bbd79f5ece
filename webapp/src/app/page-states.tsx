// What stands in place of a page that cannot be shown.
import { type ErrorComponentProps, Link, useRouter } from "@tanstack/react-router";
import { buttonClass } from "../components/button";
import { EmptyState, ErrorState } from "../components/states";

/** Forbidden and missing look alike, so that nobody can probe for names. */
export function NotFoundPage() {
  return (
    <main className="flex min-h-full items-center justify-center">
      <EmptyState
        title="This page doesn't exist, or you can't see it."
        actions={
          <Link to="/" className={buttonClass("primary")}>
            Go to Home
          </Link>
        }
      >
        Ask an admin of the workspace.
      </EmptyState>
    </main>
  );
}

export function PageError({ error, reset }: ErrorComponentProps) {
  const router = useRouter();
  // A chunk of an older build is gone after an upgrade: only a reload helps.
  const outdated = /dynamically imported module|module script/i.test(String(error));
  return (
    <main className="flex min-h-full items-center justify-center">
      {outdated ? (
        <EmptyState
          title="Causality was updated."
          actions={
            <button type="button" className={buttonClass("primary")} onClick={() => location.reload()}>
              Reload
            </button>
          }
        >
          This page belongs to the version before. Reloading keeps what stands in the address.
        </EmptyState>
      ) : (
        <ErrorState
          error={error}
          onRetry={() => {
            reset();
            void router.invalidate();
          }}
        />
      )}
    </main>
  );
}
