// The till beyond plain HTML: reading a code with WeChat's scanner or the browser's own, and one answer per intent.
(() => {
  "use strict";

  // A second tap while the first is under way sends nothing; the nonce in the form answers for a bad line.
  for (const form of document.querySelectorAll("form[data-once]")) {
    form.addEventListener("submit", (event) => {
      if (form.dataset.sent) event.preventDefault();
      form.dataset.sent = "yes";
      form.setAttribute("aria-busy", "true");
      setTimeout(() => { delete form.dataset.sent; form.removeAttribute("aria-busy"); }, 8000);
    });
  }
  addEventListener("pageshow", () => document.querySelectorAll("form[data-once]").forEach((form) => delete form.dataset.sent));

  const form = document.querySelector("[data-till]");
  if (!form) return;
  const field = form.querySelector("#shown");
  const [scan, stop, video, note] = ["scan", "stop-scan", "video", "scan-note"].map((name) => form.querySelector(`[data-${name}]`));
  let stream = null;

  function found(text) {
    end();
    field.value = text.trim();
    form.requestSubmit();
  }

  function end() {
    stream?.getTracks().forEach((track) => track.stop());
    stream = null;
    video.hidden = stop.hidden = true;
    scan.hidden = false;
    note.textContent = "";
  }

  async function withCamera() {
    try {
      stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" }, audio: false });
    } catch {
      note.textContent = note.dataset.refused;
      field.focus();
      return;
    }
    const detector = new BarcodeDetector({ formats: ["qr_code"] });
    video.srcObject = stream;
    video.hidden = stop.hidden = false;
    scan.hidden = true;
    note.textContent = note.dataset.looking;
    await video.play();
    while (stream) {
      const [code] = await detector.detect(video).catch(() => []);
      if (code && stream) return found(code.rawValue);
      await new Promise((resolve) => setTimeout(resolve, 120));
    }
  }

  // Inside WeChat its own scanner is used, once its script is there and our page's signature has been accepted.
  let isReady = false;
  const hasWeChat = () => isReady && Boolean(window.wx?.scanQRCode);
  function askWeChat() {
    const script = document.createElement("script");
    script.src = "https://res.wx.qq.com/open/js/jweixin-1.6.0.js";
    script.addEventListener("load", async () => {
      const page = location.href.split("#")[0];
      const answer = await fetch(`/m/jssdk?url=${encodeURIComponent(page)}`).catch(() => null);
      if (!answer?.ok) return;
      window.wx.config({ ...(await answer.json()), jsApiList: ["scanQRCode"] });
      window.wx.ready(() => { isReady = true; offer(); });
    });
    document.head.append(script);
  }
  if (/MicroMessenger/i.test(navigator.userAgent)) askWeChat();
  const hasCamera = "BarcodeDetector" in window && Boolean(navigator.mediaDevices?.getUserMedia);
  function offer() { scan.hidden = !(hasWeChat() || hasCamera) || Boolean(stream); }
  offer();
  scan.addEventListener("click", () => {
    if (hasWeChat()) window.wx.scanQRCode({ needResult: 1, scanType: ["qrCode"], success: ({ resultStr }) => found(resultStr) });
    else withCamera();
  });
  stop.addEventListener("click", end);
  addEventListener("pagehide", end);
})();
