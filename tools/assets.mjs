// Builds target/site/, which is compiled into the server, from the output of wasm-bindgen, style/ and public/. The
// names are fixed: the server hashes the contents at start and serves /pkg/HASH/….
//
//   node tools/assets.mjs          wasm-opt, minified, brotli beside each file
//   node tools/assets.mjs --dev    unoptimised, quickly
//
// Unchanged inputs are not processed again, and unchanged files are not written again, because cargo would then compile
// the server again.

import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { dirname, extname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { brotliCompressSync, constants } from "node:zlib";
import { build } from "esbuild";

const tools = dirname(fileURLToPath(import.meta.url));
const root = dirname(tools);
const dev = process.argv.includes("--dev");
const bindgen = join(root, "target/bindgen", dev ? "dev" : "release");
const site = join(root, "target/site");
const cache = join(root, "target/assets-cache");

// The features that rustc's wasm32-unknown-unknown enables. Listed one by one, because a stripped module does not name
// them, and `--all-features` would use features that browsers lack.
const wasmFeatures = [
  "--enable-bulk-memory",
  "--enable-bulk-memory-opt",
  "--enable-call-indirect-overlong",
  "--enable-multivalue",
  "--enable-mutable-globals",
  "--enable-nontrapping-float-to-int",
  "--enable-reference-types",
  "--enable-sign-ext",
];

// rustc has already inlined. Further inlining by binaryen makes the module smaller raw, but 5 % larger compressed. The
// order by name puts similar functions next to each other, which compresses better.
const wasmPasses = ["--no-inline=*", "-Oz", "--flatten", "--rereloop", "-Oz", "--reorder-functions-by-name"];

const compressible = new Set([".css", ".html", ".ico", ".js", ".json", ".map", ".svg", ".txt", ".wasm", ".webmanifest", ".xml"]);
const isText = (path) => ![".wasm", ".ico"].includes(extname(path));

function files(folder) {
  if (!existsSync(folder)) return [];
  return readdirSync(folder, { withFileTypes: true })
    .flatMap((entry) => (entry.isDirectory() ? files(join(folder, entry.name)) : [join(folder, entry.name)]))
    .filter((path) => !path.split("/").pop().startsWith("."))
    .sort();
}

/** Returns the result of `make`, cached under a hash of all inputs. */
function cached(inputs, make) {
  const hash = createHash("sha256");
  for (const input of [versions, ...inputs]) hash.update(input).update("\0");
  const path = join(cache, hash.digest("hex").slice(0, 32));
  used.add(path);
  if (!existsSync(path)) {
    mkdirSync(cache, { recursive: true });
    writeFileSync(path, make());
  }
  return readFileSync(path);
}

function write(name, contents) {
  const path = join(site, name);
  written.add(path);
  if (existsSync(path) && readFileSync(path).equals(contents)) return;
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, contents);
}

function optimised(module) {
  return cached([module, ...wasmPasses, ...wasmFeatures], () => {
    console.log("    wasm-opt (about 10 s)");
    const input = join(bindgen, "latchkey_bg.wasm");
    const output = join(cache, "wasm-opt.tmp");
    const wasmOpt = join(tools, "node_modules/binaryen/bin/wasm-opt");
    execFileSync(process.execPath, [wasmOpt, ...wasmPasses, ...wasmFeatures, "--strip-debug", "--strip-producers", input, "-o", output], {
      stdio: ["ignore", "inherit", "inherit"],
    });
    const result = readFileSync(output);
    rmSync(output);
    return result;
  });
}

function brotli(name, contents) {
  return cached(["brotli", contents], () =>
    brotliCompressSync(contents, {
      params: {
        [constants.BROTLI_PARAM_QUALITY]: constants.BROTLI_MAX_QUALITY,
        [constants.BROTLI_PARAM_LGWIN]: constants.BROTLI_MAX_WINDOW_BITS,
        [constants.BROTLI_PARAM_SIZE_HINT]: contents.length,
        [constants.BROTLI_PARAM_MODE]: isText(name) ? constants.BROTLI_MODE_TEXT : constants.BROTLI_MODE_GENERIC,
      },
    }),
  );
}

async function bundle(entry, options) {
  const result = await build({
    absWorkingDir: root,
    entryPoints: [entry],
    bundle: true,
    minify: !dev,
    write: false,
    legalComments: "none",
    logLevel: "warning",
    // The oldest browsers that can run the module.
    target: ["chrome111", "firefox114", "safari16.4"],
    ...options,
  });
  return Buffer.from(result.outputFiles[0].contents);
}

const versions = readFileSync(join(tools, "package-lock.json"));
const used = new Set();
const written = new Set();

const module = readFileSync(join(bindgen, "latchkey_bg.wasm"));
write("pkg/latchkey.wasm", dev ? module : optimised(module));
// Stays an ES module, because Leptos calls its exports.
write("pkg/latchkey.js", await bundle(relative(root, join(bindgen, "latchkey.js")), { format: "esm" }));
write("pkg/latchkey.css", await bundle("style/main.css"));
for (const path of files(join(root, "public"))) write(relative(join(root, "public"), path), readFileSync(path));

const table = [];
for (const path of [...written].sort()) {
  const name = relative(site, path);
  const contents = readFileSync(path);
  const row = { name, raw: contents.length, brotli: undefined };
  if (!dev && compressible.has(extname(name))) {
    const packed = brotli(name, contents);
    // A tiny file may grow when compressed; it is then served uncompressed.
    if (packed.length < contents.length) {
      write(`${name}.br`, packed);
      row.brotli = packed.length;
    }
  }
  table.push(row);
}

// Removes files of earlier builds, which must not be served, such as an outdated .br.
for (const path of files(site)) if (!written.has(path)) rmSync(path);
// The cache keeps the files of this run, and others for a week, for switching between versions.
if (!dev) {
  const age = (path) => Date.now() - statSync(path).mtimeMs;
  for (const path of files(cache)) if (!used.has(path) && age(path) > 7 * 24 * 3600 * 1000) rmSync(path);
}

const width = Math.max(...table.map((row) => row.name.length));
const kilobytes = (bytes) => (bytes === undefined ? "" : `${(bytes / 1000).toFixed(1)} KB`).padStart(11);
console.log(`    ${"".padEnd(width)}${"raw".padStart(11)}${dev ? "" : "brotli".padStart(11)}`);
for (const row of table) console.log(`    ${row.name.padEnd(width)}${kilobytes(row.raw)}${dev ? "" : kilobytes(row.brotli)}`);
