// Looks at the page again and again, and replaces what has changed. Without scripts the page is loaded anew
// as a whole.
(() => {
  const every = Number(document.currentScript.dataset.every);
  const old = document.getElementById("old");
  let since = new Date();

  // Something with the keyboard's focus gets it back where it is there again.
  const keyOf = (element) => {
    const name = ["id", "href", "aria-label"].find((name) => element.hasAttribute(name));
    return name && `[${name}="${CSS.escape(element.getAttribute(name))}"]`;
  };

  const replace = (part, fresh) => {
    if (part.innerHTML === fresh.innerHTML) return;
    const focus = part.contains(document.activeElement) ? keyOf(document.activeElement) : null;
    part.replaceChildren(...fresh.childNodes);
    if (focus) part.querySelector(focus)?.focus({ preventScroll: true });
  };

  const look = async () => {
    try {
      const answer = await fetch(location.href, {
        headers: { accept: "text/html" },
        signal: AbortSignal.timeout(10_000),
      });
      const next = new DOMParser().parseFromString(await answer.text(), "text/html");
      const parts = [...document.querySelectorAll("[data-part]")];
      // It is another page now: the report of a drill that has ended, or that there is none.
      if (answer.status === 404 || (answer.ok && parts.some((part) => !next.getElementById(part.id)))) {
        return location.reload();
      }
      if (!answer.ok) throw new Error(answer.statusText);
      for (const part of parts) replace(part, next.getElementById(part.id));
      document.title = next.title;
      since = new Date();
      old.hidden = true;
      // It changes no more.
      if (!next.querySelector("script[data-every]")) return;
    } catch {
      // The service may be starting again: the next look finds it.
      if (old.hidden) {
        old.textContent = `The service does not answer: this page is as of ${since.toLocaleString()}.`;
        old.hidden = false;
      }
    }
    setTimeout(look, every);
  };
  setTimeout(look, every);
})();
