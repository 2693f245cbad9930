// WeChat in a box, the page: people on the left, their phones in the middle, the console on the right.

import { actAs } from "./phone/browser.js";
import { Clock } from "./phone/clock.js";
import { Codes } from "./phone/codes.js";
import { h, parts, redrawIfChanged, toast } from "./phone/dom.js";
import { Faults } from "./phone/faults.js";
import { Handset } from "./phone/handset.js";
import { Log } from "./phone/log.js";
import { People } from "./phone/people.js";
import { Plays } from "./phone/plays.js";
import { Poll, reachable } from "./phone/api.js";

const MOST_PHONES = 4;
const NARROWEST_PHONE_PX = 348;
const GAP_PX = 18;
const MODES = { plain: "明文模式", compatible: "兼容模式", secure: "安全模式" };

const at = parts(document.body);
const openedWith = location.search;
const query = new URLSearchParams(openedWith);

const LOOPBACK = new Set(["localhost", "127.0.0.1", "[::1]"]);

/**
 * This machine has several names, and a cookie belongs to one of them. Pages send people to the platform's own address to
 * sign in; the phone must live there too, or the platform would not know who is holding it.
 */
function moveToPlatformAddress(publicUrl) {
  const home = publicUrl ? new URL(publicUrl) : location;
  if (home.hostname === location.hostname || home.port !== location.port) return;
  if (!LOOPBACK.has(home.hostname) || !LOOPBACK.has(location.hostname)) return;
  location.replace(new URL(location.pathname + openedWith, home));
}

/** The page as the phones and the tabs see it. */
class World {
  account = null;
  menu = [];
  onStage = [];
  active = null;
  #wanted = 1;
  #handsets = new Map();
  #wantedScan = query.get("scan");

  constructor() {
    const several = (query.get("people") ?? "").split(",").filter(Boolean).slice(0, MOST_PHONES);
    this.onStage = several.length > 0 ? several : [query.get("person")].filter(Boolean);
    this.#wanted = Math.max(1, this.onStage.length);
    this.clock = new Clock(at, () => this.accountPoll.now());
    this.codes = new Codes(at, this);
    this.faults = new Faults(at);
    this.log = new Log(at, this);
    this.plays = new Plays(at, this);
    this.people = new People(at, this);
    this.accountPoll = new Poll(() => "/sandbox/account", 5, (account) => this.#accountKnown(account)).start();
    new Poll(() => "/sandbox/menu", 10, (menu) => this.#menuKnown(menu)).start();
    for (const button of document.querySelectorAll("[data-phones-wanted]")) {
      button.addEventListener("click", () => this.wantPhones(Number(button.dataset.phonesWanted)));
    }
    setInterval(() => this.#tick(), 1000);
  }

  // ---- what phones and tabs ask -------------------------------------------------------------------------------

  now() {
    return this.clock.now();
  }

  person(openid) {
    return this.people.get(openid);
  }

  get acting() {
    return this.active ? this.person(this.active) : undefined;
  }

  refreshPeople() {
    this.people.poll.now();
  }

  /** From now on this person acts: scans what is clicked, and is who opened pages see. */
  activate(openid) {
    if (!openid) return;
    actAs(openid);
    if (openid === this.active) return;
    this.active = openid;
    for (const [owner, handset] of this.#handsets) handset.markActive(owner === openid);
    this.#drawPhoneTabs();
    this.codes.draw();
    at.tabPerson.textContent = this.person(openid)?.name ?? "手机";
  }

  /** A person was chosen in the list: put the phone on the stage, or, side by side, take it away again. */
  choose(openid) {
    if (this.#wanted === 1) this.onStage = [openid];
    else if (!this.onStage.includes(openid)) {
      // A full stage gives up the phone in hand, so that the others stay where they are.
      if (this.onStage.length < this.#wanted) this.onStage = [...this.onStage, openid];
      else this.onStage = this.onStage.map((other) => (other === this.active ? openid : other));
    }
    this.#arrange(openid);
    if (this.#wanted === 1 || !this.sees("stage")) showView("phone");
  }

  putAway(openid) {
    this.onStage = this.onStage.filter((other) => other !== openid);
    this.#wanted = Math.max(1, this.onStage.length);
    this.#arrange(this.onStage[0]);
  }

  /** So many phones stand side by side; free places go to whoever is next in the list. */
  wantPhones(count) {
    this.#wanted = count;
    const others = this.people.all.map((person) => person.openid).filter((openid) => !this.onStage.includes(openid));
    const kept = this.onStage.filter((openid) => openid === this.active || this.onStage.indexOf(openid) < count);
    while (kept.length > count) kept.splice(kept.findLastIndex((openid) => openid !== this.active), 1);
    this.onStage = [...kept, ...others].slice(0, count);
    if (count >= 3) showDrawer(false);
    this.#arrange(this.onStage.includes(this.active) ? this.active : this.onStage[0]);
  }

  /** These people's phones, as many as fit. */
  stage(openids) {
    this.onStage = openids.slice(0, MOST_PHONES);
    this.#wanted = Math.max(1, this.onStage.length);
    this.#arrange(this.onStage.includes(this.active) ? this.active : this.onStage[0]);
  }

  sees(part) {
    return at[part].offsetParent !== null;
  }

  showCodes(openid) {
    this.activate(openid);
    showDrawer(true);
    showTab("codes");
    showView("drawer");
  }

  scan(code) {
    this.#withPhone((handset) => handset.scan(code));
  }

  scanText(text, openid = this.active) {
    this.#withPhone((handset) => handset.scanText(text), openid);
  }

  scanImage(image, openid = this.active) {
    this.#withPhone((handset) => handset.scanImage(image), openid);
  }

  #withPhone(deed, openid = this.active) {
    const handset = this.#handsets.get(openid);
    if (!handset) {
      toast("先选一个人");
      return;
    }
    showView("phone");
    deed(handset);
  }

  // ---- what comes from the sandbox ----------------------------------------------------------------------------

  peopleChanged() {
    const known = this.onStage.filter((openid) => this.person(openid));
    if (known.length < this.onStage.length) toast("没有这个人");
    this.onStage = known.length > 0 ? known : this.people.all.slice(0, 1).map((person) => person.openid);
    this.#arrange(this.onStage.includes(this.active) ? this.active : this.onStage[0]);
    for (const handset of this.#handsets.values()) handset.showPerson();
    this.#drawPhoneTabs();
    const { unread } = this.people;
    at.tabUnread.hidden = unread === 0;
    at.tabUnread.textContent = unread > 99 ? "99+" : String(unread);
    if (this.#wantedScan !== null && this.active) {
      const text = this.#wantedScan;
      this.#wantedScan = null;
      this.#handsets.get(this.active).openScanner(text);
    }
  }

  #accountKnown(account) {
    moveToPlatformAddress(account.public_url);
    const before = this.account;
    this.account = account;
    this.clock.set(account);
    at.accountLine.textContent = `${account.name} · ${MODES[account.mode] ?? account.mode}`;
    at.accountLine.title = account.callback_url ? `推送到 ${account.callback_url}` : "还没有填写服务器地址，推送送不出去";
    document.title = `手机 · ${account.name}`;
    if (before?.name !== account.name) for (const handset of this.#handsets.values()) handset.showAccount();
    this.#tick();
  }

  #menuKnown(answer) {
    this.menu = answer?.button ?? answer?.menu?.button ?? [];
    for (const handset of this.#handsets.values()) handset.showMenu();
  }

  // ---- the stage ----------------------------------------------------------------------------------------------

  #arrange(active) {
    for (const [openid, handset] of this.#handsets) {
      if (this.onStage.includes(openid)) continue;
      handset.close();
      this.#handsets.delete(openid);
    }
    for (const openid of this.onStage) {
      if (!this.#handsets.has(openid)) {
        const handset = new Handset(openid, this);
        handset.tick(this.now());
        this.#handsets.set(openid, handset);
      }
      this.#handsets.get(openid).allowPutAway(this.onStage.length > 1);
    }
    this.#stand(this.onStage.map((openid) => this.#handsets.get(openid)));
    document.body.dataset.phones = String(this.onStage.length);
    for (const button of document.querySelectorAll("[data-phones-wanted]")) {
      button.setAttribute("aria-pressed", String(Number(button.dataset.phonesWanted) === this.#wanted));
    }
    at.peopleHint.hidden = this.#wanted === 1;
    this.fit();
    at.stageEmpty.hidden = this.onStage.length > 0;
    this.activate(active);
    this.people.draw();
    this.#writeAddress();
  }

  /** Puts phones in their order. One that stands right is not touched: moved in the page, it would lose cursor and scroll. */
  #stand(handsets) {
    let next = null;
    for (const handset of [...handsets].reverse()) {
      if (handset.element.parentNode !== at.stage || handset.element.nextElementSibling !== next) {
        handset.moved(() => at.stage.insertBefore(handset.element, next));
      }
      next = handset.element;
    }
  }

  /** Several phones are drawn as much smaller as it takes to have all of them in view. */
  fit() {
    const count = Math.max(1, this.onStage.length);
    const room = at.stage.clientWidth - 2 * GAP_PX - (count - 1) * GAP_PX;
    const zoom = room > 0 && innerWidth > 520 ? Math.min(1, room / (count * NARROWEST_PHONE_PX)) : 1;
    at.stage.style.setProperty("--phone-zoom", zoom.toFixed(3));
  }

  /** On a narrow screen one phone is in view, and tabs lead to the others. */
  #drawPhoneTabs() {
    at.phoneTabs.hidden = this.onStage.length < 2;
    redrawIfChanged(at.phoneTabs, [this.onStage, this.active, this.onStage.map((openid) => this.person(openid))], () => this.onStage.map((openid) => {
      const person = this.person(openid);
      const unread = openid === this.active ? 0 : person?.unread ?? 0;
      return h("button", {
        type: "button", role: "tab", "aria-selected": String(openid === this.active), "data-testid": `phone-tab-${openid}`,
        onclick: () => this.activate(openid),
      }, person?.name ?? "…", unread > 0 && h("span", { class: "badge", "aria-label": `${unread} 条未读` }, String(unread)));
    }));
  }

  #writeAddress() {
    const address = new URL(location.href);
    address.search = "";
    if (this.onStage.length > 1) address.searchParams.set("people", this.onStage.join(","));
    else if (this.onStage.length === 1) address.searchParams.set("person", this.onStage[0]);
    address.search = address.search.replaceAll("%2C", ",");
    if (address.href !== location.href) history.replaceState(null, "", address);
  }

  #tick() {
    const now = this.now();
    this.clock.tick();
    for (const handset of this.#handsets.values()) handset.tick(now);
  }
}

// ---- the console and the tab bar ------------------------------------------------------------------------------------

const TABS = ["codes", "faults", "clock", "plays", "log"];
let lastTool = "faults";

function showTab(name) {
  for (const tab of TABS) {
    const button = document.querySelector(`#tab-${tab}`);
    button.setAttribute("aria-selected", String(tab === name));
    button.tabIndex = tab === name ? 0 : -1;
    document.querySelector(`#panel-${tab}`).hidden = tab !== name;
  }
  if (name !== "codes") lastTool = name;
  const shown = at.drawer.offsetParent !== null;
  if (name === "codes" && shown) world.codes.poll.start();
  else world.codes.poll.stop();
  if (name === "log" && shown) world.log.start();
  else world.log.stop();
  if (name === "plays" && shown) world.plays.start();
  else world.plays.stop();
  markTabBar();
}

const chosenTab = () => TABS.find((tab) => document.querySelector(`#tab-${tab}`).getAttribute("aria-selected") === "true") ?? "codes";

function showDrawer(open) {
  document.body.classList.toggle("drawer-folded", !open);
  at.drawerUnfold.hidden = open;
  showTab(chosenTab());
  world.fit();
}

/** On narrow screens one of people, phone and console is visible at a time. */
function showView(view) {
  document.body.dataset.view = view;
  showTab(chosenTab());
}

function markTabBar() {
  const { view } = document.body.dataset;
  const current = view === "drawer" ? (chosenTab() === "codes" ? "codes" : "tools") : view;
  for (const button of document.querySelectorAll("[data-goto]")) {
    if (button.dataset.goto === current) button.setAttribute("aria-current", "page");
    else button.removeAttribute("aria-current");
  }
}

for (const button of document.querySelectorAll("[data-tab]")) {
  button.addEventListener("click", () => showTab(button.dataset.tab));
  button.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const next = TABS[(TABS.indexOf(button.dataset.tab) + step + TABS.length) % TABS.length];
    showTab(next);
    document.querySelector(`#tab-${next}`).focus();
  });
}

for (const button of document.querySelectorAll("[data-goto]")) {
  button.addEventListener("click", () => {
    const { goto } = button.dataset;
    if (goto === "codes" || goto === "tools") {
      showView("drawer");
      showTab(goto === "codes" ? "codes" : lastTool);
    } else {
      showView(goto);
    }
  });
}

at.drawerFold.addEventListener("click", () => { showDrawer(false); at.drawerUnfold.focus(); });
at.drawerUnfold.addEventListener("click", () => { showDrawer(true); at.drawerFold.focus(); });

// ---- pictures from outside: dropped or pasted anywhere --------------------------------------------------------------

document.addEventListener("paste", (event) => {
  const image = [...event.clipboardData.files].find((file) => file.type.startsWith("image/"));
  if (!image) return;
  event.preventDefault();
  world.scanImage(image);
});

const carriesFiles = (event) => event.dataTransfer?.types.includes("Files") || event.dataTransfer?.types.includes("text/uri-list");

document.addEventListener("dragover", (event) => {
  if (!carriesFiles(event)) return;
  event.preventDefault();
  document.body.classList.add("dragging");
});
document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) document.body.classList.remove("dragging"); });
document.addEventListener("drop", (event) => {
  if (!carriesFiles(event)) return;
  event.preventDefault();
  document.body.classList.remove("dragging");
  const phone = event.target.closest?.("[data-testid^=phone-]")?.dataset.testid.replace("phone-", "");
  const image = [...event.dataTransfer.files].find((file) => file.type.startsWith("image/"));
  const address = event.dataTransfer.getData("text/uri-list");
  if (image) world.scanImage(image, phone);
  else if (address) world.scanText(address, phone);
  else toast("请拖一张图片进来");
});

reachable.addEventListener("change", () => { at.offline.hidden = reachable.ok; });

const world = new World();
showDrawer(!(world.onStage.length >= MOST_PHONES));
window.addEventListener("resize", () => { showTab(chosenTab()); world.fit(); });
document.addEventListener("visibilitychange", () => showTab(chosenTab()));
