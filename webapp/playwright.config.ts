import { defineConfig } from "@playwright/test";

// The specs run against a real server with the demo's data: its address comes in
// CAUSALITY_URL, a fresh sign-in link in CAUSALITY_SIGN_IN (links work once; the
// setup keeps the session in a file for all specs).
const executablePath = process.env.CAUSALITY_CHROMIUM ?? "/usr/bin/chromium";

export const session = "test-results/session.json";

export default defineConfig({
  testDir: "e2e",
  timeout: 90_000,
  expect: { timeout: 10_000 },
  workers: 1,
  reporter: [["list"]],
  use: {
    baseURL: process.env.CAUSALITY_URL,
    // Another zone than the app's: dates must not follow the browser.
    timezoneId: "Asia/Tokyo",
    launchOptions: {
      executablePath,
      args: [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
      ],
    },
  },
  projects: [
    { name: "setup", testMatch: /sign-in\.setup\.ts/ },
    { name: "app", testMatch: /\.spec\.ts/, dependencies: ["setup"], use: { storageState: session } },
  ],
});
