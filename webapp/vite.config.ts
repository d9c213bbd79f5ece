import tailwindcss from "@tailwindcss/vite";
import react from "@vitejs/plugin-react";
import type { Plugin } from "vite";
import { defineConfig } from "vitest/config";

// Where `npm run dev` sends API calls: the address of a running `causality serve`.
const backend = process.env.CAUSALITY_URL ?? "http://127.0.0.1:8080";

// The app runs under `style-src 'self'`, which refuses <style> elements made by
// scripts. Three dependencies make some; each edit below moves theirs to a
// constructable style sheet (allowed: it is no inline style) or drops one whose
// rules our own style sheet holds. A dependency that changes fails the build
// here rather than in front of a person.
function strictStylePolicy(): Plugin {
  const edits: { file: RegExp; find: string | RegExp; put: string }[] = [
    {
      file: /\/sonner\/dist\/index\.mjs$/,
      find: "if (!code || typeof document == 'undefined') return",
      put: "return",
    },
    {
      file: /\/style-mod\/src\/style-mod\.js$/,
      find: "!root.head && root.adoptedStyleSheets",
      put: "root.adoptedStyleSheets",
    },
    {
      file: /\/@radix-ui\/react-select\/dist\/index\.mjs$/,
      find: /\/\* @__PURE__ \*\/ jsx\(\s*"style",\s*\{\s*dangerouslySetInnerHTML: \{[^}]*\{[^`]*`\s*\},\s*nonce\s*\}\s*\)/,
      put: "null",
    },
    {
      file: /\/react-style-singleton\/dist\/es2015\/singleton\.js$/,
      find: /export var stylesheetSingleton = [\s\S]*$/,
      put: `export var stylesheetSingleton = function () {
        var counter = 0, sheet = null;
        return {
          add: function (style) {
            if (counter++ === 0) {
              sheet = new CSSStyleSheet();
              sheet.replaceSync(style);
              document.adoptedStyleSheets = document.adoptedStyleSheets.concat(sheet);
            }
          },
          remove: function () {
            if (--counter === 0 && sheet) {
              document.adoptedStyleSheets = document.adoptedStyleSheets.filter(function (s) { return s !== sheet; });
              sheet = null;
            }
          },
        };
      };`,
    },
  ];
  return {
    name: "strict-style-policy",
    apply: "build",
    transform(code, id) {
      const edit = edits.find((e) => e.file.test(id.split("?")[0] ?? id));
      if (!edit) return undefined;
      const next = code.replace(edit.find, edit.put);
      if (next === code) {
        this.error(
          `${id} no longer has the code that strictStylePolicy replaces; look at how it injects styles`,
        );
      }
      return { code: next, map: null };
    },
  };
}

export default defineConfig({
  base: "/app/",
  plugins: [strictStylePolicy(), react(), tailwindcss()],
  server: {
    proxy: {
      "^/causality\\.": { target: backend },
      "/v1": { target: backend },
      "/sdk": { target: backend },
    },
  },
  build: {
    target: "es2023",
    assetsInlineLimit: 0,
    chunkSizeWarningLimit: 600,
    rolldownOptions: {
      output: {
        codeSplitting: {
          groups: [
            { name: "charts", test: /node_modules\/(echarts|zrender)\// },
            {
              name: "codemirror",
              test: /node_modules\/(@codemirror|@lezer|style-mod|w3c-keyname|crelt|@marijn)\//,
            },
            // What the frame around every page needs. Libraries of some pages only
            // (selects, tabs, comboboxes, most icons) go where they are used.
            {
              name: "vendor",
              test: /node_modules\/(react|react-dom|scheduler|@tanstack\/(react-router|router-core|history|react-store|store|react-query|query-core)|@connectrpc|@bufbuild|@radix-ui\/react-(dialog|dropdown-menu|menu|tooltip)|react-remove-scroll|react-remove-scroll-bar|react-style-singleton|use-callback-ref|use-sidecar|aria-hidden|get-nonce|sonner|react-hotkeys-hook)\//,
            },
          ],
        },
      },
    },
  },
  test: {
    include: ["src/**/*.test.ts"],
    environment: "node",
  },
});
