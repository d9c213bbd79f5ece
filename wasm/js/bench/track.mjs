// What one track with four properties costs in the core, in Node: `node bench/track.mjs`. A guide for changes; the
// figure that counts is measured in a page, by make bench.
import { bundle } from "../build.mjs";

const { "track.js": code } = await bundle("track", { entry: "bench/track.ts", format: "esm" });
const { newCore, newIds, newVisitor } = await import(`data:text/javascript,${encodeURIComponent(code)}`);

const random = () => crypto.getRandomValues(new BigUint64Array(1))[0];
const newId = newIds(random);
const visitor = newVisitor({ idle: 18e8 }, newId);
const core = newCore({ library: { name: "bench", version: "1" }, shared: true }, random);
const context = {
  screen: { width: 1920, height: 1080, density: 1.5 },
  locale: "en-GB",
  timeZone: "Europe/Lisbon",
  page: {
    url: "https://shop.example/cart?step=2",
    path: "/cart",
    title: "Your cart",
    referrer: "https://search.example/",
  },
  platform: "web",
};

const times = [];
for (let i = 0; i < 20_000; i++) {
  const started = performance.now();
  const now = Date.now() * 1e3;
  const event = {
    id: newId(now),
    timestamp: now,
    name: "order paid",
    properties: { total: 12.5, plan: "pro", items: 3, gift: false },
    context,
  };
  visitor.fill(now, event);
  core.add(now, event);
  times.push((performance.now() - started) * 1e3);
  if (i % 20 === 0) {
    core.flush(now);
    for (let command = core.poll(now); command; command = core.poll(now))
      if (command.commit) core.committed(now, true);
  }
}
const part = (share) => times.toSorted((a, b) => a - b)[Math.floor(times.length * share)].toFixed(1);
console.log(
  `first ${times[0].toFixed(0)} µs, first 100 median ${times
    .slice(0, 100)
    .sort((a, b) => a - b)[50]
    .toFixed(1)} µs`,
);
console.log(`median ${part(0.5)} µs, 99 % ${part(0.99)} µs`);
