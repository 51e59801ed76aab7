// Teams: from the set-up to a team of four roles, invitations, a leaver's keys, environments, and the end of an
// organisation.

import type { Browser, Page } from "@playwright/test";
import { expect, expectAccessible, PASSWORD, register, type Server, test } from "./fixtures";

const sideways = (page: Page) => page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
const toast = (page: Page, text: string | RegExp) => page.getByRole("status").filter({ hasText: text });

/** Opens a page of the settings, from the links at the side. */
async function settings(page: Page, name: string) {
  await page.getByRole("navigation", { name: "Dashboard" }).getByRole("link", { name, exact: true }).click();
  await expect(page.getByRole("heading", { level: 1, name, exact: true })).toBeVisible();
}

/** Invites an address; returns the link. */
async function invite(page: Page, email: string, role: string): Promise<string> {
  await settings(page, "Invitations");
  await page.getByLabel("Email").fill(email);
  await page.getByLabel("Role", { exact: true }).selectOption(role);
  await page.getByRole("button", { name: "Create invitation" }).click();
  await expect(page.getByRole("heading", { name: `Send this link to ${email}` })).toBeVisible();
  return (await page.locator("#invitation-link").textContent())!.trim();
}

/** Opens a browser of another person. */
async function another(browser: Browser, server: Server): Promise<Page> {
  return (await browser.newContext({ baseURL: server.url })).newPage();
}

/** Accepts an invitation with a new account, in a browser of its own. */
async function join(browser: Browser, server: Server, link: string): Promise<Page> {
  const page = await another(browser, server);
  await page.goto(new URL(link).pathname);
  await page.getByLabel("Password").fill(PASSWORD);
  await page.getByRole("button", { name: "Create account and join" }).click();
  await expect(page.getByRole("heading", { name: "API keys" })).toBeVisible();
  return page;
}

/** Creates a key as the person of a page, in the organisation of the page. */
async function key(page: Page, name: string): Promise<string> {
  const [, organisation] = /\/o\/(org_[0-9a-f]{16})/.exec(page.url())!;
  const me = await (await page.request.get("/v1/auth/me")).json();
  const { environments } = me.organisations.find((found: { id: string }) => found.id === organisation);
  const made = await page.request.post("/v1/auth/api-keys", { data: { name, org_id: organisation, env_id: environments[0].id } });
  expect(made.status()).toBe(201);
  return (await made.json()).key;
}

const works = async (page: Page, secret: string) =>
  (await page.request.get("/v1/whoami", { headers: { "x-api-key": secret } })).status() === 200;

test("from the set-up to a team of four roles", async ({ page, browser, server }) => {
  test.setTimeout(300_000);
  await page.goto("/");
  await expect(page).toHaveURL(/\/setup$/);
  await register(page, "owner@example.com");
  await settings(page, "General");
  await page.getByLabel("Name", { exact: true }).fill("Acme");
  await page.getByRole("button", { name: "Rename" }).click();
  await expect(toast(page, "Organisation renamed to “Acme”")).toBeVisible();
  await expect(page).toHaveTitle("General · Acme · Latchkey");

  const people: Record<string, Page> = {};
  for (const role of ["admin", "member", "viewer"]) {
    people[role] = await join(browser, server, await invite(page, `${role}@example.com`, role));
  }
  await settings(page, "Members");
  await expect(page.getByRole("row")).toHaveCount(5);
  await expect(page.getByText("This is the only owner")).toBeVisible();
  const row = page.getByRole("row", { name: /viewer@example.com/ });
  await row.getByRole("combobox").selectOption("member");
  await row.getByRole("button", { name: /Save/ }).click();
  await expect(toast(page, "viewer@example.com is a member now")).toBeVisible();
  await row.getByRole("combobox").selectOption("viewer");
  await row.getByRole("button", { name: /Save/ }).click();
  await expect(toast(page, "viewer@example.com is a viewer now")).toBeVisible();

  // Members and viewers read, and have no forms.
  for (const role of ["member", "viewer"]) {
    const other = people[role];
    await expect(other.getByRole("navigation", { name: "Dashboard" }).getByRole("link", { name: "Invitations" })).toHaveCount(0);
    await settings(other, "Members");
    await expect(other.getByRole("row")).toHaveCount(5);
    await expect(other.getByRole("combobox")).toHaveCount(0);
    await settings(other, "Environments");
    await expect(other.getByRole("button", { name: "Create environment" })).toHaveCount(0);
    await settings(other, "General");
    await expect(other.getByRole("button", { name: "Rename" })).toHaveCount(0);
  }
  await settings(people.admin, "General");
  await expect(people.admin.getByRole("button", { name: "Rename" })).toBeVisible();
  await expect(people.admin.getByRole("link", { name: /Delete organisation/ })).toHaveCount(0);
  await settings(people.admin, "Invitations");
  await expect(people.admin.getByLabel("Role", { exact: true }).locator("option")).toHaveCount(3);
});

test("an invitation leads to an account, once", async ({ page, browser, server, context }) => {
  await context.grantPermissions(["clipboard-read", "clipboard-write"]);
  await register(page, "owner@example.com");
  const link = await invite(page, "kim@example.com", "member");
  const button = page.getByRole("button", { name: "Copy link" });
  const width = (await button.boundingBox())!.width;
  await button.click();
  await expect(toast(page, "Link copied to the clipboard")).toBeAttached();
  expect((await button.boundingBox())!.width).toBe(width);
  expect(await page.evaluate(() => navigator.clipboard.readText())).toBe(link);
  await page.goto(page.url());
  await expect(page.locator("body")).not.toContainText("lki_");
  await expect(page.getByRole("row", { name: /kim@example.com/ })).toBeVisible();

  const kim = await another(browser, server);
  await kim.goto(new URL(link).pathname);
  await expect(kim).toHaveURL(/\/invite$/);
  expect(await kim.content()).not.toContain("lki_");
  await expect(kim.getByText("kim@example.com")).toBeVisible();
  await expectAccessible(kim);
  await kim.getByLabel("Password").fill("short");
  await kim.getByRole("button", { name: "Create account and join" }).click();
  await expect(kim.getByText(/It must have/)).toBeVisible();
  await kim.getByLabel("Password").fill(PASSWORD);
  await kim.getByRole("button", { name: "Create account and join" }).click();
  await expect(toast(kim, /You joined/)).toBeVisible();
  // Joined only this organisation, and the link is used up.
  expect((await (await kim.request.get("/v1/auth/me")).json()).organisations).toHaveLength(1);
  const dead = await kim.goto(new URL(link).pathname);
  expect(dead!.status()).toBe(404);
  await expect(kim.getByText("Ask the person who sent it for a new link.", { exact: false })).toBeVisible();
  expect(server.log).not.toContain("lki_");
  expect(server.disk()).not.toContain(link.split("/invite/")[1]);
});

test("an invited person with an account signs in first", async ({ page, browser, server }) => {
  await register(page, "owner@example.com");
  const kim = await another(browser, server);
  await register(kim, "kim@example.com");
  const link = await invite(page, "kim@example.com", "viewer");

  // The owner opens the link, and is told whose it is.
  await page.goto(new URL(link).pathname);
  await expect(page.getByText("The invitation is for another address.", { exact: false })).toBeVisible();
  await page.getByRole("button", { name: "Sign out and go on" }).click();
  await page.getByRole("link", { name: "Sign in to join" }).click();
  await page.getByLabel("Email").fill("kim@example.com");
  await page.getByLabel("Password").fill(PASSWORD);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByRole("button", { name: "Join", exact: true }).click();
  await expect(toast(page, /You joined/)).toBeVisible();
  await kim.reload();
  await kim.locator("details.organisation > summary").click();
  await expect(kim.getByRole("navigation", { name: "Organisations" }).getByRole("link", { name: /owner/ }).first()).toBeVisible();
});

test("a leaver's keys are kept or revoked", async ({ page, browser, server }) => {
  test.setTimeout(300_000);
  await register(page, "owner@example.com");
  const kim = await join(browser, server, await invite(page, "kim@example.com", "member"));
  const lee = await join(browser, server, await invite(page, "lee@example.com", "member"));
  const kims = await key(kim, "kim's");
  const lees = await key(lee, "lee's");

  await settings(page, "Members");
  const row = page.getByRole("row", { name: /kim@example.com/ });
  await expect(row.getByRole("cell").filter({ hasText: /^1$/ })).toBeVisible();
  await row.getByRole("link", { name: /Remove/ }).click();
  const dialog = page.getByRole("dialog", { name: "Remove kim@example.com?" });
  await expect(dialog.getByText("made 1 key", { exact: false })).toBeVisible();
  await expect(dialog.getByRole("link", { name: "Cancel" })).toBeFocused();
  await expectAccessible(page);
  await dialog.getByLabel(/^Revoke/).check();
  await dialog.getByRole("button", { name: "Remove member" }).click();
  await expect(toast(page, "kim@example.com removed")).toContainText("1 key revoked.");
  await expect(row).toHaveCount(0);
  expect(await works(page, kims)).toBe(false);
  expect((await kim.goto(new URL(page.url()).pathname))!.status()).toBe(404);

  await settings(lee, "Members");
  await lee.getByRole("row", { name: /lee@example.com/ }).getByRole("link", { name: /Leave/ }).click();
  await lee.getByLabel(/^Keep/).check();
  await lee.getByRole("button", { name: "Leave organisation" }).click();
  await expect(toast(lee, /You left/)).toBeVisible();
  expect(await works(page, lees)).toBe(true);
});

test("an environment is created and archived with its keys", async ({ page }) => {
  await register(page, "owner@example.com");
  const secret = await key(page, "worker");
  await settings(page, "Environments");
  await page.getByLabel("Name", { exact: true }).fill("Staging");
  await page.getByLabel(/^test/).check();
  await page.getByRole("button", { name: "Create environment" }).click();
  await expect(toast(page, "Environment “Staging” created")).toBeVisible();
  await page.getByRole("table").getByRole("link", { name: "Production" }).click();
  await page.getByRole("link", { name: /Archive environment/ }).click();
  const dialog = page.getByRole("dialog", { name: "Archive “Production”?" });
  await expect(dialog.getByText("1 active key will be revoked", { exact: false })).toBeVisible();
  await dialog.getByRole("link", { name: "Cancel" }).click();
  expect(await works(page, secret)).toBe(true);
  await page.getByRole("link", { name: /Archive environment/ }).click();
  await dialog.getByRole("button", { name: "Revoke 1 key and archive" }).click();
  await expect(toast(page, "Environment “Production” archived")).toBeVisible();
  expect(await works(page, secret)).toBe(false);
  await page.getByRole("button", { name: "Open again" }).click();
  await expect(toast(page, "Environment “Production” opened again")).toBeVisible();
});

test("an organisation is deleted after its name is typed", async ({ page }) => {
  await register(page, "owner@example.com");
  const secret = await key(page, "worker");
  await settings(page, "General");
  const name = await page.getByLabel("Name", { exact: true }).inputValue();
  await page.getByRole("link", { name: /Delete organisation/ }).click();
  const dialog = page.getByRole("dialog", { name: `Delete “${name}”?` });
  await expect(dialog.getByText("Revokes 1 key", { exact: false })).toBeVisible();
  await expect(dialog.getByRole("link", { name: "Cancel" })).toBeFocused();
  await dialog.getByLabel(/Type the name/).fill("another");
  await dialog.getByRole("button", { name: "Delete organisation" }).click();
  await expect(dialog.getByText("This is not the name of the organisation.")).toBeVisible();
  await dialog.getByLabel(/Type the name/).fill(name);
  await dialog.getByRole("button", { name: "Delete organisation" }).click();
  await expect(toast(page, "deleted")).toContainText("1 key revoked.");
  expect(await works(page, secret)).toBe(false);
  await expect(page.getByText("You are in no organisation.")).toBeVisible();
  await page.getByLabel("Name", { exact: true }).fill("Second start");
  await page.getByRole("button", { name: "Create organisation" }).click();
  await expect(toast(page, "Organisation “Second start” created")).toBeVisible();
  await expect(page.getByRole("heading", { name: "API keys" })).toBeVisible();
});

for (const colorScheme of ["light", "dark"] as const) {
  test.describe(colorScheme, () => {
    test.use({ colorScheme });

    test(`the settings have room at every width, ${colorScheme}`, async ({ page, browser, server }) => {
      test.setTimeout(300_000);
      await register(page, `${"a".repeat(48)}@example.com`);
      await join(browser, server, await invite(page, `${"w".repeat(40)}@example.com`, "admin"));
      await invite(page, "open@example.com", "viewer");
      const pages: Record<string, string> = {};
      for (const name of ["General", "Members", "Invitations", "Environments"]) {
        await settings(page, name);
        pages[name.toLowerCase()] = page.url();
      }
      await page.getByRole("table").getByRole("link", { name: "Production" }).click();
      pages.environment = page.url();
      pages.archive = `${page.url()}?archive=1`;
      pages.delete = `${pages.general}?delete=1`;
      pages["new-organisation"] = "/organisations/new";
      for (const width of [320, 360, 820, 1440]) {
        await page.setViewportSize({ width, height: 800 });
        for (const [name, address] of Object.entries(pages)) {
          await page.goto(address);
          expect(await sideways(page), `${name} at ${width}`).toBeLessThanOrEqual(0);
          await page.screenshot({ path: `../target/end2end/screenshots/team-${name}-${colorScheme}-${width}.png` });
          await expectAccessible(page);
          if (width === 1440) {
            for (const row of await page.locator("tbody tr").all()) {
              expect((await row.boundingBox())!.height, name).toBeLessThanOrEqual(44);
            }
          }
        }
      }
    });
  });
}

test.describe("without JavaScript", () => {
  test.use({ javaScriptEnabled: false });

  test("the forms of a team work", async ({ page }) => {
    await register(page, "owner@example.com");
    const link = await invite(page, "kim@example.com", "member");
    expect(link).toContain("/invite/lki_");
    await expect(page.getByRole("button", { name: "Copy link" })).toBeHidden();
    await page.getByRole("row", { name: /kim@example.com/ }).getByRole("button", { name: /Delete/ }).click();
    await expect(toast(page, "Invitation of kim@example.com deleted")).toBeVisible();
  });
});
