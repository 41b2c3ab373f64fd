// Codes as strips of bits.

import { bitsOf, el } from "./dom.js";

/** Fills `place` with the query's bits; `other`, a code, marks those in which it differs. */
export function drawBits(place, code, bits, other = null) {
  const own = bitsOf(code, bits);
  const theirs = other ? bitsOf(other, bits) : own;
  place.className = "bits";
  place.replaceChildren(...[...own].map((bit, i) => el("i", {
    class: `${bit === "1" ? "one" : ""} ${theirs[i] !== bit ? "differs" : ""}`,
    title: theirs[i] === bit ? `bit ${i + 1}: ${bit}` : `bit ${i + 1}: ${bit}, in the result ${theirs[i]}` })));
  const differ = [...own].filter((bit, i) => bit !== theirs[i]).length;
  place.setAttribute("aria-label", other ? `${differ} of ${bits} bits differ from the query's` : `Code ${own}`);
  return differ;
}
