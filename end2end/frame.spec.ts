// The frame of the pages: the bar at narrow widths and with long names, menus, sidebar, drawer, navigation, and times.

import { execFileSync } from "node:child_process";
import { join } from "node:path";
import type { Page } from "@playwright/test";
import { createKey, dismissReveal, enter, expect, expectAccessible, PASSWORD, register, type Server, sibling, test } from "./fixtures";

const sideways = (page: Page) => page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
const dashboard = (page: Page) => page.getByRole("navigation", { name: "Dashboard" });
const environment = (page: Page) => page.locator("details.environment > summary");
const organisation = (page: Page) => page.locator("details.organisation > summary");
const WIDTHS = [360, 768, 820, 1024, 1440];

/** Makes the first account a member of 99 more organisations, in the database. */
function addOrganisations(server: Server) {
  const script = `
import sqlite3, sys, uuid
database = sqlite3.connect(sys.argv[1], timeout=10)
[user] = database.execute("SELECT id FROM users").fetchone()
for number in range(1, 100):
    name = "W" * 50 if number == 99 else f"Organisation {number} with a name that is long enough to wrap"
    database.execute("INSERT INTO organisations (id, uuid, name, created_at) VALUES (?, ?, ?, 0)", (number, uuid.uuid4().bytes, name))
    database.execute("INSERT INTO environments (id, organisation_id, name, mode, created_at) VALUES (?, ?, 'Live', 'live', 0)", (number, number))
    database.execute("INSERT INTO memberships (user_id, organisation_id, role, created_at) VALUES (?, ?, 'viewer', 0)", (user, number))
database.commit()`;
  execFileSync("python3", ["-c", script, join(server.folder, "latchkey.db")]);
}

/** Expects an open panel to lie inside the viewport. */
async function expectInside(page: Page, selector: string) {
  const box = (await page.locator(selector).boundingBox())!;
  const { width, height } = page.viewportSize()!;
  expect(box.x, `${selector} at ${width}`).toBeGreaterThanOrEqual(0);
  expect(box.y, `${selector} at ${width}`).toBeGreaterThanOrEqual(0);
  expect(box.x + box.width, `${selector} at ${width}`).toBeLessThanOrEqual(width + 0.5);
  expect(box.y + box.height, `${selector} at ${width}`).toBeLessThanOrEqual(height + 0.5);
}

for (const colorScheme of ["light", "dark"] as const) {
  test.describe(colorScheme, () => {
    test.use({ colorScheme });

    test(`pages and menus have room for long names, ${colorScheme}`, async ({ page, server }) => {
      test.setTimeout(300_000);
      // 60 characters.
      await register(page, `${"a".repeat(48)}@example.com`);
      await page.request.post("/v1/auth/api-keys", { data: { name: "x".repeat(100), scopes: `${"s".repeat(49)}:${"t".repeat(49)}` } });
      addOrganisations(server);
      for (const width of [320, 480, 900, 930, 1280, ...WIDTHS]) {
        await page.setViewportSize({ width, height: 800 });
        for (const address of ["/keys", "/docs/api", "/no/such/page", "/server", "/events"]) {
          await page.goto(address);
          expect(await sideways(page), `${address} at ${width}`).toBeLessThanOrEqual(0);
          const avatar = await page.locator(".avatar").boundingBox();
          expect(Math.abs(avatar!.width - avatar!.height), `the avatar is round at ${width}`).toBeLessThan(1);
          if (WIDTHS.includes(width)) {
            const name = `${address.replaceAll("/", "-")}-${colorScheme}-${width}`;
            await page.screenshot({ path: `../target/end2end/screenshots/frame${name}.png` });
          }
        }
        for (const menu of ["drawer", "organisation", "environment", "account"]) {
          const summary = page.locator(`details.${menu} > summary`);
          if (!(await summary.isVisible())) continue;
          await summary.click();
          await expectInside(page, `details.${menu} > :not(summary)`);
          expect(await sideways(page), `${menu} at ${width}`).toBeLessThanOrEqual(0);
          if (WIDTHS.includes(width)) {
            await page.screenshot({ path: `../target/end2end/screenshots/menu-${menu}-${colorScheme}-${width}.png` });
          }
          if ([360, 1440].includes(width)) await expectAccessible(page);
          await page.keyboard.press("Escape");
          await expect(page.locator(`details.${menu}`)).not.toHaveAttribute("open");
          await expect(summary).toBeFocused();
        }
      }
    });
  });
}

for (const width of WIDTHS) {
  test(`the links are a sidebar, icons or a drawer, at ${width}`, async ({ page }) => {
    await page.setViewportSize({ width, height: 800 });
    await register(page);
    const drawer = page.locator("details.drawer");
    if (width < 768) {
      await expect(dashboard(page)).toHaveCount(0);
      await drawer.locator("summary").click();
    } else {
      await expect(drawer).toBeHidden();
    }
    const links = dashboard(page).getByRole("link");
    await expect(links.first()).toHaveAccessibleName("Keys");
    await expect(links.first()).toHaveAttribute("aria-current", "page");
    await expect(links.nth(1)).toHaveAccessibleName("Events");
    // A word is visible, or appears as a tooltip.
    const word = links.nth(1).locator(".label");
    const opacity = () => word.evaluate((element) => getComputedStyle(element).opacity);
    if (width >= 768 && width < 1024) {
      expect(await opacity()).toBe("0");
      await links.nth(1).focus();
      await expect.poll(opacity).toBe("1");
    } else {
      expect(await opacity()).toBe("1");
    }
    await expectAccessible(page);
    for (const link of await links.all()) {
      const box = (await link.boundingBox())!;
      if (width < 1024) expect(box.height).toBeGreaterThanOrEqual(44);
    }
    await links.nth(1).click();
    await expect(page.getByRole("heading", { level: 1, name: "Events" })).toBeVisible();
    expect(await sideways(page)).toBeLessThanOrEqual(0);
  });
}

test.describe("on a phone", () => {
  test.use({ viewport: { width: 360, height: 740 } });

  test("the drawer closes at Escape and at a click beside it", async ({ page }) => {
    await register(page);
    const drawer = page.locator("details.drawer");
    const summary = drawer.locator("summary");
    await summary.focus();
    await page.keyboard.press("Enter");
    await expect(drawer).toHaveAttribute("open");
    await page.keyboard.press("Tab");
    await expect(dashboard(page).getByRole("link", { name: "Keys" })).toBeFocused();
    await page.keyboard.press("Escape");
    await expect(drawer).not.toHaveAttribute("open");
    await expect(summary).toBeFocused();
    await summary.click();
    // The click closes the drawer, and does not reach the page below.
    await page.mouse.click(345, 600);
    await expect(drawer).not.toHaveAttribute("open");
    await expect(page).toHaveURL(/\/keys$/);
    await expect(dashboard(page)).toHaveCount(0);
  });

  test("targets are large enough for a finger", async ({ page }) => {
    await register(page);
    await page.request.post("/v1/auth/api-keys", { data: { name: "Billing worker" } });
    await page.reload();
    for (const target of await page.locator("header :is(a, summary, button), .segmented a, .search .input, main .button").all()) {
      if (!(await target.isVisible())) continue;
      const box = (await target.boundingBox())!;
      const what = await target.evaluate((element) => element.outerHTML.slice(0, 120));
      expect(box.height, what).toBeGreaterThanOrEqual(43.5);
      expect(box.width, what).toBeGreaterThanOrEqual(43.5);
    }
  });

  test.describe("without JavaScript", () => {
    test.use({ javaScriptEnabled: false });

    test("the drawer and the menus work", async ({ page }) => {
      await register(page);
      const drawer = page.locator("details.drawer");
      await drawer.locator("summary").click();
      await expect(drawer).toHaveAttribute("open");
      await page.mouse.click(345, 600);
      await expect(drawer).not.toHaveAttribute("open");
      await enter(page, "Development");
      await drawer.locator("summary").click();
      await dashboard(page).getByRole("link", { name: "Events" }).click();
      await expect(page.getByRole("heading", { level: 1, name: "Events" })).toBeVisible();
      await expect(environment(page)).toContainText("Development");
    });
  });
});

test("menus close at Escape, at a click elsewhere, and when they lose the focus", async ({ page }) => {
  await register(page);
  const menu = page.locator("details.account");
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
  // Opening one menu closes the other.
  await summary.click();
  await environment(page).click();
  await expect(menu).not.toHaveAttribute("open");
});

test("a hundred organisations are searched, and the last ones come first", async ({ page, server }) => {
  await register(page);
  addOrganisations(server);
  await page.reload();
  const menu = page.getByRole("navigation", { name: "Organisations" });
  const search = menu.getByLabel("Search organisations");
  await organisation(page).click();
  await expect(search).toBeFocused();
  await expect(menu.getByRole("listitem")).toHaveCount(100);
  await search.fill("nothing like that");
  await expect(menu.getByRole("listitem")).toHaveCount(0);
  await expect(menu.getByRole("status")).toHaveText("No organisation matches.");
  await search.fill("ORGANISATION 42 ");
  await expect(menu.getByRole("listitem")).toHaveCount(1);
  await expect(menu.getByRole("listitem")).toContainText("viewer");
  await page.keyboard.press("Enter");
  await expect(organisation(page)).toContainText("Organisation 42");
  await expect(page).toHaveURL(/\/o\/org_000000000000002a\/env_000000000000002a\/keys$/);
  await expect(page).toHaveTitle(/^API keys · Live · Organisation 42 .* · Latchkey$/);
  await organisation(page).click();
  await expect(menu.getByRole("listitem").nth(0)).toContainText("Organisation 42");
  await expect(menu.getByRole("link").nth(0)).toHaveAttribute("aria-current", "true");
  await expect(menu.getByRole("listitem").nth(1)).toContainText("ada's organisation");
  await expect(menu.getByRole("listitem").nth(2)).toContainText("Organisation 1 ");
});

test("the browser returns to the environment that was visited last", async ({ page }) => {
  await register(page);
  await enter(page, "Development");
  await expect(page.locator("header.topbar")).toHaveAttribute("data-mode", "test");
  const live = page.url();
  await page.goto("/");
  expect(page.url()).toBe(live);
  await page.locator("details.account > summary").click();
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.getByLabel("Email").fill("ada@example.com");
  await page.getByLabel("Password").fill(PASSWORD);
  await page.getByRole("button", { name: "Sign in" }).click();
  await expect(page).toHaveURL(live);
  const [cookie] = (await page.context().cookies()).filter(({ name }) => name === "latchkey-visited");
  expect(cookie).toMatchObject({ httpOnly: true, sameSite: "Lax" });
  expect(cookie.value).toMatch(/^org_[0-9a-f]{16}\/env_[0-9a-f]{16}$/);
});

test("links keep the environment and the frame", async ({ page }) => {
  await register(page);
  await enter(page, "Development");
  await dashboard(page).getByRole("link", { name: "Events" }).click();
  await expect(page.getByRole("heading", { level: 1, name: "Events" })).toBeVisible();
  await expect(page).toHaveTitle("Events · Development · ada's organisation · Latchkey");
  await dashboard(page).getByRole("link", { name: "Keys" }).click();
  await expect(environment(page)).toContainText("Development");

  await page.getByRole("link", { name: "Docs" }).click();
  await expect(page.getByRole("heading", { level: 1, name: "API reference" })).toBeVisible();
  await expect(page.getByRole("link", { name: "Docs" })).toHaveAttribute("aria-current", "page");
  await expect(dashboard(page).locator("[aria-current]")).toHaveCount(0);
  await dashboard(page).getByRole("link", { name: "Keys" }).click();
  await expect(environment(page)).toContainText("Development");
  await page.locator("details.account > summary").click();
  await page.getByRole("link", { name: "Server" }).click();
  await expect(page.getByRole("heading", { level: 1 })).toBeVisible();
  await expect(environment(page)).toContainText("Development");
  for (const address of ["/no/such/page", "/keys/ak_0000000000000001"]) {
    await page.goto(address);
    await expect(dashboard(page).getByRole("link", { name: "Events" })).toBeVisible();
    await expect(page.getByText("Request", { exact: true })).toBeVisible();
    await expectAccessible(page);
  }
  await page.context().clearCookies();
  for (const address of ["/docs/api", "/no/such/page"]) {
    await page.goto(address);
    await expect(dashboard(page)).toHaveCount(0);
  }
});

test("old addresses lead to the new ones", async ({ page }) => {
  await register(page);
  const key = await createKey(page, "Billing worker");
  await dismissReveal(page);
  const [{ id }] = (await (await page.request.get("/v1/auth/api-keys")).json()).api_keys;
  const me = (await (await page.request.get("/v1/auth/me")).json()).organisations[0];
  for (const [old, rest] of [
    ["/keys", "keys"],
    [`/keys?org=${me.id}&env=${me.environments[0].id}&state=active`, "keys?state=active"],
    [`/keys/${id}`, `keys/${id}`],
    ["/events?source=a", "events?source=a"],
  ]) {
    await page.goto(old);
    expect(page.url().slice(new URL(page.url()).origin.length)).toBe(sibling(page, rest));
  }
  await page.goto("/cluster");
  await expect(page).toHaveURL(/\/server$/);
  expect(await page.content()).not.toContain(key);
});

test("fourteen keys are visible, each in a row of at most 44 px", async ({ page }) => {
  await page.setViewportSize({ width: 1440, height: 900 });
  await register(page);
  for (let number = 0; number < 20; number++) {
    const name = number % 3 ? `Worker ${number}` : "Laptop of Maximilian von Hohenstein-Rothenburg, second floor, left";
    await page.request.post("/v1/auth/api-keys", { data: { name, scopes: "events:write events:read keys:verify" } });
  }
  await page.reload();
  const rows = await page.locator("tbody tr").evaluateAll((found) => found.map((row) => row.getBoundingClientRect()).map(({ height, bottom }) => ({ height, bottom })));
  expect(rows).toHaveLength(20);
  for (const { height } of rows) expect(height).toBeLessThanOrEqual(44);
  expect(rows.filter(({ bottom }) => bottom <= 900).length).toBeGreaterThanOrEqual(14);
  const table = await page.locator("table").evaluate((found) => found.getBoundingClientRect().right);
  const edge = await page.locator(".filters").evaluate((found) => found.getBoundingClientRect().right);
  expect(table, "the table ends at the edge of the page").toBeLessThanOrEqual(edge + 0.5);
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

test("the theme is chosen in the account menu and kept, also on the page after a sign-out", async ({ page }) => {
  await page.emulateMedia({ colorScheme: "light" });
  await register(page);
  const background = () => page.evaluate(() => getComputedStyle(document.documentElement).backgroundColor);
  const light = await background();
  await page.locator("details.account > summary").click();
  const choices = page.getByRole("group", { name: "Theme" });
  await expect(choices.getByRole("button", { name: "System" })).toHaveAttribute("aria-pressed", "true");
  await choices.getByRole("button", { name: "Dark" }).click();
  await expect(choices.getByRole("button", { name: "Dark" })).toHaveAttribute("aria-pressed", "true");
  const dark = await background();
  expect(dark).not.toBe(light);
  await expectAccessible(page);
  await page.reload();
  expect(await background()).toBe(dark);
  await page.context().clearCookies();
  await page.goto("/sign-in");
  expect(await background()).toBe(dark);
});
