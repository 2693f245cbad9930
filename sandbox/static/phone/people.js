// The list of people: who there is, who follows, who has something unread.

import { Poll, Refused, post } from "./api.js";
import { h, paintAvatar, redrawIfChanged, toast } from "./dom.js";

export class People {
  #known = new Map();
  #filter = "";

  /** `world` says who is on the stage; it is told who was chosen and when the list has changed. */
  constructor(at, world) {
    this.at = at;
    this.world = world;
    at.peopleFilter.addEventListener("input", () => {
      this.#filter = at.peopleFilter.value.trim().toLowerCase();
      this.draw();
    });
    at.peopleAdd.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#add(new FormData(at.peopleAdd).get("name").trim());
    });
    this.poll = new Poll(() => "/sandbox/people?crowd=0", 3, ({ people }) => this.#receive(people)).start();
  }

  get(openid) {
    return this.#known.get(openid);
  }

  get all() {
    return [...this.#known.values()];
  }

  get unread() {
    return this.all.reduce((sum, person) => sum + (person.unread ?? 0), 0);
  }

  #receive(people) {
    this.#known = new Map(people.map((person) => [person.openid, person]));
    this.draw();
    this.world.peopleChanged();
  }

  async #add(name) {
    try {
      const answer = await post("/sandbox/people", name ? { name } : {});
      this.at.peopleAdd.reset();
      const person = answer.person ?? answer;
      this.#known.set(person.openid, person);
      this.draw();
      this.world.choose(person.openid);
      this.poll.now();
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      toast(error.message, { bad: true });
    }
  }

  draw() {
    const shown = this.all.filter((person) => !this.#filter || `${person.name} ${person.openid}`.toLowerCase().includes(this.#filter));
    const onStage = this.world.onStage;
    redrawIfChanged(this.at.peopleList, [shown, onStage], () => shown.length > 0
      ? shown.map((person) => this.#row(person, onStage))
      : [h("li", { class: "note" }, this.#filter ? "没有叫这个名字的人。" : "还没有人。在下面添加一个。")]);
  }

  #row(person, onStage) {
    const avatar = h("span", { class: "avatar", "aria-hidden": "true" });
    paintAvatar(avatar, person);
    const unread = person.unread ?? 0;
    return h("li", {}, h("button", {
      type: "button", class: "person", "data-testid": `person-${person.openid}`, "data-following": String(person.following),
      "aria-pressed": String(onStage.includes(person.openid)), title: person.openid,
      onclick: () => this.world.choose(person.openid),
    },
      avatar,
      h("span", { class: "person-words" }, h("b", {}, person.name),
        h("span", { class: person.following ? "tag tag-following" : "tag" }, person.following ? "已关注" : "未关注"),
        person.snapshot && h("span", { class: "tag" }, "快照")),
      unread > 0 && h("span", { class: "badge", "aria-label": `${unread} 条未读` }, unread > 99 ? "99+" : String(unread))));
  }
}
