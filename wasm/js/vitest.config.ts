import { defineConfig } from "vitest/config";

export default defineConfig({
  define: { PAGE: "false", VERSION: '"test"' },
  test: { include: ["test/**/*.test.ts"], testTimeout: 60_000 },
});
