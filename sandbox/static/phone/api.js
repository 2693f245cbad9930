// The control paths of the sandbox. Everything the page knows and does goes through here.

/** The sandbox said no, or did not answer; `message` is a sentence for people. */
export class Refused extends Error {}

const BY_STATUS = {
  400: "沙盒看不懂这个请求",
  404: "没有找到",
  409: "现在不能这样做",
  410: "已经过期了",
  413: "太大了",
  422: "内容不对",
  500: "沙盒自己出了错",
};

/** Tells the page whether the sandbox can be reached; listens with `reachable.addEventListener("change", …)`. */
export const reachable = new (class extends EventTarget {
  ok = true;

  set(ok) {
    if (ok === this.ok) return;
    this.ok = ok;
    this.dispatchEvent(new Event("change"));
  }
})();

async function call(path, options) {
  try {
    const response = await fetch(path, { cache: "no-store", ...options });
    reachable.set(true);
    return response;
  } catch {
    reachable.set(false);
    throw new Refused("连不上沙盒，请看看它是否还在运行");
  }
}

async function answer(response) {
  const text = await response.text();
  let body = null;
  try {
    body = text ? JSON.parse(text) : null;
  } catch {
    // An error page instead of JSON: the status alone has to explain it.
  }
  if (response.ok) return body;
  throw new Refused(body?.message ?? body?.error ?? BY_STATUS[response.status] ?? `沙盒回答了 ${response.status}`);
}

export async function get(path) {
  return answer(await call(path));
}

export async function post(path, body = {}) {
  return answer(await call(path, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  }));
}

export async function remove(path) {
  return answer(await call(path, { method: "DELETE" }));
}

/** Reads the code in a picture; answers the text inside. */
export async function decode(image) {
  const found = await answer(await call("/sandbox/decode", {
    method: "POST",
    headers: { "Content-Type": image.type || "application/octet-stream" },
    body: image,
  }));
  if (!found?.url) throw new Refused("图片里没有找到码");
  return found.url;
}

/** The lines of the log after number `after`, of a long log only the latest `tail`. */
export async function logLines(after, tail) {
  const response = await call(`/sandbox/log?after=${after}&tail=${tail}`);
  if (!response.ok) return answer(response);
  const text = await response.text();
  return text.split("\n").filter((line) => line.trim()).map((line) => JSON.parse(line));
}

export const personPath = (openid, action) => `/sandbox/people/${encodeURIComponent(openid)}/${action}`;

/**
 * Asks for the same thing again and again while the page is visible, with ETag, so that an unchanged answer costs nothing.
 * `path` is a function because it may move on (`after=N`); `now()` asks at once. Never two requests at a time.
 */
export class Poll {
  #timer = null;
  #running = false;
  #again = false;
  #stopped = true;
  #etag = { path: null, value: null };

  constructor(path, seconds, receive) {
    this.path = path;
    this.seconds = seconds;
    this.receive = receive;
    this.onVisible = () => { if (!document.hidden) this.now(); };
  }

  start() {
    if (!this.#stopped) return this;
    this.#stopped = false;
    document.addEventListener("visibilitychange", this.onVisible);
    this.now();
    return this;
  }

  stop() {
    this.#stopped = true;
    clearTimeout(this.#timer);
    document.removeEventListener("visibilitychange", this.onVisible);
  }

  async now() {
    if (this.#stopped) return;
    if (this.#running) {
      this.#again = true;
      return;
    }
    clearTimeout(this.#timer);
    this.#running = true;
    try {
      do {
        this.#again = false;
        await this.#ask();
      } while (this.#again && !this.#stopped);
    } catch (error) {
      if (!(error instanceof Refused)) console.error(error);
    } finally {
      this.#running = false;
      if (!this.#stopped && !document.hidden) this.#timer = setTimeout(() => this.now(), this.seconds * 1000);
    }
  }

  async #ask() {
    const path = this.path();
    const headers = this.#etag.path === path && this.#etag.value ? { "If-None-Match": this.#etag.value } : {};
    const response = await call(path, { headers });
    if (response.status === 304 || this.#stopped) return;
    const body = await answer(response);
    this.#etag = { path, value: response.headers.get("ETag") };
    this.receive(body);
  }
}
