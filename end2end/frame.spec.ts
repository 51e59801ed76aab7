// The frame of the pages: the bar at narrow widths and with long names, menus, navigation, and times.

import type { Page } from "@playwright/test";
import { expect, expectAccessible, register, test } from "./fixtures";

const sideways = (page: Page) => page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
const environment = (page: Page) => page.getByRole("navigation", { name: "Environment" }).locator("[aria-current]");

for (const colorScheme of ["light", "dark"] as const) {
  test.describe(colorScheme, () => {
    test.use({ colorScheme });

    test(`the bar has room for long names, ${colorScheme}`, async ({ page }) => {
      test.setTimeout(90_000);
      await register(page, `${"a".repeat(48)}@example.com`);
      for (const width of [320, 360, 480, 768, 820, 900, 930, 1024, 1440]) {
        await page.setViewportSize({ width, height: 800 });
        for (const address of ["/keys", "/docs/api", "/no/such/page", "/events"]) {
          await page.goto(address);
          expect(await sideways(page), `${address} at ${width}`).toBeLessThanOrEqual(0);
          const avatar = await page.locator(".avatar").boundingBox();
          expect(Math.abs(avatar!.width - avatar!.height), `the avatar is round at ${width}`).toBeLessThan(1);
          if ([360, 820, 1440].includes(width)) {
            const name = `${address.replaceAll("/", "-")}-${colorScheme}-${width}`;
            await page.screenshot({ path: `../target/end2end/screenshots/frame${name}.png` });
          }
        }
      }
    });
  });
}

test("menus close at Escape, at a click elsewhere, and when they lose the focus", async ({ page }) => {
  await register(page);
  const menu = page.locator("details.menu.end");
  const summary = menu.locator("summary");
  await summary.click();
  await expect(page.getByRole("button", { name: "Sign out" })).toBeVisible();
  await page.keyboard.press("Escape");
  await expect(menu).not.toHaveAttribute("open");
  await expect(summary).toBeFocused();
  await summary.click();
  await page.getByRole("heading", { name: "API keys" }).click();
  await expect(menu).not.toHaveAttribute("open");
  await summary.press("Enter");
  await expect(menu).toHaveAttribute("open");
  await page.getByRole("button", { name: "Sign out" }).focus();
  await page.keyboard.press("Tab");
  await expect(menu).not.toHaveAttribute("open");
});

test("links keep the environment and the frame", async ({ page }) => {
  await register(page);
  const dashboard = page.getByRole("navigation", { name: "Dashboard" });
  await page.getByRole("link", { name: /Development/ }).click();
  await expect(environment(page)).toContainText("Development");
  await dashboard.getByRole("link", { name: "Events" }).click();
  await expect(page.getByRole("heading", { level: 1, name: "Events" })).toBeVisible();
  await dashboard.getByRole("link", { name: "API keys" }).click();
  await expect(environment(page)).toContainText("Development");

  await page.getByRole("link", { name: "API reference" }).click();
  await expect(page.getByRole("heading", { level: 1, name: "API reference" })).toBeVisible();
  await expect(dashboard.getByRole("link", { name: "API keys" })).toBeVisible();
  await expect(dashboard.locator("[aria-current]")).toHaveCount(0);
  await dashboard.getByRole("link", { name: "API keys" }).click();
  await expect(environment(page)).toContainText("Development");
  await page.goto("/no/such/page");
  await expect(dashboard.getByRole("link", { name: "Events" })).toBeVisible();
  await expectAccessible(page);
  await page.context().clearCookies();
  for (const address of ["/docs/api", "/no/such/page"]) {
    await page.goto(address);
    await expect(dashboard).toHaveCount(0);
  }
});

test("the forms warn about an unknown host name", async ({ page, server }) => {
  await page.goto("/sign-in");
  await expect(page.getByText(/--public-url/)).toHaveCount(0);
  const other = server.url.replace("127.0.0.1", "keys.localhost");
  for (const address of ["/sign-in", "/register"]) {
    await page.goto(`${other}${address}`);
    const notice = page.getByRole("alert").filter({ hasText: "--public-url" });
    await expect(notice).toContainText("keys.localhost");
    await expectAccessible(page);
  }
  await page.screenshot({ path: "../target/end2end/screenshots/unknown-host.png" });
});

test.describe("in another zone", () => {
  test.use({ timezoneId: "America/New_York" });

  test("an expiry date is the end of its day, and times are in the viewer's zone", async ({ page }) => {
    await register(page);
    await page.getByRole("button", { name: /Create (your first )?key/ }).first().click();
    const dialog = page.getByRole("dialog", { name: "Create a key" });
    await dialog.getByLabel("Name", { exact: true }).fill("Until the end");
    await dialog.getByLabel("Expires").selectOption({ label: "On a date…" });
    await dialog.getByLabel("Expiry date").fill("2099-07-01");
    await expect(dialog.getByLabel("Expiry date")).toHaveAccessibleDescription(/end of that day, in your time zone \(UTC-04:00\)/);
    // Today is valid, because the day has not ended.
    const today = await page.evaluate(() => new Intl.DateTimeFormat("sv").format(new Date()));
    await dialog.getByLabel("Expiry date").fill(today);
    await expect(dialog.getByLabel("Expiry date")).not.toHaveAttribute("aria-invalid", "true");
    await dialog.getByLabel("Expiry date").fill("2099-07-01");
    await dialog.getByRole("button", { name: "Create key" }).click();
    await expect(page.locator("#secret-key")).toHaveText(/^hs_live_/);
    const [made] = (await (await page.request.get("/v1/auth/api-keys")).json()).api_keys;
    expect(made.expires_at).toBe("2099-07-02T03:59:59Z");
    page.on("dialog", (asked) => asked.accept());
    await page.goto(`/keys/${made.id}`);
    const time = page.getByRole("region", { name: "Details" }).locator("time", { hasText: "1 July 2099, 23:59:59 UTC-04:00" });
    await expect(time).toHaveAttribute("title", "2 July 2099, 03:59:59 UTC");
    await expect(time).toHaveAttribute("datetime", "2099-07-02T03:59:59Z");
  });
});
