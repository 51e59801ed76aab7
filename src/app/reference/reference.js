// The script of the API reference: the search as the user types, and the mark in the list. Inline in the head, after
// page.js. The page also works without it.
(() => {
  const closest = (event, selector) => (event.target instanceof Element ? event.target.closest(selector) : null);

  // The search hides entries, and keeps the text in the address. The server renders the same for the address (search.rs).
  // A pasted key, or a part of one, stays out of the address.
  const FILTER_DELAY = 200;
  const PART = /(?:hs_(?:live|test)|hks)_[0-9a-f]{16}/i;
  const searchedText = (operation) => {
    const group = operation.closest("section").querySelector("h2");
    const parts = [group, ...operation.querySelectorAll("[data-searched]")].map((part) => part.textContent);
    return [operation.id, ...parts].join("\n").toLowerCase();
  };
  let timer;
  const filter = (form) => {
    clearTimeout(timer);
    const text = form.elements.q.value.trim();
    const words = text.toLowerCase().split(/\s+/).filter(Boolean);
    const operations = [...document.querySelectorAll(".operation")];
    for (const operation of operations) {
      const searched = searchedText(operation);
      operation.hidden = !words.every((word) => searched.includes(word));
    }
    const isLeftOut = (part, of) => words.length > 0 && !part.querySelector(`${of}:not([hidden])`);
    for (const section of document.querySelectorAll(".reference section[id]")) section.hidden = isLeftOut(section, ".operation");
    for (const link of document.querySelectorAll(".side li li a")) {
      link.parentElement.hidden = document.getElementById(link.hash.slice(1)).hidden;
    }
    for (const group of document.querySelectorAll(".side nav > ul > li")) group.hidden = isLeftOut(group, "li");
    const found = operations.filter((operation) => !operation.hidden).length;
    const nothing = document.querySelector("[data-nothing]");
    nothing.hidden = found > 0;
    nothing.querySelector("bdi").textContent = text;
    document.querySelector("[data-count]").textContent = text && `${found} of ${operations.length} match`;
    document.querySelector("[data-clear]").hidden = !text;
    // The results begin at the top of the column, which may be above the viewport.
    const column = document.querySelector(".column");
    if (column.getBoundingClientRect().top < 0) column.scrollIntoView();
    const address = new URL(location.href);
    address.hash = "";
    address.searchParams.delete("q");
    if (text && !PART.test(text)) address.searchParams.set("q", text);
    history.replaceState(history.state, "", address);
  };
  const clearFilter = (form) => {
    form.elements.q.value = "";
    filter(form);
  };
  addEventListener("input", (event) => {
    const form = closest(event, "form[data-filter]");
    if (!form) return;
    clearTimeout(timer);
    timer = setTimeout(filter, FILTER_DELAY, form);
  });
  addEventListener("submit", (event) => {
    const form = closest(event, "form[data-filter]");
    if (!form) return;
    event.preventDefault();
    filter(form);
  });
  addEventListener("click", (event) => {
    const form = document.querySelector("form[data-filter]");
    if (!form || !closest(event, "[data-clear], [data-nothing] a")) return;
    event.preventDefault();
    clearFilter(form);
    form.elements.q.focus();
  });
  // A link to a hidden part ends the search.
  addEventListener("hashchange", () => {
    const target = document.querySelector(".reference :target");
    if (!target?.closest("[hidden]")) return;
    const { hash } = location;
    clearFilter(document.querySelector("form[data-filter]"));
    location.hash = hash;
  });

  // Marks the operation at the top of the viewport in the list beside it.
  const follow = () => {
    const nav = document.querySelector(".side nav.wide");
    if (!nav) return;
    const visible = new Set();
    const observer = new IntersectionObserver(
      (entries) => {
        for (const { target, isIntersecting } of entries) isIntersecting ? visible.add(target) : visible.delete(target);
        const first = [...visible].sort((one, other) => one.offsetTop - other.offsetTop)[0];
        for (const link of nav.querySelectorAll("a[aria-current]")) link.removeAttribute("aria-current");
        const link = first && nav.querySelector(`a[href="#${first.id}"]`);
        link?.setAttribute("aria-current", "location");
        // Not `scrollIntoView`, which would also scroll the page.
        if (link) nav.scrollTop = link.offsetTop - nav.clientHeight / 2;
      },
      { rootMargin: "-80px 0px -60% 0px" },
    );
    for (const operation of document.querySelectorAll(".operation")) observer.observe(operation);
  };
  addEventListener("DOMContentLoaded", follow);
})();
