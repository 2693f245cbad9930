// On a wide screen the look is open beside the posters; on a phone the posters come first. Whoever picks a colour of
// their own means it: the choice "own" is made with it.
(() => {
  "use strict";
  const isWide = matchMedia("(min-width: 1100px)").matches;
  for (const part of document.querySelectorAll("[data-open-when-wide]")) part.open ||= isWide;
  document.addEventListener("input", (event) => {
    const picker = event.target.closest("[data-picks]");
    if (!picker) return;
    picker.form.querySelector(`input[name="colour"][value="${picker.dataset.picks}"]`).checked = true;
  }, true);
})();
