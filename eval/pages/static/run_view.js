// The run itself: what made it, its figures.

import { $, count, el } from "./dom.js";

export function drawRun(run) {
  const images = Object.entries(run.images).map(([split, size]) => `${count(size)} ${split === "train"
    ? "in the database" : "test images"}`).join(", ");
  const rows = [["Images", images], ["Code", `${run.bits} bits`], ["fc7", run.fc7 ? `${count(run.fc7)} units`
    : "none: codes only"], ["T of the evaluation", run.default_T], ...run.about];
  $("run-about").replaceChildren(...rows.filter(([, value]) => value !== null && value !== "")
    .map(([name, value]) => el("tr", {}, el("th", { text: name, scope: "row" }), el("td", { text: value }))));
  $("run-searches").replaceChildren(run.searches.rows ? searches(run.searches)
    : el("p", { text: "This run was not evaluated: make evaluate RUN=... measures it." }));
  $("run-report").hidden = !run.report;
  $("run-figures").replaceChildren(...run.figures.map(({ name, title }) => el("figure", {},
    el("figcaption", { text: title }), el("img", { src: `/api/figure/${name}`, alt: title, loading: "lazy" }))));
}

function searches({ map_k: mapK, k, rows }) {
  const cell = (value) => (typeof value === "number" ? el("td", { class: "n", text: value.toFixed(4) })
    : el("td", { text: value }));
  const head = ["search", `mAP@${count(mapK)}`, ...k.map((each) => `P@${count(each)}`)];
  return el("table", {}, el("thead", {}, el("tr", {}, ...head.map((name, i) => el("th", { class: i ? "n" : null,
    text: name, scope: "col" })))), el("tbody", {}, ...rows.map((row) => el("tr", {}, ...row.map(cell)))));
}
