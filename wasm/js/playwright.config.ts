import { defineConfig } from "@playwright/test";
import { chromiumArgs, executablePath } from "./chromium.mjs";
import type { SiteOptions } from "./e2e/site";

// e2e/run starts the server and sets what the specs need. Each spec runs with both cores.
export default defineConfig<SiteOptions>({
  testDir: "e2e",
  timeout: 60_000,
  expect: { timeout: 15_000 },
  workers: 1,
  reporter: [["list"]],
  use: { launchOptions: { executablePath, args: chromiumArgs } },
  projects: [
    { name: "ts", use: { core: "ts" }, testIgnore: /wasm-/ },
    { name: "wasm", use: { core: "wasm" }, testIgnore: /queue\.spec/ },
  ],
});
