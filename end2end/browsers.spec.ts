// The main stories in each browser engine.

import { type Browser, button, eventually, field, heading, link, row } from "./browsers/browser";
import { PuppeteerBrowser } from "./browsers/puppeteer";
import { WebKitBrowser } from "./browsers/webkit";
import { expect, isExpected, PASSWORD, type Server, serverTest } from "./fixtures";

const engines: Record<string, () => Promise<Browser>> = {
  Chromium: () => PuppeteerBrowser.start("chrome"),
  Firefox: () => PuppeteerBrowser.start("firefox"),
  WebKitGTK: () => WebKitBrowser.start(),
};

async function register(browser: Browser, server: Server) {
  await browser.open(`${server.url}/register`);
  await browser.fill("Email", "ada@example.com");
  await browser.fill("Password", PASSWORD);
  await browser.press("Enter");
  await browser.expectText(heading("API keys"), "API keys");
}

/** Waits until a new key is shown, and returns its string. */
async function revealed(browser: Browser): Promise<string> {
  const secret = '//*[@id="secret-key"]';
  await browser.expectText(secret, /^hs_live_[0-9a-f]{64}$/);
  return browser.text(secret);
}

for (const [name, start] of Object.entries(engines)) {
  const test = serverTest.extend<{ agent: Browser }>({
    agent: async ({ server: _ }, use, info) => {
      const agent = await start();
      await use(agent);
      if (info.status !== info.expectedStatus) {
        const page = await agent.run(() => `${location}\n${document.documentElement.outerHTML}`).catch(String);
        await info.attach("page.html", { body: page, contentType: "text/plain" });
      }
      await agent.close();
      expect(agent.complaints.filter((line) => !isExpected(line)), "nothing on the console").toEqual([]);
    },
  });

  test.describe(name, () => {
    test.setTimeout(90_000);

    test(`a key is created by keyboard, shown once and revoked, in ${name}`, async ({ agent, server }) => {
      await register(agent, server);

      const create = button("Create your first key");
      await agent.tabTo(create);
      // Pressed only once: if WASM has not loaded yet, the page repeats the click.
      await agent.press("Enter");
      await eventually(async () => expect(await agent.hasFocus(field("Name"))).toBe(true));
      await agent.type("Billing worker");
      await agent.press("Enter");
      const key = await revealed(agent);
      await agent.press("Escape");
      await agent.press("Escape");
      await agent.tabTo(button("Copy key"));
      await agent.press("Enter");
      const status = '//dialog[@open]//*[@role="status"]';
      await agent.expectText(status, "Key copied to the clipboard");
      await agent.run(() => {
        navigator.clipboard.writeText = () => Promise.reject(new DOMException("refused", "NotAllowedError"));
        document.execCommand = () => false;
      });
      await agent.press("Enter");
      await agent.expectText(status, "Copying is not allowed here: select the text and copy it by hand");
      expect(await agent.height(status), "the failure is visible").toBeGreaterThan(10);
      await agent.tabTo(field("I have saved this key"));
      await agent.press(" ");
      await agent.tabTo(button("Done"));
      await agent.press("Enter");
      await agent.expectText(row("Billing worker"), key.slice(0, 12));
      await agent.expectText(row("Billing worker"), "Active");

      const expectNoTrace = () =>
        eventually(async () => {
          expect(await agent.run((key) => document.documentElement.outerHTML.includes(key), key)).toBe(false);
          expect(await agent.run(() => document.querySelectorAll("dialog[open]").length)).toBe(0);
        });
      const expectState = (state: string | null) =>
        eventually(async () => expect(await agent.run(() => new URLSearchParams(location.search).get("state"))).toBe(state));
      await expectNoTrace();
      await agent.click(link("Active"));
      await expectState("active");
      await agent.back();
      await expectState(null);
      await agent.expectText(row("Billing worker"), key.slice(0, 12));
      await expectNoTrace();

      const whoami = async () => (await fetch(`${server.url}/v1/whoami`, { headers: { "x-api-key": key } })).status;
      expect(await whoami()).toBe(200);
      await agent.click(`${row("Billing worker")}//a[starts-with(normalize-space(), "Revoke")]`);
      await agent.expectText("//dialog[@open]", "Billing worker");
      await agent.click(`//dialog[@open]${button("Revoke key")}`);
      await agent.expectText('//*[@role="status"]', /revoked/);
      await agent.expectText(row("Billing worker"), "Revoked");
      expect(await whoami()).toBe(401);
    });

    test(`new events appear while the page is open, in ${name}`, async ({ agent, server }) => {
      await register(agent, server);
      const key = await agent.run(async () => {
        const body = JSON.stringify({ name: "Billing worker" });
        const made = await fetch("/v1/auth/api-keys", { method: "POST", headers: { "content-type": "application/json" }, body });
        return (await made.json()).key as string;
      });
      await agent.open(`${server.url}/events`);
      const ingest = /\/api\/v1\/ingest\/[0-9a-f-]{36}/.exec(await agent.text("//main"))![0];
      const send = async (body: string) => {
        const headers = { "x-api-key": key, "content-type": "application/json" };
        expect((await fetch(`${server.url}${ingest}/orders`, { method: "POST", headers, body })).status).toBe(202);
      };
      const expectRows = (count: number) =>
        eventually(async () => expect(await agent.run(() => document.querySelectorAll("#event-rows tr").length)).toBe(count));
      const live = '//*[@id="live-words"]';
      await agent.expectText(live, /^Live$/);
      await send("1");
      await expectRows(1);
      await agent.expectText(live, /^Live$/);
      await send("2");
      await expectRows(2);
      await agent.expectText(live, "Live · 1 new");
    });
  });
}
