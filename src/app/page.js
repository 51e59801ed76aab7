// The script of every page, independent of WebAssembly: inline in the head, with a nonce. A page also works without it.
(() => {
  const closest = (event, selector) => (event.target instanceof Element ? event.target.closest(selector) : null);

  // A click on a button that needs WebAssembly is repeated at `latchkey:ready`. If WebAssembly does not start, a notice
  // appears: after an error, or after this many milliseconds.
  const READY_TIMEOUT = 15_000;
  let ready = false;
  let waiting = null;
  const announce = (hidden) => {
    for (const notice of document.querySelectorAll("[data-no-wasm]")) notice.hidden = hidden;
  };
  const fail = () => {
    if (ready) return;
    announce(false);
    waiting?.removeAttribute("aria-busy");
    waiting = null;
  };
  addEventListener("click", (event) => {
    const button = closest(event, "[data-create-key]");
    if (!button || ready) return;
    const notice = document.querySelector("[data-no-wasm]:not([hidden])");
    if (notice) return notice.focus();
    waiting = button;
    button.setAttribute("aria-busy", "true");
    setTimeout(fail, READY_TIMEOUT);
  });
  addEventListener("latchkey:ready", () => {
    ready = true;
    announce(true);
    const button = waiting;
    waiting = null;
    button?.removeAttribute("aria-busy");
    button?.click();
  });
  // Leptos does not handle the rejection of the promises that load WebAssembly.
  addEventListener("unhandledrejection", fail);

  // The theme: `light` or `dark`, or that of the system. Set here, before the page is painted. A browser that keeps
  // nothing has the theme of the system on each page.
  const root = document.documentElement;
  const showTheme = () => {
    const current = root.dataset.theme ?? "system";
    for (const button of document.querySelectorAll("[data-theme-choice]")) {
      button.setAttribute("aria-pressed", String(button.dataset.themeChoice === current));
    }
  };
  const setTheme = (theme) => {
    if (theme === "light" || theme === "dark") root.dataset.theme = theme;
    else delete root.dataset.theme;
    showTheme();
  };
  try {
    setTheme(localStorage.getItem("theme"));
  } catch {
    // The browser refuses storage.
  }
  addEventListener("DOMContentLoaded", showTheme);
  addEventListener("storage", (event) => {
    if (event.key === "theme") setTheme(event.newValue);
  });
  addEventListener("click", (event) => {
    const theme = closest(event, "[data-theme-choice]")?.dataset.themeChoice;
    if (!theme) return;
    setTheme(theme);
    try {
      localStorage.setItem("theme", theme);
    } catch {
      // The choice holds for this page only.
    }
  });

  // Menus close at Escape, at a click elsewhere, and when they lose the focus.
  const openMenus = () => document.querySelectorAll("details.menu[open]");
  const leave = (event) => {
    for (const menu of openMenus()) if (event.target instanceof Node && !menu.contains(event.target)) menu.open = false;
  };
  addEventListener("click", leave);
  addEventListener("focusin", leave);
  addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    for (const menu of openMenus()) {
      menu.open = false;
      menu.querySelector("summary").focus();
    }
  });

  // A search field with `data-narrows` shows the entries of its menu that contain its text; Enter opens the first.
  const shown = (field) => [...field.closest(".menu-panel").querySelectorAll("li")].filter((entry) => !entry.hidden);
  addEventListener("input", (event) => {
    const field = closest(event, "[data-narrows]");
    if (!field) return;
    const text = field.value.trim().toLowerCase();
    for (const entry of field.closest(".menu-panel").querySelectorAll("li")) {
      entry.hidden = !entry.querySelector("bdi").textContent.toLowerCase().includes(text);
    }
    field.parentElement.querySelector("[data-none]").textContent = shown(field).length ? "" : "No organisation matches.";
  });
  addEventListener("keydown", (event) => {
    const field = closest(event, "[data-narrows]");
    if (field && event.key === "Enter") shown(field)[0]?.querySelector("a").click();
  });
  // On a screen without a keyboard, the focus would open one over the list.
  const focusSearch = (event) => {
    if (event.target.open && matchMedia("(hover: hover)").matches) event.target.querySelector?.("[data-narrows]")?.focus();
  };
  addEventListener("toggle", focusSearch, true);

  // A form with `data-guard` asks before its changes are lost. The value `typed` marks a form that the server rendered
  // with unsaved changes.
  let sent = null;
  // Browsers omit seconds that are zero.
  const normal = (text) => text.replace(/^(\d{4}-\d\d-\d\dT\d\d:\d\d):00$/, "$1");
  const isChanged = (field) =>
    normal(field.value) !== normal(field.defaultValue) || field.checked !== field.defaultChecked;
  const isUnsaved = (form) =>
    form !== sent &&
    (form.dataset.guard === "typed" || [...form.querySelectorAll("input, textarea")].some(isChanged));
  addEventListener("submit", (event) => {
    if (!event.defaultPrevented) sent = event.target;
  });
  addEventListener("click", (event) => {
    const discard = closest(event, "a[data-discard]");
    if (discard) sent = discard.closest("form");
  });
  addEventListener("beforeunload", (event) => {
    if (![...document.querySelectorAll("form[data-guard]")].some(isUnsaved)) return;
    event.preventDefault();
    event.returnValue = "Your changes are not saved.";
  });

  // A search field with a key sends the hash of the key instead, or an empty hash for a part of a key. Without
  // `crypto.subtle` (plain http), the whole key is sent, and the server recognises it.
  const PART = /(?:hs_(?:live|test)|hks)_[0-9a-f]{16}/;
  const KEY = /hs_(?:live|test)_[0-9a-f]{64}|hks_[0-9a-f]{32}/;
  addEventListener("submit", async (event) => {
    const form = closest(event, "form.search:not([data-filter]), form.event-filters");
    const field = form?.elements.q ?? form?.elements.source;
    const text = field?.value.toLowerCase() ?? "";
    const key = KEY.exec(text)?.[0];
    if (!PART.test(text) || (key && !crypto.subtle)) return;
    event.preventDefault();
    const bytes = key ? await crypto.subtle.digest("SHA-256", new TextEncoder().encode(key)) : [];
    const hash = document.createElement("input");
    hash.type = "hidden";
    hash.name = "hash";
    hash.value = [...new Uint8Array(bytes)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
    field.value = "";
    form.append(hash);
    form.submit();
  });

  // Shows exact times in the viewer's zone, with the offset; the tooltip has UTC.
  const LOCAL = {
    day: "numeric", month: "long", year: "numeric",
    hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23", timeZoneName: "longOffset",
  };
  const localise = () => {
    for (const time of document.querySelectorAll("time[data-exact]")) {
      const at = new Date(time.dateTime);
      if (Number.isNaN(at.getTime())) continue;
      const parts = new Intl.DateTimeFormat("en-GB", LOCAL).formatToParts(at);
      const part = (type) => parts.find((found) => found.type === type)?.value;
      const zone = part("timeZoneName").replace("GMT", "UTC");
      time.textContent = `${part("day")} ${part("month")} ${part("year")}, ${part("hour")}:${part("minute")}:${part("second")} ${zone}`;
    }
  };
  addEventListener("DOMContentLoaded", localise);

  // A button with `data-copy` copies the <code> of its `data-copyable` element. If the browser refuses, the text stays
  // selected, to be copied by hand. Same words and times as the dialog that shows a new key.
  const COPIED_DURATION = 2_000;
  const FAILED_DURATION = 10_000;
  const copy = async (code) => {
    try {
      await navigator.clipboard.writeText(code.textContent);
      return true;
    } catch {
      // Plain http has no `navigator.clipboard`.
      getSelection().selectAllChildren(code);
      return document.execCommand("copy");
    }
  };
  let endCopy = () => {};
  addEventListener("click", async (event) => {
    const button = closest(event, "[data-copy]");
    if (!button) return;
    endCopy();
    const copied = await copy(button.closest("[data-copyable]").querySelector("code"));
    endCopy();
    const status = document.querySelector("[data-copy-status]");
    const words = status.querySelector("[data-failed]");
    words.textContent = copied ? button.dataset.copy : words.dataset.failed;
    status.classList.toggle("visually-hidden", copied);
    if (copied) button.dataset.state = "copied";
    const timer = setTimeout(() => endCopy(), copied ? COPIED_DURATION : FAILED_DURATION);
    endCopy = () => {
      clearTimeout(timer);
      delete button.dataset.state;
      words.textContent = "";
      status.classList.add("visually-hidden");
    };
  });

  // `/` moves the focus to the search field that names this shortcut.
  addEventListener("keydown", (event) => {
    const field = document.querySelector("[aria-keyshortcuts='/']");
    const isTyped = closest(event, "input, textarea, select, [contenteditable], dialog");
    if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey || !field || isTyped) return;
    event.preventDefault();
    field.focus();
    field.select();
  });
})();
