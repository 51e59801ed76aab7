// Chromium and Firefox, driven by Puppeteer: Firefox over WebDriver BiDi.

import puppeteer, { type Browser as Process, type ElementHandle, type Page } from "puppeteer-core";
import { Browser, type Key } from "./browser";
import { executable } from "./executable";

export class PuppeteerBrowser extends Browser {
  private constructor(
    private readonly launched: Process,
    private readonly page: Page,
  ) {
    super();
    page.on("pageerror", (error) => this.complaints.push(`error: ${error instanceof Error ? error.message : error}`));
    page.on("console", (message) => {
      if (["error", "warn"].includes(message.type())) this.complaints.push(message.text());
    });
  }

  static async start(browser: "chrome" | "firefox"): Promise<PuppeteerBrowser> {
    const executablePath =
      browser === "firefox"
        ? executable("Firefox", "FIREFOX", "/usr/bin/firefox-esr")
        : executable("Chromium", "CHROMIUM", "/usr/bin/chromium");
    const launched = await puppeteer.launch({
      browser,
      executablePath,
      headless: true,
      // Chromium's sandbox does not work as root.
      args: browser === "chrome" && process.getuid?.() === 0 ? ["--no-sandbox"] : [],
      defaultViewport: { width: 1280, height: 900 },
    });
    return new PuppeteerBrowser(launched, await launched.newPage());
  }

  async open(url: string) {
    await this.page.goto(url);
  }

  async back() {
    await this.page.goBack();
  }

  async press(key: Key) {
    await this.page.keyboard.press(key);
  }

  async type(text: string) {
    await this.page.keyboard.type(text);
  }

  async close() {
    await this.launched.close();
  }

  protected evaluate(expression: string): Promise<unknown> {
    return this.page.evaluate(expression);
  }

  protected async clickOn(expression: string) {
    const found = (await this.page.evaluateHandle(expression)) as ElementHandle<Element>;
    await found.click();
  }
}
