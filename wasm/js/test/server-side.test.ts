// Frameworks render pages on servers too: there the package must load and stay silent.
import { expect, test } from "vitest";
import { init } from "../src/index";

test("where there is no page every call does nothing", async () => {
  const causality = init({ key: "wk_x" });
  causality.track("signup", { plan: "pro" });
  causality.identify("u-1");
  expect(await causality.flush()).toBe(false);
  expect(await causality.stats()).toMatchObject({ queued: 0, core: "none" });
  await causality.close();
});
