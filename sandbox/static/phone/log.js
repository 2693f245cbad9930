// The tab 「日志」: what the platform saw, in human words, newest first.

import { Refused, logLines } from "./api.js";
import { h } from "./dom.js";
import { duration, hourMinuteSecond, moment } from "./time.js";

const SECONDS = 2;
const MOST_KEPT = 2000;
const MOST_SHOWN = 300;

const KINDS = [["", "全部"], ["push", "推送"], ["api", "接口"], ["other", "操作"], ["bad", "只看出错"]];

const EVENT_WORDS = {
  subscribe: "关注", unsubscribe: "取消关注", SCAN: "扫码", CLICK: "点菜单", VIEW: "点菜单链接",
  text: "发文字", image: "发图片", voice: "发语音", location: "发位置", LOCATION: "上报位置", kf_create_session: "人工客服接入", kf_close_session: "人工客服结束", MASSSENDJOBFINISH: "群发结束",
};

const PATH_WORDS = {
  "/cgi-bin/token": "取令牌",
  "/cgi-bin/stable_token": "取令牌",
  "/cgi-bin/qrcode/create": "建码",
  "/cgi-bin/showqrcode": "取码图",
  "/cgi-bin/user/get": "拉关注名单",
  "/cgi-bin/user/info": "查一个人",
  "/cgi-bin/user/info/batchget": "批量查人",
  "/cgi-bin/message/custom/send": "发客服消息",
  "/cgi-bin/message/custom/typing": "显示正在输入",
  "/cgi-bin/message/mass/send": "群发给名单",
  "/cgi-bin/message/mass/sendall": "群发给大家",
  "/cgi-bin/message/mass/preview": "预览群发",
  "/cgi-bin/message/mass/get": "查群发",
  "/cgi-bin/message/mass/delete": "删群发",
  "/cgi-bin/draft/add": "建草稿",
  "/cgi-bin/openapi/quota/get": "查次数",
  "/cgi-bin/material/add_material": "传永久素材",
  "/cgi-bin/media/upload": "传临时素材",
  "/cgi-bin/media/uploadimg": "传图片",
  "/cgi-bin/menu/create": "设菜单",
  "/cgi-bin/menu/get": "查菜单",
  "/cgi-bin/getcallbackip": "查平台地址",
  "/cgi-bin/get_api_domain_ip": "查接口地址",
  "/sns/oauth2/access_token": "网页授权换身份",
  "/sns/userinfo": "查授权人资料",
};

const VERDICTS = {
  ok: "收到", timeout: "超时", malformed: "答得不对", refused: "被拒", dropped: "故意丢了", held: "压着，等下一件",
};

/** One line of the log in words: what it is about, how it ended, and whether that was bad. */
export function describe(line, nameOf) {
  const who = line.openid ? nameOf(line.openid) : "";
  if (line.kind === "push") {
    const what = EVENT_WORDS[line.event ?? line.msg_type] ?? line.event ?? line.msg_type ?? "推送";
    const again = line.delivery > 1 ? `（第 ${line.delivery} 次送）` : "";
    const verdict = VERDICTS[line.verdict] ?? line.verdict ?? "";
    const reply = line.reply_type ? `，回了${{ text: "文字", image: "图片", news: "图文", transfer_customer_service: "转人工" }[line.reply_type] ?? line.reply_type}` : "";
    return { group: "push", title: `${who} ${what}${again}`.trim(), end: `${verdict}${reply}`, bad: line.verdict !== "ok" };
  }
  if (line.kind === "api") {
    const { touser } = line.body ?? {};
    const to = touser ? ` → ${Array.isArray(touser) ? `${touser.length} 人` : nameOf(touser)}` : "";
    const fault = line.fault ? "（安排的故障）" : "";
    const end = line.errcode ? `错误码 ${line.errcode}` : line.accepted ? "办成" : `没有办成`;
    return { group: "api", title: `${PATH_WORDS[line.path] ?? line.path}${to}`, end: end + fault, bad: Boolean(line.errcode) || !line.accepted || Boolean(fault) };
  }
  return { group: "other", title: otherWords(line, who), end: otherDetail(line), bad: false };
}

const ACTIONS = {
  scan: "举起手机扫码", follow: "点了关注", unfollow: "点了不再关注", say: "发了消息", tap: "点了菜单", human: "由人工客服接入或结束", raw: "推送了一个事件",
  add: "住进了沙盒", authorize: "同意了网页授权", account: "改了公众号的设置", reset: "全部清空，从头开始",
};

function otherWords(line, who) {
  switch (line.kind) {
    case "clock": return "拨了钟";
    case "play": return `演了剧本 ${(line.scripts ?? []).slice(0, 3).join("、")}`;
    case "mass": return `群发收下了${line.by === "console" ? "（后台手工）" : ""}`;
    case "fault": return line.rules?.length > 0 ? "安排了故障" : "清除了故障";
    default: return `${who} ${ACTIONS[line.action] ?? line.action ?? line.kind}`.trim();
  }
}

function otherDetail(line) {
  if (line.kind === "clock") return `与真实时间相差 ${duration(line.offset_seconds)}`;
  if (line.kind === "mass") return `${line.openids.length} 人，送到 ${line.delivered.length} 人`;
  return line.wish?.text ?? line.wish?.scene ?? line.wish?.key ?? "";
}

export class Log {
  #lines = [];
  #last = 0;
  #timer = null;
  #open = false;
  #kind = "";
  #paused = false;

  constructor(at, world) {
    this.at = at;
    this.world = world;
    at.logFilter.addEventListener("input", () => this.#draw());
    at.logPause.addEventListener("click", () => {
      this.#paused = !this.#paused;
      at.logPause.setAttribute("aria-pressed", String(this.#paused));
      at.logPause.textContent = this.#paused ? "继续" : "暂停";
      if (!this.#paused) this.#draw();
    });
    at.logKinds.append(...KINDS.map(([kind, words]) => h("button", {
      type: "button", class: "chip", "aria-pressed": String(kind === ""), "data-kind": kind,
      onclick: () => this.#choose(kind),
    }, words)));
  }

  start() {
    if (this.#open) return;
    this.#open = true;
    this.#ask();
  }

  stop() {
    this.#open = false;
    clearTimeout(this.#timer);
  }

  #choose(kind) {
    this.#kind = kind;
    for (const chip of this.at.logKinds.children) chip.setAttribute("aria-pressed", String(chip.dataset.kind === kind));
    this.#draw();
  }

  async #ask() {
    try {
      let lines = document.hidden ? [] : await logLines(this.#last, MOST_KEPT);
      const fresh = [];
      while (lines.length > 0 && this.#open) {
        this.#last = lines.at(-1).n;
        fresh.push(...lines);
        if (fresh.length > MOST_KEPT) fresh.splice(0, fresh.length - MOST_KEPT);
        lines = await logLines(this.#last, MOST_KEPT);
      }
      if (fresh.length > 0) this.#take(fresh);
    } catch (error) {
      if (!(error instanceof Refused)) console.error(error);
    }
    if (this.#open) this.#timer = setTimeout(() => this.#ask(), SECONDS * 1000);
  }

  #take(fresh) {
    const described = fresh.map((line) => {
      const words = describe(line, (openid) => this.world.person(openid)?.name ?? openid);
      return { line, ...words, haystack: `${words.title} ${words.end} ${JSON.stringify(line)}`.toLowerCase() };
    });
    this.#lines = [...described.reverse(), ...this.#lines].slice(0, MOST_KEPT);
    if (!this.#paused) this.#draw();
  }

  #draw() {
    const wanted = this.at.logFilter.value.trim().toLowerCase();
    const found = this.#lines.filter((entry) => (!wanted || entry.haystack.includes(wanted))
      && (!this.#kind || entry.group === this.#kind || (this.#kind === "bad" && entry.bad)));
    const shown = found.slice(0, MOST_SHOWN);
    this.at.logNote.textContent = this.#note(found.length);
    const rows = new Map([...this.at.logList.children].map((row) => [row.dataset.n, row]));
    this.at.logList.replaceChildren(...shown.map((entry) => rows.get(String(entry.line.n)) ?? this.#row(entry)));
  }

  #note(count) {
    if (this.#lines.length === 0) return "还没有记录。";
    if (count === 0) return "没有符合的记录。";
    return count > MOST_SHOWN ? `共 ${count} 条，列出最新 ${MOST_SHOWN} 条` : `共 ${count} 条，最新的在上面`;
  }

  #row({ line, title, end, bad, group }) {
    const at = moment(line.at);
    const json = h("pre", { tabindex: "0" });
    const details = h("details", {},
      h("summary", {},
        h("time", {}, at ? hourMinuteSecond(at) : ""),
        h("span", { class: `log-kind log-${group}` }, { push: "推送", api: "接口", other: "操作" }[group]),
        h("span", { class: "log-title" }, title),
        h("span", { class: bad ? "log-end log-bad" : "log-end" }, line.ms === undefined ? end : `${end} · ${line.ms} ms`)),
      json);
    details.addEventListener("toggle", () => { if (details.open) json.textContent = JSON.stringify(line, null, 2); }, { once: true });
    return h("li", { "data-n": String(line.n), "data-testid": "log-line" }, details);
  }
}
