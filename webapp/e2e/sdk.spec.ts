import { expect, test } from "@playwright/test";
import { writeKey } from "./demo-app";

// The web app's own policy forbids WebAssembly, and so stands for a strict
// customer: a worker without a policy of its own may compile it all the same.
test("the Go core runs in a worker of the page's origin, whatever the page's policy", async ({ page }) => {
  await page.goto("/app/default/demo/home");
  const key = await writeKey(page);
  const refused = await page.evaluate(() =>
    WebAssembly.compile(new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0])).then(
      () => "",
      (error: Error) => error.name,
    ),
  );
  expect(refused).toBe("CompileError");
  const stats = await page.evaluate(async (writeKey) => {
    const script = document.createElement("script");
    Object.assign(script.dataset, { key: writeKey, core: "wasm", auto: "", global: "tested" });
    script.src = "/sdk/causality.js";
    const loaded = new Promise((resolve, reject) => {
      script.onload = resolve;
      script.onerror = reject;
    });
    document.head.append(script);
    await loaded;
    const client = (window as unknown as { tested: Client }).tested;
    client.track("policy_checked");
    const sent = await client.flush();
    return { ...(await client.stats()), flushed: sent };
  }, key);
  expect(stats).toMatchObject({ core: "wasm", flushed: true, sent: 1 });
});

type Client = {
  track(name: string): void;
  flush(): Promise<boolean>;
  stats(): Promise<Record<string, unknown>>;
};
