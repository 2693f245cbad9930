// The tab 「故障」: makes the platform misbehave, in words.

import { Poll, Refused, post, remove } from "./api.js";
import { h, redrawIfChanged, toast } from "./dom.js";

const PATHS = [
  ["", "所有接口"],
  ["/cgi-bin/message/custom/send", "发客服消息"],
  ["/cgi-bin/message/mass/send", "群发给名单"],
  ["/cgi-bin/message/mass/get", "查群发"],
  ["/cgi-bin/draft/add", "建草稿"],
  ["/cgi-bin/qrcode/create", "建码"],
  ["/cgi-bin/user/info", "查一个人"],
  ["/cgi-bin/user/info/batchget", "批量查人"],
  ["/cgi-bin/user/get", "拉关注名单"],
  ["/cgi-bin/stable_token", "取令牌"],
  ["/cgi-bin/material/add_material", "传素材"],
  ["/sns/oauth2/access_token", "网页授权"],
];

const EVENTS = [
  ["", "所有推送"],
  ["subscribe", "关注"],
  ["SCAN", "已关注者扫码"],
  ["unsubscribe", "取消关注"],
  ["text", "文字消息"],
  ["image", "图片消息"],
  ["location", "位置消息"],
  ["CLICK", "点菜单"],
  ["VIEW", "点菜单里的链接"],
  ["voice", "语音消息"],
  ["kf_create_session", "人工客服接入"],
  ["kf_close_session", "人工客服结束"],
  ["MASSSENDJOBFINISH", "群发结束"],
];

const TIMES = [["1", "下 1 次"], ["3", "下 3 次"], ["10", "下 10 次"], ["", "一直"]];

const API_PRESETS = [
  ["slow", "慢 8 秒", "答得对，但要等", { latency_ms: 8000 }],
  ["lost-reply", "丢回复", "事情办了，回音丢了", { lost_reply: true }],
  ["html", "返回 HTML", "给一张网页，不是 JSON", { html: true }],
  ["truncate", "回复断半截", "JSON 只有前一半", { truncate: true }],
  ["token", "令牌失效", "所有令牌立刻作废", { revoke_token: true }],
  ["busy", "系统繁忙", "错误码 -1", { errcode: -1 }],
  ["quota", "次数用完", "错误码 45009", { errcode: 45009 }],
  ["down", "服务器故障", "HTTP 503", { status: 503 }],
  ["accepted-before", "群发：说是重复", "收下了，却答错误码 45065", { errcode: 45065, accept: true }],
  ["mass-unfit", "群发：判为违规", "先收下，后来谁也没送", { mass_status: "err(20001)" }],
];

const PUSH_PRESETS = [
  ["drop", "事件丢失", "根本没有送到", { drop: true }],
  ["duplicate", "事件重复", "同一件事送两遍", { duplicate: 1 }],
  ["reorder", "事件乱序", "等下一件事之后才到", { reorder: true }],
  ["late", "慢 8 秒", "过一会儿才送到", { latency_ms: 8000 }],
  ["push-lost-reply", "丢回复", "公众号答了，平台没收到，会重送", { lost_reply: true }],
];

const wordsFor = (table, key) => table.find(([value]) => value === (key ?? ""))?.[1] ?? key;

function deedWords(deed) {
  const same = JSON.stringify(deed);
  const preset = [...API_PRESETS, ...PUSH_PRESETS].find((candidate) => JSON.stringify(candidate[3]) === same);
  if (preset) return preset[1];
  return Object.entries(deed).map(([name, value]) => {
    switch (name) {
      case "errcode": return `错误码 ${value}`;
      case "status": return `HTTP ${value}`;
      case "latency_ms": return `慢 ${value / 1000} 秒`;
      case "duplicate": return `重复 ${value} 遍`;
      default: return name;
    }
  }).join("、");
}

const scope = (rule) => ({
  where: rule.push ? wordsFor(EVENTS, rule.event) : wordsFor(PATHS, rule.path),
  left: rule.next === null ? "一直" : `还有 ${rule.next} 次`,
});

function ruleWords(rule) {
  const { where, left } = scope(rule);
  return `${where}：${deedWords(rule.do)}（${left}）`;
}

const options = (table) => table.map(([value, words]) => h("option", { value }, words));

export class Faults {
  constructor(at) {
    this.at = at;
    at.faultPath.replaceChildren(...options(PATHS));
    at.faultEvent.replaceChildren(...options(EVENTS));
    at.faultPathNext.replaceChildren(...options(TIMES));
    at.faultEventNext.replaceChildren(...options(TIMES));
    at.faultPathPresets.replaceChildren(...this.#presets(API_PRESETS, (deed) => this.#add(this.#apiMatch(), at.faultPathNext, deed)));
    at.faultEventPresets.replaceChildren(...this.#presets(PUSH_PRESETS, (deed) => this.#add(this.#pushMatch(), at.faultEventNext, deed)));
    at.faultErrcodeForm.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#add(this.#apiMatch(), at.faultPathNext, { errcode: Number(at.faultErrcode.value) });
      at.faultErrcodeForm.reset();
    });
    at.faultsClear.addEventListener("click", () => this.#clear());
    at.troubleClear.addEventListener("click", () => this.#clear());
    at.byHandForm.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#sendByHand(at.byHandText.value);
    });
    this.poll = new Poll(() => "/sandbox/faults", 3, ({ rules }) => this.#receive(rules)).start();
  }

  #presets(presets, choose) {
    return presets.map(([name, words, meaning, deed]) => h("li", {}, h("button", {
      type: "button", class: "preset", "data-testid": `fault-${name}`, onclick: () => choose(deed),
    }, h("b", {}, words), h("span", {}, meaning))));
  }

  #apiMatch() {
    const path = this.at.faultPath.value;
    return path ? { path } : {};
  }

  #pushMatch() {
    const event = this.at.faultEvent.value;
    return event ? { push: true, event } : { push: true };
  }

  async #add(match, times, deed) {
    await this.#say(() => post("/sandbox/faults", { mode: "append", rules: [{ match, next: times.value ? Number(times.value) : null, do: deed }] }), "安排好了");
  }

  async #clear() {
    await this.#say(() => remove("/sandbox/faults"), "故障都清除了");
  }

  /** What an operator does at mp.weixin.qq.com: the account's program hears of it only by its end. */
  async #sendByHand(text) {
    await this.#say(() => post("/sandbox/console-send", { text }), "群发出去了");
    this.at.byHandForm.reset();
  }

  async #say(deed, done) {
    try {
      await deed();
      toast(done);
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      toast(error.message, { bad: true });
    }
    this.poll.now();
  }

  #receive(rules) {
    this.at.faultsClear.disabled = rules.length === 0;
    this.at.faultDot.hidden = rules.length === 0;
    this.at.trouble.hidden = rules.length === 0;
    this.at.troubleWords.textContent = rules.map((rule) => ruleWords(rule)).join("；");
    redrawIfChanged(this.at.faultsRules, rules, () => rules.length > 0
      ? rules.map((rule) => this.#rule(rule))
      : [h("li", { class: "note" }, "一切正常，没有安排故障。")]);
  }

  #rule(rule) {
    const { where, left } = scope(rule);
    return h("li", { class: "rule", "data-testid": "fault-rule" },
      h("b", {}, deedWords(rule.do)), h("span", {}, `${where} · ${left}`));
  }
}
