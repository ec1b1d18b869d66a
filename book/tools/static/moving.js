// Pictures that the reader moves: draws what book/tools/moving.py wrote. A classic script, no module:
// a browser runs no modules on a page that was opened from a file. In a kernel it comes with each
// output, so it may run several times.

(() => {
const WIDE = 360; // width of a panel in its own units; letters have 12 of them
const LEFT = 48, RIGHT = 10, TOP = 24, BOTTOM = 38; // room for words around the axes
const SLOW = 280; // milliseconds from one frame to the next
const SVG = "http://www.w3.org/2000/svg";
const INK = "#767676"; // plots.INK of the book's still figures

function svg(name, attributes, parent) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  parent.append(element);
  return element;
}

function html(name, attributes, parent, text) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  parent.append(element);
  return element;
}

function bytes(text) {
  return Uint8Array.from(atob(text), (sign) => sign.charCodeAt(0));
}

/** Number of a frame among those that move by the controls `by`, the last one fastest. */
function frameOf(by, controls, at) {
  return by.reduce((number, name) => {
    const index = controls.findIndex((control) => control.name === name);
    return number * controls[index].texts.length + at[index];
  }, 0);
}

/** Undo frameOf: the controls' values for a frame, others as they are. */
function valuesOf(frame, by, controls, at) {
  const found = [...at];
  for (const name of [...by].reverse()) {
    const index = controls.findIndex((control) => control.name === name);
    found[index] = frame % controls[index].texts.length;
    frame = Math.floor(frame / controls[index].texts.length);
  }
  return found;
}

/** One panel: its axes once, and its marks as often as they move. */
class Panel {
  constructor(data, parent, picture) {
    this.data = data;
    this.picture = picture;
    this.box = data.axes ? [LEFT, TOP, WIDE - RIGHT, 0] : [0, data.title ? TOP : 0, WIDE, 0];
    this.box[3] = this.box[1] + (data.axes ? WIDE * data.height - TOP - BOTTOM
      : WIDE * data.height);
    this.high = this.box[3] + (data.axes ? BOTTOM : 0);
    this.root = html("div", { class: "moving-panel", style: `--wide: ${data.wide}` }, parent);
    this.canvas = html("canvas", { width: 3 * WIDE, height: Math.round(3 * this.high),
      "aria-hidden": "true" }, this.root);
    this.svg = svg("svg", { viewBox: `0 0 ${WIDE} ${this.high}`, "aria-hidden": "true" }, this.root);
    this.drawAxes();
    const clip = `moving-clip-${picture.number}-${picture.panels.length}`;
    const [x, y, right, bottom] = this.box;
    svg("rect", { x, y: y - 1, width: right - x, height: bottom - y + 2 },
      svg("clipPath", { id: clip }, svg("defs", {}, this.svg)));
    this.plot = svg("g", { "clip-path": `url(#${clip})` }, this.svg);
    this.marks = data.marks.map((mark) => this.prepare(mark));
    this.handle = this.marks.find((mark) => mark.handle && mark.by.length);
    if (this.handle) this.drag();
  }

  share(value, axis) {
    const [low, high] = this.data[axis];
    return this.data.log.includes(axis) ? Math.log(value / low) / Math.log(high / low)
      : (value - low) / (high - low);
  }
  x(value) { return this.box[0] + (this.box[2] - this.box[0]) * this.share(value, "x"); }
  y(value) { return this.box[3] - (this.box[3] - this.box[1]) * this.share(value, "y"); }

  drawAxes() {
    const { data } = this, [left, top, right, bottom] = this.box;
    const words = svg("g", { class: "moving-words" }, this.svg);
    const word = (text, attributes) => { svg("text", attributes, words).textContent = text; };
    if (data.title) word(data.title, { x: (left + right) / 2, y: 14, "text-anchor": "middle" });
    if (!data.axes) return;
    svg("path", { class: "moving-axes", d: `M${left} ${top}V${bottom}H${right}` }, this.svg);
    for (const [value, text] of data.ticks.x) {
      svg("path", { class: "moving-axes", d: `M${this.x(value)} ${bottom}v4` }, this.svg);
      word(text, { x: this.x(value), y: bottom + 16, "text-anchor": "middle" });
    }
    for (const [value, text] of data.ticks.y) {
      svg("path", { class: "moving-axes", d: `M${left} ${this.y(value)}h-4` }, this.svg);
      word(text, { x: left - 7, y: this.y(value) + 4, "text-anchor": "end" });
    }
    word(data.xlabel, { x: (left + right) / 2, y: bottom + 33, "text-anchor": "middle" });
    word(data.ylabel, { "text-anchor": "middle",
      transform: `translate(11 ${(top + bottom) / 2}) rotate(-90)` });
  }

  colour(name) { return name === "ink" ? INK : this.picture.data.palette[Number(name.slice(1))]; }

  prepare(data) {
    const mark = { ...data };
    if (mark.kind === "points") {
      const whole = new Uint16Array(bytes(mark.data).buffer);
      mark.frames = Array.from({ length: mark.count }, (_, frame) => {
        const places = new Float32Array(2 * mark.n);
        for (let i = 0; i < 2 * mark.n; i++) {
          const share = 3 * whole[2 * mark.n * frame + i] / 65535 - 1;
          places[i] = i % 2 ? this.box[3] - (this.box[3] - this.box[1]) * share
            : this.box[0] + (this.box[2] - this.box[0]) * share;
        }
        return places;
      });
      mark.shades = (mark.colours ?? []).map((kind) => this.shades(kind));
    } else if (mark.frames) { // to the panel's own units, so that any two frames can be mixed
      const axis = mark.kind === "rule" ? () => mark.axis : (i) => "xy"[i % 2];
      mark.frames = mark.frames.map((row) =>
        row.map((value, i) => value === null ? NaN : this[axis(i)](value)));
    }
    if (mark.kind === "images") {
      const [l, r, b, t] = mark.box;
      mark.place = [this.x(l), this.y(t), this.x(r) - this.x(l), this.y(b) - this.y(t)];
      mark.image = new Image();
      mark.image.src = mark.sheet;
    } else if (mark.kind === "bars") {
      mark.elements = mark.frames[0].filter((_, i) => i % 2).map((_, i) => svg("path", {
        fill: this.colour(Array.isArray(mark.colour) ? mark.colour[i] : mark.colour) }, this.plot));
      const [low, high] = this.data.x;
      mark.half = mark.width / 2 * (this.box[2] - this.box[0]) / (high - low);
    } else if (mark.kind !== "points") {
      const look = mark.kind === "band" ? { fill: this.colour(mark.colour), "fill-opacity": 0.2 }
        : { stroke: this.colour(mark.colour), "stroke-width": mark.width ?? 1.5, fill: "none",
          "stroke-linejoin": "round", ...(mark.dashed ? { "stroke-dasharray": "6 4" } : {}) };
      mark.element = svg("path", look, this.plot);
    }
    return mark;
  }

  /** Colours of all points, for one kind of colouring. */
  shades(kind) {
    const { palette, ramp } = this.picture.data;
    return Array.from(bytes(kind.values), (value) => {
      if (kind.kind === "class") return palette[value % palette.length];
      return value === 255 ? null : ramp[Math.round(value / 254 * (ramp.length - 1))];
    });
  }

  /** Draw every mark; `share` of the way from where it was to its frame of now. */
  draw(at, share) {
    const { controls } = this.picture.data;
    const colour = controls.findIndex((control) => control.name === "colour");
    const context = this.canvas.getContext("2d");
    context.setTransform(3, 0, 0, 3, 0, 0);
    context.clearRect(0, 0, WIDE, this.high);
    context.save();
    context.beginPath();
    context.rect(this.box[0] - 3, this.box[1] - 3, this.box[2] - this.box[0] + 6,
      this.box[3] - this.box[1] + 6);
    context.clip();
    for (const mark of this.marks) {
      const frame = frameOf(mark.by, controls, at);
      if (mark.kind === "images") {
        const [w, h] = mark.size, row = Math.floor(frame / mark.columns);
        context.imageSmoothingEnabled = false; // a pixel stays a square
        if (mark.image.complete) context.drawImage(mark.image, frame % mark.columns * w, row * h, w, h,
          ...mark.place);
        continue;
      }
      const goal = mark.frames[frame];
      if (share >= 1 || !mark.from || mark.from.length !== goal.length) mark.now = goal;
      else mark.now = goal.map((value, i) => mark.from[i] + share * (value - mark.from[i]));
      if (mark.kind === "points") {
        const shades = mark.shades[colour < 0 ? 0 : at[colour]];
        this.dots(context, mark, shades);
      } else if (mark.kind === "bars") {
        mark.elements.forEach((bar, i) => bar.setAttribute("d",
          `M${mark.now[2 * i] - mark.half} ${this.y(0)}V${mark.now[2 * i + 1]}` +
          `h${2 * mark.half}V${this.y(0)}Z`));
      } else if (mark.kind === "rule") {
        const [left, top, right, bottom] = this.box, [place] = mark.now;
        mark.element.setAttribute("d", mark.axis === "x" ? `M${place} ${top}V${bottom}`
          : `M${left} ${place}H${right}`);
      } else {
        mark.element.setAttribute("d", this.path(mark.now) + (mark.kind === "band" ? "Z" : ""));
      }
    }
    context.restore();
  }

  path(places) {
    let text = "", next = "M";
    for (let i = 0; i < places.length; i += 2) {
      if (Number.isNaN(places[i]) || Number.isNaN(places[i + 1])) { next = "M"; continue; }
      text += `${next}${places[i].toFixed(1)} ${places[i + 1].toFixed(1)}`;
      next = "L";
    }
    return text || "M0 0";
  }

  dots(context, mark, shades) {
    const plain = this.colour(mark.colour), full = 2 * Math.PI, places = mark.now;
    context.globalAlpha = mark.n > 50 ? 0.85 : 1;
    for (let i = 0; i < mark.n; i++) {
      const shade = shades ? shades[i] : plain;
      if (shade === null) continue;
      context.fillStyle = shade;
      context.beginPath();
      context.arc(places[2 * i], places[2 * i + 1], mark.radius, 0, full);
      context.fill();
    }
  }

  /** The frame whose handle is nearest to the pointer is shown. */
  drag() {
    const mark = this.handle, { controls } = this.picture.data;
    this.svg.classList.add("moving-drag");
    if (mark.kind === "points") this.svg.classList.add("moving-free");
    const go = (event) => {
      const p = new DOMPoint(event.clientX, event.clientY).matrixTransform(
        this.svg.getScreenCTM().inverse());
      const far = mark.frames.map((row) => mark.kind === "rule"
        ? Math.abs(row[0] - (mark.axis === "x" ? p.x : p.y))
        : Math.hypot(row[0] - p.x, row[1] - p.y));
      const nearest = far.indexOf(Math.min(...far));
      this.picture.set(valuesOf(nearest, mark.by, controls, this.picture.at));
    };
    this.svg.addEventListener("pointerdown", (event) => {
      this.svg.setPointerCapture(event.pointerId);
      event.preventDefault();
      go(event);
    });
    this.svg.addEventListener("pointermove", (event) => {
      if (this.svg.hasPointerCapture(event.pointerId)) go(event);
    });
  }
}

let pictures = 0;

class Picture {
  constructor(root, data) {
    this.data = data;
    this.number = `${Date.now().toString(36)}-${pictures++}`;
    this.at = data.controls.map((control) => control.start);
    const still = root.querySelector(".moving-still");
    const live = html("div", { class: "moving-live" }, root);
    const row = html("div", { class: "moving-panels", role: "img", "aria-label": still.alt }, live);
    this.panels = [];
    for (const panel of data.panels) this.panels.push(new Panel(panel, row, this));
    this.key = html("p", { class: "moving-key" }, live);
    const box = html("div", { class: "moving-controls" }, live);
    this.inputs = data.controls.map((control, i) => this.control(control, i, box));
    this.output = html("output", { "aria-live": "off" }, box);
    // The still goes once every image of the picture is there.
    const images = this.panels.flatMap((panel) => panel.marks).map((mark) => mark.image?.decode());
    Promise.allSettled(images).then(() => {
      this.show();
      root.classList.add("moving-ready");
    });
  }

  control(control, i, box) {
    const label = html("label", {}, box);
    html("span", {}, label, control.label);
    const choose = (value) => this.set(this.at.map((old, j) => (j === i ? value : old)));
    if (control.kind === "choice") {
      const list = html("select", {}, label);
      control.texts.forEach((text) => html("option", {}, list, text));
      list.addEventListener("change", () => choose(list.selectedIndex));
      return list;
    }
    const input = html("input", { type: "range", min: 0, max: control.texts.length - 1, step: 1 },
      label);
    input.addEventListener("input", () => choose(Number(input.value)));
    return input;
  }

  /** Go to other values of the controls; marks glide there unless the reader wants no motion. */
  set(at) {
    if (at.every((value, i) => value === this.at[i])) return;
    cancelAnimationFrame(this.running);
    for (const panel of this.panels) for (const mark of panel.marks) mark.from = mark.now;
    this.at = at;
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    this.show(still ? 1 : 0);
    if (still) return;
    const begin = performance.now();
    const step = (now) => {
      const share = Math.min(1, Math.max(0, (now - begin) / SLOW));
      for (const panel of this.panels) panel.draw(this.at, share * (2 - share));
      if (share < 1) this.running = requestAnimationFrame(step);
    };
    this.running = requestAnimationFrame(step);
  }

  show(share = 1) {
    const { controls, said } = this.data;
    const sentence = said.texts.length ? said.texts[frameOf(said.by, controls, this.at)] : "";
    for (const panel of this.panels) panel.draw(this.at, share);
    controls.forEach((control, i) => {
      const input = this.inputs[i], text = control.texts[this.at[i]];
      if (control.kind === "choice") input.selectedIndex = this.at[i];
      else {
        input.value = this.at[i];
        input.setAttribute("aria-valuetext", sentence ? `${text}: ${sentence}` : text);
      }
    });
    const values = controls.filter((control) => control.kind === "slider").map((control) =>
      `${control.label} = ${control.texts[this.at[controls.indexOf(control)]]}`);
    this.output.textContent = values.join(", ") + (sentence ? `: ${sentence}` : "");
    this.keys();
  }

  /** The words of lines and of the points' colours. */
  keys() {
    const colour = this.data.controls.findIndex((control) => control.name === "colour");
    const chosen = colour < 0 ? 0 : this.at[colour];
    if (this.keyed === chosen) return;
    this.keyed = chosen;
    this.key.replaceChildren();
    const seen = new Set();
    const entry = (shade, text, shape) => {
      if (seen.has(text)) return;
      seen.add(text);
      const part = html("span", {}, this.key);
      html("i", { class: shape, style: `--shade: ${shade}` }, part);
      part.append(text);
    };
    for (const panel of this.panels) for (const mark of panel.marks) {
      if (mark.label) entry(panel.colour(mark.colour), mark.label, `moving-${mark.kind}` +
        (mark.dashed ? " moving-dashed" : ""));
      const kind = mark.colours?.[chosen];
      if (kind?.kind === "class") kind.names.forEach((name, i) =>
        entry(this.data.palette[kind.present[i] % this.data.palette.length], name, "moving-points"));
      if (kind?.kind === "value" && !seen.has(kind.name)) {
        seen.add(kind.name);
        const part = html("span", {}, this.key, `${kind.name} ${kind.ends[0]} `);
        html("i", { class: "moving-scale", style: `--ramp: ${this.data.ramp.join(",")}` }, part);
        part.append(` ${kind.ends[1]}`);
      }
    }
  }
}

/** Data that lie in a file are loaded when the picture comes near the window. */
const waiting = new Map();
window.movingData = (name, data) => {
  for (const root of waiting.get(name) ?? []) new Picture(root, data);
  waiting.delete(name);
};

function start(root) {
  if (root.dataset.started) return;
  root.dataset.started = "yes";
  const place = root.querySelector(".moving-data");
  if (place.tagName === "SCRIPT") {
    new Picture(root, JSON.parse(place.textContent));
    return;
  }
  new IntersectionObserver((entries, observer) => {
    if (!entries.some((entry) => entry.isIntersecting)) return;
    observer.disconnect();
    const { name, src } = place.dataset;
    if (waiting.has(name)) { waiting.get(name).push(root); return; }
    waiting.set(name, [root]);
    html("script", { src }, document.head);
  }, { rootMargin: "300px" }).observe(root);
}

document.querySelectorAll(".moving").forEach(start);
})();
