// Every page and dialog is accessible and does not scroll sideways, in light and dark, narrow and wide.
// Screenshots are written to target/end2end/screenshots.

import type { Page } from "@playwright/test";
import { createKey, dismissReveal, expect, expectAccessible, PASSWORD, register, test } from "./fixtures";

const looks = [
  { name: "light-1440", colorScheme: "light", viewport: { width: 1440, height: 900 } },
  { name: "dark-1440", colorScheme: "dark", viewport: { width: 1440, height: 900 } },
  { name: "light-360", colorScheme: "light", viewport: { width: 360, height: 740 } },
  { name: "dark-360", colorScheme: "dark", viewport: { width: 360, height: 740 } },
] as const;

for (const { name, ...look } of looks) {
  test.describe(name, () => {
    test.use(look);

    const check = async (page: Page, what: string) => {
      // The whole page, or the viewport behind a dialog.
      const fullPage = (await page.locator("dialog[open]").count()) === 0;
      await page.screenshot({ path: `../target/end2end/screenshots/${what}-${name}.png`, fullPage, animations: "disabled" });
      await expectAccessible(page);
      const sideways = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      expect(sideways, `${what} scrolls sideways`).toBeLessThanOrEqual(0);
    };

    test(`pages and dialogs, ${name}`, async ({ page }) => {
      // Two dozen screenshots, each with a full accessibility check.
      test.setTimeout(240_000);
      await page.goto("/");
      await check(page, "set-up");
      await register(page);
      await page.context().clearCookies();
      await page.goto("/sign-in");
      await check(page, "sign-in");
      await page.getByLabel("Email").fill("ada@example.com");
      await page.getByLabel("Password").fill("not the password");
      await page.getByRole("button", { name: "Sign in" }).click();
      await expect(page.getByRole("alert")).toBeVisible();
      await check(page, "sign-in-error");
      await page.goto("/register");
      await check(page, "register");
      await page.goto("/sign-in");
      await page.getByLabel("Email").fill("ada@example.com");
      await page.getByLabel("Password").fill(PASSWORD);
      await page.getByRole("button", { name: "Sign in" }).click();
      await expect(page.getByRole("heading", { name: "API keys" })).toBeVisible();
      await check(page, "keys-empty");

      await page.getByRole("button", { name: /Create (your first )?key/ }).first().click();
      const dialog = page.getByRole("dialog", { name: "Create a key" });
      await check(page, "create");
      await dialog.getByLabel("Restricted").check();
      await dialog.getByLabel("Scope names, separated by spaces").fill("events");
      await dialog.getByRole("button", { name: "Create key" }).click();
      await check(page, "create-errors");
      await dialog.getByRole("button", { name: "Cancel" }).click();
      await createKey(page, "Billing worker");
      await check(page, "reveal");
      await page.getByLabel("I have saved this key").check();
      await check(page, "reveal-saved");
      await dismissReveal(page);

      const make = async (data: object) => (await page.request.post("/v1/auth/api-keys", { data })).json();
      const used = await make({ name: "API gateway (nginx, Frankfurt)", scopes: "keys:verify events:read events:write a:b" });
      for (let count = 0; count < 3; count++) await page.request.get("/v1/whoami", { headers: { "x-api-key": used.key } });
      const ended = await make({ name: "Laptop of Maximilian von Hohenstein-Rothenburg, second floor, left" });
      await page.request.delete(`/v1/auth/api-keys/${ended.id}`);
      await make({ name: "x".repeat(100), expires_at: "2099-01-01T00:00:00Z", scopes: `${"s".repeat(49)}:${"t".repeat(49)}` });
      await page.goto("/keys");
      await check(page, "keys");
      await page.goto("/keys?q=nothing+like+that");
      await check(page, "keys-no-match");
      await page.goto("/keys");
      await page.getByRole("row", { name: /API gateway/ }).getByRole("link", { name: /Revoke/ }).click();
      await expect(page.getByRole("dialog", { name: /Revoke/ })).toBeVisible();
      await check(page, "revoke");
      await page.getByRole("dialog", { name: /Revoke/ }).getByRole("button", { name: /Revoke/ }).click();
      await expect(page.getByRole("status").filter({ hasText: /revoked/i })).toBeVisible();
      await check(page, "toast");
      await page.goto(`/keys/${ended.id}`);
      await check(page, "key-revoked");
      const long = await make({ name: "y".repeat(100), scopes: `${"s".repeat(49)}:${"t".repeat(49)} a:b`, metadata: { ["m".repeat(80)]: "v".repeat(300) } });
      await page.goto(`/keys/${long.id}`);
      await check(page, "key-long");

      const bounded = await make({
        name: "Deploys", scopes: "events:write events:read keys:verify", expires_at: "2099-01-01T00:00:00Z", ip_allowlist: ["127.0.0.0/8", "2001:db8::/32"],
        rate_limit: { limit: 100, window_seconds: 60 }, quota: { limit: 10000 }, metadata: { team: "billing", runbook: "https://wiki.example.com/billing/worker" },
      });
      await page.goto(`/keys/${bounded.id}`);
      await check(page, "key-unused");
      const organisation = (await (await page.request.get("/v1/auth/me")).json()).organisations[0].id;
      const ask = (scope: string) => page.request.get(`/v1/forward-auth/${organisation}/any/${scope}`, { headers: { "x-api-key": bounded.key } });
      for (let count = 0; count < 17; count++) await ask("events:write");
      for (let count = 0; count < 4; count++) await ask("other:scope");
      await page.goto(`/keys/${bounded.id}`);
      await page.getByText("Show as table").click();
      await check(page, "key");
      await page.getByRole("button", { name: "Pause" }).click();
      await expect(page.getByRole("button", { name: "Resume" })).toBeVisible();
      await page.reload();
      await check(page, "key-paused");
      await page.getByLabel("Name", { exact: true }).fill("");
      await page.getByLabel("Rate limit, in requests").fill("many");
      await page.getByLabel("Allowed networks").fill("at home");
      await page.getByRole("button", { name: "Save changes" }).click();
      await expect(page.getByRole("alert")).toBeVisible();
      await page.evaluate(() => scrollTo(0, 0));
      await check(page, "key-errors");
      await page.goto("/server");
      await check(page, "server");
      await page.goto("/server/accounts");
      await check(page, "accounts");
      expect((await page.goto("/no/such/page"))!.status()).toBe(404);
      await check(page, "not-found");
    });
  });
}

test("a key can be created with the keyboard", async ({ page }) => {
  await register(page);
  await page.keyboard.press("Tab");
  await expect(page.getByRole("link", { name: "Skip to content" })).toBeFocused();
  await page.getByRole("button", { name: /Create key/ }).focus();
  await page.keyboard.press("Enter");
  const dialog = page.getByRole("dialog", { name: "Create a key" });
  await expect(dialog.getByLabel("Name", { exact: true })).toBeFocused();
  await page.keyboard.type("By keyboard");
  await page.keyboard.press("Enter");
  await expect(page.locator("#secret-key")).toHaveText(/^hs_live_/);
  await page.getByLabel("I have saved this key").focus();
  await page.keyboard.press("Space");
  await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  await expect(page.getByRole("row", { name: /By keyboard/ })).toBeVisible();
});
