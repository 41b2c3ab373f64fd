// The two lists, side by side.

import { original, small } from "./api.js";
import { drawBits } from "./bits.js";
import { $, count, distance, el } from "./dom.js";
import { inPool } from "./histogram.js";
import { address } from "./state.js";

/** Fills both columns. link(of): the address that asks an image; show(result): opens its original. */
export function drawResults(answer, run, state, show) {
  const { bcs, hdl } = answer.searches;
  $("columns").classList.toggle("single", !hdl);
  $("column-hdl").hidden = !hdl;
  fill("bcs", bcs, answer, run, state, show);
  if (hdl) {
    fill("hdl", hdl, answer, run, state, show);
    explainPool(answer, state);
  }
}

function fill(name, list, answer, run, state, show) {
  $(`summary-${name}`).textContent = summary(list.results, list.votes);
  $(`cards-${name}`).replaceChildren(...list.results.map((result) => card(result, answer, run, state, show)));
}

function summary(results, votes) {
  const known = results.filter((result) => result.right !== null);
  if (known.length) return `${known.filter((result) => result.right).length} of ${results.length} of the query's class`;
  return `${votes[0][1]} of ${results.length} are ${votes[0][0]}`;
}

function card(result, answer, run, state, show) {
  const of = `train/${result.row}`;
  const verdict = result.right === null ? "" : result.right ? "right" : "wrong";
  const sign = { right: "\u2713 ", wrong: "\u2715 ", "": "" }[verdict];
  const fc7 = result.euclidean ?? result.fc7;
  const outside = "rank_by_codes" in result && result.hamming >= answer.T;
  const words = `${result.rank}. class ${result.class}, Hamming distance ${result.hamming}`
    + (fc7 !== undefined && fc7 !== null ? `, fc7 distance ${distance(fc7)}` : "") + (verdict ? `, ${verdict}` : "");
  const link = el("a", { href: address({ of, T: state.T, k: state.k }), "data-of": of, title: `${words}\n${result.id}` },
    el("span", { class: "picture" }, picture(of, words, run.thumbs.train, result.id)),
    el("span", { class: "line" },
      el("span", { class: "class" }, verdict ? el("span", { class: `sign ${verdict}`, text: sign }) : "", result.class),
      move(result)),
    el("span", { class: "line numbers" }, el("span", { text: `H ${result.hamming}` }),
      fc7 !== undefined && fc7 !== null ? el("span", { text: `fc7 ${distance(fc7)}` }) : null),
    outside ? el("span", { class: "outside-note", text: "outside the pool" }) : null);
  const point = (on) => mark(result, answer, on);
  return el("li", { class: `card ${verdict} ${outside ? "outside" : ""}`, "data-row": result.row,
    onmouseenter: () => point(true), onmouseleave: () => point(false), onfocusin: () => point(true),
    onfocusout: () => point(false) }, link,
  el("button", { type: "button", title: "Original and path (o)", "aria-label": `Original of result ${result.rank}`,
    tabindex: "-1", onclick: () => show({ of, result, answer }) }, "i"));
}

/** A small picture; without thumbs the original, and where there is none either, the image's id. */
export function picture(of, words, hasThumbs, id) {
  const image = el("img", { src: hasThumbs ? small(of) : original(of), alt: words, loading: "lazy", decoding: "async",
    onload: () => image.classList.toggle("small", image.naturalWidth < 100),
    onerror: () => image.replaceWith(el("span", { text: id })) });
  return image;
}

/** Places won or lost against codes only. */
function move(result) {
  if (!("rank_by_codes" in result)) return null;
  const won = result.rank_by_codes - result.rank;
  const words = `by codes only: place ${count(result.rank_by_codes)}`;
  if (won === 0) return el("span", { class: "move soft", title: words, text: "=" });
  return el("span", { class: `move ${won > 0 ? "up" : "down"}`, title: words,
    "aria-label": `${Math.abs(won)} places ${won > 0 ? "up" : "down"}`,
    text: `${won > 0 ? "\u25b2" : "\u25bc"}${count(Math.abs(won))}` });
}

/** Pointing at a result marks it in both lists and shows its bits against the query's. */
function mark(result, answer, on) {
  for (const each of document.querySelectorAll(`.card[data-row="${result.row}"]`)) each.classList.toggle("same-image", on);
  const differ = drawBits($("bits"), answer.query.code, answer.bits, on ? result.code : null);
  $("bits-note").textContent = on ? `Red: the ${differ} bits in which result ${result.rank} differs.` : bitsNote(answer);
}

export const bitsNote = () => "Filled: 1. Point at a result to see its bits against these.";

/** Why the second list is what it is when the pool is empty or too small. */
function explainPool(answer, state) {
  const size = inPool(answer, answer.T);
  const note = $("pool-empty");
  note.hidden = size >= answer.k;
  if (size >= answer.k) return;
  const needed = answer.histogram.findIndex((_, d) => inPool(answer, d + 1) >= (size ? answer.k : 1)) + 1;
  const link = el("a", { href: address({ ...state, T: needed }), "data-radius": needed, text: `T = ${needed}` });
  note.replaceChildren(size
    ? `The pool holds ${count(size)} ${size === 1 ? "image" : "images"}, fewer than the ${answer.k} shown: the rest of the `
      + "list follows in the order of the codes. The pool is large enough at "
    : `The pool is empty: no image differs from the query in fewer than ${answer.T} ${answer.T === 1 ? "bit" : "bits"}. `
      + "There is nothing for fc7 to put in order, so the list is that of the codes. The nearest image comes into the pool at ",
  link, ".");
}
