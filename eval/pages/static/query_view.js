// The query itself: picture, bits, what the net said, what took how long.

import { drawBits } from "./bits.js";
import { $, count, el } from "./dom.js";
import { bitsNote, picture } from "./results.js";

export function drawQuery(answer, run) {
  const { query } = answer;
  const [split, row] = query.of.split("/");
  const words = split === "upload" ? "The image asked about" : `Query: image ${row} of ${split}`;
  const shown = picture(query.of, words, split === "upload" || run.thumbs[split], query.id);
  shown.id = "query-picture";
  $("query-original").replaceChildren(shown);
  const lines = [split === "upload" ? "Your image" : `${names[split]} ${count(Number(row))}`];
  if (query.class !== null) lines.push(`class ${query.class}`);
  if (query.predicted !== undefined) lines.push(`the classifier says ${query.predicted}`);
  if (query.width) lines.push(`${query.format}, ${count(query.width)} \u00d7 ${count(query.height)}`);
  $("query-name").replaceChildren(...lines.map((line, i) => el(i ? "div" : "b", { text: line })),
    ...(query.notes ?? []).map((note) => el("div", { class: "note", text: note })));
  $("bits-count").textContent = answer.bits;
  drawBits($("bits"), query.code, answer.bits);
  $("bits-note").textContent = bitsNote(answer);
  drawTimes(answer, run);
}

export const names = { train: "Database image", test: "Test image" };

function drawTimes(answer, run) {
  const { net, decode, coarse, fine } = answer.seconds;
  const ms = (seconds) => `${(1000 * seconds).toFixed(1)} ms`;
  const told = net === undefined ? ["net: not asked, this image's features are stored"]
    : [`decoding ${ms(decode)}`, `net ${ms(net)}`];
  told.push(`codes (coarse) ${ms(coarse)}`);
  if (fine !== undefined) told.push(`fc7 (fine) ${ms(fine)}`);
  $("times").textContent = run.fc7 ? `${told.join(" \u00b7 ")}`
    : `This run has no fc7, so there is no second stage. ${told.join(" \u00b7 ")}`;
  $("fc7-units").textContent = run.fc7 ? count(run.fc7) : "fc7's";
}
