// The menu's editor: a list that is arranged by dragging, by buttons and by keys, the fields of the chosen button, and
// a drawn phone. The server says what is wrong; this only counts bytes while one types.
(() => {
  "use strict";
  const form = document.getElementById("menu-editor");
  const given = JSON.parse(document.getElementById("menu-data").textContent);
  const { texts, limits, does, merchants } = given;
  const part = (name) => form.querySelector(`[data-${name}]`);
  const names = new Map(merchants.map(([id, name]) => [String(id), name]));
  const bytes = (text) => new TextEncoder().encode(text).length;
  const filled = (text, values) => text.replace(/\{(\w+)\}/g, (_all, name) => values[name]);

  // What a choice in plain words is to the platform.
  const TYPES = {
    words: "click", merchant: "click", page: "view", scan: "scancode_waitmsg", scan_open: "scancode_push",
    place: "location_select", photo: "pic_photo_or_album", mini: "miniprogram",
  };
  const FIXED = { scan: "scan", scan_open: "scan_open", place: "place", photo: "photo" };

  function doesOf(button) {
    if (!button.type) return "";
    if (button.type === "click") {
      if (button.key?.startsWith("words:")) return "words";
      return /^merchant:\d*$/.test(button.key || "") ? "merchant" : "other";
    }
    return Object.keys(TYPES).find((name) => TYPES[name] === button.type && TYPES[name] !== "click") || "other";
  }

  const buttons = given.buttons;
  let chosen = buttons.length ? [0] : null;
  let opened = 0;
  let verdict = given;
  let sent = JSON.stringify(buttons);
  let isUnsaved = Boolean(form.dataset.unsaved);
  let isSending = false;

  const at = (place) => place && (place.length === 1 ? buttons[place[0]] : buttons[place[0]]?.sub_button?.[place[1]]);
  const siblings = (place) => (place.length === 1 ? buttons : buttons[place[0]].sub_button);
  const lastOf = (place) => place[place.length - 1];
  const isSame = (one, other) => Boolean(one && other) && one.join() === other.join();
  const shown = (button) => button.name?.trim() || texts.unnamed;

  function make(tag, attributes = {}, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
      else if (value === true) element.setAttribute(name, "");
      else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
    }
    element.append(...children);
    return element;
  }

  function summary(button) {
    if (button.sub_button?.length) return texts.opens;
    const what = doesOf(button);
    if (what === "words") return `${texts.say}“${button.key.slice(6)}”`;
    if (what === "merchant") return `${texts.find} ${names.get(button.key.slice(9)) || "—"}`;
    if (what === "page") return `${texts.open} ${button.url || "—"}`;
    return what === "other" ? texts.keep : does[what] || texts.nothing;
  }

  // ---- The list ----

  let dragged = null;

  function row(button, place) {
    const faulty = verdict.faults.some((fault) => isSame(fault.place, place));
    const last = siblings(place).length - 1, index = lastOf(place);
    const act = (label, run, disabled, look) => make("button", {
      class: `icon-button ${look}`, type: "button", "aria-label": `${label} “${shown(button)}”`, title: label, disabled, onclick: run,
    });
    const line = make("div", {
      class: `menu-row${isSame(chosen, place) ? " is-chosen" : ""}${faulty ? " is-faulty" : ""}`, draggable: "true",
      ondragstart: (event) => {
        dragged = place;
        event.dataTransfer.effectAllowed = "move";
        event.dataTransfer.setData("text/plain", shown(button));
      },
      ondragend: () => { dragged = null; form.querySelectorAll(".is-over").forEach((one) => one.classList.remove("is-over")); },
      ondragover: (event) => {
        if (!mayDrop(place)) return;
        event.preventDefault();
        line.classList.add("is-over");
      },
      ondragleave: () => line.classList.remove("is-over"),
      ondrop: (event) => {
        event.preventDefault();
        if (mayDrop(place)) drop(dragged, place);
      },
    },
      make("span", { class: "menu-grip", title: texts.drag, "aria-hidden": "true" }, "⠿"),
      make("button", {
        class: "menu-choose", type: "button", "aria-pressed": String(isSame(chosen, place)), "data-place": place.join("-"),
        "aria-describedby": "menu-keys", onclick: () => choose(place), onkeydown: (event) => keys(event, place),
      }, make("strong", {}, shown(button)), make("small", {}, summary(button))),
      act(texts.up, () => move(place, -1), index === 0, "is-up"),
      act(texts.down, () => move(place, 1), index === last, "is-down"),
      act(texts.remove, () => remove(place), false, "is-remove"),
    );
    return line;
  }

  // A button above another one goes among those above; one at the bottom stays at the bottom.
  function mayDrop(place) {
    if (!dragged || isSame(dragged, place)) return false;
    if (dragged.length === 1) return place.length === 1;
    if (dragged[0] === place[0]) return place.length === 2;
    return (buttons[place[0]].sub_button?.length || 0) < limits.sub && (place.length === 2 || Boolean(buttons[place[0]].sub_button?.length));
  }

  function drop(from, to) {
    const [button] = siblings(from).splice(lastOf(from), 1);
    if (from.length === 1) buttons.splice(to[0], 0, button);
    else {
      const list = (buttons[to[0]].sub_button ||= []);
      const index = to.length === 2 ? to[1] : list.length;
      list.splice(index, 0, button);
      chosen = [to[0], index];
      if (!buttons[from[0]].sub_button.length) delete buttons[from[0]].sub_button;
    }
    if (from.length === 1) chosen = [to[0]];
    opened = chosen[0];
    tell(filled(texts.moved, { name: shown(button), n: lastOf(chosen) + 1 }));
    changed();
  }

  function move(place, by) {
    const list = siblings(place), index = lastOf(place), next = index + by;
    if (next < 0 || next >= list.length) return;
    [list[index], list[next]] = [list[next], list[index]];
    chosen = [...place.slice(0, -1), next];
    opened = chosen[0];
    tell(filled(texts.moved, { name: shown(list[next]), n: next + 1 }));
    changed();
    form.querySelector(`[data-place="${chosen.join("-")}"]`)?.focus();
  }

  function keys(event, place) {
    if (!event.altKey || (event.key !== "ArrowUp" && event.key !== "ArrowDown")) return;
    event.preventDefault();
    move(place, event.key === "ArrowUp" ? -1 : 1);
  }

  function remove(place) {
    const [button] = siblings(place).splice(lastOf(place), 1);
    if (place.length === 2 && !buttons[place[0]].sub_button.length) delete buttons[place[0]].sub_button;
    chosen = place.length === 2 ? [place[0]] : buttons.length ? [Math.min(place[0], buttons.length - 1)] : null;
    opened = chosen?.[0] ?? 0;
    tell(filled(texts.removed, { name: shown(button) }));
    changed();
    form.querySelector(chosen ? `[data-place="${chosen.join("-")}"]` : "[data-add-top]")?.focus();
  }

  function add(top) {
    if (top === null) {
      buttons.push({ name: "" });
      chosen = [buttons.length - 1];
    } else {
      const button = buttons[top];
      if (button.type) {
        for (const name of Object.keys(button)) if (name !== "name") delete button[name];
        tell(texts.cleared);
      }
      (button.sub_button ||= []).push({ name: "" });
      chosen = [top, button.sub_button.length - 1];
    }
    opened = chosen[0];
    changed();
    document.getElementById("menu-name")?.focus();
  }

  function choose(place) {
    chosen = place;
    opened = place[0];
    draw();
  }

  function drawList() {
    const list = part("list");
    const focused = document.activeElement?.dataset?.place;
    list.replaceChildren(...buttons.map((button, top) => {
      const subs = (button.sub_button || []).map((sub, index) => make("li", {}, row(sub, [top, index])));
      return make("li", {}, row(button, [top]),
        make("ol", { class: "menu-subs", "aria-label": `${texts.sub} “${shown(button)}”` }, ...subs,
          make("li", { class: "menu-add" }, make("button", {
            class: "link-button", type: "button", disabled: subs.length >= limits.sub, onclick: () => add(top),
            "aria-label": `${texts.addSub} “${shown(button)}”`,
          }, `+ ${texts.addSub}`))));
    }));
    if (!buttons.length) list.append(make("li", { class: "muted menu-none" }, texts.none));
    part("add-top").disabled = buttons.length >= limits.top;
    if (focused) list.querySelector(`[data-place="${focused}"]`)?.focus();
  }

  // ---- The chosen button ----

  function field(id, label, value, { hint = "", most = 0, key, write, ...attributes }) {
    const fault = verdict.faults.find((one) => isSame(one.place, chosen) && one.field === key);
    const count = make("span", { class: "menu-count" });
    const input = make("input", {
      class: `form-control${fault ? " is-invalid" : ""}`, id, value, autocomplete: "off", "aria-describedby": `${id}-hint`, ...attributes,
    });
    const recount = () => {
      if (!most) return;
      const used = bytes(input.value);
      count.textContent = filled(texts.bytes, { used, most });
      count.classList.toggle("is-over-limit", used > most);
    };
    input.addEventListener("input", () => { write(input.value); recount(); changed(false); });
    recount();
    return make("div", {}, make("label", { class: "form-label", for: id }, label, " ", count), input,
      make("div", { class: "form-hint", id: `${id}-hint` }, hint),
      make("div", { class: "invalid-feedback", "data-fault": key }, fault?.text || ""));
  }

  function drawFields() {
    const box = part("fields"), button = at(chosen);
    part("item").hidden = !button;
    if (!button) return box.replaceChildren();
    const isSub = chosen.length === 2;
    const parts = [field("menu-name", texts.name, button.name || "", {
      key: "name", most: isSub ? limits.subName : limits.topName, write: (text) => { button.name = text; },
    })];
    if (button.sub_button?.length) {
      parts.push(make("p", { class: "muted" }, filled(texts.opensHint, { n: button.sub_button.length })));
    } else {
      parts.push(chooser(button), ...actionFields(button));
    }
    box.replaceChildren(...parts);
  }

  function chooser(button) {
    const now = doesOf(button);
    const choices = [["", texts.choose], ...Object.entries(does), ...(now === "other" ? [["other", texts.keep]] : [])];
    const select = make("select", {
      class: "form-select", id: "menu-does",
      onchange: () => {
        const what = select.value;
        for (const name of Object.keys(button)) if (name !== "name") delete button[name];
        if (what) button.type = TYPES[what];
        if (what === "words" || what === "merchant") button.key = `${what}:`;
        else if (FIXED[what]) button.key = FIXED[what];
        changed();
        document.getElementById("menu-does").focus();
      },
    }, ...choices.map(([value, text]) => make("option", { value, selected: value === now }, text)));
    const fault = verdict.faults.find((one) => isSame(one.place, chosen) && one.field === "type");
    return make("div", {}, make("label", { class: "form-label", for: "menu-does" }, texts.does), select,
      make("div", { class: "form-hint" }, now === "other" ? texts.older : ""),
      make("div", { class: "invalid-feedback", "data-fault": "type" }, fault?.text || ""));
  }

  function actionFields(button) {
    const plain = (id, label, name, more = {}) => field(id, label, button[name] || "", {
      key: name, write: (text) => { button[name] = text.trim(); }, ...more,
    });
    switch (doesOf(button)) {
      case "words":
        return [field("menu-words", texts.says, button.key.slice(6), {
          key: "key", most: limits.words, hint: texts.saysHint, write: (text) => { button.key = `words:${text}`; },
        })];
      case "merchant": {
        const id = button.key.slice(9);
        return [field("menu-merchant", texts.merchant, id && names.has(id) ? `${id} ${names.get(id)}` : id, {
          key: "key", hint: texts.merchantHint, list: "menu-merchants",
          write: (text) => { button.key = `merchant:${merchantIn(text)}`; },
        })];
      }
      case "page":
        return [plain("menu-url", texts.url, "url", { most: limits.url, hint: texts.urlHint, inputmode: "url" })];
      case "mini":
        return [plain("menu-appid", texts.appid, "appid"), plain("menu-page", texts.pagepath, "pagepath"),
          plain("menu-url", texts.oldUrl, "url", { most: limits.url, hint: texts.urlHint, inputmode: "url" })];
      default:
        return [];
    }
  }

  function merchantIn(text) {
    const number = /^\s*(\d+)/.exec(text)?.[1];
    if (number) return number;
    const word = text.trim();
    const found = merchants.filter(([, name]) => name === word);
    return found.length === 1 ? String(found[0][0]) : "";
  }

  // ---- The phone ----

  function drawPhone() {
    part("bar").replaceChildren(...buttons.map((button, top) => make("button", {
      type: "button", "aria-label": `${texts.top} ${shown(button)}`, "aria-expanded": button.sub_button?.length ? String(top === opened) : null,
      class: chosen?.[0] === top ? "is-chosen" : "", onclick: () => choose([top]),
    }, button.sub_button?.length ? make("i", { "aria-hidden": "true" }) : "", make("span", {}, shown(button)))));
    const subs = buttons[opened]?.sub_button || [];
    const above = part("above");
    above.hidden = !subs.length;
    above.className = `handset-above is-${opened + 1}-of-${buttons.length}`;
    above.replaceChildren(...subs.map((sub, index) => make("button", {
      type: "button", "aria-label": `${texts.sub} ${shown(sub)}`, class: isSame(chosen, [opened, index]) ? "is-chosen" : "",
      onclick: () => choose([opened, index]),
    }, shown(sub))));
  }

  // ---- What is wrong ----

  function drawVerdict() {
    const say = (one, look) => make("li", { class: look }, one.place.length ? make("button", {
      class: "link-button", type: "button", onclick: () => { choose(one.place); document.getElementById("menu-name")?.focus(); },
    }, one.text) : one.text);
    const found = [...verdict.faults.map((one) => say(one, "is-bad")), ...verdict.advice.map((one) => say(one, "is-mild"))];
    part("faults").replaceChildren(
      verdict.faults.length ? "" : make("p", { class: "menu-fine" }, texts.fine), make("ul", { class: "menu-faults" }, ...found));
    for (const place of form.querySelectorAll("[data-fault]")) {
      const fault = verdict.faults.find((one) => isSame(one.place, chosen) && one.field === place.dataset.fault);
      place.textContent = fault?.text || "";
      place.parentElement.querySelector(".form-control, .form-select")?.classList.toggle("is-invalid", Boolean(fault));
    }
    for (const choice of form.querySelectorAll("[data-place]")) {
      const place = choice.dataset.place.split("-").map(Number);
      choice.parentElement.classList.toggle("is-faulty", verdict.faults.some((fault) => isSame(fault.place, place)));
    }
  }

  let waiting = 0, asked = 0;
  function judge() {
    clearTimeout(waiting);
    waiting = setTimeout(check, 300);
  }

  async function check() {
    clearTimeout(waiting);
    const turn = ++asked;
    try {
      const answer = await fetch("/operator/menu/check", {
        method: "POST", body: new URLSearchParams({ buttons: JSON.stringify(buttons) }),
        headers: { "X-CSRFToken": document.querySelector("meta[name=csrf-token]").content },
      });
      const told = await answer.json();
      if (turn !== asked) return;
      verdict = answer.ok ? told : { faults: [{ place: [], field: "", text: told.error || texts.lost }], advice: [] };
    } catch {
      if (turn !== asked) return;
      verdict = { faults: [{ place: [], field: "", text: texts.lost }], advice: [] };
    }
    drawVerdict();
  }

  // Whether all are to see it is asked only of a menu that can be published.
  part("publish").addEventListener("click", async (event) => {
    event.preventDefault();
    await check();
    if (!verdict.faults.length) return form.requestSubmit(part("publish"));
    part("faults").scrollIntoView({ block: "center" });
    tell(verdict.faults[0].text);
  });

  // ---- All of it ----

  function tell(text) { part("told").textContent = text; }

  function changed(withFields = true) {
    form.elements.buttons.value = JSON.stringify(buttons);
    draw(withFields);
    judge();
  }

  function draw(withFields = true) {
    drawList();
    if (withFields) drawFields();
    drawPhone();
    drawVerdict();
    part("dirty").hidden = !isDirty();
  }

  const isDirty = () => isUnsaved || JSON.stringify(buttons) !== sent;
  part("add-top").addEventListener("click", () => add(null));
  form.addEventListener("submit", () => { isSending = true; });
  addEventListener("beforeunload", (event) => { if (isDirty() && !isSending) event.preventDefault(); });
  form.elements.buttons.value = sent;
  draw();
})();
