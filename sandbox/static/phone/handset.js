// One phone: the home screen, the chat with the account, its profile, the scanner and the built-in browser.

import { Poll, Refused, decode, personPath, post } from "./api.js";
import { openBrowser } from "./browser.js";
import { h, icon, paintAccount, paintAvatar, parts, toast } from "./dom.js";
import { messageRow, summary } from "./messages.js";
import { chatTime, hourMinute, listTime, moment } from "./time.js";

const SILENCE_BEFORE_TIME_LINE_MS = 5 * 60_000;
const NEAR_THE_END_PX = 120;
const LONGEST_PICTURE_SIDE = 1280;

/** What the scanner makes of a text: a code of the platform, a page to open, or a bare scene. */
export function readCode(text) {
  const trimmed = text.trim();
  let url;
  try {
    url = new URL(trimmed);
  } catch {
    return { code: { scene: trimmed } };
  }
  if (!/^https?:$/.test(url.protocol)) return { code: { scene: trimmed } };
  if (url.hostname === "weixin.qq.com" && url.pathname.startsWith("/q/")) return { code: { url: trimmed } };
  if (url.pathname.endsWith("/cgi-bin/showqrcode")) return { code: { ticket: url.searchParams.get("ticket") ?? "" } };
  return { page: url.href };
}

/** A picture as a data URL, made small enough for a chat. */
async function shrunk(file) {
  const bitmap = await createImageBitmap(file);
  const scale = Math.min(1, LONGEST_PICTURE_SIDE / Math.max(bitmap.width, bitmap.height));
  const canvas = h("canvas", { width: Math.round(bitmap.width * scale), height: Math.round(bitmap.height * scale) });
  canvas.getContext("2d").drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  return canvas.toDataURL("image/jpeg", 0.85);
}

export class Handset {
  #last = 0;
  #lastShownAt = null;
  #lastMessage = null;
  #waiting = 0;
  #typing = false;
  #following = null;
  #layers = [];

  /** `world` knows the account, the people, the menu and the time, and can be asked to act on the page around the phone. */
  constructor(openid, world) {
    this.openid = openid;
    this.world = world;
    this.element = document.querySelector("#handset").content.firstElementChild.cloneNode(true);
    this.element.dataset.testid = `phone-${openid}`;
    this.parts = parts(this.element);
    this.actions = {
      open: (url) => this.browse(url),
      look: (picture) => this.look(picture),
      answerMenu: ({ text, menuId }) => this.#act("say", { type: "text", text, bizmsgmenuid: menuId }),
      settled: () => { if (this.nearEnd) this.#toEnd(); },
    };
    this.#listen();
    this.showPerson();
    this.showAccount();
    this.showMenu();
    this.chat = new Poll(() => `${personPath(openid, "chat")}?after=${this.#last}`, 1, (page) => this.#receive(page)).start();
  }

  get person() {
    return this.world.person(this.openid) ?? { openid: this.openid, name: "…" };
  }

  close() {
    this.chat.stop();
    this.element.remove();
  }

  /** Moves the phone in the page; a chat that was read to its end still is. */
  moved(move) {
    const atEnd = this.nearEnd;
    move();
    if (atEnd) this.#toEnd();
  }

  #listen() {
    const { parts: at } = this;
    this.element.addEventListener("pointerdown", () => this.world.activate(this.openid), true);
    this.element.addEventListener("focusin", () => this.world.activate(this.openid));
    this.element.addEventListener("keydown", (event) => { if (event.key === "Escape") this.#closeTopLayer(event); });
    at.putAway.addEventListener("click", () => this.world.putAway(this.openid));
    for (const button of [at.homeScan, at.homeScanBig, at.chatScan, at.extrasScan]) {
      button.addEventListener("click", () => this.openScanner());
    }
    at.homeProfile.addEventListener("click", () => this.openProfile());
    at.chatProfile.addEventListener("click", () => this.openProfile());
    at.chatBack.addEventListener("click", () => this.#show("home"));
    at.conversation.addEventListener("click", () => this.#show("chat"));
    at.newer.addEventListener("click", () => this.#toEnd());
    at.messages.addEventListener("scroll", () => { if (this.nearEnd) at.newer.hidden = true; }, { passive: true });
    at.say.addEventListener("submit", (event) => { event.preventDefault(); this.#say(); });
    at.sayInput.addEventListener("input", () => at.say.classList.toggle("has-text", at.sayInput.value.trim() !== ""));
    at.sayMore.addEventListener("click", () => this.#toggleExtras());
    at.sendImage.addEventListener("change", () => this.#sendImage());
    at.sendLocation.addEventListener("click", () => this.#sendLocation());
    at.sendVoice.addEventListener("click", () => { this.#toggleExtras(false); this.#act("say", { type: "voice" }); });
    at.human.addEventListener("click", () => this.#toggleHuman());
    at.menuToggle.addEventListener("click", () => this.#toggleInput());
  }

  // ---- what is known ------------------------------------------------------------------------------------------

  showPerson() {
    const person = this.person;
    paintAvatar(this.parts.captionAvatar, person);
    this.parts.captionName.textContent = person.name;
    this.element.setAttribute("aria-label", `${person.name}的手机`);
    this.parts.humanWords.textContent = person.with_clerk ? "客服结束" : "客服接入";
    if (this.#looking && person.unread > 0) this.#markRead();
    this.#showFollowing(this.#following ?? person.following ?? null);
  }

  showAccount() {
    const account = this.world.account;
    paintAccount(this.parts.conversationAvatar, account);
    this.parts.conversationName.textContent = account?.name ?? "";
    this.#showTitle();
  }

  showMenu() {
    const buttons = this.world.menu;
    this.parts.accountMenu.hidden = buttons.length === 0;
    if (buttons.length === 0) this.parts.say.hidden = false;
    this.parts.menuButtons.replaceChildren(...buttons.map((button) => this.#menuCell(button)));
  }

  /** Called once a second: the phone's own clock. */
  tick(now) {
    this.parts.statusTime.textContent = hourMinute(now);
  }

  markActive(active) {
    this.element.classList.toggle("handset-active", active);
  }

  allowPutAway(allowed) {
    this.parts.putAway.hidden = !allowed;
  }

  #showFollowing(following) {
    const before = this.#following;
    this.#following = following;
    const state = following ? "已关注" : "未关注";
    this.parts.captionState.textContent = this.person.with_clerk ? `${state} · 人工客服接待中` : state;
    this.parts.conversation.hidden = !following;
    this.parts.homeEmpty.hidden = Boolean(following);
    if (following === null || following === before) return;
    if (before !== null) this.#closeLayers();
    this.#show(following ? "chat" : "home");
  }

  /** Clears the screen for what has just happened; a page in the browser stays, it may be the reason for it. */
  #closeLayers() {
    for (const layer of [...this.#layers].reverse()) if (!layer.keep) layer.close();
  }

  #show(screen) {
    const { home, chatScreen, homeScan, chatScan, homeProfile, chatProfile } = this.parts;
    this.screenName = screen;
    home.hidden = screen !== "home";
    chatScreen.hidden = screen !== "chat";
    // Whichever screen is up, exactly one button carries each hook.
    for (const [hook, ofHome, ofChat] of [["scan-open", homeScan, chatScan], ["profile-open", homeProfile, chatProfile]]) {
      delete (screen === "home" ? ofChat : ofHome).dataset.testid;
      (screen === "home" ? ofHome : ofChat).dataset.testid = hook;
    }
    if (screen === "chat") this.#toEnd();
  }

  #showTitle() {
    const waiting = this.#waiting > 0 || this.#typing;
    this.parts.chatTitle.textContent = waiting ? "对方正在输入…" : this.world.account?.name ?? "公众号";
    this.parts.chatTitle.classList.toggle("typing", waiting);
  }

  // ---- chat ---------------------------------------------------------------------------------------------------

  get nearEnd() {
    const list = this.parts.messages;
    return list.scrollHeight - list.scrollTop - list.clientHeight < NEAR_THE_END_PX;
  }

  #toEnd() {
    this.parts.messages.scrollTop = this.parts.messages.scrollHeight;
    this.parts.newer.hidden = true;
  }

  #receive({ last, following, typing, messages }) {
    if (last < this.#last) {
      // The sandbox was started afresh: what it no longer knows is gone from the phone too.
      this.#last = 0;
      this.#lastShownAt = this.#lastMessage = null;
      this.parts.messages.replaceChildren();
      this.chat.now();
      return;
    }
    const first = this.#last === 0;
    const stay = !first && !this.nearEnd && !messages.some((message) => message.from === "person");
    const rows = document.createDocumentFragment();
    for (const message of messages) {
      if (message.n <= this.#last) continue;
      this.#last = message.n;
      this.#lastMessage = message;
      const at = moment(message.at);
      if (at && (!this.#lastShownAt || at - this.#lastShownAt > SILENCE_BEFORE_TIME_LINE_MS)) {
        rows.append(h("p", { class: "system" }, chatTime(at, this.world.now())));
      }
      if (at) this.#lastShownAt = at;
      rows.append(messageRow(message, { person: this.person, account: this.world.account, actions: this.actions }));
    }
    this.#last = Math.max(this.#last, last);
    const grew = rows.childElementCount > 0;
    this.parts.messages.append(rows);
    this.#showFollowing(following);
    this.#typing = Boolean(typing);
    this.#showTitle();
    if (!grew) return;
    this.#showConversation();
    if (stay) this.parts.newer.hidden = false;
    else this.#toEnd();
    if (this.#looking) this.#markRead();
  }

  #showConversation() {
    const at = moment(this.#lastMessage.at);
    this.parts.conversationLast.textContent = summary(this.#lastMessage);
    this.parts.conversationTime.textContent = at ? listTime(at, this.world.now()) : "";
  }

  get #looking() {
    return this.screenName === "chat" && !document.hidden && this.element.offsetParent !== null;
  }

  async #markRead() {
    try {
      await post(personPath(this.openid, "read"));
      this.world.refreshPeople();
    } catch {
      // The count stays until the next message; nobody needs to be told.
    }
  }

  /** Lets the person do something and waits for the account's answer; answers null when it was refused. */
  async #act(action, body) {
    this.#waiting += 1;
    this.#showTitle();
    const soon = setTimeout(() => this.chat.now(), 120);
    try {
      const result = await post(personPath(this.openid, action), body);
      this.#judge(result?.deliveries ?? []);
      return result ?? {};
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      toast(error.message, { bad: true });
      return null;
    } finally {
      clearTimeout(soon);
      this.#waiting -= 1;
      this.#showTitle();
      this.chat.now();
      this.world.refreshPeople();
    }
  }

  #judge(deliveries) {
    const last = deliveries.at(-1);
    if (last && last.verdict !== "ok") toast("公众号没有答上来，经过见「日志」", { bad: true });
  }

  async #say() {
    const { say, sayInput } = this.parts;
    const text = sayInput.value.trim();
    if (!text) return;
    sayInput.value = "";
    say.classList.remove("has-text");
    const result = await this.#act("say", { type: "text", text });
    if (result === null && sayInput.value === "") {
      // What could not be sent is not lost.
      sayInput.value = text;
      say.classList.add("has-text");
    }
  }

  #toggleExtras(open = this.parts.extras.hidden) {
    this.parts.extras.hidden = !open;
    this.parts.sayMore.setAttribute("aria-expanded", String(open));
    if (open) this.#toEnd();
  }

  #toggleInput() {
    const { say, menuToggle } = this.parts;
    say.hidden = !say.hidden;
    if (say.hidden) this.#toggleExtras(false);
    menuToggle.setAttribute("aria-expanded", String(!say.hidden));
    menuToggle.setAttribute("aria-label", say.hidden ? "打开输入框" : "收起输入框");
    if (!say.hidden) this.parts.sayInput.focus();
    this.#toEnd();
  }

  async #sendImage() {
    const [file] = this.parts.sendImage.files;
    this.parts.sendImage.value = "";
    if (!file) return;
    this.#toggleExtras(false);
    try {
      await this.#act("say", { type: "image", image: await shrunk(file) });
    } catch {
      toast("这张图片打不开", { bad: true });
    }
  }

  /** What a clerk at the platform's own human service would do: take this person, or be done with them. */
  async #toggleHuman() {
    this.#toggleExtras(false);
    await this.#act("human", { begins: !this.person.with_clerk });
  }

  #sendLocation() {
    this.#toggleExtras(false);
    const label = h("input", { type: "text", value: "小区南门", "aria-label": "地点名称", maxlength: "40" });
    this.#ask({
      title: "发送位置",
      content: h("label", { class: "dialog-field" }, "地点名称", label),
      yes: "发送",
      focus: label,
      onYes: () => this.#act("say", {
        type: "location", latitude: 23.134521, longitude: 113.358803, scale: 16, label: label.value.trim() || "小区南门",
      }),
    });
  }

  // ---- menu of the account ------------------------------------------------------------------------------------

  #menuCell(button) {
    const children = button.sub_button ?? [];
    if (children.length === 0) {
      return h("div", { class: "menu-cell" },
        h("button", { type: "button", "data-testid": "menu-button", onclick: () => this.#tap(button) }, button.name));
    }
    const list = h("div", { class: "menu-list", hidden: true },
      children.map((child) => h("button", {
        type: "button", "data-testid": "menu-item",
        onclick: () => { toggle(false); this.#tap(child); },
      }, child.name)));
    const opener = h("button", {
      type: "button", "data-testid": "menu-button", "aria-expanded": "false", "aria-haspopup": "true",
      onclick: () => toggle(list.hidden),
    }, icon("menu"), button.name);
    const outside = (event) => { if (!cell.contains(event.target)) toggle(false); };
    const toggle = (open) => {
      list.hidden = !open;
      opener.setAttribute("aria-expanded", String(open));
      if (open) document.addEventListener("pointerdown", outside, true);
      else document.removeEventListener("pointerdown", outside, true);
    };
    const cell = h("div", { class: "menu-cell" }, opener, list);
    cell.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || list.hidden) return;
      event.stopPropagation();
      toggle(false);
      opener.focus();
    });
    return cell;
  }

  #tap(button) {
    switch (button.type) {
      case "view":
        this.#act("tap", { event: "VIEW", key: button.url, url: button.url });
        this.browse(button.url);
        break;
      case "miniprogram":
        toast("沙盒里没有小程序，改为打开备用网页");
        this.#act("tap", { event: "view_miniprogram", key: button.pagepath });
        if (button.url) this.browse(button.url);
        break;
      case "location_select":
        this.#sendLocation();
        break;
      case "scancode_push":
      case "scancode_waitmsg":
        this.openScanner();
        break;
      case "pic_sysphoto":
      case "pic_photo_or_album":
      case "pic_weixin":
        this.parts.sendImage.click();
        break;
      default:
        this.#act("tap", { event: "CLICK", key: button.key ?? button.media_id ?? "" });
    }
  }

  // ---- layers over the screen ---------------------------------------------------------------------------------

  /** Puts a layer over everything on the phone; what lies below cannot be reached until it is closed. */
  openLayer(element, { keep = false, focus = null, onClose = null } = {}) {
    const host = this.parts.layers;
    const returnTo = document.activeElement;
    for (const below of host.children) below.inert = true;
    host.append(element);
    const layer = {
      keep,
      close: () => {
        if (!this.#layers.includes(layer)) return;
        this.#layers = this.#layers.filter((other) => other !== layer);
        element.remove();
        for (const below of host.children) below.inert = below !== host.lastElementChild && this.#layers.length > 0;
        onClose?.();
        if (returnTo?.isConnected && this.element.contains(returnTo)) returnTo.focus({ preventScroll: true });
      },
    };
    this.#layers.push(layer);
    (focus ?? element.querySelector("button, input, a"))?.focus({ preventScroll: true });
    return layer;
  }

  #closeTopLayer(event) {
    const top = this.#layers.at(-1);
    if (!top) return;
    event.preventDefault();
    top.close();
  }

  #ask({ title, content, yes, danger = false, focus = null, onYes }) {
    const accept = h("button", { type: "submit", class: danger ? "danger" : "", "data-testid": "confirm" }, yes);
    const form = h("form", {
      class: "dialog", role: "alertdialog", "aria-label": title,
      onsubmit: (event) => { event.preventDefault(); layer.close(); onYes(); },
    },
      h("h4", {}, title), content,
      h("div", { class: "dialog-buttons" },
        h("button", { type: "button", "data-testid": "cancel", onclick: () => layer.close() }, "取消"), accept));
    const layer = this.openLayer(h("div", { class: "layer veil" }, form), { focus: focus ?? accept });
  }

  /** The account's profile; with `code` it is what a stranger sees after scanning, and following counts for that code. */
  openProfile(code = null) {
    const { account } = this.world;
    const name = account?.name ?? "公众号";
    const avatar = h("span", { class: "avatar account-avatar" });
    paintAccount(avatar, account);
    const follow = h("button", {
      type: "button", class: "button button-wide", "data-testid": "follow",
      onclick: async () => {
        follow.disabled = true;
        follow.textContent = "正在关注…";
        const result = await (code ? this.#act("scan", { ...code, follow: true }) : this.#act("follow", {}));
        if (result === null) {
          follow.disabled = false;
          follow.textContent = "关注公众号";
          return;
        }
        layer.close();
        this.#show("chat");
      },
    }, "关注公众号");
    const enter = [
      h("button", { type: "button", class: "button button-wide", onclick: () => { layer.close(); this.#show("chat"); } }, "发消息"),
      h("button", { type: "button", class: "button-danger button-wide", "data-testid": "unfollow", onclick: () => this.#confirmUnfollow() }, "不再关注"),
    ];
    const page = h("section", { class: "layer profile", "aria-label": "公众号资料", "data-testid": "profile" },
      h("header", { class: "topbar" },
        h("button", { type: "button", class: "button-icon", "aria-label": "返回", onclick: () => layer.close() }, icon("back")),
        h("h3", {}, code ? "扫码结果" : ""), h("span")),
      h("div", { class: "profile-head" }, avatar,
        h("div", {}, h("h4", {}, name), h("p", {}, "服务号"), h("p", {}, account?.original_id ?? ""))),
      h("p", { class: "profile-words" }, "这是沙盒里的公众号，只住在这台机器上，可以放心试。"),
      h("dl", { class: "profile-facts" },
        h("div", {}, h("dt", {}, "微信用户"), h("dd", {}, this.person.name)),
        h("div", {}, h("dt", {}, "关注状态"), h("dd", {}, this.#following ? "已关注" : "未关注"))),
      h("div", { class: "profile-buttons" }, this.#following ? enter : follow));
    const layer = this.openLayer(page, { focus: this.#following ? null : follow });
  }

  #confirmUnfollow() {
    const name = this.world.account?.name ?? "公众号";
    this.#ask({
      title: `不再关注“${name}”？`,
      content: h("p", {}, "不再关注后，将不再收到它发来的消息。"),
      yes: "不再关注",
      danger: true,
      onYes: async () => {
        if (await this.#act("unfollow", {})) toast("已取消关注");
      },
    });
  }

  look(picture) {
    const view = h("button", { type: "button", class: "layer look", "aria-label": "关闭大图", onclick: () => layer.close() },
      h("img", { src: picture, alt: "大图" }));
    const layer = this.openLayer(view, { focus: view });
  }

  browse(url) {
    openBrowser(this, url);
  }

  // ---- scanner ------------------------------------------------------------------------------------------------

  openScanner(text = "") {
    this.#toggleExtras(false);
    const input = h("input", {
      type: "text", class: "scan-input", "data-testid": "scan-input", "aria-label": "码的链接或场景值", value: text,
      placeholder: "粘贴码的链接", autocomplete: "off", spellcheck: "false", enterkeyhint: "go",
    });
    const picture = h("input", { type: "file", accept: "image/*", "data-testid": "scan-image", onchange: () => {
      if (picture.files[0]) this.scanImage(picture.files[0], layer);
    } });
    const sheet = h("section", { class: "layer scanner", "aria-label": "扫一扫", "data-testid": "scanner" },
      h("header", { class: "topbar" },
        h("button", { type: "button", class: "button-icon", "aria-label": "关闭扫一扫", onclick: () => layer.close() }, icon("close")),
        h("h3", {}, "扫一扫"), h("span")),
      h("div", { class: "viewfinder", "aria-hidden": "true" }, h("i")),
      h("p", { class: "scanner-hint" }, "选图片、点平台上的码，或粘贴链接"),
      h("div", { class: "scanner-ways" },
        h("label", { class: "scanner-way" }, picture, icon("picture"), "从相册选取"),
        h("button", { type: "button", class: "scanner-way", "data-testid": "scan-codes", onclick: () => { layer.close(); this.world.showCodes(this.openid); } },
          icon("scan"), "平台上的码")),
      h("form", { class: "scanner-form", onsubmit: (event) => { event.preventDefault(); this.scanText(input.value, layer); } },
        input, h("button", { type: "submit", class: "button", "data-testid": "scan-go" }, "扫")));
    const layer = this.openLayer(sheet, { focus: input });
    input.select();
  }

  async scanImage(image, layer = null) {
    try {
      await this.scanText(await decode(image), layer);
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      toast(error.message, { bad: true });
    }
  }

  async scanText(text, layer = null) {
    if (!text.trim()) {
      toast("先粘贴一个链接");
      return;
    }
    const { code, page } = readCode(text);
    if (page) {
      layer?.close();
      this.browse(page);
      return;
    }
    await this.scan(code, layer);
  }

  /** Holds the phone before a code. Followers land in the chat, strangers on the profile. */
  async scan(code, layer = null) {
    const known = this.#following;
    const scanning = this.#act("scan", { ...code, follow: false });
    if (known) {
      // The scanner need not wait for the account's answer; the chat shows that it is on its way.
      layer?.close();
      this.#closeLayers();
      this.#show("chat");
    }
    const result = await scanning;
    if (result === null || this.#following) return;
    layer?.close();
    this.#closeLayers();
    this.openProfile(code);
  }
}
