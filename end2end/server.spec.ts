// An operator's pages: the accounts of the server.

import { expect, expectAccessible, PASSWORD, register, test } from "./fixtures";

test("an operator disables an account, which ends its session, and enables it again", async ({ page, browser, server }) => {
  await register(page);
  const elsewhere = await browser.newContext({ baseURL: server.url });
  const bob = await elsewhere.newPage();
  await register(bob, "bob@example.com");
  expect((await bob.goto("/server/accounts"))!.status()).toBe(403);

  await page.locator("details.account > summary").click();
  await page.getByRole("link", { name: "Server" }).click();
  await page.getByRole("link", { name: "Accounts" }).click();
  await expect(page).toHaveTitle(/^Accounts · Server/);
  await expectAccessible(page);
  await page.getByRole("searchbox").fill("bob");
  await page.keyboard.press("Enter");
  const row = page.getByRole("row", { name: /bob@example\.com/ });
  await row.getByRole("link", { name: "Disable bob@example.com" }).click();
  const dialog = page.getByRole("dialog", { name: "Disable this account?" });
  await expect(dialog.getByRole("link", { name: "Cancel" })).toBeFocused();
  await expectAccessible(page);
  for (const [name, width] of [["360", 360], ["1440", 1440]] as const) {
    await page.setViewportSize({ width, height: 800 });
    await page.screenshot({ path: `../target/end2end/screenshots/accounts-disable-${name}.png`, animations: "disabled" });
    expect(await page.evaluate(() => document.documentElement.scrollWidth - innerWidth)).toBeLessThanOrEqual(0);
  }
  await dialog.getByRole("button", { name: "Disable account" }).click();
  await expect(page.getByText("Its sessions and tokens have ended")).toBeVisible();
  expect(page.url()).toContain("q=bob");
  await expect(row).toContainText("Disabled");

  await bob.goto("/");
  await expect(bob).toHaveURL(/\/sign-in/);
  await bob.getByLabel("Email").fill("bob@example.com");
  await bob.getByLabel("Password").fill(PASSWORD);
  await bob.getByRole("button", { name: "Sign in" }).click();
  await expect(bob.getByRole("alert")).toContainText("This account is disabled");

  await row.getByRole("button", { name: "Enable bob@example.com" }).click();
  await expect(row).toContainText("Enabled");
  await bob.getByLabel("Password").fill(PASSWORD);
  await bob.getByRole("button", { name: "Sign in" }).click();
  await expect(bob.getByRole("heading", { name: "API keys" })).toBeVisible();
  await elsewhere.close();
});
