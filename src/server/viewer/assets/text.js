// The text page without a new page for each token: what was found is fetched and put in the place of what stands there.
"use strict";
(() => {
  const found = () => document.getElementById("text-found");
  if (!found()) return;

  document.addEventListener("submit", async (event) => {
    const form = event.target;
    const button = event.submitter;
    // A text that no address holds is sent the plain way.
    if (!found().contains(form) || !button || !button.name || form.method !== "get") return;
    event.preventDefault();
    const asked = new URLSearchParams(new FormData(form));
    asked.set(button.name, button.value);
    const address = `${new URL(form.action).pathname}?${asked}`;
    found().setAttribute("aria-busy", "true");
    try {
      const reply = await fetch(address);
      const page = new DOMParser().parseFromString(await reply.text(), "text/html");
      const fresh = page.getElementById("text-found");
      if (!reply.ok || !fresh) throw new Error(reply.statusText);
      found().replaceWith(fresh);
      history.pushState(null, "", address);
      const again = [...found().querySelectorAll(`button[name=${button.name}]`)].find((one) => one.value === button.value);
      again?.focus({ preventScroll: true });
    } catch {
      location.assign(address);
    }
  });
  addEventListener("popstate", () => location.reload());
})();
