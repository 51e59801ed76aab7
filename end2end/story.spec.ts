// The main story on an empty server: a key is created, shown once, used and revoked.

import { createKey, dismissReveal, enter, expect, register, sibling, test } from "./fixtures";

test("a key is created, shown once, used, counted and revoked", async ({ page, request, context }) => {
  await context.grantPermissions(["clipboard-read", "clipboard-write"]);
  await page.goto("/");
  await expect(page).toHaveURL(/\/setup$/);
  await expect(page.getByRole("heading", { name: "Welcome. Create the owner account of this server." })).toBeVisible();
  await register(page);
  await expect(page.getByRole("heading", { name: "No keys in Production yet" })).toBeVisible();

  const key = await createKey(page, "Billing worker");
  expect(key).toMatch(/^hs_live_/);
  await page.getByRole("button", { name: "Copy key" }).click();
  await expect(page.getByRole("dialog", { name: /Save/ }).getByRole("status")).toHaveText(/copied/i);
  expect(await page.evaluate(() => navigator.clipboard.readText())).toBe(key);
  await expect(page.getByRole("button", { name: "Done" })).toBeDisabled();
  await dismissReveal(page);

  const row = page.getByRole("row", { name: /Billing worker/ });
  await expect(row).toContainText(key.slice(0, 12));
  await expect(row).toContainText("Never used");
  await expect(row).toContainText("Active");

  const use = () => request.get("/v1/whoami", { headers: { "x-api-key": key } });
  const told = await use();
  expect(told.status()).toBe(200);
  expect(await told.json()).toMatchObject({ name: "Billing worker", environment: "live", key_prefix: key.slice(0, 12) });
  expect((await use()).status()).toBe(200);
  await page.reload();
  await expect(row.getByRole("cell").filter({ hasText: /^2$/ })).toBeVisible();
  await expect(row).toContainText("just now");

  await row.getByRole("link", { name: /Revoke/ }).click();
  const dialog = page.getByRole("dialog", { name: /Revoke/ });
  await expect(dialog).toContainText("Billing worker");
  await expect(dialog).toContainText(key.slice(0, 12));
  await dialog.getByRole("button", { name: /Revoke/ }).click();
  await expect(page.getByRole("status").filter({ hasText: /revoked/i })).toBeVisible();
  await expect(page.getByRole("row", { name: /Billing worker/ })).toContainText("Revoked");
  expect((await use()).status()).toBe(401);
});

test("keys are filtered by state and name within their environment", async ({ page, request }) => {
  await register(page);
  const me = await (await page.request.get("/v1/auth/me")).json();
  const [organisation] = me.organisations;
  const make = (name: string, environment: number) =>
    page.request.post("/v1/auth/api-keys", {
      data: { name, org_id: organisation.id, env_id: organisation.environments[environment].id, scopes: "events:write" },
    });
  for (let number = 1; number <= 60; number++) await make(`worker ${number}`, 0);
  const ended = await (await make("old one", 0)).json();
  await page.request.delete(`/v1/auth/api-keys/${ended.id}`);
  await make("sandbox", 1);

  await page.goto("/keys");
  await expect(page.getByRole("row")).toHaveCount(51);
  await page.getByRole("link", { name: "Older" }).click();
  await expect(page.getByRole("row", { name: /worker 1\b/ })).toBeVisible();
  await expect(page.getByRole("row")).toHaveCount(12);
  await page.getByRole("link", { name: "Newest" }).click();
  await expect(page.getByRole("row")).toHaveCount(51);

  await page.getByRole("link", { name: "Revoked", exact: true }).click();
  await expect(page.getByRole("row")).toHaveCount(2);
  await expect(page.getByRole("row", { name: /old one/ })).toBeVisible();
  await page.getByRole("link", { name: "Active", exact: true }).click();
  await page.getByLabel("Search keys by name or ID").fill("WORKER 6");
  await page.keyboard.press("Enter");
  await expect(page.getByRole("row")).toHaveCount(3);
  await page.getByLabel("Search keys by name or ID").fill("100%_");
  await page.keyboard.press("Enter");
  await expect(page.getByRole("table")).toHaveCount(0);
  await expect(page.getByText(/No (active )?key/i).first()).toBeVisible();

  await enter(page, "Development");
  await expect(page.getByRole("row", { name: /sandbox/ })).toContainText("hs_test_");
});

test("members of different organisations cannot see each other's keys", async ({ page, browser, server }) => {
  await register(page, "ada@example.com");
  const key = await createKey(page, "Ada's key");
  await dismissReveal(page);
  const ada = (await (await page.request.get("/v1/auth/me")).json()).organisations[0];
  const [{ id }] = (await (await page.request.get("/v1/auth/api-keys")).json()).api_keys;

  const other = await browser.newContext({ baseURL: server.url });
  const eve = await other.newPage();
  await register(eve, "eve@example.com");
  await expect(eve.getByText("Ada's key")).toHaveCount(0);
  expect((await eve.goto(`/keys?org=${ada.id}`))!.status()).toBe(404);
  await expect(eve.locator("body")).not.toContainText("Ada's key");
  expect((await eve.goto(`/keys?revoke=${id}`))!.status()).toBeLessThan(500);
  await expect(eve.locator("body")).not.toContainText("Ada's key");
  expect((await eve.request.get(`/v1/auth/api-keys?org_id=${ada.id}`)).status()).toBe(404);
  expect((await eve.request.delete(`/v1/auth/api-keys/${id}`)).status()).toBe(404);
  const form = await eve.request.post(sibling(eve, `keys/${id}/revoke`), { form: { return_to: "/" } });
  expect(form.status()).toBe(404);
  expect((await page.request.get("/v1/whoami", { headers: { "x-api-key": key } })).status()).toBe(200);
  await other.close();
});
