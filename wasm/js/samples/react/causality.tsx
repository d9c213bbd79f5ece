// Causality in React: a provider that owns the client, and a hook that gives it.
import { type Client, init, type Options } from "@causality/web";
import { createContext, type ReactNode, useContext, useEffect, useRef, useState } from "react";

const Context = createContext<Client | undefined>(undefined);

/** Starts one client for the page. Its options are read once; page views follow the address by themselves. */
export function CausalityProvider({ options, children }: { options: Options; children: ReactNode }) {
  // A client belongs to the page and not to a rendering: strict mode mounts twice, and must not count twice.
  const [client] = useState(() => clientOf(options));
  return <Context.Provider value={client}>{children}</Context.Provider>;
}

const clients = new Map<string, Client>();

function clientOf(options: Options): Client {
  const client = clients.get(options.key) ?? init(options);
  clients.set(options.key, client);
  return client;
}

export function useCausality(): Client {
  const client = useContext(Context);
  if (!client) throw new Error("useCausality needs a CausalityProvider above it");
  return client;
}

/** Names the user while one is signed in, and makes the visitor somebody new when they have signed out. */
export function useIdentity(userId: string | undefined, plan: string): void {
  const client = useCausality();
  const known = useRef(false);
  useEffect(() => {
    if (userId) client.identify(userId, { set: { plan } });
    else if (known.current) client.reset();
    known.current = !!userId;
  }, [client, userId, plan]);
}
