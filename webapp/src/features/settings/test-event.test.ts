// @vitest-environment node
import { createServer, type RequestListener, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, expect, test } from "vitest";
import { testEvent } from "./platforms";
import { sendTestEvent } from "./test-event";

const servers: Server[] = [];

async function serve(answer: RequestListener): Promise<string> {
  const server = createServer(answer);
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

afterEach(() => {
  for (const server of servers.splice(0)) {
    server.close();
    server.closeAllConnections();
  }
});

test("it carries the key and the event", async () => {
  let authorization: string | undefined;
  let body = "";
  const origin = await serve((request, response) => {
    authorization = request.headers.authorization;
    request.on("data", (part) => {
      body += part;
    });
    request.on("end", () => response.end("{}"));
  });
  await sendTestEvent(origin, "wk_test");
  expect(authorization).toBe("Bearer wk_test");
  expect(JSON.parse(body)[0].name).toBe(testEvent);
});

test("what the server says against it is told", async () => {
  const refusing = await serve((_, response) =>
    response.writeHead(401).end('{"message":"the key is unknown"}'),
  );
  await expect(sendTestEvent(refusing, "wk_test")).rejects.toThrow("the key is unknown");
  const proxy = await serve((_, response) => response.writeHead(502).end("<html>"));
  await expect(sendTestEvent(proxy, "wk_test")).rejects.toThrow("The server answered 502");
  const rejecting = await serve((_, response) =>
    response.end('{"rejected":[{"message":"not in the plan"}]}'),
  );
  await expect(sendTestEvent(rejecting, "wk_test")).rejects.toThrow("not in the plan");
});

test("a server that does not answer, or not to the end, is not waited for", async () => {
  const silent = await serve(() => {});
  await expect(sendTestEvent(silent, "wk_test", 50)).rejects.toThrow("no answer within 0.05 s");
  const slow = await serve((_, response) => response.writeHead(200).write("{"));
  await expect(sendTestEvent(slow, "wk_test", 50)).rejects.toThrow("no answer within 0.05 s");
});
