// The page of one key: details, edit form, pause, and usage chart.

import type { APIRequestContext, Page } from "@playwright/test";
import { createKey, dismissReveal, expect, expectAccessible, register, test } from "./fixtures";

const used = async (request: APIRequestContext, key: string) =>
  (await request.get("/v1/whoami", { headers: { "x-api-key": key } })).status();
const toast = (page: Page, text: string) => page.getByRole("status").filter({ hasText: text });

/** Creates a key with the API, and opens its page from the list. */
async function open(page: Page, data: object = {}) {
  const made = await (await page.request.post("/v1/auth/api-keys", { data: { name: "Billing worker", ...data } })).json();
  await page.goto("/keys");
  await page.getByRole("link", { name: made.name, exact: true }).click();
  await expect(page.getByRole("heading", { level: 1, name: made.name })).toBeVisible();
  return made;
}

test("a key is found, renamed, paused, resumed and limited, and its usage is shown", async ({ page, request }) => {
  // The longest story, more than half a minute on a busy machine.
  test.slow();
  await register(page);
  const key = await createKey(page, "Billing worker");
  await dismissReveal(page);
  await page.getByRole("link", { name: "Active", exact: true }).click();
  await page.getByRole("link", { name: "Billing worker", exact: true }).click();
  await expect(page).toHaveURL(/\/o\/org_[0-9a-f]{16}\/env_[0-9a-f]{16}\/keys\/ak_[0-9a-f]{16}\?state=active$/);
  const facts = page.getByRole("region", { name: "Details" });
  await expect(facts).toContainText("by you");
  await expect(facts).toContainText("Never used");
  await expect(page.getByText("No requests in the last 48 hours")).toBeVisible();

  await page.getByLabel("Name", { exact: true }).fill("Invoices");
  await page.getByRole("button", { name: "Save changes" }).click();
  await expect(toast(page, "Key “Invoices” saved")).toContainText("In effect on every node");
  await expect(page.getByRole("heading", { level: 1 })).toHaveText("Invoices");
  expect(await page.title()).toContain("Invoices");

  expect(await used(request, key)).toBe(200);
  const pause = page.getByRole("button", { name: "Pause" });
  await expect(pause).toHaveAccessibleDescription(/requests get 401 until you resume it/);
  await pause.click();
  await expect(toast(page, "Key “Invoices” paused")).toBeVisible();
  await expect(page.getByText("Paused just now.")).toBeVisible();
  expect(await used(request, key)).toBe(401);
  await page.getByRole("button", { name: "Resume" }).click();
  await expect(toast(page, "Key “Invoices” resumed")).toBeVisible();
  expect(await used(request, key)).toBe(200);

  const chart = page.getByRole("img", { name: /Requests by the hour/ });
  await page.reload();
  await expect(chart).toHaveAccessibleName(/2 accepted, 1 rejected/);
  await page.getByText("Show as table").click();
  await expect(page.getByRole("row", { name: /paused/ })).toContainText("1 paused");
  await expect(page.getByRole("region", { name: "Recent addresses" })).toContainText("127.0.0.1");

  await page.getByLabel("Restricted").check();
  await page.getByLabel("Scope names, separated by spaces").fill("events");
  await page.getByLabel("Rate limit, in requests").fill("many");
  await page.getByLabel("Monthly quota").fill("10000");
  await page.getByLabel("Allowed networks").fill("127.0.0.0/8\nat home");
  await page.getByRole("button", { name: "Save changes" }).click();
  await expect(page.getByRole("alert").filter({ hasText: "Nothing was saved" })).toBeVisible();
  await expect(page.getByText(/events is not a scope: write/)).toBeVisible();
  await expect(page.getByText(/at home is not a network/)).toBeVisible();
  await expect(page.getByLabel("Scope names, separated by spaces")).toBeFocused();
  await expect(page.getByLabel("Rate limit, in requests")).toHaveValue("many");
  await expect(page.getByLabel("Rate limit, in requests")).toHaveAccessibleDescription(/Enter two whole numbers: 1 to 1,000,000,000 requests/);
  await expect(page.getByLabel("Allowed networks")).toHaveValue("127.0.0.0/8\nat home");
  await expectAccessible(page);

  await page.getByLabel("Scope names, separated by spaces").fill("events:write");
  await page.getByLabel("Rate limit, in requests").fill("100");
  await page.getByLabel("Rate limit, in how many seconds").fill("60");
  await page.getByLabel("Allowed networks").fill("127.0.0.0/8\n");
  await page.getByLabel("Metadata").fill("team = billing");
  await page.getByLabel("Expires UTC").fill("2099-01-01T12:30");
  await page.getByRole("button", { name: "Save changes" }).click();
  await expect(toast(page, "saved")).toBeVisible();
  for (const fact of ["events:write", "100 requests in 60 seconds", "10,000 requests a month", "127.0.0.0/8", "1 January 2099, 12:30:00 UTC"]) {
    await expect(facts).toContainText(fact);
  }
  await expect(page.getByLabel("Metadata")).toHaveValue("team=billing");
  await expect(page.getByLabel("Expires UTC")).toHaveValue(/^2099-01-01T12:30/);
  expect(await used(request, key)).toBe(200);

  // Unchanged fields keep their values, even if the browser writes them differently.
  await page.getByRole("button", { name: "Save changes" }).click();
  await expect(toast(page, "saved")).toBeVisible();
  await expect(facts).toContainText("1 January 2099, 12:30:00 UTC");
  await page.getByRole("link", { name: "Back to the list" }).click();
  await expect(page).toHaveURL(/\/o\/org_[0-9a-f]{16}\/env_[0-9a-f]{16}\/keys\?state=active$/);
  await expect(page.getByRole("row", { name: /Invoices/ })).toBeVisible();
});

test("a key is revoked on its page, which stays readable", async ({ page, request }) => {
  await register(page);
  const { key } = await open(page);
  expect(await used(request, key)).toBe(200);
  await page.getByRole("link", { name: "Revoke Billing worker" }).click();
  const dialog = page.getByRole("dialog", { name: /Revoke/ });
  await expect(dialog).toContainText("Billing worker");
  await dialog.getByRole("button", { name: "Revoke key" }).click();
  await expect(toast(page, "revoked")).toBeVisible();
  expect(await used(request, key)).toBe(401);
  await page.goto("/keys?state=revoked");
  await page.getByRole("link", { name: "Billing worker", exact: true }).click();
  await expect(page.getByText("A revoked key cannot be restored")).toBeVisible();
  await expect(page.getByRole("img", { name: /1 accepted, 1 rejected/ })).toBeVisible();
  await expect(page.getByRole("button", { name: /Pause|Resume|Save/ })).toHaveCount(0);
  await expect(page.getByRole("link", { name: /Revoke/ })).toHaveCount(0);
  await expectAccessible(page);
});

test("the page and its form work with the keyboard", async ({ page }) => {
  await register(page);
  await open(page);
  await page.getByLabel("Name", { exact: true }).focus();
  await page.keyboard.press("ControlOrMeta+A");
  await page.keyboard.type("By keyboard");
  await page.keyboard.press("Enter");
  await expect(page.getByRole("heading", { level: 1, name: "By keyboard" })).toBeVisible();
  await page.getByRole("button", { name: "Pause" }).focus();
  await page.keyboard.press("Enter");
  await expect(page.getByRole("button", { name: "Resume" })).toBeVisible();
  await page.getByText("Skip to content").focus();
  await page.keyboard.press("Enter");
  await expect(page.locator("main")).toBeFocused();
});

test("a key of another organisation is a 404", async ({ page, browser, server }) => {
  await register(page);
  const { id } = await open(page);
  const other = await browser.newContext({ baseURL: server.url });
  const eve = await other.newPage();
  await register(eve, "eve@example.com");
  expect((await eve.goto(`/keys/${id}`))!.status()).toBe(404);
  await expect(eve.locator("body")).not.toContainText("Billing worker");
  await other.close();
});

test.describe("without JavaScript", () => {
  // Without animations, because without scripts a test cannot wait for their end.
  test.use({ javaScriptEnabled: false, contextOptions: { reducedMotion: "reduce" } });

  test("everything works", async ({ page, request }) => {
    await register(page);
    const { key } = await open(page);
    await page.getByLabel("Restricted").check();
    await page.getByRole("button", { name: "Save changes" }).click();
    await expect(page.getByText(/It must name at least one scope/)).toBeVisible();
    await page.getByLabel("Scope names, separated by spaces").fill("events:write");
    await page.getByRole("button", { name: "Save changes" }).click();
    await expect(toast(page, "saved")).toBeVisible();
    await page.getByRole("link", { name: "Dismiss" }).click();
    await expect(toast(page, "saved")).toHaveCount(0);
    await page.getByRole("button", { name: "Pause" }).click();
    await expect(page.getByText(/Paused just now/)).toBeVisible();
    expect(await used(request, key)).toBe(401);
    await page.getByRole("button", { name: "Resume" }).click();
    expect(await used(request, key)).toBe(200);
    await page.reload();
    await page.getByText("Show as table").click();
    await expect(page.getByRole("row", { name: /paused/ })).toBeVisible();

    await page.getByRole("link", { name: "Revoke Billing worker" }).click();
    await page.getByRole("dialog", { name: /Revoke/ }).getByRole("button", { name: "Revoke key" }).click();
    await expect(page.getByRole("row", { name: /Billing worker/ })).toContainText("Revoked");
    expect(await used(request, key)).toBe(401);
  });
});
