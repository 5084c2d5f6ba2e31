// The little script of the viewer: values of tokens, switches of heat maps, keys. Every page works without it.
"use strict";

(() => {
  const tooltip = document.getElementById("tooltip");

  // A token's value where the pointer or the focus is.
  const show = (token) => {
    const lines = [token.textContent.trim() || "blank", `activation ${token.dataset.v}`];
    if (token.dataset.w !== undefined) lines.push(`simulated ${token.dataset.w}`);
    tooltip.textContent = lines.join("\n");
    tooltip.hidden = false;
    const at = token.getBoundingClientRect();
    const own = tooltip.getBoundingClientRect();
    const left = Math.max(4, Math.min(at.left, window.innerWidth - own.width - 4));
    const above = at.top - own.height - 6;
    tooltip.style.setProperty("left", `${left}px`);
    tooltip.style.setProperty("top", `${above < 4 ? at.bottom + 6 : above}px`);
    token.setAttribute("aria-describedby", "tooltip");
    // A screen reader tells neither a tooltip of a plain element nor its class.
    token.setAttribute("role", "img");
    token.setAttribute("aria-label", lines.join(", "));
  };
  const hide = () => {
    if (tooltip.hidden) return;
    tooltip.hidden = true;
    document.querySelectorAll("[aria-describedby='tooltip']").forEach((token) => token.removeAttribute("aria-describedby"));
  };
  const tokenOf = (event) => (event.target instanceof Element ? event.target.closest(".heat .k") : null);
  document.addEventListener("pointerover", (event) => {
    const token = tokenOf(event);
    if (token) show(token);
    else hide();
  });
  document.addEventListener("focusin", (event) => {
    const token = tokenOf(event);
    if (token) show(token);
    else hide();
  });
  document.addEventListener("focusout", hide);
  window.addEventListener("scroll", hide, { passive: true });

  // Inside a window the arrow keys go from token to token: one stop of the Tab key a window.
  const walk = (event, token) => {
    const all = [...token.parentElement.children];
    const at = all.indexOf(token);
    const to = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: all.length - 1 }[event.key];
    if (to === undefined) return false;
    const next = all[Math.max(0, Math.min(to, all.length - 1))];
    token.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
    return true;
  };

  // Outside of fields the arrow keys lead to the neighbours of a neuron.
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") hide();
    if (event.altKey || event.ctrlKey || event.metaKey || event.shiftKey || event.defaultPrevented) return;
    const target = event.target instanceof Element ? event.target : document.body;
    const token = target.closest(".heat .k");
    if (token) {
      if (walk(event, token)) event.preventDefault();
      return;
    }
    if (target.closest("input, textarea, select, [contenteditable], pre, .scroll")) return;
    const link = document.querySelector(`a[data-key="${CSS.escape(event.key)}"]`);
    if (!link) return;
    event.preventDefault();
    link.click();
  });

  // Switches take effect at once; the address keeps them, so that a link shows the same.
  document.querySelectorAll("form.switches").forEach((form) => {
    const send = form.querySelector("button[type=submit]");
    if (send) send.hidden = true;
    form.hidden = false;
    form.addEventListener("change", (event) => {
      const control = event.target;
      if (control.name === "simulation") {
        form.submit();
        return;
      }
      const heats = document.querySelector(".heats");
      if (control.name === "view") ["overlaid", "stacked"].forEach((name) => heats.classList.toggle(name, name === control.value));
      if (control.name === "scale") ["own", "shared"].forEach((name) => heats.classList.toggle(name, name === control.value));
      if (control.name === "values") heats.classList.toggle("values", control.checked);
      if (!send) return;
      const address = new URL(window.location.href);
      if (control.type === "checkbox" && !control.checked) address.searchParams.delete(control.name);
      else address.searchParams.set(control.name, control.value);
      window.history.replaceState(null, "", address);
    });
  });

  // What takes long says so, and is not sent twice.
  document.addEventListener("submit", (event) => {
    const button = event.target.querySelector("button[data-busy]");
    if (!button) return;
    button.textContent = button.dataset.busy;
    button.disabled = true;
  });
  window.addEventListener("pageshow", (event) => {
    if (event.persisted) document.querySelectorAll("button[data-busy]").forEach((button) => window.location.reload());
  });
})();
