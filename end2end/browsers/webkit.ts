// WebKitGTK, driven over W3C WebDriver. Starts its own display, because WebKitGTK has no headless mode.

import { type ChildProcess, spawn } from "node:child_process";
import { createServer } from "node:net";
import { expect } from "../fixtures";
import { Browser, eventually, type Key } from "./browser";
import { executable } from "./executable";

const KEYS: Record<Key, string> = { Tab: "\uE004", Enter: "\uE007", Escape: "\uE00C", " ": " " };
/** The name of an element reference in WebDriver's JSON. */
const ELEMENT = "element-6066-11e4-a52e-4f735466cecf";

export class WebKitBrowser extends Browser {
  private driver = "";
  private session = "";
  private readonly processes: ChildProcess[] = [];

  static async start(): Promise<WebKitBrowser> {
    const browser = new WebKitBrowser();
    process.once("exit", browser.kill);
    await browser.startDriver(await browser.startDisplay());
    const { sessionId } = await browser.call("POST", "/session", { capabilities: {} });
    browser.session = `/session/${sessionId}`;
    return browser;
  }

  private async startDisplay(): Promise<string> {
    const xvfb = executable("Xvfb", "XVFB", "/usr/bin/Xvfb");
    // Xvfb chooses a free number and writes it to the descriptor 3.
    const display = spawn(xvfb, ["-displayfd", "3", "-screen", "0", "1280x900x24", "-nolisten", "tcp"], {
      stdio: ["ignore", "ignore", "ignore", "pipe"],
    });
    this.processes.push(display);
    return new Promise((resolve, reject) => {
      display.stdio[3]!.once("data", (number) => resolve(`:${String(number).trim()}`));
      display.once("exit", (code) => reject(new Error(`Xvfb ended with ${code}`)));
    });
  }

  private async startDriver(display: string) {
    const port = await freePort();
    const webDriver = executable("WebKitWebDriver", "WEBKIT_DRIVER", "/usr/bin/WebKitWebDriver");
    const driver = spawn(webDriver, [`--port=${port}`], {
      stdio: "ignore",
      env: {
        ...process.env,
        DISPLAY: display,
        // The sandbox needs user namespaces, which containers seldom allow. The browser opens only our own pages.
        WEBKIT_DISABLE_SANDBOX_THIS_IS_DANGEROUS: "1",
        // Renders without a GPU.
        WEBKIT_DISABLE_COMPOSITING_MODE: "1",
      },
    });
    this.processes.push(driver);
    this.driver = `http://127.0.0.1:${port}`;
    await eventually(async () => expect((await fetch(`${this.driver}/status`)).ok).toBe(true));
  }

  async open(url: string) {
    await this.command("/url", { url });
    await this.evaluate("null");
  }

  async back() {
    await this.command("/back", {});
  }

  async press(key: Key) {
    await this.type(KEYS[key]);
  }

  async type(text: string) {
    const actions = [...text].flatMap((value) => [
      { type: "keyDown", value },
      { type: "keyUp", value },
    ]);
    await this.command("/actions", { actions: [{ type: "key", id: "keyboard", actions }] });
  }

  async close() {
    await this.call("DELETE", this.session).catch(() => null);
    this.kill();
    process.removeListener("exit", this.kill);
  }

  protected async evaluate(expression: string): Promise<unknown> {
    const script = `return (async () => [await (${expression}), (${complaintsOfPage})()])()`;
    const [value, complaints] = await this.command("/execute/sync", { script, args: [] });
    this.complaints.push(...complaints);
    return value;
  }

  protected async clickOn(expression: string) {
    const found = await this.command("/execute/sync", { script: `return ${expression}`, args: [] });
    await this.command(`/element/${found[ELEMENT]}/click`, {});
  }

  private readonly kill = () => {
    for (const process of this.processes) process.kill();
  };

  private command(path: string, body: object) {
    return this.call("POST", this.session + path, body);
  }

  private async call(method: string, path: string, body?: object) {
    const answer = await fetch(this.driver + path, { method, body: body && JSON.stringify(body) });
    const { value } = await answer.json();
    if (!answer.ok) throw new Error(`${method} ${path}: ${value.error}: ${value.message}`);
    return value;
  }
}

/**
 * Runs in the page: returns the console messages since the last call. WebDriver has no access to the console, so
 * messages before the first call on a page are missed.
 */
function complaintsOfPage(): string[] {
  const page = window as unknown as { complaints?: string[] };
  if (!page.complaints) {
    const complaints: string[] = (page.complaints = []);
    addEventListener("error", (event) => complaints.push(`error: ${event.message}`));
    addEventListener("unhandledrejection", (event) => complaints.push(`error: ${event.reason}`));
    document.addEventListener("securitypolicyviolation", (event) => complaints.push(`refused: ${event.blockedURI}`));
    for (const kind of ["error", "warn"] as const) {
      const write = console[kind];
      console[kind] = (...words: unknown[]) => {
        complaints.push(words.join(" "));
        write.apply(console, words);
      };
    }
  }
  return page.complaints.splice(0);
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}
