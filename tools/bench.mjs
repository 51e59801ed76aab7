// Measures the time to the first byte of the keys page, with 10,000 keys in the organisation, on the release binary and
// an empty folder, and /healthz of the same server in the same rounds. Times are wall time at the client, on the same
// machine.

import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import http from "node:http";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const KEYS = 10_000;
const ROUNDS = 5;
const REQUESTS = 100;
const BUDGET = 10;

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const folder = mkdtempSync(join(tmpdir(), "latchkey-bench-"));
const agent = new http.Agent({ keepAlive: true, maxSockets: 16 });

const server = spawn(join(root, "target/release/latchkey"), ["--listen", "127.0.0.1:0", "--registration", "open"], {
  cwd: folder,
  stdio: ["ignore", "pipe", "ignore"],
  env: { ...process.env, LATCHKEY_LOG: "warn" },
});
const url = await new Promise((resolve, reject) => {
  let out = "";
  server.stdout.setEncoding("utf8").on("data", (text) => {
    out += text;
    const open = /Open (http\S+)/.exec(out);
    if (open) resolve(open[1]);
  });
  server.once("exit", (code) => reject(new Error(`the server ended with ${code}`)));
});

/** Sends a request; returns status, headers, body, and milliseconds to the first byte. */
const call = (method, path, { headers = {}, body } = {}) =>
  new Promise((resolve, reject) => {
    const began = performance.now();
    const request = http.request(url + path, { method, headers, agent }, (response) => {
      const firstByte = performance.now() - began;
      const chunks = [];
      response.on("data", (chunk) => chunks.push(chunk));
      response.on("end", () => resolve({ status: response.statusCode, headers: response.headers, body: Buffer.concat(chunks), firstByte }));
    });
    request.on("error", reject);
    request.end(body);
  });

const json = (data, cookie) => ({
  headers: { "content-type": "application/json", ...(cookie ? { cookie } : {}) },
  body: JSON.stringify(data),
});
const quantile = (sorted, share) => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))];

try {
  const registered = await call("POST", "/v1/auth/register", json({ email: "bench@example.com", password: "correct horse battery" }));
  const cookie = registered.headers["set-cookie"][0].split(";")[0];
  const began = performance.now();
  let made = 0;
  await Promise.all(
    Array.from({ length: 16 }, async () => {
      while (made < KEYS) {
        const { status } = await call("POST", "/v1/auth/api-keys", json({ name: `worker ${made++}`, scopes: "events:write" }, cookie));
        if (status !== 201) throw new Error(`a key was answered with ${status}`);
      }
    }),
  );
  const rate = KEYS / ((performance.now() - began) / 1000);
  console.log(`${KEYS} keys made over 16 connections: ${rate.toFixed(0)} a second`);

  // The start leads to the keys of the first environment.
  const start = await call("GET", "/", { headers: { cookie } });
  const paths = { page: start.headers.location, ceiling: "/healthz" };
  const times = { page: [], ceiling: [] };
  for (let round = 0; round <= ROUNDS; round++) {
    for (const [name, path] of Object.entries(paths)) {
      for (let request = 0; request < REQUESTS; request++) {
        const { status, body, firstByte } = await call("GET", path, { headers: { cookie } });
        if (status !== 200 || (name === "page" && !body.includes("hs_live_"))) throw new Error(`${path} was answered with ${status}`);
        // The first round warms up.
        if (round > 0) times[name].push(firstByte);
      }
    }
  }
  const row = (name) => {
    const sorted = times[name].sort((a, b) => a - b);
    const median = quantile(sorted, 0.5);
    console.log(`${name.padEnd(10)} first byte: median ${median.toFixed(2)} ms, p95 ${quantile(sorted, 0.95).toFixed(2)} ms, ${sorted.length} requests`);
    return median;
  };
  const page = row("page");
  const ceiling = row("ceiling");
  console.log(`the page takes ${(page / ceiling).toFixed(1)} times as long as an answer that does nothing`);
  const over = page > BUDGET;
  console.log(`budget for the page's median: ${BUDGET} ms: ${over ? "OVER" : "ok"}`);
  process.exitCode = over ? 1 : 0;
} finally {
  server.removeAllListeners("exit");
  server.kill("SIGTERM");
  await new Promise((resolve) => server.once("exit", resolve));
  agent.destroy();
  rmSync(folder, { recursive: true, force: true });
}
