"use strict";
// Charts on a canvas, for the report and the page. A figure is plain data (reports/figures.py): `progress` (experiments
// with the best so far and the noise), `lines` (curves) or `bars`. Colours come from the style sheet's variables.
// Drag to zoom, double click or Escape to see all; the arrow keys go from point to point, Enter opens one.

const EDGE = { left: 66, right: 14, top: 12, bottom: 36 };
const MARKS = { k: ["--keep", "kept"], d: ["--discard", "discarded"], f: ["--fail", "failed"] };

function ticks(low, high, most, least = 0) {
  // Round numbers between low and high: 1, 2 or 5 times a power of ten apart, and at least so far.
  const raw = (high - low) / Math.max(1, most);
  if (!(raw > 0) || !Number.isFinite(raw)) return [low];
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = Math.max(least, power * [1, 2, 5, 10].find((factor) => factor * power >= raw * 0.999999));
  const found = [];
  for (let i = Math.ceil(low / step); i * step <= high && found.length < 50; i++) found.push(i * step);
  return found;
}

function tickText(value, all) {
  const step = all.length > 1 ? Math.abs(all[1] - all[0]) : Math.abs(value) || 1;
  if (Math.abs(value) >= 1e7 || (step < 1e-6 && value !== 0)) return value.toExponential(2);
  return value.toFixed(Math.min(8, Math.max(0, -Math.floor(Math.log10(step) + 1e-9))));
}

function range(values) {
  return values.reduce(([low, high], value) => [Math.min(low, value), Math.max(high, value)], [Infinity, -Infinity]);
}

class Chart {
  constructor(holder, figure, open = null) {
    this.open = open;
    this.canvas = document.createElement("canvas");
    this.tip = Object.assign(document.createElement("div"), { className: "tip", hidden: true });
    this.at = -1; // the point that keys or the pointer are at
    holder.classList.add("chart");
    holder.replaceChildren(this.canvas, this.tip);
    this.set(figure);
    new ResizeObserver(() => this.draw()).observe(holder);
    for (const medium of ["(prefers-color-scheme: dark)", "print"])
      matchMedia(medium).addEventListener("change", () => this.draw());
    if (figure.kind !== "bars") this.listen();
  }

  set(figure) {
    this.figure = figure;
    const xs = figure.kind === "lines" ? figure.lines.flatMap((line) => line.x) : figure.x || [];
    const [low, high] = xs.length ? range(xs) : [0, 1];
    const pad = figure.kind === "progress" || low === high ? Math.max(0.6, 0.01 * (high - low)) : 0;
    this.all = [low - pad, high + pad];
    if (!this.zoomed) this.span = [...this.all];
    this.canvas.setAttribute("role", "img");
    this.canvas.setAttribute("aria-label", `Chart of ${figure.label}; the tables have the same numbers.`);
    if (figure.kind !== "bars") this.canvas.tabIndex = 0;
    this.draw();
  }

  colour(name) {
    return getComputedStyle(this.canvas).getPropertyValue(name).trim();
  }

  draw() {
    const box = this.canvas.parentElement.getBoundingClientRect(), ratio = Math.max(2, devicePixelRatio || 1);
    const bars = this.figure.kind === "bars" && this.figure.bars.length;
    this.width = Math.max(240, box.width);
    this.height = bars ? 26 * bars + 8 : Math.min(380, Math.max(220, this.width * 0.42));
    this.canvas.width = this.width * ratio;
    this.canvas.height = this.height * ratio;
    this.canvas.style.height = `${this.height}px`;
    const pen = (this.pen = this.canvas.getContext("2d"));
    pen.scale(ratio, ratio);
    pen.font = "12px system-ui, sans-serif";
    pen.textBaseline = "middle";
    if (bars) return this.drawBars();
    this.limits = this.yLimits();
    this.drawAxes();
    pen.beginPath();
    pen.rect(EDGE.left, 0, this.width - EDGE.left - EDGE.right, this.height - EDGE.bottom + 1);
    pen.clip();
    this.figure.kind === "progress" ? this.drawProgress() : this.drawLines();
    this.mark();
  }

  yLimits() {
    if (this.figure.kind === "progress") return this.figure.limits;
    const [begin, end] = this.span, seen = (line) => line.y.filter((y, i) => line.x[i] >= begin && line.x[i] <= end);
    const [low, high] = range(this.figure.lines.flatMap(seen).filter((y) => y !== null));
    if (!(low <= high)) return [0, 1];
    const pad = (high - low) * 0.06 || Math.abs(high) * 0.01 || 1;
    return [low - pad, high + pad];
  }

  px(x) {
    return EDGE.left + ((x - this.span[0]) / (this.span[1] - this.span[0])) * (this.width - EDGE.left - EDGE.right);
  }

  py(y) {
    const [low, high] = this.limits;
    return EDGE.top + ((high - y) / (high - low)) * (this.height - EDGE.top - EDGE.bottom);
  }

  drawAxes() {
    const pen = this.pen, bottom = this.height - EDGE.bottom;
    const ys = ticks(...this.limits, this.height / 55), xs = ticks(...this.span, this.width / 90, this.figure.whole);
    pen.fillStyle = this.colour("--rule");
    for (const y of ys) pen.fillRect(EDGE.left, Math.round(this.py(y)), this.width - EDGE.left - EDGE.right, 1);
    pen.fillStyle = this.colour("--faint");
    pen.textAlign = "right";
    for (const y of ys) pen.fillText(tickText(y, ys), EDGE.left - 8, this.py(y));
    pen.textAlign = "center";
    for (const x of xs) pen.fillText(tickText(x, xs), this.px(x), bottom + 12);
    pen.fillText(this.figure.under || "experiment", (EDGE.left + this.width) / 2, this.height - 7);
  }

  drawProgress() {
    const { x, y, marks, best, band, direction } = this.figure, pen = this.pen, [low, high] = this.limits;
    if (band) {
      pen.fillStyle = this.colour("--band");
      pen.fillRect(EDGE.left, this.py(band[1]), this.width, Math.max(1, this.py(band[0]) - this.py(band[1])));
    }
    const dense = x.length > 1500, bad = direction === "lower" ? EDGE.top + 6 : this.height - EDGE.bottom - 6;
    for (const kind of "dfk") {
      // A shape for each status as well as a colour; all of one kind are one path.
      const size = kind === "k" ? (dense ? 2.5 : 4.5) : dense ? 1.2 : 2.8;
      pen.beginPath();
      for (let i = 0; i < x.length; i++) {
        if (marks[i] !== kind) continue;
        const h = this.px(x[i]);
        if (h < EDGE.left - 5 || h > this.width) continue;
        if (y[i] === null) {
          for (const side of [3, -3]) pen.moveTo(h - 3, bad - side), pen.lineTo(h + 3, bad + side);
        } else if (y[i] > high || y[i] < low) {
          const up = y[i] > high, tip = up ? EDGE.top - 8 : this.height - EDGE.bottom, turn = up ? 6 : -6;
          pen.moveTo(h, tip), pen.lineTo(h - 3, tip + turn), pen.lineTo(h + 3, tip + turn), pen.closePath();
        } else if (kind === "k") {
          pen.moveTo(h + size, this.py(y[i])), pen.arc(h, this.py(y[i]), size, 0, 7);
        } else pen.rect(h - size, this.py(y[i]) - size, 2 * size, 2 * size);
      }
      pen.fillStyle = pen.strokeStyle = this.colour(MARKS[kind][0]);
      pen[kind === "f" ? "stroke" : "fill"]();
    }
    if (!best.length) return;
    const steps = best.flatMap(([n, value], i) => (i ? [[n, best[i - 1][1]], [n, value]] : [[n, value]]));
    this.path([...steps, [this.all[1], best[best.length - 1][1]]], "--keep");
  }

  path(points, colour) {
    // A line through points; a gap where y is null.
    let open = false;
    this.pen.strokeStyle = this.colour(colour);
    this.pen.lineWidth = 1.6;
    this.pen.beginPath();
    for (const [x, y] of points) {
      if (y !== null) this.pen[open ? "lineTo" : "moveTo"](this.px(x), this.py(y));
      open = y !== null;
    }
    this.pen.stroke();
  }

  drawLines() {
    this.figure.lines.forEach((line, index) => {
      this.pen.setLineDash(index % 2 ? [6, 3] : []);
      this.path(line.x.map((x, i) => [x, line.y[i]]), `--line${index % 8}`);
    });
  }

  drawBars() {
    const pen = this.pen, most = Math.max(...this.figure.bars.map(([, n]) => n)), left = 150;
    this.figure.bars.forEach(([name, n], i) => {
      const y = 26 * i + 16, wide = ((this.width - left - 50) * n) / most;
      pen.fillStyle = this.colour("--fail");
      pen.fillRect(left, y - 8, wide, 16);
      pen.fillStyle = this.colour("--ink");
      pen.textAlign = "right";
      pen.fillText(name, left - 8, y);
      pen.textAlign = "left";
      pen.fillText(String(n), left + wide + 6, y);
    });
  }

  points() {
    // What can be pointed at, as [x, y, text, number of the experiment]; made when it is first asked for.
    const f = this.figure, says = (y) => (y === null ? "no value" : y);
    if (this.pointsOf === f) return this.made;
    this.pointsOf = f;
    if (f.kind === "lines")
      this.made = f.lines.flatMap((l) => l.x.map((x, i) => [x, l.y[i], `${l.name}: ${says(l.y[i])} at ${x}`]));
    else
      this.made = f.x.map((x, i) => {
        const number = f.numbers ? f.numbers[i] : x;
        return [x, f.y[i], `experiment ${number}, ${MARKS[f.marks[i]][1]}: ${says(f.y[i])}`, number];
      });
    return this.made;
  }

  nearest(h, v) {
    const bad = this.figure.direction === "higher" ? this.height - EDGE.bottom : EDGE.top;
    let found = -1, least = 30 ** 2;
    this.points().forEach(([x, y], i) => {
      const far = (this.px(x) - h) ** 2 + ((y === null ? bad : this.py(y)) - v) ** 2;
      if (far < least) [found, least] = [i, far];
    });
    return found;
  }

  mark(at = this.at) {
    this.at = at;
    const point = this.at < 0 ? null : this.points()[this.at];
    this.tip.hidden = !point || point[0] < this.span[0] || point[0] > this.span[1];
    if (this.tip.hidden) return;
    this.tip.textContent = point[2];
    const h = this.px(point[0]), v = point[1] === null ? EDGE.top : this.py(point[1]);
    this.tip.style.left = `${Math.min(Math.max(0, h + 8), this.width - 220)}px`;
    this.tip.style.top = `${Math.max(0, v - 34)}px`;
  }

  zoom(span) {
    this.zoomed = span !== null && span[1] - span[0] > 1e-9 * Math.max(1, Math.abs(span[0]));
    this.span = this.zoomed ? span : [...this.all];
    this.draw();
  }

  listen() {
    const canvas = this.canvas, opened = (at) => this.open && at >= 0 && this.points()[at]?.[3];
    const value = (h) =>
      this.span[0] + ((h - EDGE.left) / (this.width - EDGE.left - EDGE.right)) * (this.span[1] - this.span[0]);
    let from = null;
    canvas.addEventListener("pointerdown", (event) => (from = event.offsetX));
    canvas.addEventListener("pointermove", (event) => this.mark(this.nearest(event.offsetX, event.offsetY)));
    canvas.addEventListener("pointerleave", () => ((from = null), this.mark(-1)));
    canvas.addEventListener("pointerup", ({ offsetX, offsetY }) => {
      const begin = from, at = this.nearest(offsetX, offsetY);
      from = null;
      if (begin !== null && Math.abs(offsetX - begin) > 8)
        this.zoom([begin, offsetX].sort((a, b) => a - b).map(value));
      else if (opened(at)) this.open(opened(at));
    });
    canvas.addEventListener("dblclick", () => this.zoom(null));
    canvas.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (step) this.mark(Math.min(this.points().length - 1, Math.max(0, this.at + step)));
      else if (event.key === "Escape") this.zoom(null);
      else if (event.key === "Enter" && opened(this.at)) this.open(opened(this.at));
      else return;
      event.preventDefault();
    });
  }
}
