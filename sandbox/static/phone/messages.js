// One chat message as an element. What the account writes is parsed, never trusted: only http(s) links become links.

import { h, icon, paintAccount, paintAvatar } from "./dom.js";

const LINK = /<a\s[^>]*?href\s*=\s*(?:"([^"]*)"|'([^']*)')[^>]*>([\s\S]*?)<\/a>|(https?:\/\/[^\s<>"'，。；！？）】》、]+)/gi;
const ENTITIES = { "&amp;": "&", "&lt;": "<", "&gt;": ">", "&quot;": '"', "&#39;": "'", "&nbsp;": " " };

const unescape = (text) => text.replace(/&(?:amp|lt|gt|quot|#39|nbsp);/g, (entity) => ENTITIES[entity]);
/** What a text of the account reads as, without its links. */
export const withoutTags = (text) => unescape(text.replace(/<[^>]*>/g, ""));

/** The address if it is one a phone may open, else null. */
export function webAddress(text) {
  try {
    const url = new URL(text, location.href);
    return url.protocol === "http:" || url.protocol === "https:" ? url.href : null;
  } catch {
    return null;
  }
}

/** Text with its links: `<a href>` as the account may write it, and bare addresses. */
export function linkedText(text, actions) {
  const pieces = [];
  let from = 0;
  for (const match of text.matchAll(LINK)) {
    pieces.push(text.slice(from, match.index));
    from = match.index + match[0].length;
    pieces.push(link(unescape(match[1] ?? match[2] ?? match[4]), match[3] ? withoutTags(match[3]) : match[4], actions));
  }
  pieces.push(text.slice(from));
  return pieces;
}

function link(href, words, actions) {
  // weixin://bizmsgmenu is WeChat's way to let a tapped word speak for the person.
  if (/^weixin:\/\/bizmsgmenu/i.test(href)) {
    const query = new URLSearchParams(href.split("?")[1] ?? "");
    const say = { text: query.get("msgmenucontent") ?? words, menuId: query.get("msgmenuid") ?? "" };
    return h("button", { type: "button", class: "link", onclick: () => actions.answerMenu(say) }, words);
  }
  const address = /^https?:/i.test(href) ? webAddress(href) : null;
  if (!address) return words;
  return h("a", { href: address, onclick: (event) => { event.preventDefault(); actions.open(address); } }, words);
}

/** What the list of conversations shows of a message: one line. */
export function summary(message) {
  switch (message.type) {
    case "image": return "[图片]";
    case "voice": return "[语音]";
    case "video": return `[视频] ${message.title ?? ""}`;
    case "music": return `[音乐] ${message.title ?? ""}`;
    case "location": return `[位置] ${message.label ?? ""}`;
    case "news": return `[链接] ${message.title ?? ""}`;
    case "miniprogrampage": return `[小程序] ${message.title ?? ""}`;
    case "wxcard": return "[卡券]";
    default: return withoutTags(message.text ?? message.head_content ?? `[${message.type}]`).replaceAll("\n", " ");
  }
}

function cover(article, style, actions) {
  if (!article.picurl) return null;
  const picture = h("img", { class: style, src: article.picurl, alt: "", loading: "lazy", onload: actions.settled });
  picture.addEventListener("error", () => picture.replaceWith(h("span", { class: `${style} cover-missing` }, icon("picture"))));
  return picture;
}

function opening(article, actions) {
  const address = webAddress(article.url ?? "");
  return {
    href: address,
    "data-testid": "news",
    onclick: (event) => {
      event.preventDefault();
      if (address) actions.open(address);
    },
  };
}

function newsCard(article, actions) {
  return h("a", { class: "news", ...opening(article, actions) },
    h("span", { class: "news-title" }, article.title ?? ""),
    cover(article, "news-cover", actions),
    article.description && h("span", { class: "news-description" }, article.description),
    h("span", { class: "news-more" }, "阅读全文", icon("chevron")));
}

function newsLine(article, isFirst, actions) {
  return h("a", { class: isFirst ? "news-lead" : "news-line", ...opening(article, actions) },
    cover(article, isFirst ? "news-cover" : "news-thumb", actions),
    h("span", { class: "news-title" }, article.title ?? ""));
}

function body(message, actions) {
  switch (message.type) {
    case "image": {
      const source = message.image_url;
      const picture = h("img", { src: source, alt: "图片", loading: "lazy", onload: actions.settled });
      picture.addEventListener("error", () => picture.replaceWith(h("span", { class: "broken" }, "图片打不开")));
      return h("button", { type: "button", class: "picture", "aria-label": "看大图", onclick: () => actions.look(source) }, picture);
    }
    case "news": {
      const articles = message.articles ?? [message];
      if (articles.length === 1) return newsCard(articles[0], actions);
      return h("div", { class: "news news-many" }, articles.map((article, index) => newsLine(article, index === 0, actions)));
    }
    case "msgmenu": {
      const choices = message.list ?? [];
      return h("div", { class: "bubble msgmenu" },
        message.head_content && h("p", {}, ...linkedText(message.head_content, actions)),
        h("div", { class: "msgmenu-choices" }, choices.map((choice) => h("button", {
          type: "button", class: "link", "data-testid": "msgmenu-item",
          onclick: () => actions.answerMenu({ text: choice.content, menuId: choice.id }),
        }, choice.content))),
        message.tail_content && h("p", {}, ...linkedText(message.tail_content, actions)));
    }
    case "location":
      return h("div", { class: "place" },
        h("span", { class: "place-words" }, h("b", {}, message.label || "我的位置"),
          message.latitude !== undefined && h("small", {}, `${message.latitude}, ${message.longitude}`)),
        h("span", { class: "place-map", "aria-hidden": "true" }, icon("place")));
    case "text":
      return h("div", { class: "bubble" }, ...linkedText(message.text ?? "", actions));
    default:
      return h("div", { class: "bubble bubble-other" }, summary(message));
  }
}

/** The row of one message: `actions` are `open(url)`, `look(picture)`, `answerMenu({text, menuId})`, `settled()`. */
export function messageRow(message, { person, account, actions }) {
  const hooks = { "data-testid": "message", "data-n": message.n, "data-from": message.from, "data-type": message.type };
  if (message.from === "system" || message.type === "event") {
    return h("p", { class: "system", ...hooks }, ...linkedText(message.text ?? "", actions));
  }
  const mine = message.from === "person";
  const avatar = h("span", { class: mine ? "avatar" : "avatar account-avatar", "aria-hidden": "true" });
  if (mine) paintAvatar(avatar, person);
  else paintAccount(avatar, account);
  return h("div", { class: `message ${mine ? "message-mine" : "message-theirs"}`, ...hooks },
    avatar,
    h("span", { class: "hidden-words" }, `${mine ? person.name : account?.name ?? "公众号"}：`),
    body(message, actions));
}
