import { defineConfig, devices } from "@playwright/test";

// Every test starts its own server in fixtures.ts. LATCHKEY_BINARY is the binary under test; tools/end2end sets it to
// the release binary.
const asRoot = process.getuid?.() === 0;

export default defineConfig({
  testDir: ".",
  testMatch: "**/*.spec.ts",
  // Below target/, which `make clean` deletes and git ignores.
  outputDir: "../target/end2end/artefacts",
  reporter: [["list"], ["json", { outputFile: "../target/end2end/results.json" }]],
  fullyParallel: true,
  workers: 2,
  // No retries: a test that fails once has found a problem.
  retries: 0,
  forbidOnly: !!process.env.CI,
  timeout: 120_000,
  expect: { timeout: 20_000 },
  use: {
    ...devices["Desktop Chrome"],
    screenshot: "only-on-failure",
    trace: "retain-on-failure",
    launchOptions: {
      executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
      args: [
        // Chromium's sandbox does not work as root.
        ...(asRoot ? ["--no-sandbox"] : []),
        "--disable-gpu",
        // The browser connects only to the server under test.
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--disable-quic",
        "--no-first-run",
      ],
    },
  },
});
