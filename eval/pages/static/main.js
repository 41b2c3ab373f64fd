// The page: what a person does becomes a state, the state an address and a question, the answer what is shown.

import * as api from "./api.js";
import { $, count } from "./dom.js";
import { drawHistogram, drawPool, radiusAt } from "./histogram.js";
import { MapView } from "./map_view.js";
import { showOriginal } from "./original.js";
import { drawQuery } from "./query_view.js";
import { drawResults } from "./results.js";
import { drawRun } from "./run_view.js";
import * as address from "./state.js";

const MOST_BYTES = 20 * 1024 * 1024;
const AFTER_MS = 60; // T stands still for so long before the server is asked

let run;
let state;
let answer = null;
let asking = null;
let map = null;
let later = 0;
const files = new Map(); // of this window: what the server has forgotten is sent again

function say(sentence) {
  $("fault").textContent = sentence;
  $("fault").hidden = !sentence;
}

/** Ask what the state says, or a new file, and show the answer. isStep: the back button returns from it. */
async function ask(changes = {}, { file = null, isStep = true } = {}) {
  clearTimeout(later);
  asking?.abort(new DOMException("another question", "AbortError"));
  const mine = (asking = new AbortController());
  const wanted = { ...state, ...changes };
  document.body.classList.add("waiting");
  try {
    const found = await question(wanted, file, mine.signal);
    if (mine !== asking) return;
    if (file) files.set(found.query.of, file);
    state = { ...wanted, of: found.query.of, T: wanted.T && found.T };
    answer = found;
    say("");
    address.write(state, isStep);
    show();
  } catch (error) {
    if (mine !== asking || error.name === "AbortError") return;
    say(error.message);
    if (!answer && wanted.of) address.write(wanted, false);
  } finally {
    if (mine === asking) document.body.classList.remove("waiting");
  }
}

async function question(wanted, file, signal) {
  const tell = (sentence) => { if (!signal.aborted) say(sentence); };
  const asked = { of: wanted.of, k: wanted.k ?? 10, T: wanted.T, file };
  try {
    return await api.search(asked, signal, tell);
  } catch (error) {
    if (error.status !== 410 || !files.has(wanted.of)) throw error;
    return api.search({ ...asked, file: files.get(wanted.of) }, signal, tell);
  }
}

function show() {
  for (const id of ["question", "columns"]) $(id).hidden = false;
  drawQuery(answer, run);
  drawHistogram(answer, answer.T);
  drawPool(answer, answer.T);
  drawResults(answer, run, state, ({ of, result }) => showOriginal({ of, id: result.id, label: result.class, code: result.code,
    answer, hamming: result.hamming, fc7: result.euclidean ?? result.fc7 }, run, state));
  $("k").value = String(state.k ?? 10);
  const [split, row] = state.of.split("/");
  if (split !== "upload") {
    $("split").value = split;
    $("row").value = row;
  }
  map?.draw();
}

function view(name) {
  for (const each of ["search", "map", "run"]) {
    $(`view-${each}`).hidden = each !== name;
    document.querySelector(`[data-view=${each}]`).toggleAttribute("aria-current", each === name);
  }
  if (name === "run") drawRun(run);
  if (name === "map") {
    map ??= new MapView(run, markedRows, () => ({ T: state.T, k: state.k }));
    map.load();
  }
}

function markedRows() {
  if (!answer) return { query: null, results: [] };
  const [split, row] = answer.query.of.split("/");
  const lists = Object.values(answer.searches).flatMap((list) => list.results.map((result) => result.row));
  return { query: split === "train" ? Number(row) : null, results: lists };
}

/** T moved: shown at once from the histogram at hand, asked when it stands still. */
function moveT(T) {
  if (!answer || T === Number($("T-shown").value)) return;
  drawHistogram(answer, T);
  drawPool(answer, T);
  clearTimeout(later);
  later = setTimeout(() => ask({ T }, { isStep: false }), AFTER_MS);
}

function take(file) {
  if (!file) return;
  if (file.size > MOST_BYTES) {
    say(`${file.name || "The image"} has ${(file.size / 2 ** 20).toFixed(1)} MB; 20 MB are the most. Make it smaller.`);
    return;
  }
  go("search");
  ask({}, { file });
}

function go(name) {
  if (state.view === name) return;
  state = { ...state, view: name };
  address.write(state, true);
  view(name);
}

function readAddress() {
  const next = address.read();
  const same = answer && state.of === next.of && state.T === next.T && (state.k ?? 10) === (next.k ?? 10);
  state = { ...next, of: next.of ?? firstImage() };
  view(state.view);
  if (!same) ask({}, { isStep: false });
}

const firstImage = () => (run.images.test ? "test/0" : "train/0");

async function random() {
  const split = $("split").value;
  go("search");
  ask({ of: `${split}/${Math.floor(Math.random() * run.images[split])}` });
}

function listen() {
  $("ask").addEventListener("submit", (event) => {
    event.preventDefault();
    if ($("row").value !== "") ask({ of: `${$("split").value}/${Number($("row").value)}` });
  });
  $("random").addEventListener("click", random);
  $("file").addEventListener("change", () => { take($("file").files[0]); $("file").value = ""; });
  $("k").addEventListener("change", () => ask({ k: Number($("k").value) }));
  $("split").addEventListener("change", () => { $("row").max = run.images[$("split").value] - 1; });
  $("T").addEventListener("input", () => moveT(Number($("T").value)));
  const bars = $("histogram");
  bars.addEventListener("pointerdown", (event) => {
    bars.setPointerCapture(event.pointerId);
    if (answer) moveT(radiusAt(answer, event.clientX));
  });
  bars.addEventListener("pointermove", (event) => {
    if (answer && bars.hasPointerCapture(event.pointerId)) moveT(radiusAt(answer, event.clientX));
  });
  $("query-original").addEventListener("click", () => answer && showOriginal({ of: answer.query.of, id: answer.query.id,
    label: answer.query.class, answer }, run, state));
  document.addEventListener("click", followLink);
  document.addEventListener("keydown", keys);
  document.addEventListener("paste", (event) => {
    const pasted = [...(event.clipboardData?.files ?? [])].find((file) => file.type.startsWith("image/"));
    if (pasted) take(pasted);
  });
  for (const kind of ["dragenter", "dragover"]) document.addEventListener(kind, (event) => {
    event.preventDefault();
    document.body.classList.add("dragging");
  });
  for (const kind of ["dragleave", "drop"]) document.addEventListener(kind, () => document.body.classList.remove("dragging"));
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    if (event.dataTransfer.files.length) take(event.dataTransfer.files[0]);
    else say("What was dropped is no file. Drop an image file, or copy the image and paste it here.");
  });
  addEventListener("popstate", readAddress);
  addEventListener("resize", () => answer && drawHistogram(answer, Number($("T-shown").value)));
}

/** Links ask without loading the page anew; with Ctrl or the middle button they open a window as links do. */
function followLink(event) {
  const link = event.target.closest("a");
  if (!link || event.button || event.ctrlKey || event.metaKey || event.shiftKey) return;
  const { of, radius, view: name } = link.dataset;
  if (!of && !radius && !name) return;
  event.preventDefault();
  if (name) {
    go(name);
    return;
  }
  $("original").close();
  go("search");
  ask(of ? { of } : { T: Number(radius) });
  if (of) scrollTo({ top: 0, behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth" });
}

function keys(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || $("original").open) return;
  if (event.target.matches("input:not([type=range]), select, canvas") || state.view !== "search") return;
  const link = document.activeElement.closest?.(".card")?.querySelector("a");
  const moves = { "[": -1, "]": 1 };
  if (event.key in moves && answer) {
    moveT(Math.min(answer.bits, Math.max(1, Number($("T").value) + moves[event.key])));
  } else if (event.key === "r") random();
  else if (event.key === "n") {
    event.preventDefault();
    $("row").select();
  } else if (event.key === "o" && link) link.parentElement.querySelector("button").click();
  else if (event.key.startsWith("Arrow") && !event.target.matches("input")) moveAmongCards(event, link);
}

function moveAmongCards(event, link) {
  if (!link) {
    if (event.key !== "ArrowDown" || document.activeElement !== document.body || !answer) return;
    event.preventDefault();
    document.querySelector("#cards-bcs a").focus();
    return;
  }
  event.preventDefault();
  const column = [...link.closest(".cards").querySelectorAll("a")];
  const [here, box] = [column.indexOf(link), link.getBoundingClientRect()];
  const across = column.filter((each) => Math.abs(each.getBoundingClientRect().top - box.top) < 5).length;
  const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -across, ArrowDown: across }[event.key];
  const edge = here % across;
  const other = document.querySelector(event.key === "ArrowRight" ? "#column-hdl:not([hidden]) .cards" : "#cards-bcs");
  if ((event.key === "ArrowRight" && edge === across - 1 || event.key === "ArrowLeft" && edge === 0)
      && other && other !== link.closest(".cards")) {
    other.querySelectorAll("a")[Math.min(other.children.length - 1, here)].focus();
  } else column[here + step]?.focus();
}

async function begin() {
  try {
    run = await api.json("/api/run", say);
  } catch (error) {
    say(error.message);
    return;
  }
  say("");
  $("title").textContent = `${run.title}: search by looking`;
  document.title = `${run.name}: search by looking`;
  $("about").textContent = `Run ${run.name}: ${count(run.images.train)} images in the database, codes of ${run.bits} bits`
    + (run.fc7 ? `, fc7 of ${count(run.fc7)} units` : "; no fc7, so codes only");
  $("split").replaceChildren(...Object.keys(run.images).map((split) => new Option(split === "train"
    ? `of ${count(run.images.train)} in the database` : `of ${count(run.images.test)} test images`, split)));
  $("row").max = run.images.train - 1;
  if (run.net === "none") $("drop").hidden = true;
  listen();
  readAddress();
}

begin();
