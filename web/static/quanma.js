// What pages need beyond plain HTML: confirmations, copying, toasts, charts. No inline handlers, no eval.
(() => {
  "use strict";

  const texts = JSON.parse(document.getElementById("texts")?.textContent || "{}");

  // Phones of some years ago (Safari before 16) do not say which button sent a form, and send none for a script.
  let pressed = null;
  if (!("SubmitEvent" in window && "submitter" in SubmitEvent.prototype)) {
    document.addEventListener("click", (event) => {
      pressed = event.target.closest("button, input");
      setTimeout(() => { pressed = null; });
    }, true);
    Object.defineProperty(Event.prototype, "submitter", {
      configurable: true, get() { return this.type === "submit" && pressed?.form === this.target ? pressed : null; },
    });
  }
  HTMLFormElement.prototype.requestSubmit ??= function requestSubmit(button) {
    const sender = button?.cloneNode() ?? document.createElement("button");
    sender.hidden = true;
    this.append(sender);
    sender.click();
    sender.remove();
  };

  // A form or button with data-confirm="…" asks first; data-confirm-button names the act ("停用这个商户").
  document.addEventListener("submit", (event) => {
    const { target: form, submitter } = event;
    const asker = submitter?.dataset.confirm ? submitter : form;
    if (!asker.dataset.confirm || form.dataset.confirmed) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    ask(asker.dataset.confirm, asker.dataset.confirmButton || texts.confirm).then((agreed) => {
      // A living part may have replaced the form while the question stood; the new one means the same, or is gone.
      const isSame = (one) => one.getAttribute("action") === form.getAttribute("action");
      const asked = form.isConnected ? form : [...document.forms].find(isSame);
      if (!agreed || !asked) return;
      asked.dataset.confirmed = "yes";
      asked.requestSubmit(form.isConnected ? submitter : undefined);
      delete asked.dataset.confirmed;
    });
  }, true);

  function ask(question, button) {
    const dialog = document.createElement("dialog");
    if (!dialog.showModal) return new Promise((resolve) => { setTimeout(() => resolve(confirm(question))); });
    const form = document.createElement("form");
    form.method = "dialog";
    const title = document.createElement("h2");
    title.textContent = question;
    const actions = document.createElement("div");
    actions.className = "form-actions";
    for (const [value, label, look] of [["", texts.cancel, "btn"], ["yes", button, "btn btn-danger"]]) {
      const choice = document.createElement("button");
      Object.assign(choice, { value, className: look, textContent: label });
      actions.append(choice);
    }
    form.append(title, actions);
    dialog.append(form);
    document.body.append(dialog);
    dialog.showModal();
    return new Promise((resolve) => dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue === "yes");
    }));
  }

  document.addEventListener("click", async (event) => {
    if (event.target.closest("[data-print]")) window.print();
    const copier = event.target.closest("[data-copy]");
    if (copier) {
      const source = document.querySelector(copier.dataset.copy);
      await copyText(source.textContent.trim(), source);
      toast(texts.copied);
    }
    event.target.closest("[data-dismiss]")?.closest(".notice").remove();
    if (event.target.closest("[data-print]")) window.print();
  });

  async function copyText(text, source) {
    // Pages on plain http (a shop's own network) have no clipboard; there the selection is copied.
    if (navigator.clipboard) return navigator.clipboard.writeText(text);
    getSelection().selectAllChildren(source);
    return document.execCommand("copy");
  }

  function toast(text) {
    const note = document.createElement("div");
    note.className = "notice notice-good";
    note.setAttribute("role", "status");
    note.append(Object.assign(document.createElement("div"), { textContent: text }));
    document.querySelector(".toasts").append(note);
    setTimeout(() => note.remove(), 4000);
  }
  setTimeout(() => document.querySelectorAll(".toasts .notice-good").forEach((note) => note.remove()), 6000);

  // A box with data-tick-all="code" ticks every box of that name.
  document.addEventListener("change", ({ target }) => {
    if (target.dataset.tickAll) {
      for (const box of document.getElementsByName(target.dataset.tickAll)) box.checked = target.checked;
    }
    countTicked();
  });

  // <span data-ticked="code"> says how many of them are ticked.
  function countTicked() {
    for (const place of document.querySelectorAll("[data-ticked]")) {
      const ticked = [...document.getElementsByName(place.dataset.ticked)].filter((box) => box.checked).length;
      place.textContent = ticked;
      place.hidden = !ticked;
    }
  }

  // A field with data-autosubmit sends its form when it changes (filters, date ranges).
  document.addEventListener("change", (event) => event.target.closest("[data-autosubmit]")?.form.requestSubmit());

  document.addEventListener("htmx:configRequest", (event) => {
    const token = document.querySelector("meta[name=csrf-token]");
    if (token) event.detail.headers["X-CSRFToken"] = token.content;
  });

  // Charts: <div class="chart" data-chart="id"> draws the JSON in <script type="application/json" id="id">.
  let charts = [];
  function drawCharts(root) {
    // A living part that was replaced took its charts' boxes with it.
    charts = charts.filter((chart) => chart.getDom().isConnected || chart.dispose());
    for (const box of root.querySelectorAll("[data-chart]")) {
      if (!window.echarts || echarts.getInstanceByDom(box)) continue;
      const chart = echarts.init(box);
      charts.push(chart);
      chart.setOption(options(JSON.parse(document.getElementById(box.dataset.chart).textContent)));
      new ResizeObserver(() => chart.resize()).observe(box);
    }
  }

  function options({ kind, categories, series, gaps }) {
    const quiet = { axisLine: { lineStyle: { color: "#c9cfc8" } }, axisTick: { show: false }, axisLabel: { color: "#5b675f" } };
    return {
      color: ["#0a7d48", "#e09a2d", "#3b74b8", "#b4483c", "#7a5ea8", "#5b675f"],
      textStyle: { fontFamily: getComputedStyle(document.body).fontFamily },
      animationDuration: matchMedia("(prefers-reduced-motion: reduce)").matches ? 0 : 300,
      grid: { left: 8, right: 16, top: 44, bottom: 8, containLabel: true },
      legend: { top: 4, left: 8, itemWidth: 14, itemHeight: 8, textStyle: { color: "#1d2721" } },
      tooltip: { trigger: "axis", renderMode: "richText", confine: true },
      xAxis: { type: "category", data: categories, boundaryGap: kind === "bar", ...quiet },
      yAxis: { type: "value", minInterval: 1, splitLine: { lineStyle: { color: "#edf0eb" } }, axisLabel: { color: "#5b675f" } },
      series: series.map(({ name, values }, index) => ({
        name, data: values, type: kind, smooth: 0.25, symbolSize: 6, showSymbol: categories.length < 40, barMaxWidth: 28,
        lineStyle: { width: 2.5 }, itemStyle: { borderRadius: kind === "bar" ? [4, 4, 0, 0] : 0 },
        areaStyle: kind === "line" && index === 0 ? { opacity: 0.08 } : undefined,
        // A time in which we could not listen is a band, not a dip; within one day it is a line.
        markArea: index || !gaps.length ? undefined : {
          silent: true, itemStyle: { color: "rgba(180, 83, 9, 0.10)" }, label: { color: "#8a4107" },
          data: gaps.filter(({ from, to }) => from !== to)
            .map(({ from, to, label }) => [{ xAxis: from, name: label }, { xAxis: to }]),
        },
        markLine: index || !gaps.length ? undefined : {
          silent: true, symbol: "none", lineStyle: { color: "#b45309" }, label: { color: "#8a4107", formatter: "{b}" },
          data: gaps.filter(({ from, to }) => from === to).map(({ from, label }) => ({ xAxis: from, name: label })),
        },
      })),
    };
  }

  // A living part is replaced by a newer one: what was unfolded stays so, and the keyboard stays where it was.
  const REACHABLE = "a[href], button, input, select, textarea, summary";
  let before = null;
  document.addEventListener("htmx:beforeSwap", ({ detail: { target } }) => {
    const focused = [...target.querySelectorAll(REACHABLE)].indexOf(document.activeElement);
    const ticked = new Set([...target.querySelectorAll("input[type=checkbox]:checked")].map((box) => box.value));
    before = { open: [...target.querySelectorAll("details")].map((part) => part.open), focused, ticked };
  });
  document.addEventListener("htmx:load", ({ detail: { elt } }) => {
    if (!before) return;
    elt.querySelectorAll("details").forEach((part, index) => { part.open ||= Boolean(before.open[index]); });
    for (const box of elt.querySelectorAll("input[type=checkbox][name]")) box.checked ||= before.ticked.has(box.value);
    if (before.focused >= 0) elt.querySelectorAll(REACHABLE)[before.focused]?.focus({ preventScroll: true });
    before = null;
  });

  // A table wider than its room is scrolled by keys as well; one that fits is no stop on the way.
  const rooms = new ResizeObserver((changes) => {
    for (const { target } of changes) {
      const room = target.closest(".table-wrap");
      if (room?.scrollWidth > room?.clientWidth) room.tabIndex = 0;
      else room?.removeAttribute("tabindex");
    }
  });
  function watchTables(root) {
    for (const one of root.querySelectorAll(".table-wrap, .table-wrap > .table")) rooms.observe(one);
  }

  drawCharts(document);
  watchTables(document);
  countTicked();
  document.addEventListener("htmx:load", (event) => {
    drawCharts(event.detail.elt);
    watchTables(event.detail.elt);
  });
})();
