"use strict";
// Keeps what the page says of the service as it is now: the page is asked for again, and its state put in place of the old.
(function () {
  const every = 5000;
  function silent() {
    const state = document.getElementById("state");
    state.className = "failing";
    state.querySelector("h2").textContent = "No answer";
    state.querySelectorAll("ul").forEach((list) => list.replaceChildren());
  }
  async function look() {
    if (document.hidden) return;
    try {
      const asked = { headers: { Accept: "text/html" }, cache: "no-store", signal: AbortSignal.timeout(every - 500) };
      const answer = await fetch("/", asked);
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const [then, now] = [document.getElementById("state"), page.getElementById("state")];
      if (!now) silent();
      else if (then.outerHTML !== now.outerHTML) then.replaceWith(document.adoptNode(now));
    } catch {
      silent();
    }
  }
  setInterval(look, every);
  document.addEventListener("visibilitychange", look);
})();
