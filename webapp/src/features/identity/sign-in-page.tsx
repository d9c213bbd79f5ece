// Sign-in by link. The link is /app/sign-in#token=…: a fragment never reaches a
// log. It works once and not for long, so every other case says how to get a
// new one.
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useNavigate, useSearch } from "@tanstack/react-router";
import { type FormEvent, useEffect, useRef, useState } from "react";
import { identity } from "../../api/clients";
import { describeError, isTransient, isUnauthenticated } from "../../api/errors";
import { meQuery } from "../../api/queries";
import icon from "../../app/icon.svg";
import { Button } from "../../components/button";
import { CodeBlock } from "../../components/code-block";
import { Field, Input } from "../../components/input";

const tokenIn = (text: string) =>
  new URLSearchParams(text.slice(text.indexOf("#") + 1)).get("token") ?? undefined;

export function SignInPage() {
  const navigate = useNavigate();
  const queryClient = useQueryClient();
  const { next } = useSearch({ from: "/sign-in" });
  const [token] = useState(() => tokenIn(location.hash));
  const tried = useRef(false);

  const signIn = useMutation({
    mutationFn: async (token: string) => {
      await identity.signIn({ token });
      queryClient.clear();
      await queryClient.fetchQuery(meQuery);
    },
    retry: (failures, error) => failures < 3 && isTransient(error),
    onSuccess: () => (next ? navigate({ href: next, replace: true }) : navigate({ to: "/", replace: true })),
  });

  useEffect(() => {
    document.title = "Sign in · Causality";
    if (!token || tried.current) return; // a link works once: never twice, even under StrictMode
    tried.current = true;
    // Out of the address bar and the history before anything else happens.
    history.replaceState(history.state, "", location.pathname + location.search);
    signIn.mutate(token);
  }, [token, signIn]);

  const refused = signIn.isError && isUnauthenticated(signIn.error);
  return (
    <main className="flex min-h-full items-center justify-center p-4">
      <div className="w-full max-w-100">
        <img src={icon} alt="" className="mb-6 size-9" />
        {signIn.isPending || signIn.isSuccess ? (
          <div role="status">
            <h1 className="font-semibold text-20">Signing you in</h1>
            <p className="mt-1 text-muted">
              {signIn.failureCount > 0 ? "The server is not ready yet. Trying again." : "Checking your link."}
            </p>
            <div className="mt-4 h-0.5 overflow-hidden rounded-full bg-line">
              <div className="h-full w-1/4 animate-progress bg-accent" />
            </div>
          </div>
        ) : signIn.isError && !refused ? (
          <div role="alert">
            <h1 className="font-semibold text-20">Signing in did not work</h1>
            <p className="mt-1 text-muted">{describeError(signIn.error).sentence}</p>
            <p className="mt-1 text-muted">
              {isTransient(signIn.error)
                ? "Your link was not used up. Try again in a moment."
                : describeError(signIn.error).remedy}
            </p>
            <Button look="primary" size="md" className="mt-4" onClick={() => token && signIn.mutate(token)}>
              Try again
            </Button>
          </div>
        ) : refused ? (
          <>
            <div role="alert">
              <h1 className="font-semibold text-20">This link no longer works</h1>
              <p className="mt-1 text-pretty text-muted">
                {describeError(signIn.error).sentence} A link signs in once and expires soon after it is made.
              </p>
            </div>
            <NewLink onToken={(t) => signIn.mutate(t)} />
          </>
        ) : (
          <>
            <h1 className="font-semibold text-20">Sign in with a link</h1>
            <p className="mt-1 text-pretty text-muted">
              Causality has no passwords to guess. Open a sign-in link to get in; the server prints one when
              it starts.
            </p>
            {next ? (
              <p className="mt-1 text-pretty text-muted">
                You are not signed in any more, or not yet. Then you come back to the page you were on.
              </p>
            ) : null}
            <NewLink onToken={(t) => signIn.mutate(t)} />
          </>
        )}
      </div>
    </main>
  );
}

function NewLink({ onToken }: { onToken: (token: string) => void }) {
  const [text, setText] = useState("");
  const [error, setError] = useState<string>();
  const submit = (e: FormEvent) => {
    e.preventDefault();
    const trimmed = text.trim();
    const token = trimmed.includes("#") ? tokenIn(trimmed) : undefined;
    if (token) onToken(token);
    else
      setError(
        "This is no sign-in link: it should contain #token=. Copy the whole line that the command printed.",
      );
  };
  return (
    <>
      <h2 className="mt-6 mb-1.5 font-medium text-13">Get a new link</h2>
      <p className="mb-2 text-muted">On the machine that runs the server:</p>
      <CodeBlock label="command" code="causality users link" />
      <p className="mt-2 text-12 text-faint">
        With --data, if the server was started with it. No access to it? Ask an admin to send you a link.
      </p>
      <form onSubmit={submit} className="mt-6 flex items-end gap-2">
        <Field label="Have one? Paste it" error={error} className="flex-1">
          <Input
            value={text}
            onChange={(e) => {
              setText(e.target.value);
              setError(undefined);
            }}
            placeholder={`${location.origin}/app/sign-in#token=`}
            autoComplete="off"
            spellCheck={false}
          />
        </Field>
        <Button look="primary" size="md" type="submit" className={error ? "mb-[52px]" : undefined}>
          Sign in
        </Button>
      </form>
    </>
  );
}
