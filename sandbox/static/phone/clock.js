// The tab 「时钟」 and the one answer to "what time is it" on this page.

import { Refused, post } from "./api.js";
import { toast } from "./dom.js";
import { dateAndWeekday, duration, hourMinuteSecond, moment } from "./time.js";

export class Clock {
  #aheadMs = 0;
  #offsetSeconds = 0;

  /** `changed` is called after the clock was moved from here. */
  constructor(at, changed) {
    this.at = at;
    for (const button of document.querySelectorAll("[data-advance]")) {
      button.addEventListener("click", () => this.#advance(Number(button.dataset.advance), button, changed));
    }
    at.clockToForm.addEventListener("submit", (event) => this.#toMoment(event, changed));
  }

  /** Beijing time, which the phones show, whatever this machine's is. */
  #toMoment(event, changed) {
    event.preventDefault();
    const wanted = new Date(`${this.at.clockTo.value.slice(0, 16)}:00+08:00`);
    const seconds = Math.round((wanted - this.now()) / 1000);
    if (!(seconds > 0)) {
      toast("只能快进，请选以后的时间", { bad: true });
      return;
    }
    this.#advance(seconds, this.at.clockToForm.querySelector("button"), changed);
  }

  now() {
    return new Date(Date.now() + this.#aheadMs);
  }

  /** Takes over what the account page says of the time. */
  set({ now, clock_offset_seconds: offset }) {
    const at = moment(now);
    if (at) this.#aheadMs = at - Date.now();
    this.#offsetSeconds = offset ?? 0;
    this.tick();
  }

  tick() {
    const now = this.now();
    this.at.clockDate.textContent = dateAndWeekday(now);
    this.at.clockTime.textContent = hourMinuteSecond(now);
    this.at.clockOffset.textContent = Math.abs(this.#offsetSeconds) < 1
      ? "与真实时间一致"
      : `比真实时间${this.#offsetSeconds > 0 ? "快" : "慢"} ${duration(this.#offsetSeconds)}`;
  }

  async #advance(seconds, button, changed) {
    button.disabled = true;
    try {
      await post("/sandbox/clock", { advance_seconds: seconds });
      toast(`快进了 ${duration(seconds)}`);
      changed();
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      toast(error.message, { bad: true });
    } finally {
      button.disabled = false;
    }
  }
}
