// Compares the download size of the keys page, with brotli, with the budget. Counts all files in target/site/, which
// include all files of the page. 1 KB is 1,000 bytes.

import { existsSync, readdirSync, statSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";

const site = join(dirname(dirname(fileURLToPath(import.meta.url))), "target/site");
const budget = { wasm: 110_000, total: 160_000 };

if (!existsSync(join(site, "pkg/latchkey.wasm.br"))) {
  console.error("measure-assets: target/site/ has no finished assets: run `make build` first");
  process.exit(1);
}

const files = (folder) =>
  readdirSync(folder, { withFileTypes: true }).flatMap((entry) =>
    entry.isDirectory() ? files(join(folder, entry.name)) : [join(folder, entry.name)],
  );

const sizes = files(site)
  .filter((path) => !path.endsWith(".br"))
  .sort()
  .map((path) => [relative(site, path), statSync(existsSync(`${path}.br`) ? `${path}.br` : path).size]);
const total = sizes.reduce((sum, [, size]) => sum + size, 0);
const wasm = sizes.find(([name]) => name === "pkg/latchkey.wasm")[1];

const width = Math.max(...sizes.map(([name]) => name.length));
const line = (name, size, limit) => {
  const over = limit !== undefined && size > limit;
  const verdict = limit === undefined ? "" : `   at most ${limit / 1000} KB: ${over ? "OVER" : "ok"}`;
  console.log(`${name.padEnd(width)}${`${(size / 1000).toFixed(1)} KB`.padStart(11)}${verdict}`);
  return !over;
};
for (const [name, size] of sizes) if (name !== "pkg/latchkey.wasm") line(name, size);
const good = [line("pkg/latchkey.wasm", wasm, budget.wasm), line("all assets", total, budget.total)];
process.exitCode = good.every(Boolean) ? 0 : 1;
