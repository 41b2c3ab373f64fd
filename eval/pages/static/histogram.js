// The query's own Hamming histogram, with T on it.

import { $, count, el, share, svg } from "./dom.js";

const EDGE = 10; // pixels left and right of the bars
const THUMB = 16; // of the slider, whose middle is to stand on T

/** Draws an answer's histogram; `T` is what the slider says now, which may be ahead of the answer. */
export function drawHistogram(answer, T) {
  const place = $("histogram");
  const width = Math.min(place.clientWidth || 600, 736);
  const height = place.clientHeight || 120;
  const { histogram, histogram_same: same, bits } = answer;
  const unit = (width - 2 * EDGE) / (bits + 1);
  const floor = height - 16;
  const most = Math.sqrt(Math.max(...histogram, 1));
  const tall = (images) => (images ? Math.max(1.5, (Math.sqrt(images) / most) * (floor - 6)) : 0);
  const drawing = svg("svg", { viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" });
  drawing.append(svg("rect", { class: "area", x: EDGE, y: 0, width: T * unit, height: floor }));
  histogram.forEach((images, d) => {
    const inside = d < T ? " in" : "";
    const group = svg("g");
    group.append(svg("title", {}, `${count(images)} images at distance ${d}`
      + (same ? `, ${count(same[d])} of the query's class` : "")));
    const bar = (of, name) => svg("rect", { class: name + inside, x: EDGE + d * unit + 0.5, y: floor - tall(of),
      width: Math.max(1, unit - 1), height: tall(of) });
    group.append(bar(images, "all"));
    if (same) group.append(bar(same[d], "same"));
    drawing.append(group);
  });
  drawing.append(svg("line", { class: "axis", x1: EDGE, x2: width - EDGE, y1: floor, y2: floor }));
  drawing.append(svg("line", { x1: EDGE + T * unit, x2: EDGE + T * unit, y1: 0, y2: floor + 4 }));
  for (let d = 0; d <= bits; d += bits > 80 ? 16 : bits > 20 ? 8 : 2) {
    drawing.append(svg("text", { x: EDGE + (d + 0.5) * unit, y: height - 3, "text-anchor": "middle" }, String(d)));
  }
  place.replaceChildren(drawing);
  place.setAttribute("aria-label", `Images at each Hamming distance from the query; ${count(inPool(answer, T))} below T`);
  const slider = $("T");
  slider.max = bits;
  slider.value = T;
  slider.style.marginLeft = `${EDGE + unit - THUMB / 2}px`;
  slider.style.width = `${(bits - 1) * unit + THUMB}px`;
  $("T-shown").value = T;
}

/** T at a place of the histogram, in pixels of the window. */
export function radiusAt(answer, clientX) {
  const box = $("histogram").getBoundingClientRect();
  const unit = (Math.min(box.width, 736) - 2 * EDGE) / (answer.bits + 1);
  return Math.min(answer.bits, Math.max(1, Math.round((clientX - box.left - EDGE) / unit)));
}

export const inPool = (answer, T) => answer.histogram.slice(0, T).reduce((sum, images) => sum + images, 0);

/** Size of the pool by the histogram at hand; its classes where the answer is of this very T. */
export function drawPool(answer, T) {
  const size = inPool(answer, T);
  $("pool-size").replaceChildren("The pool: ", el("b", { text: count(size) }), ` of ${count(answer.database)} images. `,
    el("span", { class: "soft", text: "Bar heights are square roots"
      + (answer.histogram_same ? "; green: the query's class." : ".") }));
  if (answer.T !== T) return;
  $("pool-mix").replaceChildren(...answer.pool_classes.map(([name, images]) => {
    const bar = el("b");
    bar.style.width = `${Math.round((90 * images) / size)}px`;
    return el("span", { role: "listitem", class: name === answer.query.class ? "same" : null }, bar,
      `${name}: ${count(images)} (${share(images, size)})`);
  }));
}
