// A rule as a phone shows it while it is written: what somebody says, and the answers in their order.
(() => {
  "use strict";

  const phone = document.querySelector("[data-rule-preview]");
  if (!phone) return;
  const valueOf = (id) => document.getElementById(id)?.value.trim() ?? "";
  const kindOf = (place) => document.querySelector(`input[name=kind${place}]:checked`)?.value ?? "";

  function made(tag, name, text = "") {
    const part = document.createElement(tag);
    part.className = name;
    part.textContent = text;
    return part;
  }

  function pictureOf(place) {
    const shown = document.querySelector(`input[name=picture${place}]`)?.parentElement.querySelector("img.picture-shown");
    return shown && !shown.hidden ? shown.getAttribute("src") : "";
  }

  function picture(url) {
    const image = document.createElement("img");
    image.src = url;
    image.alt = "";
    return image;
  }

  function answer(place) {
    const [kind, url] = [kindOf(place), pictureOf(place)];
    if (kind === "image") {
      if (!url) return made("div", "bubble bubble-text", phone.dataset.picture);
      const bubble = made("div", "bubble bubble-image");
      bubble.append(picture(url));
      return bubble;
    }
    if (kind === "news") {
      const bubble = made("div", "bubble bubble-news");
      bubble.append(made("strong", "", valueOf(`title${place}`)));
      if (url) bubble.append(picture(url));
      if (valueOf(`description${place}`)) bubble.append(made("p", "", valueOf(`description${place}`)));
      bubble.append(made("span", "bubble-more", phone.dataset.more));
      return bubble;
    }
    return kind && valueOf(`text${place}`) ? made("div", "bubble bubble-text", valueOf(`text${place}`)) : null;
  }

  function refresh() {
    const said = ["exact", "contains", "wildcard"].map(valueOf).find(Boolean)?.split(/[\n,，、;；|]+/)[0]
      ?? document.querySelector("input[name=occasions]:checked")?.nextElementSibling.textContent ?? "";
    const parts = [1, 2, 3].map(answer).filter(Boolean);
    if (document.getElementById("hands_over")?.checked) parts.push(made("small", "phone-note", phone.dataset.human));
    if (!parts.length) parts.push(made("div", "bubble bubble-text", phone.dataset.empty));
    phone.replaceChildren(...(said ? [made("div", "asked", said)] : []), ...parts);
  }

  // Who hands over may leave the words to the human.
  function ease() {
    const words = document.getElementById("text1");
    words.required = kindOf(1) === "text" && !document.getElementById("hands_over")?.checked;
  }

  for (const event of ["input", "change", "picture"]) document.addEventListener(event, () => { refresh(); ease(); });
  refresh();
  ease();
})();
