import { defineConfig, devices } from "@playwright/test";

// Every test starts a server of its own through fixtures, so nothing is started here.
// LATCHKEY_BINARY names the binary under test; tools/end2end sets it to the release binary.
const asRoot = process.getuid?.() === 0;

export default defineConfig({
  testDir: ".",
  testMatch: "**/*.spec.ts",
  // Below target/, so that `make clean` takes it along and nothing is committed by accident.
  outputDir: "../target/end2end/artefacts",
  reporter: [["list"], ["json", { outputFile: "../target/end2end/results.json" }]],
  fullyParallel: true,
  workers: 2,
  // A test that passes the second time has found something too.
  retries: 0,
  forbidOnly: !!process.env.CI,
  timeout: 30_000,
  expect: { timeout: 10_000 },
  use: {
    ...devices["Desktop Chrome"],
    screenshot: "only-on-failure",
    trace: "retain-on-failure",
    launchOptions: {
      executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
      args: [
        // Chromium refuses its sandbox to root.
        ...(asRoot ? ["--no-sandbox"] : []),
        "--disable-gpu",
        // The browser talks to the server under test and to nothing else.
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--disable-quic",
        "--no-first-run",
      ],
    },
  },
});
