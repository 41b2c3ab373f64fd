// The database in two dimensions, on a canvas: point, zoom, draw a line around images to see them.

import { bytes, small } from "./api.js";
import { $, count, el, share } from "./dom.js";
import { picture } from "./results.js";
import { address } from "./state.js";

const COLOURS = ["#0b6e99", "#d1495b", "#6a994e", "#bc8034", "#7b5ea7", "#2a9d8f", "#e07a5f", "#8d99ae", "#b5179e",
  "#588b8b", "#c9a227", "#495057"];
const SHOWN = 60;
const NEAR = 12; // pixels
const colour = (place) => COLOURS[place % COLOURS.length];

export class MapView {
  /** marked(): {query, results} rows of the database to put a ring around. */
  constructor(run, marked, state) {
    Object.assign(this, { run, marked, state, zoom: 1, centre: [0, 0], line: null, chosen: null, loaded: {} });
    this.canvas = $("map");
    this.canvas.addEventListener("pointerdown", (event) => this.down(event));
    this.canvas.addEventListener("pointermove", (event) => this.move(event));
    this.canvas.addEventListener("pointerup", () => this.up());
    this.canvas.addEventListener("pointerleave", () => { $("map-tip").hidden = true; });
    this.canvas.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    this.canvas.addEventListener("keydown", (event) => this.key(event));
    $("map-reset").addEventListener("click", () => { this.zoom = 1; this.centre = [0, 0]; this.draw(); });
    $("map-of").addEventListener("change", () => this.load());
    $("map-of").querySelector("[value=fc7]").disabled = !run.fc7;
    new ResizeObserver(() => this.draw()).observe(this.canvas);
  }

  async load() {
    const of = $("map-of").value;
    $("map-note").textContent = "computing the map \u2026";
    try {
      this.points = this.loaded[of] ??= unpack(await bytes(`/api/map?of=${of}`));
    } catch (error) {
      $("map-note").textContent = error.message;
      return;
    }
    const { head } = this.points;
    $("map-note").textContent = `${count(head.points)} of ${count(head.images)} images by the two directions in which their `
      + `${of === "codes" ? "bits" : "fc7 activations"} spread most. Draw a line around points to see their images; the `
      + "wheel, or + and -, zooms.";
    $("map-legend").replaceChildren(...head.classes.slice(0, 24).map((name, place) => {
      const swatch = el("i", { class: "swatch" });
      swatch.style.background = colour(place);
      return el("span", {}, swatch, name);
    }));
    this.draw();
  }

  place(i) {
    const side = this.side;
    return [(0.5 + (this.points.xy[2 * i] - this.centre[0]) * 0.47 * this.zoom) * side,
      (0.5 - (this.points.xy[2 * i + 1] - this.centre[1]) * 0.47 * this.zoom) * side];
  }

  draw() {
    if (!this.points || !this.canvas.clientWidth) return;
    const ratio = window.devicePixelRatio || 1;
    const [width, height] = [this.canvas.clientWidth, this.canvas.clientHeight];
    this.side = Math.min(width, height);
    this.canvas.width = width * ratio;
    this.canvas.height = height * ratio;
    const context = this.canvas.getContext("2d");
    context.scale(ratio, ratio);
    const size = this.points.head.points > 20000 ? 2 : 4;
    context.globalAlpha = 0.75;
    for (let at = 0; at < this.points.head.classes.length; at += 1) {
      context.fillStyle = colour(at);
      for (const i of this.points.byClass[at]) {
        const [x, y] = this.place(i);
        context.fillRect(x - size / 2, y - size / 2, size, size);
      }
    }
    context.globalAlpha = 1;
    this.rings(context);
    if (this.line) {
      context.strokeStyle = getComputedStyle(document.body).color;
      context.lineWidth = 1.5;
      context.stroke(path(this.line));
    }
  }

  rings(context) {
    const { query, results } = this.marked();
    const ring = (row, radius, width) => {
      const i = this.points.byRow.get(row);
      if (i === undefined) return;
      context.lineWidth = width;
      context.strokeStyle = getComputedStyle(document.body).color;
      context.beginPath();
      context.arc(...this.place(i), radius, 0, 7);
      context.stroke();
    };
    results.forEach((row) => ring(row, 5, 1.5));
    if (query !== null) ring(query, 10, 3);
  }

  at(event) {
    const box = this.canvas.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }

  nearest([x, y]) {
    let best = null;
    let least = NEAR ** 2;
    for (let i = 0; i < this.points.head.points; i += 1) {
      const [px, py] = this.place(i);
      const away = (px - x) ** 2 + (py - y) ** 2;
      if (away < least) [best, least] = [i, away];
    }
    return best;
  }

  down(event) {
    if (!this.points) return;
    this.canvas.setPointerCapture(event.pointerId);
    this.line = [this.at(event)];
  }

  move(event) {
    if (!this.points) return;
    if (this.line) {
      this.line.push(this.at(event));
      this.draw();
    } else this.tip(event);
  }

  tip(event) {
    const i = this.nearest(this.at(event));
    const tip = $("map-tip");
    tip.hidden = i === null;
    if (i === null) return;
    const row = this.points.rows[i];
    const [x, y] = this.at(event);
    tip.style.left = `${Math.min(x + 12, this.canvas.clientWidth - 90)}px`;
    tip.style.top = `${y + 12}px`;
    tip.lastElementChild.textContent = `${row}: ${this.points.head.classes[this.points.classes[i]]}`;
    const image = tip.firstElementChild;
    image.hidden = !this.run.thumbs.train;
    if (this.run.thumbs.train && image.dataset.row !== String(row)) image.src = small(`train/${row}`);
    image.dataset.row = row;
  }

  up() {
    const line = this.line;
    this.line = null;
    if (!line) return;
    if (line.length < 4) {
      const i = this.nearest(line[0]);
      if (i !== null) this.show([i]);
    } else this.choose(line);
    this.draw();
  }

  choose(line) {
    const loop = path(line);
    const context = this.canvas.getContext("2d");
    const inside = [];
    context.save();
    context.setTransform(1, 0, 0, 1, 0, 0);
    for (let i = 0; i < this.points.head.points; i += 1) {
      if (context.isPointInPath(loop, ...this.place(i))) inside.push(i);
    }
    context.restore();
    this.show(inside);
  }

  show(chosen) {
    const sizes = new Map();
    for (const i of chosen) sizes.set(this.points.classes[i], (sizes.get(this.points.classes[i]) ?? 0) + 1);
    const mix = [...sizes].sort((a, b) => b[1] - a[1]).slice(0, 8)
      .map(([at, size]) => `${this.points.head.classes[at]} ${share(size, chosen.length)}`).join(", ");
    const step = Math.max(1, chosen.length / SHOWN);
    const shown = chosen.length > SHOWN ? Array.from({ length: SHOWN }, (_, i) => chosen[Math.floor(i * step)]) : chosen;
    $("map-chosen").replaceChildren(el("h3", { text: chosen.length === 1 ? "1 image"
      : `${count(chosen.length)} images${chosen.length > SHOWN ? `, ${SHOWN} of them shown` : ""}` }),
    el("p", { class: "soft", text: mix }),
    el("ol", { class: "cards" }, ...shown.map((i) => {
      const of = `train/${this.points.rows[i]}`;
      const name = this.points.head.classes[this.points.classes[i]];
      return el("li", { class: "card" }, el("a", { href: address({ of, ...this.state() }), "data-of": of },
        el("span", { class: "picture" }, picture(of, `image ${this.points.rows[i]}, class ${name}`, this.run.thumbs.train,
          String(this.points.rows[i]))), el("span", { class: "class", text: name })));
    })));
  }

  wheel(event) {
    if (!this.points) return;
    event.preventDefault();
    this.zoomTo(this.zoom * (event.deltaY < 0 ? 1.25 : 0.8), this.at(event));
  }

  zoomTo(zoom, [x, y]) {
    const before = this.zoom;
    this.zoom = Math.min(200, Math.max(1, zoom));
    const shift = (1 / before - 1 / this.zoom) / 0.47;
    this.centre = this.zoom === 1 ? [0, 0] : [this.centre[0] + (x / this.side - 0.5) * shift,
      this.centre[1] - (y / this.side - 0.5) * shift];
    this.draw();
  }

  key(event) {
    const middle = [this.side / 2, this.side / 2];
    const step = 0.2 / this.zoom;
    const moves = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, step], ArrowDown: [0, -step] };
    if (event.key === "+") this.zoomTo(this.zoom * 1.5, middle);
    else if (event.key === "-") this.zoomTo(this.zoom / 1.5, middle);
    else if (moves[event.key]) {
      event.preventDefault();
      this.centre = this.centre.map((at, axis) => at + moves[event.key][axis]);
      this.draw();
    }
  }
}

function path(line) {
  const drawn = new Path2D();
  line.forEach(([x, y], i) => drawn[i ? "lineTo" : "moveTo"](x, y));
  drawn.closePath();
  return drawn;
}

/** What /api/map sends: a line of JSON, then rows, points and classes. */
function unpack(buffer) {
  const all = new Uint8Array(buffer);
  const end = all.indexOf(10);
  const head = JSON.parse(new TextDecoder().decode(all.subarray(0, end)));
  const body = buffer.slice(end + 1);
  const n = head.points;
  const rows = new Uint32Array(body, 0, n);
  const classes = new Uint16Array(body, 12 * n, n);
  const byClass = head.classes.map(() => []);
  classes.forEach((at, i) => byClass[at].push(i));
  return { head, rows, xy: new Float32Array(body, 4 * n, 2 * n), classes, byClass,
    byRow: new Map(Array.from(rows, (row, i) => [row, i])) };
}
