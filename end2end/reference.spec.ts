// The API reference: layout, search with and without JavaScript, and copying.

import { execFileSync } from "node:child_process";
import type { Page } from "@playwright/test";
import { expect, expectAccessible, PASSWORD, test } from "./fixtures";

const REFERENCE = "/docs/api";

const sideways = (page: Page) => page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
const names = (page: Page) => page.locator(".operation:not([hidden]) h3").allTextContents();
const count = async (page: Page) => (await names(page)).length;
const field = (page: Page) => page.getByRole("searchbox", { name: "Search operations" });

const looks = [
  { width: 320, colorScheme: "light" }, // 1280 px at a zoom of 400 %
  { width: 360, colorScheme: "dark" },
  { width: 360, colorScheme: "light" },
  { width: 820, colorScheme: "light" },
  { width: 820, colorScheme: "dark" },
  { width: 1440, colorScheme: "light" },
  { width: 1440, colorScheme: "dark" },
] as const;

for (const { width, colorScheme } of looks) {
  test.describe(`${colorScheme}-${width}`, () => {
    test.use({ colorScheme, viewport: { width, height: 900 } });

    test(`the reference is accessible and does not scroll sideways, ${colorScheme}-${width}`, async ({ page }) => {
      test.setTimeout(240_000);
      const look = (what: string, fullPage = false) =>
        page.screenshot({ path: `../target/end2end/screenshots/${what}-${colorScheme}-${width}.png`, fullPage, animations: "disabled" });
      await page.goto(REFERENCE);
      for (const details of await page.locator(".operation details").all()) await details.evaluate((element: HTMLDetailsElement) => (element.open = true));
      await look("reference", true);
      expect(await sideways(page), "the page scrolls sideways").toBeLessThanOrEqual(0);
      // A check of the whole page takes half a minute: one narrow and one wide look have each element in each theme.
      if ([360, 1440].includes(width) && (width === 360) === (colorScheme === "dark")) await expectAccessible(page);

      const list = page.getByRole("navigation", { name: "Contents" });
      if (width < 1024) {
        await expect(list).toBeHidden();
        await page.getByText("Contents", { exact: true }).click();
      }
      await expect(list).toBeVisible();
      await list.getByRole("link", { name: "Verify key" }).click();
      await expect(page).toHaveURL(/#verifyKey$/);
      await expect(page.getByRole("heading", { name: "Verify key" })).toBeInViewport();
      await look("reference-operation");

      await page.goto(`${REFERENCE}?q=no+such+operation`);
      await expect(page.getByRole("heading", { name: "No operation matches “no such operation”" })).toBeVisible();
      expect(await sideways(page)).toBeLessThanOrEqual(0);
      await expectAccessible(page);
      await look("reference-no-match", true);
    });
  });
}

test("the list stays beside the operations, scrolls by itself, and marks the current operation", async ({ page }) => {
  await page.setViewportSize({ width: 1440, height: 500 });
  await page.goto(`${REFERENCE}#healthz`);
  const list = page.getByRole("navigation", { name: "Contents" });
  const current = list.locator("[aria-current=location]");
  await expect(current).toHaveText("Liveness");
  await expect(current).toBeInViewport();
  expect(await list.evaluate((nav) => nav.scrollHeight > nav.clientHeight && nav.scrollTop > 0)).toBe(true);
  await page.locator("#logIn").scrollIntoViewIfNeeded();
  await page.evaluate(() => document.getElementById("logIn")!.scrollIntoView());
  await expect(current).toHaveText("Sign in");
  await expect(current).toBeInViewport();
});

test("the search filters as the user types, without a request", async ({ page }) => {
  await page.goto(REFERENCE);
  const all = await count(page);
  const sent: string[] = [];
  // Chromium may load the icon again after a change of the address.
  page.on("request", (request) => request.url().endsWith("/favicon.svg") || sent.push(request.url()));
  await page.keyboard.press("/");
  await expect(field(page)).toBeFocused();
  await page.keyboard.type("vrify");
  await page.keyboard.press("Home");
  await page.keyboard.press("ArrowRight");
  await page.keyboard.type("e");
  await expect(page.getByRole("status").first()).toHaveText(new RegExp(`^[1-9]\\d* of ${all} match$`));
  expect(await names(page)).toContain("Verify key");
  expect(await count(page)).toBeLessThan(all);
  await expect(field(page)).toBeFocused();
  expect(await field(page).evaluate((input: HTMLInputElement) => input.selectionStart)).toBe(2);
  await expect(page.getByRole("navigation", { name: "Contents" }).getByRole("link", { name: "Liveness" })).toBeHidden();
  await expect(page).toHaveURL(/\?q=verify$/);
  await page.keyboard.press("Enter");
  expect(sent).toEqual([]);

  // The address restores the view.
  const found = await names(page);
  await page.reload();
  await expect(field(page)).toHaveValue("verify");
  expect(await names(page)).toEqual(found);
  sent.length = 0;

  // A slash is typed in a field. A text without a match says so.
  await field(page).fill("/nothing/here");
  await expect(page.getByRole("heading", { name: "No operation matches “/nothing/here”" })).toBeVisible();
  await page.getByRole("link", { name: "Clear search" }).last().click();
  await expect(field(page)).toBeFocused();
  await expect(field(page)).toHaveValue("");
  expect(await count(page)).toBe(all);
  await expect(page).toHaveURL(/\/docs\/api$/);

  // A link to a hidden part ends the search.
  await field(page).fill("whoami");
  await expect.poll(() => names(page)).toEqual(["Who am I"]);
  await page.getByRole("link", { name: "api_key", exact: true }).click();
  await expect(page.locator("#api_key")).toBeInViewport();
  expect(await count(page)).toBe(all);

  // A pasted key appears in no address.
  await field(page).fill(`hs_live_${"0".repeat(64)}`);
  await expect(page.getByRole("heading", { name: "No operation matches" })).toBeVisible();
  await page.keyboard.press("Enter");
  expect(page.url()).not.toContain("hs_live");
  expect(sent).toEqual([]);
});

const TEXTS = ["key", "POST /v1/keys", "gateway", "revokeTenantKey", "access tokens", "keys:verify", "200 json", "x".repeat(300), ""];

test("the search without JavaScript finds the same", async ({ page, browser, server }) => {
  const context = await browser.newContext({ javaScriptEnabled: false, baseURL: server.url });
  const plain = await context.newPage();
  await plain.goto(REFERENCE);
  await expect(plain.getByRole("button", { name: /^Copy/ })).toHaveCount(0);
  await page.goto(REFERENCE);
  for (const text of TEXTS) {
    await plain.getByRole("searchbox").fill(text);
    await plain.getByRole("searchbox").press("Enter");
    await field(page).fill(text);
    await field(page).press("Enter");
    const found = await names(plain);
    expect(await names(page), text).toEqual(found);
    await expect(page.getByRole("status").first(), text).toHaveText((await plain.getByRole("status").first().textContent())!);
    const listed = (on: Page) => on.locator(".side nav.wide a:visible").allTextContents();
    expect(await listed(page), text).toEqual(await listed(plain));
  }
  await plain.getByRole("searchbox").fill("liveness");
  await plain.getByRole("searchbox").press("Enter");
  expect(await names(plain)).toEqual(["Liveness"]);
  await plain.getByRole("link", { name: "Clear search" }).click();
  await expect(plain).toHaveURL(/\/docs\/api$/);
  await expect(plain.getByRole("searchbox")).toHaveValue("");
  await context.close();
});

test.describe("copying", () => {
  const clipboard = (page: Page) => page.evaluate(() => navigator.clipboard.readText());
  const allow = (page: Page) => page.context().grantPermissions(["clipboard-read", "clipboard-write"]);

  test("a path and a command are copied, and the command works", async ({ page }) => {
    await page.request.post("/v1/auth/register", { data: { email: "ada@example.com", password: PASSWORD } });
    const { key } = await (await page.request.post("/v1/auth/api-keys", { data: { name: "By curl" } })).json();
    await allow(page);
    await page.goto(`${REFERENCE}#whoAmI`);
    const operation = page.locator("#whoAmI");
    await operation.getByRole("button", { name: "Copy path" }).click();
    await expect(page.getByText("Path copied to the clipboard")).toBeAttached();
    expect(await clipboard(page)).toBe("/v1/whoami");

    const button = operation.getByRole("button", { name: "Copy command" });
    const size = await button.boundingBox();
    await button.click();
    const status = page.getByRole("status").filter({ hasText: "Command copied to the clipboard" });
    await expect(status).toBeAttached();
    await expect(button.getByText("Copied")).toBeVisible();
    expect(await button.boundingBox()).toEqual(size);
    const command = await clipboard(page);
    const answer = execFileSync("bash", ["-c", `${command} --silent`], { env: { ...process.env, API_KEY: key }, encoding: "utf8" });
    expect(JSON.parse(answer).name).toBe("By curl");
    await expect(status).toHaveCount(0);
    await expect(button.getByText("Copied")).toBeHidden();
  });

  test("the text is selected if the browser refuses to copy", async ({ page }) => {
    await page.addInitScript(() => {
      navigator.clipboard.writeText = () => Promise.reject(new DOMException("refused", "NotAllowedError"));
      document.execCommand = () => false;
    });
    await page.goto(`${REFERENCE}#verifyKey`);
    const operation = page.locator("#verifyKey");
    await operation.getByRole("button", { name: "Copy example" }).first().click();
    await expect(page.getByText("Copying is not allowed here: select the text and copy it by hand")).toBeInViewport();
    const shown = await operation.locator("figure code").first().textContent();
    expect(await page.evaluate(() => getSelection()!.toString())).toBe(shown);
    await expectAccessible(page);
  });
});

test("print has every operation without the list and the buttons", async ({ page }) => {
  await page.goto(REFERENCE);
  await page.emulateMedia({ media: "print" });
  await expect(page.getByRole("navigation", { name: "Contents" })).toBeHidden();
  await expect(field(page)).toBeHidden();
  await expect(page.getByRole("button", { name: "Copy path" })).toHaveCount(0);
  await expect(page.locator("#healthz")).toBeVisible();
  expect(await sideways(page)).toBeLessThanOrEqual(0);
});
