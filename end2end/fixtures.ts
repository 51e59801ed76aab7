// Every test has its own server: the binary under test on an empty folder and a free port.

import { spawn, type ChildProcess } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import AxeBuilder from "@axe-core/playwright";
import { test as base, expect, type Page } from "@playwright/test";

export { expect };

export const PASSWORD = "correct horse battery";

export class Server {
  log = "";
  private constructor(
    readonly url: string,
    readonly folder: string,
    private readonly process: ChildProcess,
  ) {}

  static async start(...flags: string[]): Promise<Server> {
    const binary = process.env.LATCHKEY_BINARY;
    if (!binary) throw new Error("LATCHKEY_BINARY names the binary under test: run `make end2end`");
    const folder = mkdtempSync(join(tmpdir(), "latchkey-"));
    const args = ["--listen", "127.0.0.1:0", "--registration", "open", "--database-url", "sqlite:latchkey.db", ...flags];
    const child = spawn(binary, args, { cwd: folder, stdio: ["ignore", "pipe", "pipe"] });
    let log = "";
    child.stderr!.setEncoding("utf8").on("data", (text: string) => (log += text));
    const url = await new Promise<string>((resolve, reject) => {
      let out = "";
      child.stdout!.setEncoding("utf8").on("data", (text: string) => {
        out += text;
        const open = /Open (http\S+)/.exec(out);
        if (open) resolve(open[1]);
      });
      child.once("exit", (code) => reject(new Error(`the server ended with ${code}: ${log}`)));
    });
    const server = new Server(url, folder, child);
    Object.defineProperty(server, "log", { get: () => log });
    return server;
  }

  /** Stops the server with SIGTERM; checks its exit code, and its log for errors. */
  async stop() {
    const ended = new Promise<number | null>((resolve) => this.process.once("exit", resolve));
    this.process.kill("SIGTERM");
    expect(await ended, "the server ends with 0 on SIGTERM").toBe(0);
    const trouble = this.log.split("\n").filter((line) => /"level":"ERROR"|panic|"status":5\d\d/.test(line));
    expect(trouble, "the log has no errors, no panics and no 5xx").toEqual([]);
  }

  /** Returns the contents of all files in the folder, as text. */
  disk(): string {
    return readdirSync(this.folder)
      .map((name) => readFileSync(join(this.folder, name), "latin1"))
      .join("\n");
  }

  remove() {
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** A test with a server and without Playwright's page. */
export const serverTest = base.extend<{ server: Server }>({
  server: async ({}, use) => {
    const server = await Server.start();
    await use(server);
    await server.stop();
    server.remove();
  },
});

/** Whether a line on the console is the browser's own and not an error of the page. */
export function isExpected(line: string): boolean {
  // The browser logs every 4xx, which some tests provoke.
  const refused = /Failed to load resource: the server responded with a status of 4/.test(line);
  // Depends on the load of the machine, not on the page.
  const late = /preload.* not used within a few seconds/.test(line);
  // Firefox logs every stream of server-sent events that is open when the page is left.
  const left = /events\/live\S+ was interrupted while the page was loading/.test(line);
  // Firefox logs a module whose download ends because the page is left. A page whose module does not load fails its test.
  const unloaded = /error loading dynamically imported module/.test(line);
  return refused || late || left || unloaded;
}

export const test = serverTest.extend<{ quiet: void }>({
  baseURL: async ({ server }, use) => use(server.url),
  // Console errors fail the test: script errors, and violations of the content security policy.
  quiet: [
    async ({ page }, use) => {
      const said: string[] = [];
      page.on("pageerror", (error) => said.push(`error: ${error.message}`));
      page.on("console", (message) => {
        if (["error", "warning"].includes(message.type()) && !isExpected(message.text())) said.push(message.text());
      });
      await use();
      expect(said, "nothing on the console").toEqual([]);
    },
    { auto: true },
  ],
});

/** Registers with the form, which redirects to the keys page. */
export async function register(page: Page, email = "ada@example.com") {
  await page.goto("/register");
  await page.getByLabel("Email").fill(email);
  await page.getByLabel("Password").fill(PASSWORD);
  await page.getByRole("button", { name: "Create account" }).click();
  await expect(page.getByRole("heading", { name: "API keys" })).toBeVisible();
}

/** Returns the path of a page in the environment of the current page. */
export function sibling(page: Page, rest: string): string {
  const place = /^\/o\/org_[0-9a-f]{16}\/env_[0-9a-f]{16}\//.exec(new URL(page.url()).pathname);
  if (!place) throw new Error(`${page.url()} is not the address of a page of an environment`);
  return place[0] + rest;
}

/** Switches to another environment with the menu in the bar. */
export async function enter(page: Page, environment: string) {
  await page.locator("details.environment > summary").click();
  await page.getByRole("navigation", { name: "Environments" }).getByRole("link", { name: environment }).click();
  await expect(page.locator("details.environment > summary")).toContainText(environment);
}

/** Creates a key in the dialog, up to the reveal; returns its string. */
export async function createKey(page: Page, name: string): Promise<string> {
  await page.getByRole("button", { name: /Create (your first )?key/ }).first().click();
  const dialog = page.getByRole("dialog", { name: "Create a key" });
  await dialog.getByLabel("Name", { exact: true }).fill(name);
  await dialog.getByRole("button", { name: "Create key" }).click();
  const secret = page.locator("#secret-key");
  await expect(secret).toHaveText(/^hs_(live|test)_[0-9a-f]{64}$/);
  return (await secret.textContent())!.trim();
}

/** Confirms that the key is saved, and waits for the list. */
export async function dismissReveal(page: Page) {
  await page.getByLabel("I have saved this key").check();
  await page.getByRole("button", { name: "Done" }).click();
  await expect(page.getByRole("dialog", { name: /Save/ })).toHaveCount(0);
  await expect(page.getByRole("table")).toBeVisible();
}

/** Checks the page with axe. */
export async function expectAccessible(page: Page) {
  const { violations } = await new AxeBuilder({ page })
    .withTags(["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"])
    .analyze();
  expect(violations.map((violation) => `${violation.id}: ${violation.nodes.map((node) => node.html).join(" ")}`)).toEqual([]);
}
