// A key that is pasted into a search field or an address: a whole key leads to its page, and no address or page
// contains the key or a part of it.

import type { Page } from "@playwright/test";
import { expect, register, test } from "./fixtures";

/** Records the requests of the browser. */
function watch(page: Page): string[] {
  const sent: string[] = [];
  page.on("request", (request) => sent.push(`${request.url()} ${request.headers().referer ?? ""} ${request.postData() ?? ""}`));
  return sent;
}

async function make(page: Page) {
  await register(page);
  return (await page.request.post("/v1/auth/api-keys", { data: { name: "Billing worker" } })).json();
}

test("a key in the search field is not sent, and leads to its page", async ({ page, server }) => {
  const { id, key } = await make(page);
  await page.goto("/keys?state=active");
  const sent = watch(page);
  await page.getByLabel("Search keys by name").fill(`  ${key}`);
  await page.keyboard.press("Enter");
  await expect(page).toHaveURL(new RegExp(`/o/org_[0-9a-f]{16}/env_[0-9a-f]{16}/keys/${id}$`));
  expect(sent.filter((text) => text.includes(key.slice(8)))).toEqual([]);
  expect(await page.content()).not.toContain(key);
  await page.goBack();
  expect(page.url()).toContain("/keys?state=active");
  await expect(page.getByLabel("Search keys by name")).toHaveValue("");
  expect(await page.content()).not.toContain(key);

  await page.getByLabel("Search keys by name").fill(`hs_live_${"0".repeat(64)}`);
  await page.keyboard.press("Enter");
  await expect(page.getByRole("alert")).toContainText("No key found for the string that you pasted");
  await expect(page).toHaveURL(/\/keys\?state=active$/);
  expect(server.log).not.toContain(key.slice(8));
});

/** Returns texts with a part of a key: a command that an input cuts, a key without its checksum, and a short part. */
const cut = (key: string) => [`curl -H "Authorization: Bearer ${key}"`.slice(0, 97), key.slice(0, -8), key.slice(0, 24)];

async function pasteParts(page: Page, key: string) {
  for (const [address, label] of [["/keys?state=active", "Search keys by name"], ["/events?source=nobody&from=2026-03-01", "Source"]]) {
    for (const text of cut(key)) {
      await page.goto(address);
      await page.getByLabel(label).fill(text);
      await page.keyboard.press("Enter");
      await expect(page.getByRole("alert")).toContainText("The string that you pasted is a part of a key");
      await expect(page).toHaveURL(address.startsWith("/keys") ? /\/keys\?state=active$/ : /\/events\?from=2026-03-01$/);
      await expect(page.getByLabel(label)).toHaveValue("");
      expect(await page.content()).not.toContain(key.slice(8, 24));
    }
  }
}

test("a part of a key is not sent", async ({ page, server }) => {
  const { id, key } = await make(page);
  const sent = watch(page);
  await pasteParts(page, key);
  // A whole key inside a text that is longer than a name: no field cuts the text.
  for (const [address, label] of [["/keys", "Search keys by name"], ["/events?source=nobody", "Source"]]) {
    await page.goto(address);
    await page.getByLabel(label).fill(`curl https://keys.example.com/v1/whoami -H "Authorization: Bearer ${key}"`);
    await page.keyboard.press("Enter");
    await expect(page).toHaveURL(new RegExp(`/o/org_[0-9a-f]{16}/env_[0-9a-f]{16}/keys/${id}$`));
  }
  expect(sent.filter((text) => text.includes(key.slice(8, 24)))).toEqual([]);
  expect(server.log).not.toContain(key.slice(8, 24));
});

test("a search text that is too long shows an error", async ({ page }) => {
  await make(page);
  await page.goto("/keys");
  await page.getByLabel("Search keys by name").fill("x".repeat(101));
  await page.keyboard.press("Enter");
  await expect(page.getByRole("heading", { name: "Nothing was searched" })).toBeVisible();
  await expect(page.getByText("at most 100 characters")).toBeVisible();
});

test("an address with a key leads to the page of the key", async ({ page }) => {
  const { id, key } = await make(page);
  for (const address of [`/keys?q=${key}`, `/events?source=a&x=%20${key}`, `/docs/api?${key}`]) {
    await page.goto(address);
    await expect(page).toHaveURL(new RegExp(`/o/org_[0-9a-f]{16}/env_[0-9a-f]{16}/keys/${id}$`));
  }
  await page.context().clearCookies();
  await page.goto(`/keys?state=active&q=${key}`);
  await expect(page).toHaveURL(/\/sign-in\?next=%2Fkeys%3Fstate%3Dactive$/);
});

test.describe("without JavaScript", () => {
  test.use({ javaScriptEnabled: false });

  test("a part of a key appears in no address", async ({ page, server }) => {
    const { key } = await make(page);
    const sent = watch(page);
    await pasteParts(page, key);
    const addresses = sent.map((text) => text.split(" ").slice(0, 2).join(" "));
    expect(addresses.filter((text) => text.includes(key.slice(8, 24)))).toEqual([]);
    expect(server.log).not.toContain(key.slice(8, 24));
  });

  test("a key in the search field appears in no address", async ({ page, server }) => {
    const { id, key } = await make(page);
    await page.goto("/keys");
    const sent = watch(page);
    await page.getByLabel("Search keys by name").fill(key);
    await page.keyboard.press("Enter");
    await expect(page).toHaveURL(new RegExp(`/o/org_[0-9a-f]{16}/env_[0-9a-f]{16}/keys/${id}$`));
    const addresses = sent.map((text) => text.split(" ").slice(0, 2).join(" "));
    expect(addresses.filter((text) => text.includes(key.slice(8)))).toEqual([]);
    expect(server.log).not.toContain(key.slice(8));
    await page.getByRole("link", { name: "Back to the list" }).click();
    await page.getByLabel("Search keys by name").fill("BILLING");
    await page.keyboard.press("Enter");
    await expect(page).toHaveURL(/\/keys\?q=BILLING$/);
    await expect(page.getByRole("row", { name: /Billing worker/ })).toBeVisible();
  });
});
