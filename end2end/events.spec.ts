// Events: ingest, list, page, live updates, and retention.

import type { APIRequestContext, Locator, Page } from "@playwright/test";
import { expect, expectAccessible, register, Server, sibling, test } from "./fixtures";

/** Creates a key in the page's organisation; returns a function that sends events with it. */
async function sender(page: Page, request: APIRequestContext, name = "Billing worker") {
  const { key } = await (await page.request.post("/v1/auth/api-keys", { data: { name } })).json();
  // The page without events shows the address of ingest.
  await page.goto("/events");
  const address = /\/api\/v1\/ingest\/[0-9a-f-]{36}/.exec((await page.locator("main").textContent())!)![0];
  // Leaves that page, which reloads itself at the first event and would disturb the test.
  await page.goto("/keys");
  return async (source: string, body: string): Promise<string> => {
    const answer = await request.post(`${address}/${source}`, { data: body, headers: { "x-api-key": key, "content-type": "application/json" } });
    expect(answer.status()).toBe(202);
    return (await answer.json()).id;
  };
}

const rows = (page: Page) => page.locator("#event-rows tr");
const live = (page: Page) => page.locator("#live-words");

test("an event is sent, found, and shown unchanged", async ({ page, request }) => {
  await register(page);
  await page.getByRole("navigation", { name: "Dashboard" }).getByRole("link", { name: "Events" }).click();
  await expect(page.getByRole("heading", { name: /No events in/ })).toBeVisible();
  await expect(page.getByRole("link", { name: "Events", exact: true })).toHaveAttribute("aria-current", "page");
  await expect(page.locator(".code-block")).toContainText(new URL(page.url()).origin + "/api/v1/ingest/");
  const send = await sender(page, request);

  const hostile = `{"total":12345678901234567890.10,"id":9007199254740993,"note":"<script>document.title='owned'</script><img src=x onerror=alert(1)>","id":[]}`;
  const id = await send("stripe", hostile);
  await send("orders", "[1,2,3]");
  await page.goto("/events");
  await expect(rows(page)).toHaveCount(2);
  await expect(rows(page).first()).toContainText("orders");
  await expect(rows(page).first()).toContainText("just now");
  await expect(rows(page).first()).toContainText("7 bytes");

  await page.getByLabel("Source").selectOption("stripe");
  await page.getByLabel("Key", { exact: true }).selectOption({ index: 1 });
  await page.getByRole("button", { name: "Filter" }).click();
  await expect(rows(page)).toHaveCount(1);
  await expect(page).toHaveURL(/source=stripe&key=ak_/);
  await expect(page.getByLabel("Key", { exact: true }).locator("option:checked")).toHaveText(/^Billing worker \(hs_live_/);
  await page.getByLabel("To UTC").fill("2020-01-01");
  await page.getByRole("button", { name: "Filter" }).click();
  await expect(page.getByRole("heading", { name: "No event matches" })).toBeVisible();
  await page.getByRole("link", { name: "Show all events" }).click();
  await expect(rows(page)).toHaveCount(2);

  await page.getByRole("link", { name: "stripe" }).click();
  await expect(page).toHaveURL(new RegExp(`/events/${id}`));
  const body = page.locator(".event-body");
  await expect(body).toContainText('"total": 12345678901234567890.10');
  await expect(body).toContainText('"id": 9007199254740993');
  await expect(body).toContainText("<script>document.title='owned'</script>");
  expect(await page.title()).toContain("Event from stripe");
  await expect(body.locator("script, img")).toHaveCount(0);

  const download = page.waitForEvent("download");
  await page.getByRole("link", { name: "Download body" }).click();
  const file = await download;
  expect(file.suggestedFilename()).toBe(`event-${id}.json`);
  const stream = await file.createReadStream();
  let text = "";
  for await (const chunk of stream) text += chunk;
  expect(text).toBe(hostile);

  await page.getByRole("link", { name: "Billing worker" }).click();
  await expect(page).toHaveURL(/\/keys\?.*#ak_/);
  await expect(page.getByRole("row", { name: /Billing worker/ })).toBeVisible();
});

test("a body of a mebibyte is shown in part", async ({ page, request }) => {
  await register(page);
  const send = await sender(page, request);
  const deep = "[".repeat(200_000) + "]".repeat(200_000);
  for (const body of [`"${"x".repeat(1024 * 1024 - 2)}"`, deep, `[${"0,".repeat(400_000)}0]`]) {
    const id = await send("large", body);
    await page.goto(`/events/${id}`);
    await expect(page.getByText("The body is cut.")).toBeVisible();
    expect((await page.content()).length).toBeLessThan(1_500_000);
    const sideways = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    expect(sideways).toBeLessThanOrEqual(0);
  }
});

test("new events appear at once, wait during a pause, and appear after a disconnect", async ({ page, request }) => {
  await register(page);
  const send = await sender(page, request);
  await page.goto("/events");
  await expect(live(page)).toHaveText("Live");
  // The page without events reloads as one with a list.
  await send("orders", "1");
  await expect(rows(page)).toHaveCount(1);
  await expect(live(page)).toHaveText("Live");

  // The following steps do not reload the page.
  await page.evaluate(() => document.body.classList.add("same-page"));
  const second = await send("orders", "2");
  await expect(rows(page)).toHaveCount(2);
  await expect(rows(page).first()).toHaveAttribute("id", second);
  await expect(live(page)).toHaveText("Live · 1 new");

  await page.getByRole("button", { name: "Pause" }).click();
  const third = await send("orders", "3");
  const fourth = await send("orders", "4");
  await expect(live(page)).toHaveText("Paused · 2 waiting");
  await expect(rows(page)).toHaveCount(2);
  await page.getByRole("button", { name: "Resume" }).click();
  await expect(rows(page)).toHaveCount(4);
  await expect(rows(page).first()).toHaveAttribute("id", fourth);
  await expect(rows(page).nth(1)).toHaveAttribute("id", third);
  await expect(live(page)).toHaveText("Live · 3 new");
  await expect(page.locator("#live-said")).toHaveText("Live · 3 new", { timeout: 10_000 });

  // A hidden page keeps no connection, and misses no event when it is shown again.
  const setHidden = (hidden: boolean) =>
    page.evaluate((hidden) => {
      Object.defineProperty(document, "hidden", { configurable: true, get: () => hidden });
      document.dispatchEvent(new Event("visibilitychange"));
    }, hidden);
  await setHidden(true);
  await expect(live(page)).toHaveText(/^Disconnected/);
  const fifth = await send("orders", "5");
  await page.waitForTimeout(1_000);
  await expect(rows(page)).toHaveCount(4);
  await setHidden(false);
  await expect(rows(page).first()).toHaveAttribute("id", fifth);
  await expect(rows(page)).toHaveCount(5);
  await expect(page.locator("body")).toHaveClass("same-page");
});

/** Returns the layout shift of the page. */
const shifts = (page: Page) =>
  page.evaluate(
    () =>
      new Promise<number>((resolve) => {
        new PerformanceObserver((list) => {
          resolve(list.getEntries().reduce((sum, entry) => sum + (entry as unknown as { value: number }).value, 0));
        }).observe({ type: "layout-shift", buffered: true });
        setTimeout(() => resolve(0), 1_000);
      }),
  );

test("a burst is shown in order, and counted once", async ({ page, request }) => {
  test.setTimeout(60_000);
  await register(page);
  const send = await sender(page, request);
  const burst = (count: number) => Promise.all(Array.from({ length: count }, (_, number) => send("orders", String(number))));
  const ids = () => rows(page).evaluateAll((found) => found.map((row) => row.id));
  // More than a page of events, within two seconds.
  await burst(160);
  await page.goto("/events");
  await expect(live(page)).toHaveText("Live");
  const before = await ids();
  expect(before).toHaveLength(50);
  // Rows that are sent twice would arrive with the first query.
  await page.waitForTimeout(2_000);
  await expect(live(page)).toHaveText("Live");
  expect(await ids()).toEqual(before);
  expect(await shifts(page)).toBeLessThan(0.05);

  const sent = await burst(130);
  await expect(live(page)).toHaveText("Live · 130 new");
  await expect(rows(page)).toHaveCount(180);
  const after = await ids();
  expect(after).toEqual([...after].sort().reverse());
  expect([...after.slice(0, 130)].sort()).toEqual([...sent].sort());
  await page.getByRole("button", { name: "Pause" }).click();
  await burst(270);
  await expect(live(page)).toHaveText("Paused · 270 waiting");
  await page.getByRole("button", { name: "Resume" }).click();
  await expect(live(page)).toHaveText("Live · 400 new");
  await expect(rows(page)).toHaveCount(200);
  const last = await ids();
  expect(last).toEqual([...last].sort().reverse());
});

test("the page shows a disconnect, and a server with open streams stops at once", async ({ page }) => {
  const server = await Server.start();
  await page.goto(`${server.url}/register`);
  await page.getByLabel("Email").fill("ada@example.com");
  await page.getByLabel("Password").fill("correct horse battery");
  await page.getByRole("button", { name: "Create account" }).click();
  await page.goto(`${server.url}/events`);
  await expect(live(page)).toHaveText("Live");
  const began = Date.now();
  await server.stop();
  expect(Date.now() - began).toBeLessThan(5_000);
  await expect(live(page)).toHaveText(/^Disconnected/);
  server.remove();
});

test("retention is set for each environment", async ({ page }) => {
  await register(page);
  await page.goto("/events");
  await page.getByRole("link", { name: "Change" }).click();
  const form = page.getByRole("form", { name: "Event retention" });
  await expect(form.getByLabel("Keep for, in days")).toHaveValue("7");
  await form.getByLabel("Keep for, in days").fill("a week");
  await form.getByLabel("At most, in events").fill("5000");
  await form.getByRole("button", { name: "Save" }).click();
  await expect(form.getByText("It must be a whole number from 1 to 3,650.")).toBeVisible();
  await expect(form.getByLabel("Keep for, in days")).toHaveValue("a week");
  await expect(form.getByLabel("At most, in events")).toHaveValue("5000");
  await form.getByLabel("Keep for, in days").fill("14");
  await form.getByRole("button", { name: "Save" }).click();
  await expect(page.getByRole("status").filter({ hasText: "Production keeps events for 14 days" })).toBeVisible();
  await expect(form.getByLabel("Keep for, in days")).toHaveValue("14");
  await page.getByRole("link", { name: "Environments" }).first().click();
  await page.getByRole("table").getByRole("link", { name: "Development" }).click();
  await expect(form.getByLabel("Keep for, in days")).toHaveValue("7");
});

test("events of another organisation are a 404", async ({ page, request, browser, server }) => {
  await register(page);
  const send = await sender(page, request);
  const id = await send("adas-orders", '"private"');
  await page.goto("/events");
  const list = sibling(page, "events");

  const other = await browser.newContext({ baseURL: server.url });
  const eve = await other.newPage();
  await register(eve, "eve@example.com");
  await eve.goto("/events");
  await expect(eve.locator("body")).not.toContainText("adas-orders");
  for (const path of [list, `/events/${id}`, `${list}/${id}`, sibling(eve, `events/${id}`), `${list}/${id}/body`, `${list}/live`]) {
    const answer = await eve.request.get(path);
    expect(answer.status(), path).toBe(404);
    expect(await answer.text()).not.toContain("private");
  }
  await expect(eve.locator("#live-words")).toHaveText("Live");
  await send("adas-orders", '"private too"');
  await eve.waitForTimeout(1_500);
  await expect(eve.locator("body")).not.toContainText("adas-orders");
  await other.close();
});

test.describe("without JavaScript", () => {
  test.use({ javaScriptEnabled: false });

  test("everything except live updates works", async ({ page, request }) => {
    await register(page);
    const send = await sender(page, request);
    for (let number = 0; number < 52; number++) await send(number % 2 ? "odd" : "even", String(number));
    await page.goto("/events");
    await expect(rows(page)).toHaveCount(50);
    await expect(page.getByRole("button", { name: "Pause" })).toHaveCount(0);
    await page.getByRole("link", { name: "Older" }).click();
    await expect(rows(page)).toHaveCount(2);
    await page.getByLabel("Source").selectOption("odd");
    await page.getByRole("button", { name: "Filter" }).click();
    await expect(rows(page)).toHaveCount(26);
    await rows(page).first().getByRole("link", { name: "odd" }).click();
    await expect(page.locator(".event-body")).toHaveText("51");
    await page.getByRole("link", { name: "Back to the list" }).click();
    await expect(rows(page)).toHaveCount(26);
    await page.getByRole("link", { name: "Change" }).click();
    const form = page.getByRole("form", { name: "Event retention" });
    await form.getByLabel("Keep for, in days").fill("30");
    await form.getByRole("button", { name: "Save" }).click();
    await expect(page.getByRole("status").filter({ hasText: "Production keeps events for 30 days" })).toBeVisible();
  });
});

const looks = [
  { name: "light-1440", colorScheme: "light", viewport: { width: 1440, height: 900 } },
  { name: "dark-1440", colorScheme: "dark", viewport: { width: 1440, height: 900 } },
  { name: "light-360", colorScheme: "light", viewport: { width: 360, height: 740 } },
  { name: "dark-360", colorScheme: "dark", viewport: { width: 360, height: 740 } },
] as const;

for (const { name, ...look } of looks) {
  test.describe(name, () => {
    test.use(look);

    test(`events, ${name}`, async ({ page, request }) => {
      test.setTimeout(120_000);
      const check = async (what: string) => {
        await page.screenshot({ path: `../target/end2end/screenshots/${what}-${name}.png`, fullPage: true, animations: "disabled" });
        await expectAccessible(page);
        const sideways = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
        expect(sideways, `${what} scrolls sideways`).toBeLessThanOrEqual(0);
      };
      await register(page);
      const send = await sender(page, request, "API gateway (nginx, Frankfurt)");
      await page.goto("/events");
      await expect(live(page)).toHaveText("Live");
      await check("events-empty");
      await page.goto("/keys");
      const order = { order: 1042, customer: { name: "Grace Hopper", vip: true, note: null }, items: [{ sku: "A-7", price: 19.9 }, { sku: "B-1", price: 80 }], tags: [], url: `https://example.com/${"long/".repeat(40)}` };
      const first = await send("orders", JSON.stringify(order));
      for (const source of ["stripe", "github-webhooks", "x".repeat(64), "orders", "stripe"]) await send(source, JSON.stringify({ source, text: "y".repeat(source.length * 90) }));
      await page.goto("/events");
      await expect(live(page)).toHaveText("Live");
      await send("stripe", '{"new":true}');
      await expect(live(page)).toHaveText("Live · 1 new");
      // The bar above the list ends at the right edge of the list.
      const end = async (what: Locator) => what.evaluate((element) => element.getBoundingClientRect().right);
      expect(await end(page.getByRole("button", { name: "Pause" }))).toBeCloseTo(await end(page.locator(".list-bar")), 0);
      await check("events");
      await page.getByRole("button", { name: "Pause" }).click();
      await page.getByRole("link", { name: "Change" }).click();
      await page.getByRole("form", { name: "Event retention" }).getByLabel("Keep for, in days").fill("9999");
      await page.getByRole("form", { name: "Event retention" }).getByRole("button", { name: "Save" }).click();
      await expect(page.getByText(/It must be/)).toBeVisible();
      await check("events-retention-error");
      await page.goto("/events?source=stripe&to=2020-01-01");
      await check("events-no-match");
      await page.goto(`/events/${first}`);
      await check("event");
    });
  });
}
