// A shop of two pages: routes change the history, and each change is a page view by itself.
import { useEffect, useState } from "react";
import { createRoot } from "react-dom/client";
import { CausalityProvider, useCausality, useIdentity } from "./causality";

function usePath(): [path: string, go: (path: string) => void] {
  const [path, setPath] = useState(location.pathname);
  useEffect(() => {
    const follow = () => setPath(location.pathname);
    addEventListener("popstate", follow);
    return () => removeEventListener("popstate", follow);
  }, []);
  const go = (path: string) => {
    history.pushState(null, "", path);
    setPath(path);
  };
  return [path, go];
}

function Product({ onBuy }: { onBuy: () => void }) {
  const causality = useCausality();
  useEffect(() => {
    causality.track("product_view", { product_id: "sku-1", name: "Red shoes", price: 49.9, currency: "EUR" });
  }, [causality]);
  return (
    <main>
      <h1>Red shoes</h1>
      <button
        type="button"
        onClick={() => {
          causality.track("add_to_cart", { product_id: "sku-1", quantity: 1 });
          onBuy();
        }}
      >
        Buy for 49.90 €
      </button>
    </main>
  );
}

function Cart() {
  const causality = useCausality();
  const buy = async () => {
    causality.track("purchase_complete", { order_id: crypto.randomUUID(), revenue: 49.9, currency: "EUR" });
    await causality.flush(); // before the payment provider's page replaces this one
  };
  return (
    <main>
      <h1>Your cart</h1>
      <button type="button" onClick={buy}>
        Pay
      </button>
    </main>
  );
}

function Shop() {
  const [path, go] = usePath();
  const [account, setAccount] = useState<string>();
  useIdentity(account, "free");
  return (
    <>
      <button type="button" onClick={() => setAccount(account ? undefined : "account-7")}>
        {account ? "Sign out" : "Sign in"}
      </button>
      {path === "/cart" ? <Cart /> : <Product onBuy={() => go("/cart")} />}
    </>
  );
}

createRoot(document.getElementById("root") as HTMLElement).render(
  <CausalityProvider options={{ key: "wk_your_write_key", host: "https://causality.example.com" }}>
    <Shop />
  </CausalityProvider>,
);
