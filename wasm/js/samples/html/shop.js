// Calls made before the SDK is there wait in this list, and so does every later one if a blocker keeps it away.
window.causality = window.causality || [];
const causality = (...call) => window.causality.push(call);

addEventListener("DOMContentLoaded", () => {
  causality("track", "product_view", { product_id: "sku-1", price: 49.9, currency: "EUR" });

  document.getElementById("buy").addEventListener("click", () => {
    causality("track", "add_to_cart", { product_id: "sku-1", quantity: 1 });
  });

  document.getElementById("sign-in").addEventListener("submit", (event) => {
    event.preventDefault();
    causality("identify", new FormData(event.target).get("account"), { set: { plan: "free" } });
  });

  document.getElementById("choice").addEventListener("change", ({ target }) => {
    causality(target.checked ? "optIn" : "optOut");
  });
});
