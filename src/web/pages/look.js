// Looks at the page again and again, and replaces the parts that have changed. Without scripts the page is
// loaded anew as a whole.
(() => {
  const every = Number(document.currentScript.dataset.every);
  const look = async () => {
    try {
      const answer = await fetch(location.href, { headers: { accept: "text/html" } });
      if (answer.ok) {
        const next = new DOMParser().parseFromString(await answer.text(), "text/html");
        for (const part of document.querySelectorAll("[data-part]")) {
          const fresh = next.getElementById(part.id);
          if (!fresh) return location.reload(); // It is another page now.
          // Whoever is in there with the keyboard stays there.
          if (!part.contains(document.activeElement) && fresh.outerHTML !== part.outerHTML) {
            part.replaceWith(document.adoptNode(fresh));
          }
        }
        document.title = next.title;
      }
    } catch {
      // The service may be starting again: the next look finds it.
    }
    setTimeout(look, every);
  };
  setTimeout(look, every);
})();
