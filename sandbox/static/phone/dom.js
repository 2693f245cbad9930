// Small helpers to build the page. Text is always set as text, never as markup, so nothing that people or the account
// write can become part of the page.

/** Builds one element: attributes, `on…` listeners, `class`, and children (elements, strings; null and false are skipped). */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

const SVG = "http://www.w3.org/2000/svg";

/** A picture from the sprite of the page; it is decoration, the button around it carries the words. */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `#i-${name}`);
  svg.append(use);
  return svg;
}

/** All elements below `root` that carry `data-part`, by name in camelCase. */
export function parts(root) {
  const found = {};
  for (const element of root.querySelectorAll("[data-part]")) {
    const name = element.dataset.part.replace(/-(\w)/g, (_, letter) => letter.toUpperCase());
    found[name] = element;
  }
  return found;
}

/** Shows a sentence for a moment, the way WeChat does. */
export function toast(text, { bad = false } = {}) {
  const holder = document.querySelector("[data-part=toasts]");
  const note = h("div", { class: bad ? "toast toast-bad" : "toast", "data-testid": "toast" }, text);
  holder.replaceChildren(note);
  setTimeout(() => note.remove(), bad ? 5000 : 2400);
}

/** Replaces the children of `element` only when what they are made of has changed, so that focus and scroll survive polling. */
export function redrawIfChanged(element, source, draw) {
  const fingerprint = JSON.stringify(source);
  if (element.fingerprint === fingerprint) return;
  element.fingerprint = fingerprint;
  const focused = element.contains(document.activeElement) ? document.activeElement.dataset.testid : null;
  element.replaceChildren(...draw());
  if (focused) element.querySelector(`[data-testid="${CSS.escape(focused)}"]`)?.focus();
}

const HUES = ["#3f7fbf", "#b4553c", "#2f8a62", "#8a5bb0", "#b07a1e", "#2c8592", "#b34a76", "#5d6f2a", "#5663b5", "#8c6046"];

function hueOf(text) {
  let sum = 0;
  for (const letter of text) sum = (sum * 31 + letter.codePointAt(0)) % 9973;
  return HUES[sum % HUES.length];
}

// A machine without an emoji font draws empty boxes; those are worse than a letter. Emoji are the only coloured glyphs.
const canShowEmoji = (() => {
  const canvas = h("canvas", { width: "16", height: "16" });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.textBaseline = "top";
  context.font = "14px sans-serif";
  context.fillText("🍊", 0, 0);
  const { data } = context.getImageData(0, 0, 16, 16);
  for (let at = 0; at < data.length; at += 4) if (data[at] !== data[at + 2]) return true;
  return false;
})();

const isEmoji = (text) => /\p{Extended_Pictographic}/u.test(text);

/** Paints a person's avatar: a picture, an emoji, or the first letter of the name on a colour of the person's own. */
export function paintAvatar(element, person) {
  const avatar = person?.avatar ?? "";
  const name = person?.name || "？";
  element.replaceChildren();
  element.style.backgroundColor = avatar.startsWith("#") ? avatar : hueOf(person?.openid ?? name);
  if (/^(https?:|\/|data:image\/)/.test(avatar)) {
    element.append(h("img", { src: avatar, alt: "" }));
  } else {
    const canShow = avatar && !avatar.startsWith("#") && (canShowEmoji || !isEmoji(avatar));
    element.textContent = canShow ? avatar : [...name][0];
  }
}

/** Paints the account's avatar: its first letter on the account's green. */
export function paintAccount(element, account) {
  element.textContent = [...(account?.name || "公")][0];
}
