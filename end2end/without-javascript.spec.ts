// Sign-in, list, filters and revocation work without JavaScript; creating a key shows a notice.

import { expect, PASSWORD, register, test } from "./fixtures";

// Without animations, because without scripts a test cannot wait for their end.
test.use({ javaScriptEnabled: false, contextOptions: { reducedMotion: "reduce" } });

test("everything except creating keys works without JavaScript", async ({ page }) => {
  await register(page);
  await expect(page.getByText(/Creating a key needs JavaScript/)).toBeVisible();
  await expect(page.getByRole("button", { name: /Create key/ })).toHaveCount(0);
  const made = await (await page.request.post("/v1/auth/api-keys", { data: { name: "By curl" } })).json();

  await page.getByText("ada@example.com").first().click();
  await page.getByRole("button", { name: "Sign out" }).click();
  await expect(page).toHaveURL(/\/sign-in/);
  await page.goto("/keys?state=active");
  await page.getByLabel("Email").fill("ada@example.com");
  await page.getByLabel("Password").fill("wrong password");
  await page.getByRole("button", { name: "Sign in" }).click();
  await expect(page.getByRole("alert")).toContainText(/wrong/i);
  await expect(page.getByLabel("Email")).toHaveValue("ada@example.com");
  await page.getByLabel("Password").fill(PASSWORD);
  await page.getByRole("button", { name: "Sign in" }).click();
  await expect(page).toHaveURL(/\/keys\?state=active/);
  await expect(page.getByRole("row", { name: /By curl/ })).toBeVisible();

  await page.getByRole("row", { name: /By curl/ }).getByRole("link", { name: /Revoke/ }).click();
  const dialog = page.getByRole("dialog", { name: /Revoke/ });
  await expect(dialog).toContainText("By curl");
  await dialog.getByRole("link", { name: "Cancel" }).click();
  await expect(dialog).toHaveCount(0);
  await page.getByRole("row", { name: /By curl/ }).getByRole("link", { name: /Revoke/ }).click();
  await dialog.getByRole("button", { name: /Revoke/ }).click();
  await expect(page.getByText(/revoked/i).first()).toBeVisible();
  await page.getByRole("link", { name: "Revoked", exact: true }).click();
  await expect(page.getByRole("row", { name: /By curl/ })).toContainText("Revoked");
  expect((await page.request.get("/v1/whoami", { headers: { "x-api-key": made.key } })).status()).toBe(401);
});

test("sign-in redirects only to addresses of this server", async ({ page, server }) => {
  await register(page);
  await page.context().clearCookies();
  for (const next of ["https://evil.example/", "//evil.example/", "/\\evil.example", "javascript:alert(1)"]) {
    await page.goto(`/sign-in?next=${encodeURIComponent(next)}`);
    await page.getByLabel("Email").fill("ada@example.com");
    await page.getByLabel("Password").fill(PASSWORD);
    await page.getByRole("button", { name: "Sign in" }).click();
    await expect(page.getByRole("heading", { name: "API keys" })).toBeVisible();
    expect(new URL(page.url()).origin).toBe(server.url);
    await page.context().clearCookies();
  }
});
