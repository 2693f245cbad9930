// The tab 「剧本」: scripted conversations and recordings, played step by step or at once.

import { Poll, Refused, post } from "./api.js";
import { h, redrawIfChanged, toast } from "./dom.js";
import { withoutTags } from "./messages.js";

const STATES = { waiting: "还没演", playing: "正在演", passed: "演完了，都如所料", failed: "演完了，有的不如所料" };
const MARKS = { waiting: "○", playing: "…", passed: "✓", failed: "✗" };
const MARK_WORDS = { waiting: "还没到", playing: "正在演", passed: "如所料", failed: "不如所料" };
const DEED_WORDS = {
  scan: "扫码", follow: "关注", unfollow: "取消关注", tap: "点菜单", picture: "发图片", voice: "发语音", video: "发视频",
  location: "发位置", link: "发链接", raw: "推送", human: "人工客服", wait: "等", later: "快进", fault: "安排故障",
};
const MOST_SHOWN = 400;

/** One step in words. */
function stepWords(step) {
  const { deed, wish } = step;
  switch (deed) {
    case "say": return wish.type && wish.type !== "text" ? DEED_WORDS[wish.type] ?? "发图片" : `“${wish.text ?? ""}”`;
    case "scan": return `扫码 ${wish.caption || wish.scene || ""}`;
    case "tap": return `点菜单“${wish.key ?? ""}”`;
    case "location": return `发位置 ${wish.label ?? ""}`;
    case "raw": return `推送 ${wish.Event ?? wish.MsgType ?? ""}`;
    case "human": return wish.begins === false ? "人工客服结束" : "人工客服接入";
    case "wait": return `等 ${wish.seconds} 秒`;
    case "later": return `快进 ${wish.seconds} 秒`;
    default: return DEED_WORDS[deed] ?? deed;
  }
}

const saidWords = (message) => withoutTags(message.text ?? message.title ?? message.head_content ?? `[${message.type}]`);

export class Plays {
  #text = "";
  #play = null;

  constructor(at, world) {
    this.at = at;
    this.world = world;
    at.scriptFile.addEventListener("change", () => this.#open());
    at.scriptUse.addEventListener("click", () => this.#use(at.scriptText.value, "写在这里的剧本"));
    for (const choice of [at.scriptChoice, at.scriptFresh, at.scriptSpeed]) choice.addEventListener("change", () => this.#clear());
    at.playStep.addEventListener("click", () => this.#go("step"));
    at.playAll.addEventListener("click", () => this.#go("rest"));
    at.playStop.addEventListener("click", () => this.#go("stop"));
    at.recordingToggle.addEventListener("click", () => this.#record());
    this.poll = new Poll(() => `/sandbox/play/${this.#play.id}`, 0.5, (play) => this.#told(play));
    this.recording = new Poll(() => "/sandbox/recording", 5, (told) => this.#recordingKnown(told));
  }

  start() {
    this.recording.start();
    if (this.#play) this.poll.start();
    if (!this.at.recordingDay.value) this.at.recordingDay.value = new Date(this.world.now().getTime() + 8 * 3600_000).toISOString().slice(0, 10);
  }

  stop() {
    this.recording.stop();
    this.poll.stop();
  }

  // ---- choosing -----------------------------------------------------------------------------------------------

  async #open() {
    const [file] = this.at.scriptFile.files;
    this.at.scriptFile.value = "";
    if (file) await this.#use(await file.text(), file.name);
  }

  /** Takes a script over when the sandbox understands it; nothing is played yet. */
  async #use(text, name) {
    await this.#say(async () => {
      const { scripts, why } = await post("/sandbox/scripts", { text });
      if (why) throw new Refused(why);
      this.#text = text;
      this.at.scriptName.textContent = name;
      this.at.scriptChoice.replaceChildren(...scripts.map((script) => h("option", { value: script.name }, `${script.name}（${script.steps} 步）`)));
      this.at.scriptChoiceRow.hidden = scripts.length < 2;
      this.#clear();
    });
  }

  /** The play on the page is over and done with; the next button puts on another. */
  #clear() {
    this.poll.stop();
    this.#play = null;
    this.#draw();
  }

  // ---- playing ------------------------------------------------------------------------------------------------

  async #go(how) {
    await this.#say(async () => {
      if (!this.#play || (how !== "stop" && this.#play.done === this.#play.total)) await this.#putOn();
      this.poll.start();
      this.#told(await post(`/sandbox/play/${this.#play.id}/${how}?wait=0`));
      this.poll.now();
    });
  }

  async #putOn() {
    const { scriptChoice, scriptFresh, scriptSpeed } = this.at;
    const speed = scriptSpeed.value ? Number(scriptSpeed.value) : null;
    const wish = { text: this.#text, name: scriptChoice.value, mode: "step", fresh: scriptFresh.checked, speed };
    const [play] = (await post("/sandbox/play", wish)).plays;
    this.#play = play;
    this.#draw();
    // The list of people must know them before their phones can stand there.
    await this.world.people.poll.now();
    this.world.stage(play.people.map((person) => person.openid));
  }

  /** What the sandbox tells of a play; another may have taken its place since it was asked. */
  #told(play) {
    if (play.id !== this.#play?.id) return;
    this.#play = play;
    if (play.state === "passed" || play.state === "failed") this.poll.stop();
    this.#draw();
  }

  #draw() {
    const { at } = this;
    const play = this.#play;
    const playing = play?.state === "playing";
    at.playStep.disabled = !this.#text || playing;
    at.playAll.disabled = !this.#text || playing;
    at.playStop.disabled = !playing;
    at.playCard.hidden = !play;
    if (!play) return;
    at.playName.textContent = play.name;
    at.playState.textContent = `${play.done} / ${play.total} · ${play.failed > 0 && playing ? `已有 ${play.failed} 步不如所料` : play.state === "waiting" && play.done > 0 ? "演到这里" : STATES[play.state]}`;
    redrawIfChanged(at.playSteps, play.steps, () => play.steps.slice(0, MOST_SHOWN).map((step) => this.#step(step)));
  }

  #step(step) {
    return h("li", { class: `step step-${step.state}`, "data-testid": "play-step-row", "data-state": step.state },
      h("span", { class: "step-mark", role: "img", "aria-label": MARK_WORDS[step.state] }, MARKS[step.state]),
      h("span", {}, h("b", {}, step.person), " ", stepWords(step),
        step.said.map((message) => h("span", { class: "step-said" }, saidWords(message))),
        step.why.map((why) => h("span", { class: "step-why" }, why))));
  }

  // ---- recording ----------------------------------------------------------------------------------------------

  async #record() {
    const on = this.at.recordingToggle.getAttribute("aria-pressed") !== "true";
    await this.#say(async () => {
      this.#recordingKnown(await post("/sandbox/recording", { on }));
      toast(on ? "开始记录了" : "停了，可以下载");
    });
  }

  #recordingKnown({ on, after, since }) {
    this.at.recordingToggle.setAttribute("aria-pressed", String(on));
    this.at.recordingToggle.textContent = on ? "停止记录" : "开始记录";
    this.at.recordingFile.hidden = after === null;
    if (since) {
      const from = new Date(since).toLocaleString("zh-CN", { timeZone: "Asia/Shanghai" });
      this.at.recordingNote.textContent = on ? `从 ${from} 起正在记录。` : `从 ${from} 起记录了一段。`;
    }
  }

  async #say(deed) {
    try {
      await deed();
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      toast(error.message, { bad: true });
    }
  }
}
