// The tab 「扫码」: every code the platform knows, to be scanned by a click.

import { Poll } from "./api.js";
import { h, redrawIfChanged } from "./dom.js";
import { moment } from "./time.js";

const MOST_SHOWN = 120;
const SECONDS = 5;
const MANY_CODES = 2000;
const SECONDS_WITH_MANY = 60;

function expiry(code, now) {
  const at = moment(code.expires_at);
  if (!at) return { words: "永久" };
  const hours = (at - now) / 3_600_000;
  if (hours <= 0) return { words: "已过期", expired: true };
  return { words: hours < 48 ? `还剩 ${Math.max(1, Math.round(hours))} 小时` : `还剩 ${Math.round(hours / 24)} 天` };
}

export class Codes {
  #codes = [];
  #filter = "";

  constructor(at, world) {
    this.at = at;
    this.world = world;
    this.poll = new Poll(() => "/sandbox/codes", SECONDS, ({ codes }) => {
      this.#codes = codes.reverse();
      this.poll.seconds = codes.length > MANY_CODES ? SECONDS_WITH_MANY : SECONDS;
      this.draw();
    });
    at.codesFilter.addEventListener("input", () => {
      this.#filter = at.codesFilter.value.trim();
      this.draw();
    });
    at.codesForm.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#submit();
    });
    at.codeImage.addEventListener("change", () => {
      const [file] = at.codeImage.files;
      at.codeImage.value = "";
      if (file) world.scanImage(file);
    });
  }

  #submit() {
    const found = this.#matching();
    if (/^https?:/i.test(this.#filter)) this.world.scanText(this.#filter);
    else if (found.length === 1) this.world.scan({ ticket: found[0].ticket });
    else return;
    this.at.codesFilter.value = this.#filter = "";
    this.draw();
  }

  #matching() {
    const wanted = this.#filter.toLowerCase();
    return this.#codes.filter((code) => !wanted || `${code.caption} ${code.scene} ${code.url}`.toLowerCase().includes(wanted));
  }

  draw() {
    const person = this.world.acting;
    this.at.codesPerson.textContent = person?.name ?? "（还没选人）";
    const found = this.#matching();
    const now = this.world.now();
    this.at.codesNote.textContent = this.#note(found);
    // The newest first: it is the one somebody has just made and wants to try. Expired ones last.
    const dated = found.map((code) => ({ ...code, ...expiry(code, now) }));
    const cards = [...dated.filter((code) => !code.expired), ...dated.filter((code) => code.expired)].slice(0, MOST_SHOWN);
    redrawIfChanged(this.at.codesList, cards, () => cards.map((code) => this.#card(code)));
  }

  #note(found) {
    if (this.#codes.length === 0) return "平台上还没有码。商家在后台建一张码，这里就会出现。";
    if (/^https?:/i.test(this.#filter)) return "按回车，就扫这个链接。";
    if (found.length === 0) return "没有找到这样的码。";
    if (found.length > MOST_SHOWN) return `共 ${found.length} 张，先列出 ${MOST_SHOWN} 张；输入几个字来找。`;
    return `共 ${found.length} 张`;
  }

  #card(code) {
    return h("li", {}, h("button", {
      type: "button", class: code.expired ? "code code-expired" : "code", "data-testid": `code-${code.scene}`,
      title: code.url, onclick: () => this.world.scan({ ticket: code.ticket }),
    },
      h("img", { src: `/cgi-bin/showqrcode?ticket=${encodeURIComponent(code.ticket)}`, alt: "", width: "120", height: "120", loading: "lazy" }),
      h("span", { class: code.caption ? "code-caption" : "code-scene", title: code.scene }, code.caption || code.scene),
      h("span", { class: "code-words" }, code.words)));
  }
}
