// Nothing is lost or overwritten: two tabs, an ended session, a lost response, unsaved edits, and WebAssembly that is
// late or blocked.

import type { Browser, Page } from "@playwright/test";
import { dismissReveal, expect, expectAccessible, PASSWORD, register, type Server, test } from "./fixtures";

const save = (page: Page) => page.getByRole("button", { name: "Save changes" });
const toast = (page: Page, text: string) => page.getByRole("status").filter({ hasText: text });

/** Creates a key, and opens its page. */
async function open(page: Page, data: object = {}) {
  const made = await (await page.request.post("/v1/auth/api-keys", { data: { name: "Billing worker", ...data } })).json();
  await page.goto(`/keys/${made.id}`);
  return made;
}

/** A page without the console check, because the browser logs the requests that the test makes fail. */
const unwatched = async (browser: Browser, server: Server) => (await browser.newContext({ baseURL: server.url })).newPage();

async function twoTabs(page: Page) {
  await register(page);
  const { id } = await open(page);
  const other = await page.context().newPage();
  await other.goto(`/keys/${id}`);

  await other.getByLabel("Restricted").check();
  await other.getByLabel("Scope names, separated by spaces").fill("events:write");
  await save(other).click();
  await expect(toast(other, "saved")).toBeVisible();
  await page.getByLabel("Name", { exact: true }).fill("Invoices");
  await save(page).click();
  await expect(toast(page, "Key “Invoices” saved")).toBeVisible();
  const facts = page.getByRole("region", { name: "Details" });
  await expect(facts).toContainText("events:write");
  await expect(page).toHaveURL(/#edit$/);

  await other.reload();
  await other.getByLabel("Monthly quota").fill("100");
  await save(other).click();
  await expect(toast(other, "saved")).toBeVisible();
  await page.getByLabel("Monthly quota").fill("200");
  await page.getByLabel("Metadata").fill("team=billing");
  await save(page).click();
  await expect(page.getByRole("alert").filter({ hasText: "Nothing was saved" })).toBeVisible();
  const quota = page.getByLabel("Monthly quota");
  await expect(quota).toHaveValue("200");
  await expect(quota).toHaveAccessibleDescription(/Changed elsewhere. Now: 100/);
  await expect(quota).toBeFocused();
  await expect(page.getByLabel("Metadata")).toHaveValue("team=billing");
  await expect(page.getByText("Changed elsewhere.")).toHaveCount(1);
  await expect(facts).toContainText("100 requests a month");
}

test("a stale tab overwrites nothing by accident", async ({ page }) => {
  await twoTabs(page);
  await expectAccessible(page);
  await page.getByRole("button", { name: "Save my changes anyway" }).click();
  await expect(toast(page, "saved")).toBeVisible();
  await expect(page.getByRole("region", { name: "Details" })).toContainText("200 requests a month");
});

test("a stale page does not resume a key", async ({ page }) => {
  await register(page);
  const { id } = await open(page);
  const set = (enabled: boolean) => page.request.patch(`/v1/keys/${id}`, { data: { enabled } });
  await set(false);
  await page.reload();
  await set(true);
  await set(false);
  await page.getByRole("button", { name: "Resume" }).click();
  await expect(page.getByRole("alert").filter({ hasText: "The key was not resumed" })).toBeVisible();
  await expectAccessible(page);
  await page.getByRole("button", { name: "Resume" }).click();
  await expect(toast(page, "resumed")).toBeVisible();
});

test("a key whose response was lost can be found and revoked", async ({ browser, server }) => {
  const page = await unwatched(browser, server);
  await register(page);
  await page.route("**/v1/auth/api-keys", async (route) => {
    if (route.request().method() === "POST") await route.fetch();
    await route.abort();
  });
  await page.getByRole("button", { name: /Create (your first )?key/ }).first().click();
  const dialog = page.getByRole("dialog", { name: "Create a key" });
  await dialog.getByLabel("Name", { exact: true }).fill("Lost & found");
  await dialog.getByRole("button", { name: "Create key" }).click();
  await expect(dialog.getByRole("alert")).toContainText("The key may have been created");
  await expect(dialog.getByLabel("Name", { exact: true })).toHaveValue("Lost & found");
  await expectAccessible(page);

  const [list] = await Promise.all([
    page.context().waitForEvent("page"),
    dialog.getByRole("link", { name: /Look for the key/ }).click(),
  ]);
  const found = list.getByRole("alert").filter({ hasText: "its string did not arrive" });
  await expect(found).toContainText("The key “Lost & found” was created just now");
  await expect(list.locator("tr.marked")).toContainText("Lost & found");
  await list.screenshot({ path: "../target/end2end/screenshots/lost-key.png", fullPage: true, animations: "disabled" });
  await expectAccessible(list);
  await found.getByRole("link", { name: /Revoke/ }).click();
  await list.getByRole("dialog", { name: /Revoke/ }).getByRole("button", { name: /Revoke/ }).click();
  await expect(list.getByRole("row", { name: /Lost & found/ })).toContainText("Revoked");
  const lost = new URL(list.url());
  await list.goto(`${lost.pathname}${lost.search}${lost.search ? "&" : "?"}lost=Lost+%26+found`);
  await expect(list.getByText("You created no key")).toBeVisible();
  await page.context().close();
});

test("an older key of the same name is not the lost one", async ({ browser, server }) => {
  const page = await unwatched(browser, server);
  await register(page);
  await page.request.post("/v1/auth/api-keys", { data: { name: "Billing worker" } });
  // The search for the lost key allows for clocks that differ by 2 s.
  await page.waitForTimeout(3_000);
  await page.reload();
  await page.route("**/v1/auth/api-keys", (route) => route.abort());
  await page.getByRole("button", { name: "Create key" }).click();
  const dialog = page.getByRole("dialog", { name: "Create a key" });
  await dialog.getByLabel("Name", { exact: true }).fill("Billing worker");
  await dialog.getByRole("button", { name: "Create key" }).click();
  const [list] = await Promise.all([
    page.context().waitForEvent("page"),
    dialog.getByRole("link", { name: /Look for the key/ }).click(),
  ]);
  await expect(list.getByText("You created no key")).toBeVisible();
  await page.context().close();
});

test("the reason why no key was created is shown", async ({ browser, server }) => {
  const page = await unwatched(browser, server);
  await register(page);
  const detail = "The key could not be stored. Nothing of it is kept: try again in a moment.";
  const problem = { type: "about:blank", title: "Service Unavailable", status: 503, detail, code: "unavailable" };
  const answers = [
    { contentType: "application/problem+json", body: JSON.stringify(problem) },
    { contentType: "text/html", body: "<h1>Bad gateway</h1>" },
  ];
  await page.route("**/v1/auth/api-keys", (route) => route.fulfill({ status: 503, ...answers.shift() }));
  await page.getByRole("button", { name: /Create (your first )?key/ }).first().click();
  const dialog = page.getByRole("dialog", { name: "Create a key" });
  await dialog.getByLabel("Name", { exact: true }).fill("Billing worker");
  for (const text of [detail, "The key may have been created"]) {
    await dialog.getByRole("button", { name: "Create key" }).click();
    await expect(dialog.getByRole("alert")).toContainText(text);
    await expect(dialog.getByRole("link", { name: /Look for the key/ })).toBeVisible();
  }
  await page.context().close();
});

test("a click before WebAssembly has loaded is not lost", async ({ page }) => {
  await register(page);
  let arrive = () => {};
  const gate = new Promise<void>((resolve) => (arrive = resolve));
  await page.route("**/*.wasm", async (route) => {
    await gate;
    await route.continue();
  });
  await page.reload();
  const button = page.getByRole("button", { name: /Create (your first )?key/ }).first();
  await button.click();
  await expect(button).toHaveAttribute("aria-busy", "true");
  arrive();
  await expect(page.getByRole("dialog", { name: "Create a key" })).toBeVisible();
  await expect(page.locator("button[aria-busy=true]")).toHaveCount(0);
});

for (const file of ["**/*.wasm", "**/pkg/**/*.js"]) {
  test(`without ${file} a notice appears`, async ({ browser, server }) => {
    const page = await unwatched(browser, server);
    await register(page);
    await page.route(file, (route) => route.abort());
    await page.reload();
    const notice = page.getByRole("alert").filter({ hasText: "did not start" });
    await expect(notice).toBeVisible();
    await expect(notice.getByRole("link", { name: /api-keys/ })).toHaveAttribute("href", "/docs/api#createApiKey");
    await page.getByRole("button", { name: /Create (your first )?key/ }).first().click();
    await expect(notice).toBeFocused();
    await expectAccessible(page);
    await page.screenshot({ path: "../target/end2end/screenshots/no-wasm.png", fullPage: true });
    await page.context().close();
  });
}

test("the browser asks before unsaved changes are lost", async ({ page }) => {
  await register(page);
  await open(page);
  const name = page.getByLabel("Name", { exact: true });
  await name.fill("Half a na");
  for (const way of [page.getByRole("button", { name: "Pause" }), page.getByRole("link", { name: "Back to the list" })]) {
    const asked = page.waitForEvent("dialog");
    // The click ends when the dialog is answered.
    const left = way.click().catch(() => null);
    const dialog = await asked;
    expect(dialog.type()).toBe("beforeunload");
    await dialog.dismiss();
    await left;
    await expect(name).toHaveValue("Half a na");
  }
  // Saving and discarding do not ask.
  await save(page).click();
  await expect(toast(page, "saved")).toBeVisible();
  await name.fill("Another");
  await page.getByRole("link", { name: "Discard" }).click();
  await expect(name).toHaveValue("Half a na");
  await page.getByRole("link", { name: "Back to the list" }).click();

  await page.getByRole("button", { name: "Create key" }).click();
  const dialog = page.getByRole("dialog", { name: "Create a key" });
  await dialog.getByLabel("Name", { exact: true }).fill("Not yet");
  await page.keyboard.press("Escape");
  await expect(dialog).toBeHidden();
  await page.getByRole("button", { name: "Create key" }).click();
  await expect(dialog.getByLabel("Name", { exact: true })).toHaveValue("Not yet");
  await dialog.getByRole("button", { name: "Cancel" }).click();
  await page.getByRole("button", { name: "Create key" }).click();
  await expect(dialog.getByLabel("Name", { exact: true })).toHaveValue("");
});

async function signInAgain(page: Page) {
  await page.getByLabel("Email").fill("ada@example.com");
  await page.getByLabel("Password").fill(PASSWORD);
  await page.getByRole("button", { name: "Sign in" }).click();
}

async function sessionOver(page: Page) {
  await register(page);
  const { id } = await open(page);
  await page.getByLabel("Name", { exact: true }).fill("Typed before");
  await page.context().clearCookies();
  await save(page).click();
  await expect(page.getByText("Your session is over, and nothing was changed.")).toBeVisible();
  await signInAgain(page);
  await page.getByRole("button", { name: "Save the changes of the key" }).click();
  await expect(toast(page, "Key “Typed before” saved")).toBeVisible();
  return id;
}

test("a form survives the end of the session", async ({ page }) => {
  await sessionOver(page);
  await page.context().clearCookies();
  await page.goto("/events?source=a");
  await expect(page.getByText("Sign in to open the page that you asked for.")).toBeVisible();
  await expectAccessible(page);
  await signInAgain(page);
  await expect(page).toHaveURL(/\/events\?source=a/);

  await page.goto("/keys");
  await page.getByRole("button", { name: "Create key" }).click();
  const dialog = page.getByRole("dialog", { name: "Create a key" });
  await dialog.getByLabel("Name", { exact: true }).fill("Typed before");
  await page.context().clearCookies();
  await dialog.getByRole("button", { name: "Create key" }).click();
  await expect(dialog.getByRole("alert")).toContainText("Your session is over, and no key was created.");
  const [other] = await Promise.all([page.context().waitForEvent("page"), dialog.getByRole("link", { name: /Sign in/ }).click()]);
  await signInAgain(other);
  await expect(other.getByRole("heading", { name: "API keys" })).toBeVisible();
  await dialog.getByRole("button", { name: "Create key" }).click();
  await expect(page.locator("#secret-key")).toHaveText(/^hs_live_/);
  await dismissReveal(page);
  await expect(page.getByRole("row", { name: /Typed before/ })).toHaveCount(2);
});

test.describe("without JavaScript", () => {
  test.use({ javaScriptEnabled: false });

  test("a stale tab overwrites nothing by accident", async ({ page }) => {
    await twoTabs(page);
    await page.getByRole("button", { name: "Save my changes anyway" }).click();
    await expect(toast(page, "saved")).toBeVisible();
  });

  test("a form survives the end of the session", async ({ page }) => {
    await sessionOver(page);
  });
});
