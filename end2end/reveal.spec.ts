// The reveal of a key, and that no trace of the key is left afterwards.

import { createKey, dismissReveal, expect, register, test } from "./fixtures";

test("after the reveal is dismissed, no trace of the key is left", async ({ page, server }) => {
  await register(page);
  const answers: string[] = [];
  page.on("response", async (response) => {
    const body = await response.text().catch(() => "");
    answers.push(`${response.request().method()} ${response.url()} ${body}`);
  });
  const key = await createKey(page, "Shown once");
  await dismissReveal(page);
  const traces = async () => ({
    page: (await page.content()).includes(key),
    address: page.url().includes(key),
    storage: await page.evaluate(() => JSON.stringify([{ ...localStorage }, { ...sessionStorage }, history.state])),
  });
  const nothing = { page: false, address: false, storage: "[{},{},null]" };
  expect(await traces()).toEqual(nothing);
  await page.reload();
  expect(await traces()).toEqual(nothing);
  await page.goto("/keys?state=active");
  await page.goBack();
  await expect(page.getByRole("row", { name: /Shown once/ })).toBeVisible();
  expect(await traces()).toEqual(nothing);
  const shown = answers.filter((answer) => answer.includes(key)).map((answer) => answer.split("{")[0].trim());
  expect(shown).toEqual([`POST ${server.url}/v1/auth/api-keys`]);
  expect(server.log).not.toContain(key);
  expect(server.log).not.toContain(key.slice(8));
  expect(server.disk()).not.toContain(key.slice(8));
});

test("a key is not shown again after the page was left and restored", async ({ page }) => {
  await register(page);
  const key = await createKey(page, "Left behind");
  page.on("dialog", (dialog) => dialog.accept());
  await page.goto("/healthz");
  await page.goBack();
  await expect(page.getByRole("heading", { name: "API keys" })).toBeVisible();
  expect(await page.content()).not.toContain(key);
  await expect(page.locator("dialog[open]")).toHaveCount(0);
});

test("an unsaved key keeps its dialog open and warns before the tab is left", async ({ page }) => {
  await register(page);
  const key = await createKey(page, "Unsaved");
  await page.keyboard.press("Escape");
  await page.keyboard.press("Escape");
  await expect(page.locator("#secret-key")).toHaveText(key);
  const warned = page.waitForEvent("dialog");
  const left = page.goto("/healthz").catch(() => null);
  const dialog = await warned;
  expect(dialog.type()).toBe("beforeunload");
  await dialog.dismiss();
  await left;
  await expect(page.locator("#secret-key")).toHaveText(key);
  await dismissReveal(page);
});

test("a key has the selected settings", async ({ page }) => {
  await register(page);
  await page.getByRole("button", { name: /Create (your first )?key/ }).first().click();
  const dialog = page.getByRole("dialog", { name: "Create a key" });
  await dialog.getByLabel("Name", { exact: true }).fill("Sandbox worker");
  await dialog.getByLabel("Environment").selectOption({ label: "Development (test)" });
  await dialog.getByLabel("Expires").selectOption({ label: "In 30 days" });
  await dialog.getByLabel("Restricted").check();
  await dialog.getByRole("button", { name: "events:write" }).click();
  await dialog.getByRole("button", { name: "keys:verify" }).click();
  await dialog.getByRole("button", { name: "Create key" }).click();
  await expect(page.locator("#secret-key")).toHaveText(/^hs_test_/);
  await dismissReveal(page);
  await expect(page.getByRole("row", { name: /Sandbox worker/ })).toContainText("events:write");
  const [key] = (await (await page.request.get("/v1/auth/api-keys")).json()).api_keys;
  expect(key.scopes).toBe("events:write keys:verify");
  const days = (Date.parse(key.expires_at) - Date.parse(key.created_at)) / 86_400_000;
  expect(Math.round(days)).toBe(30);
});

test("errors are shown at their fields", async ({ page }) => {
  await register(page);
  await page.getByRole("button", { name: /Create (your first )?key/ }).first().click();
  const dialog = page.getByRole("dialog", { name: "Create a key" });
  const name = dialog.getByLabel("Name", { exact: true });
  await dialog.getByRole("button", { name: "Create key" }).click();
  await expect(name).toHaveAttribute("aria-invalid", "true");
  await expect(name).toBeFocused();
  await name.fill("x".repeat(101));
  await expect(name).toHaveAccessibleDescription(/100 characters/);
  await name.fill("Fine");
  await expect(name).not.toHaveAttribute("aria-invalid", "true");
  await dialog.getByLabel("Restricted").check();
  const scopes = dialog.getByLabel("Scope names, separated by spaces");
  await scopes.fill("events");
  await scopes.blur();
  await expect(scopes).toHaveAccessibleDescription(/`events` is not a scope|events/);
  await expect(scopes).toHaveAttribute("aria-invalid", "true");
  await page.keyboard.press("Escape");
  await expect(dialog).toBeHidden();
});
