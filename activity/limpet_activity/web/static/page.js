// All of it is help: without it every page works by links and forms.
(() => {
  "use strict";
  const $ = (selector, within = document) => within.querySelector(selector);
  const $$ = (selector, within = document) => [...within.querySelectorAll(selector)];
  const ROWS_EVERY_MS = 1000;

  // ---- Theme: as the system has it, or the other one.
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");
  const dark = () => (root.dataset.theme ? root.dataset.theme === "dark" : system.matches);
  const theme = $("#theme");
  const nameTheme = () => { theme.textContent = dark() ? "Light" : "Dark"; };
  if (theme) {
    theme.hidden = false;
    nameTheme();
    system.addEventListener("change", nameTheme);
    theme.addEventListener("click", () => {
      const next = dark() ? "light" : "dark";
      root.dataset.theme = next;
      try { localStorage.setItem("limpet-theme", next); } catch { /* it holds for this page */ }
      nameTheme();
    });
  }

  // ---- Fetching parts of pages. Whoever is signed out meanwhile is shown the form.
  let away = false;
  async function fetched(address) {
    const answer = await fetch(address, { headers: { accept: "text/html" }, credentials: "same-origin" });
    if (answer.status === 401) { location.reload(); throw new Error("signed out"); }
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    return new DOMParser().parseFromString(await answer.text(), "text/html");
  }
  function isAway(now) {
    if (now === away) return;
    away = now;
    document.body.classList.toggle("away", away);
    for (const mark of $$(".live")) mark.title = away ? "The page does not answer; trying again" : "";
  }
  function every(ms, task) {
    let running = false;
    const run = async () => {
      if (running || document.hidden) return;
      running = true;
      try { await task(); isAway(false); } catch { isAway(true); } finally { running = false; }
    };
    setInterval(run, ms);
    document.addEventListener("visibilitychange", run);
  }

  // ---- Pages that are drawn anew every few seconds, part by part; not a part that holds the focus.
  const refreshed = $("[data-refresh]");
  if (refreshed) {
    every(Number(refreshed.dataset.refresh) * 1000, async () => {
      const fresh = await fetched(location.href);
      const wanted = new Set($$("[data-live]", fresh).map((part) => part.id));
      for (const part of $$("[data-live]")) {
        const other = fresh.getElementById(part.id);
        if (!wanted.has(part.id)) { part.replaceChildren(); continue; }
        if (part.contains(document.activeElement) || $(".plotted:hover", part)) continue;
        if (part.innerHTML !== other.innerHTML) part.replaceChildren(...other.childNodes);
      }
    });
  }

  // ---- The table of requests follows what comes in.
  const table = $("#records[data-rows]");
  const pause = $("#pause");
  if (table && pause) {
    let paused = false, unread = 0;
    const body = table.tBodies[0];
    const most = Number(table.dataset.limit);
    pause.hidden = false;
    pause.addEventListener("click", () => {
      paused = !paused;
      pause.setAttribute("aria-pressed", String(paused));
      $("span", pause).textContent = paused ? "Resume" : "Pause";
      document.body.classList.toggle("paused", paused);
    });
    every(ROWS_EVERY_MS, async () => {
      if (paused) return;
      const at = table.dataset.rows + (table.dataset.rows.includes("?") ? "&" : "?") + "after=" + table.dataset.last;
      const fresh = $("tbody", await fetched(at));
      if (paused) return;
      table.dataset.last = fresh.dataset.last;
      const known = new Set($$("tr", body).map((row) => row.dataset.id));
      const rows = $$("tr", fresh).filter((row) => !known.has(row.dataset.id));
      if (!rows.length) return;
      rows.forEach((row) => row.classList.add("new"));
      body.prepend(...rows);
      while (body.rows.length > most && !body.lastElementChild.contains(document.activeElement)) body.lastElementChild.remove();
      $("#empty")?.remove();
      unread += rows.length;
    });
    // Told seldom: a busy gateway would talk without end.
    setInterval(() => {
      if (!unread) return;
      $("#news").textContent = unread === 1 ? "1 new request" : `${unread} new requests`;
      unread = 0;
    }, 10000);
  }

  // ---- The flyout: a record beside the table. Its address is that of the record's own page.
  const flyout = $("#flyout");
  if (flyout) {
    let opener = null;
    const rows = () => $$("tr[data-href]");
    async function show(href) {
      let page;
      try { page = await fetched(href); } catch { location.assign(href); return; }
      const article = $("#record", page);
      if (!article) { location.assign(href); return; }
      const bar = document.createElement("div");
      bar.className = "flyout-bar";
      const close = document.createElement("button");
      close.type = "button";
      close.className = "quiet";
      close.textContent = "Close";
      close.addEventListener("click", () => flyout.close());
      const own = document.createElement("a");
      own.href = href;
      own.textContent = "Open as a page";
      bar.append(own, close);
      const title = $("h1", article);
      const smaller = document.createElement("h2");
      smaller.id = title.id;
      smaller.className = "title";
      smaller.append(...title.childNodes);
      title.replaceWith(smaller);
      for (const heading of $$("section > h2", article)) {
        const lower = document.createElement("h3");
        lower.id = heading.id;
        lower.append(...heading.childNodes);
        heading.replaceWith(lower);
      }
      flyout.replaceChildren(bar, article);
      for (const row of rows()) row.classList.toggle("open", row.dataset.href === href);
      if (!flyout.open) flyout.showModal();
      flyout.scrollTop = 0;
      close.focus();
      flyout.dataset.href = href;
    }
    flyout.addEventListener("close", () => {
      for (const row of rows()) row.classList.remove("open");
      const here = rows().find((row) => row.dataset.href === flyout.dataset.href);
      const back = (here && $("a", here)) || opener;
      if (back && back.isConnected) back.focus();
    });
    flyout.addEventListener("click", (event) => { if (event.target === flyout) flyout.close(); });
    // From record to record, as in the table behind it.
    flyout.addEventListener("keydown", (event) => {
      const step = { ArrowDown: 1, j: 1, ArrowUp: -1, k: -1 }[event.key];
      if (!step || event.ctrlKey || event.metaKey || event.altKey) return;
      const all = rows().map((row) => row.dataset.href);
      const next = all[all.indexOf(flyout.dataset.href) + step];
      if (!next || !all.includes(flyout.dataset.href)) return;
      event.preventDefault();
      show(next);
    });
    document.addEventListener("click", (event) => {
      if (event.defaultPrevented || event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
      if (flyout.contains(event.target)) return;
      const link = event.target.closest("a");
      const row = event.target.closest("tr[data-href]");
      const href = row ? row.dataset.href : link && link.matches("[data-flyout]") ? link.getAttribute("href") : null;
      if (!href || (link && link.getAttribute("href") !== href)) return;
      if (!link && String(getSelection())) return;  // Text is being copied.
      event.preventDefault();
      opener = link || (row && $("a", row));
      show(href);
    });
  }

  // ---- What a chart says where it is pointed at.
  const tip = document.createElement("div");
  tip.className = "tip";
  tip.hidden = true;
  document.body.append(tip);
  document.addEventListener("pointermove", (event) => {
    const hit = event.target instanceof Element ? event.target.closest("[data-tip]") : null;
    tip.hidden = !hit;
    if (!hit) return;
    const lines = hit.dataset.tip.split("|");
    tip.replaceChildren(...lines.map((line, index) => {
      const part = document.createElement(index ? "div" : "b");
      part.textContent = line;
      return part;
    }));
    const wide = tip.offsetWidth, x = event.clientX + 14;
    // A script may set styles; only those in the document are forbidden.
    tip.style.left = `${Math.max(4, x + wide > innerWidth ? event.clientX - wide - 14 : x)}px`;
    tip.style.top = `${Math.max(4, event.clientY - tip.offsetHeight - 10)}px`;
  });

  // ---- Filters: an address without the empty fields; and out of the way on a phone.
  const filters = $("#filters");
  if (filters) {
    filters.addEventListener("submit", () => {
      for (const field of filters.elements) if (field.name && !field.value) field.disabled = true;
    });
    addEventListener("pageshow", () => { for (const field of filters.elements) field.disabled = false; });
  }
})();
