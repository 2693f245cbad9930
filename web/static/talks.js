// The inbox: parts that keep themselves up to date without disturbing who types, listens or reads, and the composer.
(() => {
  "use strict";

  const token = () => document.querySelector("meta[name=csrf-token]").content;
  const REACHABLE = "a[href], button, input, select, textarea, summary, audio";
  // Who stayed away too long signs in and comes back to this page.
  const signInAgain = (answer) => location.assign(answer.headers.get("HX-Redirect") ?? "/auth/sign-in");
  const NEAR_PX = 96;
  const SAID_FOR_MS = 6000;

  // ---- parts that are asked for again: <div data-poll="address" data-every="ms" data-etag="…"> ----
  // Inside it every [data-part] is replaced when it changed. One with data-items is a list whose rows have data-key:
  // only rows that changed are touched. "exact" shows what the server shows; "growing" loses nothing it has.

  const asServed = new WeakMap();
  const frames = [...document.querySelectorAll("[data-poll]")];
  const parts = (root) => root.querySelectorAll("[data-part]");
  for (const frame of frames) {
    for (const part of parts(frame)) {
      asServed.set(part, part.outerHTML);
      for (const item of part.children) asServed.set(item, item.outerHTML);
    }
  }

  function served(html) {
    const fresh = document.createElement("template");
    fresh.innerHTML = html;
    return fresh.content;
  }

  function replace(old, fresh) {
    const focused = [...old.querySelectorAll(REACHABLE)].indexOf(document.activeElement);
    old.replaceWith(fresh);
    if (focused >= 0) (fresh.querySelectorAll(REACHABLE)[focused] ?? fresh.querySelector(REACHABLE))?.focus({ preventScroll: true });
  }

  function mergeItems(list, fresh) {
    const isGrowing = list.dataset.items === "growing";
    const known = new Map([...list.children].map((item) => [item.dataset.key, item]));
    const added = [];
    let last = null;
    for (const item of [...fresh.children]) {
      const html = item.outerHTML;
      const old = known.get(item.dataset.key);
      let shown = old;
      if (!old || asServed.get(old) !== html) {
        shown = item;
        asServed.set(item, html);
        if (old) replace(old, item);
        else added.push(item);
      }
      const isPlaced = isGrowing ? Boolean(old) : shown === (last ? last.nextElementSibling : list.firstElementChild);
      if (!isPlaced) list.insertBefore(shown, last ? last.nextElementSibling : isGrowing ? null : list.firstElementChild);
      known.delete(item.dataset.key);
      last = shown;
    }
    if (!isGrowing) for (const gone of known.values()) gone.remove();
    return added;
  }

  function merge(frame, html) {
    const added = [];
    for (const part of parts(served(html))) {
      const shown = frame.querySelector(`[data-part="${part.dataset.part}"]`);
      if (!shown) continue;
      if (shown.dataset.items) added.push(...mergeItems(shown, part));
      else if (asServed.get(shown) !== part.outerHTML) {
        asServed.set(part, part.outerHTML);
        replace(shown, part);
      }
    }
    return added;
  }

  async function ask(frame) {
    const answer = await fetch(frame.dataset.poll, { headers: { "HX-Request": "true", "If-None-Match": frame.dataset.etag } });
    if (answer.status === 401) signInAgain(answer);
    if (answer.status !== 200) return;
    const html = await answer.text();
    frame.dataset.etag = answer.headers.get("ETag") ?? "";
    const scroll = frame.querySelector("[data-scroll]");
    const wasAtEnd = scroll && isAtEnd(scroll);
    const added = merge(frame, html);
    dress();
    if (scroll && wasAtEnd) toEnd(scroll);
    else if (scroll && added.some((item) => item.classList.contains("is-in"))) frame.querySelector("[data-to-end]").hidden = false;
  }

  // One question at a time; nobody is asked often about a page that is not in view.
  let misses = 0;
  function keepAsking(frame) {
    let timer;
    const turn = async () => {
      clearTimeout(timer);
      try {
        await ask(frame);
        misses = 0;
      } catch {
        misses += 1;
      }
      const offline = document.querySelector("[data-offline]");
      if (offline) offline.hidden = misses < 3;
      timer = setTimeout(turn, Number(frame.dataset.every) * (document.hidden ? 5 : 1));
    };
    timer = setTimeout(turn, Number(frame.dataset.every));
    frame.askNow = turn;
  }
  const askAll = () => frames.forEach((frame) => frame.askNow?.());
  frames.filter((frame) => frame.dataset.every).forEach(keepAsking);
  document.addEventListener("visibilitychange", () => { if (!document.hidden) askAll(); });

  // ---- what follows from what is shown: the open row, the title, what was read ----

  const plainTitle = document.title.replace(/^\(\d+\) /, "");
  let seenUpTo = "";
  function dress() {
    for (const link of document.querySelectorAll("[data-part=rows] a")) {
      if (link.pathname === location.pathname) link.setAttribute("aria-current", "true");
    }
    const waiting = document.querySelector("[data-waiting]")?.dataset.waiting;
    if (waiting !== undefined) {
      document.title = waiting === "0" ? plainTitle : `(${waiting}) ${plainTitle}`;
      for (const badge of document.querySelectorAll("[data-waiting-badge]")) {
        badge.querySelector("span").textContent = waiting;
        badge.hidden = waiting === "0";
      }
    }
    const state = document.querySelector("[data-unread]");
    if (!state || document.hidden || state.dataset.unread === "0" || state.dataset.newest === seenUpTo) return;
    seenUpTo = state.dataset.newest;
    const upTo = new URLSearchParams({ up_to: state.dataset.newest });
    fetch(state.dataset.seen, { method: "POST", body: upTo, headers: { "X-CSRFToken": token(), Accept: "application/json" } })
      .catch(() => { seenUpTo = ""; });
  }
  document.addEventListener("visibilitychange", dress);
  dress();

  // ---- the newest is at the bottom ----

  const isAtEnd = (scroll) => scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight < NEAR_PX;
  function toEnd(scroll) {
    scroll.scrollTop = scroll.scrollHeight;
  }
  const scroll = document.querySelector("[data-scroll]");
  const toEndButton = document.querySelector("[data-to-end]");
  if (scroll) {
    if (!scroll.hasAttribute("data-looks-back")) toEnd(scroll);
    // Pictures that arrive late push nothing out of view.
    scroll.addEventListener("load", () => { if (isAtEnd(scroll) || scroll.dataset.stays) toEnd(scroll); }, true);
    scroll.dataset.stays = "yes";
    scroll.addEventListener("scroll", () => {
      const atEnd = isAtEnd(scroll);
      if (atEnd) toEndButton.hidden = true;
      if (atEnd) scroll.dataset.stays = "yes";
      else delete scroll.dataset.stays;
    });
    toEndButton.addEventListener("click", () => toEnd(scroll));
    new ResizeObserver(() => { if (scroll.dataset.stays) toEnd(scroll); }).observe(scroll);
  }

  // Older messages come above what is read, which stays where it is.
  document.addEventListener("click", async (event) => {
    const link = event.target.closest("[data-older]");
    if (!link || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    link.setAttribute("aria-busy", "true");
    const answer = await fetch(link.href, { headers: { "HX-Request": "true" } }).catch(() => null);
    if (!answer?.ok) return link.removeAttribute("aria-busy");
    const fresh = served(await answer.text());
    const list = document.querySelector("[data-part=messages]");
    const before = scroll.scrollHeight - scroll.scrollTop;
    for (const item of [...fresh.querySelector("[data-part=messages]").children].reverse()) {
      asServed.set(item, item.outerHTML);
      // A day that goes on above has its name there.
      list.querySelector(`:scope > [data-key="${item.dataset.key}"]`)?.remove();
      list.prepend(item);
    }
    const next = fresh.querySelector("[data-older]");
    if (next) link.replaceWith(next);
    else link.remove();
    scroll.scrollTop = scroll.scrollHeight - before;
  });

  // ---- buttons that belong to a living part: <button form="act" formaction="…"> ----

  const said = document.querySelector("[data-act-said]");
  const act = document.getElementById("act");
  let saidFor;
  act?.addEventListener("submit", async (event) => {
    event.preventDefault();
    const button = event.submitter;
    if (button.disabled) return;
    button.disabled = true;
    const data = new FormData(act);
    if (button.name) data.set(button.name, button.value);
    const answer = await post(button.formAction, data);
    button.disabled = false;
    said.textContent = answer.message ?? "";
    said.hidden = !said.textContent;
    clearTimeout(saidFor);
    if (answer.ok) saidFor = setTimeout(() => { said.hidden = true; }, SAID_FOR_MS);
    askAll();
  });

  async function post(address, data) {
    try {
      const answer = await fetch(address, { method: "POST", body: data, headers: { Accept: "application/json", "HX-Request": "true" } });
      if (answer.status === 401) signInAgain(answer);
      return { ok: answer.ok, ...(await answer.json().catch(() => ({}))) };
    } catch {
      return { ok: false };
    }
  }

  // ---- the composer: what is typed stays until it is taken ----

  const form = document.querySelector("[data-composer]");
  if (!form) return;
  const [field, send, problem, left] = [
    form.querySelector("textarea"), form.querySelector("[data-send]"),
    form.querySelector("[data-problem]"), form.querySelector("[data-left]"),
  ];
  const [file, chosen, note] = [form.querySelector("input[type=file]"), form.querySelector("[data-chosen]"), form.querySelector("input[name=note]")];
  const bytes = (text) => new TextEncoder().encode(text).length;
  const most = Number(field.dataset.most);
  // What is kept of a note stays a note: its words are not for the customer.
  const drafts = { answer: `draft:${location.pathname}`, note: `note:${location.pathname}` };
  if (!field.value) {
    const noted = sessionStorage.getItem(drafts.note);
    note.checked = Boolean(noted);
    field.value = noted || (sessionStorage.getItem(drafts.answer) ?? "");
  }
  let intent = null;
  // The nonce stands for one intent: tapping again, or again after a bad line, sends once.
  function nonceFor(body) {
    if (intent?.body !== body) {
      const chance = crypto.getRandomValues(new Uint8Array(12));
      intent = { body, nonce: [...chance].map((one) => one.toString(16).padStart(2, "0")).join("") };
    }
    return intent.nonce;
  }

  // An answer is as long as its bytes, a note as its characters.
  function room() {
    const words = field.value.trim();
    return note.checked ? Number(field.dataset.mostNoted) - words.length : Math.floor((most - bytes(words)) / 3);
  }

  function refresh() {
    sessionStorage.setItem(drafts.answer, note.checked ? "" : field.value);
    sessionStorage.setItem(drafts.note, note.checked ? field.value : "");
    const free = room();
    const over = note.checked ? left.dataset.overNote : left.dataset.over;
    left.textContent = free > 100 ? "" : (free < 0 ? over : left.dataset.room).replace("{count}", Math.abs(free));
    left.classList.toggle("is-over", free < 0);
    form.classList.toggle("is-note", note.checked);
    field.placeholder = note.checked ? field.dataset.forNote : field.dataset.forAnswer;
    send.querySelector("span").textContent = note.checked ? send.dataset.keep : send.dataset.send;
    field.style.height = "auto";
    field.style.height = `${Math.min(field.scrollHeight + 2, 180)}px`;
  }
  form.addEventListener("input", () => { problem.textContent = ""; refresh(); });
  note.addEventListener("change", refresh);
  refresh();

  let isSending = false;
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (isSending) return;
    const data = new FormData(form);
    const button = event.submitter;
    const isCoupon = button?.name === "coupon";
    if (isCoupon) {
      data.set("coupon", button.value);
      data.set("text", "");
      data.delete("picture");
      data.delete("note");
    } else if (room() < 0 || (!field.value.trim() && !file.files.length)) {
      field.focus();
      return;
    }
    const picture = isCoupon ? null : file.files[0];
    data.set("nonce", nonceFor(JSON.stringify([data.get("text"), data.get("coupon"), data.get("note"), picture?.name, picture?.size])));
    isSending = true;
    form.setAttribute("aria-busy", "true");
    const text = field.value;
    const answer = await post(form.action, data);
    isSending = false;
    form.removeAttribute("aria-busy");
    if (!answer.ok) {
      problem.textContent = answer.message ?? form.dataset.failed;
      return;
    }
    intent = null;
    problem.textContent = "";
    for (const open of form.querySelectorAll("details[open]")) open.open = false;
    if (!isCoupon) {
      if (field.value === text) field.value = "";
      clearPicture();
      note.checked = false;
    }
    refresh();
    scroll.dataset.stays = "yes";
    toEnd(scroll);
    await Promise.all(frames.map((frame) => frame.askNow?.()));
    toEnd(scroll);
  });

  // At a desk Enter sends and Shift+Enter begins a line; a phone has a button. While pinyin is chosen, Enter is its own.
  field.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229) return;
    if (!matchMedia("(hover: hover) and (pointer: fine)").matches) return;
    event.preventDefault();
    form.requestSubmit(send);
  });

  function clearPicture() {
    file.value = "";
    chosen.hidden = true;
  }
  file.addEventListener("change", () => {
    chosen.hidden = !file.files.length;
    problem.textContent = "";
    if (!file.files.length) return;
    if (file.files[0].size > Number(file.dataset.most)) {
      problem.textContent = file.dataset.tooLarge;
      clearPicture();
      return;
    }
    const reader = new FileReader();
    reader.addEventListener("load", () => { chosen.querySelector("img").src = reader.result; });
    reader.readAsDataURL(file.files[0]);
    field.focus();
  });
  chosen.querySelector("button").addEventListener("click", () => { clearPicture(); field.focus(); });

  // ---- what is picked: canned replies with a search, coupons ----

  form.addEventListener("toggle", (event) => {
    const opened = event.target;
    if (!opened.open) return;
    for (const other of form.querySelectorAll("details[open]")) if (other !== opened) other.open = false;
    opened.querySelector("input[type=search], button")?.focus();
  }, true);
  form.addEventListener("keydown", (event) => {
    const open = event.target.closest("details[open]");
    if (event.key !== "Escape" || !open) return;
    open.open = false;
    open.querySelector("summary").focus();
  });
  document.addEventListener("click", (event) => {
    for (const open of form.querySelectorAll("details[open]")) if (!open.contains(event.target)) open.open = false;
  });
  const search = form.querySelector("[data-search]");
  search?.addEventListener("input", (event) => {
    event.stopPropagation();
    const wanted = search.value.trim().toLowerCase();
    let shown = 0;
    for (const item of form.querySelectorAll("[data-canned]")) {
      item.hidden = !item.textContent.toLowerCase().includes(wanted);
      shown += item.hidden ? 0 : 1;
    }
    form.querySelector("[data-none]").hidden = shown > 0;
  });
  // Enter in the search takes the first one found.
  search?.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.isComposing) return;
    event.preventDefault();
    form.querySelector("[data-canned]:not([hidden]) button")?.click();
  });
  function insert(words) {
    field.setRangeText(words, field.selectionStart, field.selectionEnd, "end");
    field.focus();
    problem.textContent = "";
    refresh();
  }
  // What was refused comes back to be put in other words, beside what is being written.
  document.addEventListener("click", (event) => {
    const again = event.target.closest("[data-rewrite]");
    if (again) insert(again.dataset.rewrite);
  });
  form.addEventListener("click", (event) => {
    const canned = event.target.closest("[data-canned] button");
    if (!canned) return;
    event.preventDefault();
    canned.closest("details").open = false;
    insert(canned.value);
  });
})();
