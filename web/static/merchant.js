// What the merchants' forms do beyond plain HTML: choices that show their fields, words to tap, a preview, uploads.
(() => {
  "use strict";

  // <div data-shown-for="kind=text,image"> is there while one of these is chosen. Hidden fields still travel along:
  // changing one's mind and back loses nothing.
  function isChosen(wish) {
    const [name, values] = wish.split("=");
    return values.split(",").includes(document.querySelector(`input[name="${name}"]:checked`)?.value);
  }
  function showChosen() {
    for (const part of document.querySelectorAll("[data-shown-for]")) part.hidden = !isChosen(part.dataset.shownFor);
    for (const field of document.querySelectorAll("[data-required-for]")) field.required = isChosen(field.dataset.requiredFor);
  }
  document.addEventListener("change", showChosen);
  showChosen();

  // A chip puts its word where the cursor is.
  document.addEventListener("click", (event) => {
    const chip = event.target.closest("[data-insert]");
    if (!chip) return;
    const field = document.getElementById(chip.dataset.into);
    const separator = chip.dataset.separator;
    if (separator) field.setRangeText((field.value.trim() ? separator : "") + chip.dataset.insert, field.value.length, field.value.length, "end");
    else field.setRangeText(chip.dataset.insert, field.selectionStart, field.selectionEnd, "end");
    field.focus();
    field.dispatchEvent(new Event("input", { bubbles: true }));
  });

  // ---- the preview and the count of bytes, by the rules of the server (qrcodes/welcomes.py) ----

  const known = JSON.parse(document.getElementById("placeholders")?.textContent || "null");
  const PLACEHOLDER = /\{([^{}|]*)(?:\|([^{}]*))?\}/g;
  const bytes = (text) => new TextEncoder().encode(text).length;
  const valueOf = (id) => document.getElementById(id)?.value ?? "";
  const filled = (text) => text.replace(PLACEHOLDER, (whole, name, fallback) =>
    name in known.longest ? known.values[name] || fallback || "" : whole);

  function longestBytes(text) {
    let length = bytes(text.replace(PLACEHOLDER, ""));
    for (const [, name, fallback] of text.matchAll(PLACEHOLDER)) {
      length += Math.max(bytes(fallback ?? ""), (known.longest[name] ?? 0) * known.bytesPerCharacter);
    }
    return length;
  }

  function count() {
    const hint = document.querySelector("[data-count-for]");
    const field = document.getElementById(hint.dataset.countFor);
    const limit = Number(field.dataset.countBytes);
    const used = longestBytes(field.value.trim());
    const isOver = used > limit;
    const left = Math.ceil(Math.abs(limit - used) / 3);
    hint.textContent = (isOver ? hint.dataset.over : hint.dataset.template)
      .replace("{used}", used).replace("{limit}", limit).replace("{left}", isOver ? left : Math.floor((limit - used) / 3));
    hint.classList.toggle("is-over", isOver);
  }

  function preview() {
    const phone = document.querySelector("[data-preview]");
    const [text, image, news] = ["text", "image", "news"].map((kind) => phone.querySelector(`[data-preview-${kind}]`));
    const kind = document.querySelector("input[name=kind]:checked")?.value ?? "text";
    const picture = document.querySelector(".picture-shown");
    const url = picture && !picture.hidden ? picture.getAttribute("src") : "";
    const isPicture = kind === "image" && url;
    text.hidden = kind === "news" || Boolean(isPicture);
    image.hidden = !isPicture;
    news.hidden = kind !== "news";
    text.textContent = kind === "image" ? known.noPicture : filled(valueOf("text")).trim() || known.empty;
    if (isPicture) image.querySelector("img").src = url;
    news.querySelector("strong").textContent = filled(valueOf("title")) || known.empty;
    news.querySelector("p").textContent = filled(valueOf("description"));
    const cover = news.querySelector("img");
    cover.hidden = !url;
    if (url) cover.src = url;
  }

  if (known) {
    const refresh = () => { count(); preview(); };
    document.addEventListener("input", refresh);
    document.addEventListener("change", refresh);
    document.addEventListener("picture", refresh);
    refresh();
  }

  // ---- uploads: at once, with a bar, and with the server's own words when it says no ----

  for (const box of document.querySelectorAll("[data-upload]")) {
    const [id, file] = [box.querySelector("input[type=hidden]"), box.querySelector("input[type=file]")];
    const [shown, bar, remove] = [box.querySelector("img"), box.querySelector("progress"), box.querySelector("[data-remove-picture]")];
    const problem = box.querySelector(".invalid-feedback");

    const show = (pictureId, url) => {
      id.value = pictureId;
      shown.hidden = remove.hidden = !url;
      if (url) shown.src = url;
      box.dispatchEvent(new Event("picture", { bubbles: true }));
    };
    remove.addEventListener("click", () => show("", ""));
    file.addEventListener("change", () => {
      if (!file.files.length) return;
      const request = new XMLHttpRequest();
      const form = new FormData();
      form.append("picture", file.files[0]);
      request.open("POST", box.dataset.upload);
      request.responseType = "json";
      request.setRequestHeader("Accept", "application/json");
      request.setRequestHeader("X-CSRFToken", document.querySelector("meta[name=csrf-token]").content);
      request.upload.addEventListener("progress", ({ loaded, total }) => { bar.value = total ? (loaded / total) * 100 : 0; });
      request.addEventListener("loadend", () => {
        bar.hidden = true;
        file.value = "";
        if (request.status === 201) show(request.response.id, request.response.url);
        else problem.textContent = request.response?.message ?? box.dataset.failed;
      });
      problem.textContent = "";
      bar.value = 0;
      bar.hidden = false;
      request.send(form);
    });
  }

  // The screen stays on while a code is shown across the counter, where the browser can do that.
  if (document.body.hasAttribute("data-keep-awake")) navigator.wakeLock?.request("screen").catch(() => {});
})();
