// The composer of broadcasts: the phone beside the form and the count of bytes, by the rules of the server
// (campaigns/broadcasts/content.py). Choices, chips and uploads are merchant.js's.
(() => {
  "use strict";

  const known = JSON.parse(document.getElementById("broadcast-words").textContent);
  const PLACEHOLDER = /\{([^{}|]*)(?:\|([^{}]*))?\}/g;
  const LINK = /https?:\/\/[^\s"'<>，。；！？、（）“”]*[^\s"'<>，。；！？、（）“”.,;:!?)]/g;
  const ANCHOR = /<a\s+href="([^"<>]*)"\s*>([^<>]*)<\/a>/g;
  const bytes = (text) => new TextEncoder().encode(text).length;
  const valueOf = (name) => document.getElementById(name)?.value ?? "";
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
    for (const hint of document.querySelectorAll("[data-bytes-of]")) {
      const limit = Number(hint.dataset.limit);
      const used = longestBytes(valueOf(hint.dataset.bytesOf).trim());
      const isOver = used > limit;
      const left = isOver ? Math.ceil((used - limit) / 3) : Math.floor((limit - used) / 3);
      hint.textContent = (isOver ? hint.dataset.over : hint.dataset.template)
        .replace("{used}", used).replace("{limit}", limit).replace("{left}", left);
      hint.classList.toggle("is-over", isOver);
    }
  }

  function linkNode(words) {
    const link = document.createElement("span");
    link.className = "phone-link";
    link.textContent = words;
    return link;
  }

  // As the chat shows a text: what stands between <a> and </a>, and addresses, in the colour of links.
  function shown(text) {
    const nodes = [];
    const plain = (part) => {
      let end = 0;
      for (const match of part.matchAll(LINK)) {
        nodes.push(part.slice(end, match.index), linkNode(match[0]));
        end = match.index + match[0].length;
      }
      nodes.push(part.slice(end));
    };
    let end = 0;
    for (const match of text.matchAll(ANCHOR)) {
      plain(text.slice(end, match.index));
      nodes.push(linkNode(match[2]));
      end = match.index + match[0].length;
    }
    plain(text.slice(end));
    return nodes;
  }

  function preview() {
    const phone = document.querySelector("[data-broadcast-phone]");
    const kind = document.querySelector("input[name=kind]:checked")?.value ?? "text";
    const picture = document.querySelector(".picture-shown");
    const url = picture && !picture.hidden ? picture.getAttribute("src") : "";
    const as = (name) => phone.querySelector(`[data-as=${name}]`);
    as("text").hidden = kind === "article" || (kind === "picture" && Boolean(url));
    as("picture").hidden = kind !== "picture" || !url;
    as("article").hidden = kind !== "article";
    as("text").replaceChildren(...shown(kind === "picture" ? known.noPicture : filled(valueOf("text")).trim() || known.empty));
    if (url) as("picture").querySelector("img").src = url;
    const cover = as("article").querySelector("img");
    cover.hidden = !url;
    as("article").querySelector(".mass-blank").hidden = Boolean(url);
    if (url) cover.src = url;
    as("article").querySelector("strong").textContent = filled(valueOf("title")) || known.noTitle;
    as("article").querySelector("p").textContent = filled(valueOf("summary"));
  }

  const refresh = () => { count(); preview(); };
  for (const kind of ["input", "change", "picture"]) document.addEventListener(kind, refresh);
  refresh();
})();
