// What the page shows, kept in the address bar: a link copied from it shows the same to somebody else.

/** {view, of, T, k} of the address bar; T and k null where it does not say. */
export function read() {
  const words = new URLSearchParams(location.search);
  const number = (name) => (/^\d+$/.test(words.get(name) ?? "") ? Number(words.get(name)) : null);
  return { view: ["map", "run"].includes(words.get("view")) ? words.get("view") : "search", of: words.get("of"),
    T: number("T"), k: number("k") };
}

export function address({ view, of, T, k }) {
  const words = new URLSearchParams();
  if (view && view !== "search") words.set("view", view);
  if (of) words.set("of", of);
  if (T) words.set("T", T);
  if (k && k !== 10) words.set("k", k);
  return `?${words.toString().replaceAll("%2F", "/")}`;
}

/** Moving T changes the address; a new query or view is a step that the back button undoes. */
export function write(state, isStep) {
  if (address(state) === location.search || (address(state) === "?" && !location.search)) return;
  history[isStep ? "pushState" : "replaceState"](null, "", address(state));
}
