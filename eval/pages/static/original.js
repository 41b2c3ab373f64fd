// An image's original, its path or id and its bits, on demand.

import { original, small } from "./api.js";
import { drawBits } from "./bits.js";
import { $, distance, el } from "./dom.js";
import { names } from "./query_view.js";
import { address } from "./state.js";

/** of: "train/7"; id, class and code may be told by a result; run: /api/run. */
export function showOriginal({ of, id, label, code, answer, hamming, fc7 }, run, state) {
  const [split, row] = of.split("/");
  const image = $("original-picture");
  image.alt = split === "upload" ? "The image asked about" : `Original of image ${row} of ${split}`;
  image.onload = () => image.classList.toggle("small", image.naturalWidth < 200);
  image.onerror = () => {
    image.onerror = () => { image.hidden = true; };
    note("The original is not at hand; this is the small picture.");
    if (run.thumbs[split]) image.src = small(of);
    else image.hidden = true;
  };
  image.hidden = false;
  image.src = original(of);
  note("");
  const facts = [["image", split === "upload" ? "uploaded" : `${names[split]} ${row}`], ["path or id", id], ["class", label]];
  if (hamming !== undefined) facts.push(["Hamming distance", `${hamming} of ${answer.bits} bits`]);
  if (fc7 !== undefined && fc7 !== null) facts.push(["fc7 distance", distance(fc7)]);
  $("original-facts").replaceChildren(...facts.filter(([, value]) => value !== null && value !== undefined)
    .flatMap(([name, value]) => [el("dt", { text: name }), el("dd", { text: value })]));
  const bits = $("original-bits");
  if (code && answer) drawBits(bits, answer.query.code, answer.bits, code);
  else bits.replaceChildren();
  $("original-ask").href = address({ of, T: state.T, k: state.k });
  $("original-ask").dataset.of = of;
  $("original").showModal();
}

function note(words) {
  $("original-name").textContent = words;
}
