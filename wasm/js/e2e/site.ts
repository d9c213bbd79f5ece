// A website that uses the SDK, the server that it reports to, and what that server answers.
import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { promisify } from "node:util";
import { test as base, expect, type Page } from "@playwright/test";
import type { Client } from "../src/page";

export { expect };

declare global {
  interface Window {
    causality: Client & { push(call: unknown[]): void };
  }
}

const required = (name: string) => {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set; run e2e/run`);
  return value;
};

export const host = required("CAUSALITY_HOST");
export const key = required("CAUSALITY_WRITE_KEY");
const dist = join(import.meta.dirname, "..", "dist");
const types: Record<string, string> = { js: "text/javascript", wasm: "application/wasm" };

/** Under this policy nothing inline runs, and nothing is evaluated. */
export const strictPolicy = `default-src 'none'; script-src 'self'; worker-src 'self'; connect-src 'self' ${host}`;

export interface SiteOptions {
  core: "ts" | "wasm";
}

export interface PageSetup {
  /** data- attributes beside key, host and core; undefined removes one of these. */
  data?: Record<string, string | undefined>;
  /** Before the SDK's script: another of the page, by its text. */
  before?: string;
  script?: string;
  /** Behind the SDK's script: the page's own, by its text. */
  after?: string;
  policy?: string;
  /** On every script of the page, for a policy that names it. */
  nonce?: string;
  title?: string;
}

/** Serves pages that a test describes, on every host name of this machine. */
export class Site {
  private pages = new Map<string, { headers: Record<string, string>; text: string | Buffer }>();
  private server: Server;

  constructor(private core: string) {
    this.server = createServer((request, response) => void this.answer(request, response));
  }

  async start(): Promise<this> {
    await new Promise<void>((resolve) => this.server.listen(0, "127.0.0.1", resolve));
    return this;
  }

  async stop(): Promise<void> {
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
  }

  url(path = "/", name = "localhost"): string {
    return `http://${name}:${(this.server.address() as AddressInfo).port}${path}`;
  }

  /** Serves text at a path. */
  serve(path: string, type: string, text: string | Buffer, headers: Record<string, string> = {}): void {
    this.pages.set(path, { headers: { "Content-Type": type, ...headers }, text });
  }

  /** A page with the SDK. Page views are off unless asked for, so that tests count their own events. */
  page(path: string, setup: PageSetup = {}): void {
    const data = { key, host, core: this.core, auto: "", ...setup.data };
    const attributes = Object.entries(data)
      .filter(([, value]) => value !== undefined)
      .map(([name, value]) => `data-${name}="${value}"`);
    const nonce = setup.nonce ? ` nonce="${setup.nonce}"` : "";
    const external = (where: "before" | "after") => {
      const text = setup[where];
      if (text === undefined) return "";
      this.serve(`${path}.${where}.js`, "text/javascript", text);
      return `<script src="${path}.${where}.js"${nonce}></script>`;
    };
    this.serve(
      path,
      "text/html",
      `<!doctype html><title>${setup.title ?? "Shop"}</title>${external("before")}<script src="${setup.script ?? "/sdk/causality.js"}" ${attributes.join(" ")}${nonce}></script>${external("after")}<body>`,
      setup.policy ? { "Content-Security-Policy": setup.policy } : {},
    );
  }

  private async answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { pathname } = new URL(request.url ?? "/", "http://site");
    const page = this.pages.get(pathname);
    if (page) return void response.writeHead(200, page.headers).end(page.text);
    const file = /^\/sdk\/([\w-]+\.(js|wasm))$/.exec(pathname);
    if (!file) return void response.writeHead(404).end();
    try {
      const bytes = await readFile(join(dist, file[1] as string));
      response.writeHead(200, { "Content-Type": types[file[2] as string] }).end(bytes);
    } catch {
      response.writeHead(404).end(`run npm run build: ${file[1]} is not in dist`);
    }
  }
}

let names = 0;

/** A name of an event that no other test uses. */
export const unique = (prefix = "event") => `${prefix}_${process.pid}_${++names}`;

const run = promisify(execFile);

/** Rows of a SELECT, as the server on this machine answers it. */
export async function query(sql: string): Promise<Record<string, string>[]> {
  const { stdout } = await run(
    required("CAUSALITY_BINARY"),
    ["query", sql, "--app", "web", "--format", "json"],
    { maxBuffer: 64 << 20 },
  );
  const text = stdout.trim();
  if (text.startsWith("[")) return JSON.parse(text);
  return text ? text.split("\n").map((line) => JSON.parse(line)) : [];
}

/** Waits until an answer counts so many events of a name, and fails when it counts one more, or one twice. */
export async function expectEvents(name: string, n: number): Promise<void> {
  const count = async () => {
    const [row] = await query(
      `SELECT count(*) AS n, count(DISTINCT event_id) AS ids FROM events WHERE event = '${name}'`,
    );
    return [Number(row?.n), Number(row?.ids)];
  };
  await expect.poll(async () => (await count())[0] ?? 0, { timeout: 30_000 }).toBeGreaterThanOrEqual(n);
  expect(await count()).toEqual([n, n]);
}

/** Waits until the tab, and whoever it leads, has nothing left to send. */
export async function expectDelivered(page: Page): Promise<void> {
  await expect
    .poll(
      () =>
        page.evaluate(async () => {
          await window.causality.flush();
          return (await window.causality.stats()).queued;
        }),
      { timeout: 30_000 },
    )
    .toBe(0);
}

/** The tab sends for all tabs. */
export async function expectLeads(page: Page, leads = true): Promise<void> {
  await expect.poll(() => page.evaluate(async () => (await window.causality.stats()).leads)).toBe(leads);
}

export const track = (page: Page, name: string, properties: Record<string, unknown> = {}) =>
  page.evaluate(([name, properties]) => window.causality.track(name, properties), [
    name,
    properties,
  ] as const);

export const test = base.extend<SiteOptions & { site: Site }>({
  core: ["ts", { option: true }],
  site: async ({ core }, use) => {
    const site = await new Site(core).start();
    await use(site);
    await site.stop();
  },
});
