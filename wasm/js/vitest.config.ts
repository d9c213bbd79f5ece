import { defineConfig } from "vitest/config";

export default defineConfig({
  define: { ALWAYS_SHARED: "false", VERSION: '"test"' },
  test: { include: ["test/**/*.test.ts"] },
});
