// The built-in browser: a sheet with the page in a frame. The page learns who is holding the phone from a cookie.

import { h, icon, toast } from "./dom.js";

/** Says whose phone opens pages from now on; the OAuth page of the sandbox reads it. */
export function actAs(openid) {
  document.cookie = `sandbox_person=${encodeURIComponent(openid)}; path=/; SameSite=Lax`;
}

function sameOriginDocument(frame) {
  try {
    return frame.contentDocument;
  } catch {
    return null;
  }
}

/** Opens `url` over everything on `handset`. */
export function openBrowser(handset, url) {
  actAs(handset.openid);
  const host = new URL(url, location.href).host;
  let depth = 0;
  let goingBack = false;

  const frame = h("iframe", {
    title: "网页", src: url, referrerpolicy: "no-referrer-when-downgrade",
    // Everything a page needs, except taking over the window the phone lies in.
    sandbox: "allow-scripts allow-same-origin allow-forms allow-popups allow-popups-to-escape-sandbox allow-modals allow-downloads",
  });
  const title = h("h3", {}, "正在打开…");
  const progress = h("i", { class: "browser-progress", "aria-hidden": "true" });
  frame.addEventListener("load", () => {
    depth += goingBack ? -1 : 1;
    goingBack = false;
    progress.hidden = true;
    title.textContent = sameOriginDocument(frame)?.title || host;
  });

  const back = () => {
    if (depth <= 1) {
      layer.close();
      return;
    }
    // Pages inside the frame share the history of the tab, and only the tab may walk it when the page is of another site.
    goingBack = true;
    history.back();
  };
  const reload = () => {
    progress.hidden = false;
    goingBack = true;
    depth += 1;
    const inside = sameOriginDocument(frame);
    if (inside) inside.location.reload();
    else frame.contentWindow.location.replace(url);
  };
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(url);
      toast("链接已复制");
    } catch {
      toast("浏览器不让复制");
    }
  };

  const sheet = h("section", { class: "layer browser", "aria-label": "网页", "data-testid": "browser", "data-url": url },
    h("header", { class: "topbar" },
      h("span", { class: "topbar-start" },
        h("button", { type: "button", class: "button-icon", "aria-label": "关闭网页", "data-testid": "browser-close", onclick: () => layer.close() }, icon("close")),
        h("button", { type: "button", class: "button-icon", "aria-label": "后退", "data-testid": "browser-back", onclick: back }, icon("back"))),
      title,
      h("span", { class: "topbar-end" },
        h("button", { type: "button", class: "button-icon", "aria-label": "刷新", "data-testid": "browser-reload", onclick: reload }, icon("reload")),
        h("a", { class: "button-icon", href: url, target: "_blank", rel: "noopener", "aria-label": "在新标签页打开", title: "在新标签页打开", "data-testid": "browser-outside" }, icon("outside")))),
    h("div", { class: "browser-page" }, progress, frame),
    h("footer", { class: "browser-foot" },
      h("button", { type: "button", onclick: copy, title: "复制链接" }, host),
      h("span", {}, "页面空白时，请在新标签页打开")));
  // A click inside the frame does not reach this page; losing the focus to the frame does.
  const onBlur = () => { if (document.activeElement === frame) handset.world.activate(handset.openid); };
  window.addEventListener("blur", onBlur);
  const layer = handset.openLayer(sheet, { keep: true, onClose: () => window.removeEventListener("blur", onBlur) });
}
