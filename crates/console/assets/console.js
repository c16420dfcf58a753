// The console's one script. Pages work without it; it adds live parts, live checking and the keyboard.
"use strict";

(() => {
  const $ = (selector, within = document) => within.querySelector(selector);
  const $$ = (selector, within = document) => [...within.querySelectorAll(selector)];
  const typing = (target) => target.closest?.("input, textarea, select, [contenteditable]") !== null;

  // Parts of a page that are fetched again and again. A redirect means that the session has ended.
  const fetchPart = async (url, options) => {
    const response = await fetch(url, { credentials: "same-origin", ...options });
    if (response.redirected) location.reload();
    if (!response.ok && !options) throw new Error(String(response.status));
    return response.text();
  };

  // Server-rendered HTML of our own; the policy lets nothing in it run.
  const put = (element, html) => {
    const template = document.createElement("template");
    template.innerHTML = html;
    element.replaceChildren(template.content);
    localise(element);
  };

  const refresh = (element) => {
    const every = Number(element.dataset.every);
    const turn = async () => {
      // Nothing moves under a keyboard focus or a selection.
      const held = element.contains(document.activeElement) || String(getSelection()).length > 0;
      if (!document.hidden && !held) {
        try {
          put(element, await fetchPart(element.dataset.refresh));
        } catch { /* The next turn tries again. */ }
      }
      setTimeout(turn, every);
    };
    setTimeout(turn, every);
  };

  // Times in the reader's own zone; the attribute keeps the exact one.
  const localise = (within) => {
    for (const time of $$("time[datetime]", within)) {
      const at = new Date(time.dateTime);
      if (Number.isNaN(at.getTime())) continue;
      time.title = time.dateTime;
      if (time.classList.contains("clock")) {
        const today = at.toDateString() === new Date().toDateString();
        time.textContent = (today ? "" : `${at.toLocaleDateString(undefined, { month: "short", day: "numeric" })} `) + at.toLocaleTimeString(undefined, { hour12: false });
      }
    }
  };

  // Live records.
  const follow = (table) => {
    const button = $("[data-pause]");
    let source = null;
    let missed = 0;
    const start = () => {
      source = new EventSource(table.dataset.live);
      source.addEventListener("row", (event) => {
        const template = document.createElement("template");
        template.innerHTML = event.data;
        const row = template.content.firstElementChild;
        row.classList.add("fresh");
        table.tBodies[0].prepend(row);
        localise(row);
        $(".empty")?.remove();
        while (table.tBodies[0].rows.length > 300) table.tBodies[0].lastElementChild.remove();
      });
      source.addEventListener("missed", (event) => { missed += Number(event.data); label(); });
    };
    const label = () => {
      if (!button) return;
      button.textContent = (source ? "Pause" : "Resume") + (missed ? ` (${missed} not shown)` : "");
      button.setAttribute("aria-pressed", String(!source));
    };
    const toggle = () => {
      if (source) { source.close(); source = null; } else start();
      label();
    };
    start();
    if (button) { button.hidden = false; button.addEventListener("click", toggle); }
    label();
    addEventListener("pagehide", () => source?.close());
    return toggle;
  };

  // Finders narrow the rows or entries of one element.
  const narrow = (input) => {
    const target = $(input.dataset.narrows);
    if (!target) return;
    input.addEventListener("input", () => {
      const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
      for (const one of $$("tbody tr, ul > li", target)) {
        const text = one.textContent.toLowerCase();
        one.hidden = !words.every((word) => text.includes(word));
      }
    });
    input.addEventListener("keydown", (event) => { if (event.key === "Enter") event.preventDefault(); });
  };

  // Checking a rule while it is written.
  const check = (form) => {
    let timer = 0;
    let turn = 0;
    const run = async () => {
      const mine = ++turn;
      try {
        const html = await fetchPart(form.dataset.check, { method: "POST", body: new URLSearchParams(new FormData(form)) });
        if (mine !== turn) return;
        const template = document.createElement("template");
        template.innerHTML = html;
        for (const part of $$("[data-for]", template.content)) {
          const place = $(`.check[data-for="${part.dataset.for}"]`, form);
          place?.replaceChildren(...part.childNodes);
        }
      } catch { /* Checked again with the next key. */ }
    };
    const soon = () => { clearTimeout(timer); timer = setTimeout(run, 250); };
    form.addEventListener("input", soon);
    form.addEventListener("change", soon);
    // An empty form is not told that it is empty.
    if ($("[name=name]", form)?.value) soon();
    // A field of the panel goes where the caret was last.
    let last = $("[data-live]", form);
    form.addEventListener("focusin", (event) => { if (event.target.matches("[data-live]")) last = event.target; });
    document.addEventListener("click", (event) => {
      const name = event.target.closest?.("[data-insert]")?.dataset.insert;
      if (!name || !last) return;
      last.setRangeText(name, last.selectionStart, last.selectionEnd, "end");
      last.focus();
      soon();
    });
  };

  // Code: line numbers, indentation with Tab; Escape lets Tab leave again.
  const code = (area) => {
    const numbers = document.createElement("pre");
    numbers.className = "numbers";
    numbers.setAttribute("aria-hidden", "true");
    area.before(numbers);
    const count = () => {
      const lines = area.value.split("\n").length;
      numbers.textContent = Array.from({ length: lines }, (_, index) => index + 1).join("\n");
    };
    let leaving = false;
    const insert = (text) => {
      area.setRangeText(text, area.selectionStart, area.selectionEnd, "end");
      area.dispatchEvent(new Event("input", { bubbles: true }));
    };
    area.addEventListener("input", count);
    area.addEventListener("scroll", () => { numbers.scrollTop = area.scrollTop; });
    area.addEventListener("blur", () => { leaving = false; });
    area.addEventListener("keydown", (event) => {
      if (event.key === "Escape") { leaving = true; return; }
      if (event.key === "Tab" && !event.shiftKey && !event.ctrlKey && !event.metaKey && !event.altKey && !leaving) {
        event.preventDefault();
        insert("  ");
      } else if (event.key === "Enter" && !event.ctrlKey && !event.metaKey && !event.isComposing) {
        const line = area.value.slice(0, area.selectionStart).split("\n").pop();
        const indent = line.match(/^[ \t]*/)[0] + (/[{[(]\s*$/.test(line) ? "  " : "");
        if (indent) { event.preventDefault(); insert(`\n${indent}`); }
      }
      if (event.key !== "Tab" && event.key !== "Shift") leaving = false;
    });
    count();
    for (const link of $$("[data-line]")) {
      link.addEventListener("click", (event) => {
        event.preventDefault();
        const before = area.value.split("\n").slice(0, Number(link.dataset.line) - 1).join("\n").length;
        area.focus();
        area.setSelectionRange(before ? before + 1 : 0, before ? before + 1 : 0);
        area.scrollTop = (Number(link.dataset.line) - 4) * parseFloat(getComputedStyle(area).lineHeight);
      });
    }
  };

  // Names are completed while one types: a list under the text, moved through with the arrows, taken with Tab or Enter.
  const complete = (area) => {
    const names = $$("option", $(area.dataset.completes)).map((option) => ({ name: option.value, about: option.label }));
    const list = document.createElement("ul");
    list.className = "completions";
    list.id = `${area.id}-completions`;
    list.setAttribute("role", "listbox");
    list.hidden = true;
    area.after(list);
    area.setAttribute("aria-controls", list.id);
    area.setAttribute("aria-autocomplete", "list");
    let chosen = 0;
    const word = () => area.value.slice(0, area.selectionStart).match(/[A-Za-z_][A-Za-z0-9_]*$/)?.[0] ?? "";
    const close = () => { list.hidden = true; area.removeAttribute("aria-activedescendant"); };
    const mark = (index) => {
      chosen = (index + list.children.length) % list.children.length;
      [...list.children].forEach((item, at) => item.setAttribute("aria-selected", String(at === chosen)));
      list.children[chosen].scrollIntoView({ block: "nearest" });
      area.setAttribute("aria-activedescendant", list.children[chosen].id);
    };
    const take = () => {
      const text = list.children[chosen].dataset.name;
      area.setRangeText(text, area.selectionStart - word().length, area.selectionStart, "end");
      area.dispatchEvent(new Event("input", { bubbles: true }));
      close();
    };
    area.addEventListener("input", (event) => {
      const start = word().toLowerCase();
      if (start.length < 2 || event.inputType === undefined) { close(); return; }
      const seen = new Set();
      const found = names.filter(({ name }) => name.toLowerCase().startsWith(start) && name.toLowerCase() !== start && !seen.has(name) && seen.add(name));
      if (!found.length) { close(); return; }
      list.replaceChildren(...found.slice(0, 12).map(({ name, about }, index) => {
        const item = document.createElement("li");
        item.id = `${list.id}-${index}`;
        item.dataset.name = name;
        item.setAttribute("role", "option");
        item.append(Object.assign(document.createElement("code"), { textContent: name }), ` ${about}`);
        item.addEventListener("mousedown", (press) => { press.preventDefault(); chosen = index; take(); });
        return item;
      }));
      list.hidden = false;
      mark(0);
    });
    area.addEventListener("blur", close);
    area.addEventListener("keydown", (event) => {
      if (list.hidden || event.ctrlKey || event.metaKey || event.isComposing) return;
      if (event.key === "ArrowDown") mark(chosen + 1);
      else if (event.key === "ArrowUp") mark(chosen - 1);
      else if (event.key === "Tab" || event.key === "Enter") take();
      else if (event.key === "Escape") close();
      else return;
      event.preventDefault();
    });
  };

  // Buttons that fetch a part of the page with the form's fields.
  const partial = (button) => {
    button.addEventListener("click", async (event) => {
      event.preventDefault();
      const form = button.form;
      const body = new URLSearchParams(new FormData(form));
      body.set("partial", "1");
      if (button.name) body.set(button.name, button.value);
      button.disabled = true;
      if (button.dataset.busy) $(button.dataset.partial).textContent = button.dataset.busy;
      try {
        put($(button.dataset.partial), await fetchPart(button.formAction.split("#")[0], { method: "POST", body }));
      } finally {
        button.disabled = false;
      }
    });
  };

  // Leaving a page with unsaved code asks first.
  const keep = (form) => {
    let dirty = false;
    $("[data-code]", form)?.addEventListener("input", () => { dirty = true; });
    form.addEventListener("submit", () => { dirty = false; });
    addEventListener("beforeunload", (event) => { if (dirty) event.preventDefault(); });
  };

  const copier = (block) => {
    if (!navigator.clipboard) return;
    const text = block.textContent;
    const button = document.createElement("button");
    button.type = "button";
    button.className = "copy";
    button.textContent = "Copy";
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
    });
    block.prepend(button);
  };

  let toggleLive = null;
  let going = false;
  const keys = (event) => {
    if ((event.ctrlKey || event.metaKey) && event.key === "Enter") {
      const form = event.target.closest?.("form");
      if (form) { event.preventDefault(); form.requestSubmit($(".primary", form) ?? undefined); }
      return;
    }
    if (event.ctrlKey || event.metaKey || event.altKey || typing(event.target)) return;
    if (going) {
      going = false;
      const link = $(`[data-go="${CSS.escape(event.key)}"]`);
      if (link) { event.preventDefault(); link.click(); }
      return;
    }
    if (event.key === "g") { going = true; setTimeout(() => { going = false; }, 1200); }
    else if (event.key === "/") { const filter = $("[data-filter]"); if (filter) { event.preventDefault(); filter.focus(); filter.select(); } }
    else if (event.key === "?") { event.preventDefault(); $("#shortcuts")?.showModal?.(); }
    else if (event.key === "p") toggleLive?.();
  };

  localise(document);
  $$("nav [aria-current]").forEach((link) => { const nav = link.parentElement; nav.scrollLeft = link.offsetLeft + link.offsetWidth - nav.clientWidth; });
  $$("[data-refresh]").forEach(refresh);
  $$("[data-narrows]").forEach(narrow);
  $$("[data-check]").forEach(check);
  $$("[data-code]").forEach(code);
  $$("[data-completes]").forEach(complete);
  $$("[data-partial]").forEach(partial);
  $$("[data-keep]").forEach(keep);
  $$("[data-copy]").forEach(copier);
  const live = $("table[data-live]");
  if (live) toggleLive = follow(live);
  document.addEventListener("keydown", keys);
  $(".notice[tabindex]")?.focus();
})();
