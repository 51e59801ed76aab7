// The browser interface of the stories. Playwright cannot drive the Firefox and WebKit of a distribution, so each
// engine has a driver in this folder.

import { expect } from "../fixtures";

/** Keys by their names in `KeyboardEvent.key`. */
export type Key = "Tab" | "Enter" | "Escape" | " ";

export abstract class Browser {
  /** Errors and warnings on the console. */
  readonly complaints: string[] = [];

  abstract open(url: string): Promise<void>;
  abstract back(): Promise<void>;
  abstract press(key: Key): Promise<void>;
  /** Types into the element that has the focus. */
  abstract type(text: string): Promise<void>;
  abstract close(): Promise<void>;
  /** Returns the value of a JavaScript expression in the page, as JSON. */
  protected abstract evaluate(expression: string): Promise<unknown>;
  /** Clicks on the middle of the element that an expression returns. */
  protected abstract clickOn(expression: string): Promise<void>;

  /** Runs a function in the page, which can use only its arguments. */
  async run<A extends unknown[], T>(work: (...args: A) => T, ...args: A): Promise<Awaited<T>> {
    return (await this.evaluate(`(${work})(...${JSON.stringify(args)})`)) as Awaited<T>;
  }

  /** Runs a function in the page on the first visible element of an XPath expression. */
  private async at<T>(xpath: string, work: (element: HTMLElement | null) => T): Promise<T> {
    return (await this.evaluate(`(${work})(${element(xpath)})`)) as T;
  }

  /** Clicks when the element is visible and no longer moves. */
  async click(xpath: string) {
    let before = "";
    await eventually(async () => {
      const place = await this.at(xpath, (found) => found && JSON.stringify(found.getBoundingClientRect()));
      const stands = place !== null && place === before;
      before = place ?? "";
      expect(stands, `${xpath} is visible and stands still`).toBe(true);
    });
    await this.clickOn(element(xpath));
  }

  async fill(label: string, text: string) {
    await this.click(field(label));
    await this.type(text);
  }

  hasFocus(xpath: string): Promise<boolean> {
    return this.at(xpath, (found) => found !== null && found === document.activeElement);
  }

  /** Presses Tab until the element has the focus. */
  async tabTo(xpath: string) {
    const passed: string[] = [];
    while (!(await this.hasFocus(xpath))) {
      passed.push(await this.run(() => document.activeElement?.outerHTML.slice(0, 80) ?? ""));
      if (passed.length > 40) throw new Error(`Tab does not reach ${xpath}:\n${passed.join("\n")}`);
      await this.press("Tab");
    }
  }

  /** Returns the text of the first visible element of an XPath expression, empty if there is none. */
  text(xpath: string): Promise<string> {
    return this.at(xpath, (found) => found?.innerText.trim() ?? "");
  }

  height(xpath: string): Promise<number> {
    return this.at(xpath, (found) => found?.getBoundingClientRect().height ?? 0);
  }

  /** Waits until the element has the text. */
  async expectText(xpath: string, text: string | RegExp) {
    await eventually(async () => {
      const check = expect(await this.text(xpath), `the text of ${xpath}`);
      if (typeof text === "string") check.toContain(text);
      else check.toMatch(text);
    });
  }
}

/** Repeats a check until it passes, also while another page loads. */
export async function eventually(check: () => Promise<void>) {
  await expect(check).toPass({ timeout: 10_000, intervals: [50, 100, 200] });
}

/** Returns the JavaScript expression for the first visible element of an XPath expression. */
const element = (xpath: string) => `(${firstVisible})(${JSON.stringify(xpath)})`;

/** Runs in the page. */
function firstVisible(xpath: string): Element | null {
  const found = document.evaluate(xpath, document, null, XPathResult.ORDERED_NODE_SNAPSHOT_TYPE, null);
  for (let place = 0; place < found.snapshotLength; place++) {
    const candidate = found.snapshotItem(place) as Element;
    if (candidate.getClientRects().length > 0) return candidate;
  }
  return null;
}

// XPath expressions of elements, by their text.
const reads = (text: string) => `descendant-or-self::*[normalize-space()="${text}"]`;
export const button = (name: string) => `//button[${reads(name)}]`;
export const link = (name: string) => `//a[${reads(name)}]`;
export const field = (label: string) =>
  `(//*[@id=//label[normalize-space()="${label}"]/@for] | //label[normalize-space()="${label}"]//input)`;
export const row = (text: string) => `//tr[contains(normalize-space(), "${text}")]`;
export const heading = (text: string) => `//h1[normalize-space()="${text}"]`;
