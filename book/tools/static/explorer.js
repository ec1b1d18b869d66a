// The live explorer: its controls and pictures. explorer-flow.js does the computing.
//
// A section's state and functions are at `section.explorer`, for the browser's console and tests.

const FLOW = new URL("explorer-flow.js", import.meta.url);
const ASSETS = new URL("explorer/", import.meta.url);
const COLUMNS = 10; // of the film, at most
const GAP = 2; // pixels of an image between two images of the film
const MIDDLE = 0.6; // where a start in the middle begins, until the slider is moved

class Explorer {
  constructor(section) {
    this.section = section;
    this.part = (role) => section.querySelector(`[data-role="${role}"]`);
    this.state = { z: [0, 0], t: 1, steps: 6, seed: 0, origin: null, shownClass: null };
    this.drawn = null; // what the picture on the page was made of
    this.count = 0; // pictures drawn so far
    this.part("start").addEventListener("click", () => this.start());
  }

  async start() {
    const button = this.part("start");
    button.disabled = true;
    this.say("Loading the runtime and the network …");
    try {
      this.flow = await import(FLOW);
      this.network = await this.flow.load(ASSETS);
      this.setUp();
      this.section.dataset.state = "ready";
      button.parentElement.hidden = true;
      this.part("live").hidden = false;
      this.say("Drag the ring, or move it with the arrow keys.");
      this.drawPlane();
      await this.draw();
      this.part("point").focus({ preventScroll: true });
    } catch (error) {
      console.warn(error);
      const reason = error instanceof (this.flow?.CannotRun ?? Error)
        ? error.message : `The browser says: ${error.message}.`;
      this.section.dataset.state = "failed";
      this.part("live").hidden = true;
      button.parentElement.hidden = false;
      button.disabled = false;
      this.say(`The explorer cannot run here. ${reason} The still picture on this page shows the same.`);
    }
  }

  say(text) {
    this.part("message").textContent = text;
  }

  // Everything that follows from the data of the page

  setUp() {
    const { data } = this.network;
    this.sde = new this.flow.VESDE(data.sigma_min, data.sigma_max);
    [, this.height, this.width] = data.image_shape;
    this.images = data.examples.map(({ pixels }) =>
      Float32Array.from(atob(pixels), (c) => c.charCodeAt(0) / 127.5 - 1));
    // All but the outermost codes; another model's may spread otherwise.
    this.range = [0, 1].map((axis) => {
      const values = data.codes.map((code) => code[axis]).sort((a, b) => a - b);
      const at = (share) => values[Math.round(share * (values.length - 1))];
      const margin = 0.08 * (at(0.995) - at(0.005));
      return [at(0.005) - margin, at(0.995) + margin];
    });
    // Two decimals, or what a hundredth of the plane needs: codes of some models differ by less.
    this.digits = Math.max(2, ...this.range.map(([low, high]) => {
      const needed = Math.ceil(2 - Math.log10(high - low));
      return Number.isFinite(needed) ? Math.min(needed, 6) : 2;
    }));
    for (const role of ["z1", "z2"]) this.part(role).step = 10 ** -this.digits;
    this.state.z = data.examples[0].code.slice(0, 2);
    this.addLegend();
    this.addExamples("origins", "Start from", (index) => {
      this.state.origin = index;
      if (this.state.t === 1) this.state.t = MIDDLE;
    });
    this.addExamples("codes", "Code of", (index) => {
      this.state.z = data.examples[index].code.slice(0, 2);
    });
    this.listen();
    const redraw = () => this.drawPlane();
    new ResizeObserver(redraw).observe(this.part("plane"));
    new MutationObserver(redraw).observe(document.documentElement, {
      attributes: true, attributeFilter: ["data-theme"],
    });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
    this.show();
  }

  addLegend() {
    const { classes, colours } = this.network.data;
    if (classes.length < 2) return; // pictures without labels
    for (const [label, name] of classes.entries()) {
      const button = element("button", { type: "button", className: "explorer-class" });
      const dot = element("span", { className: "explorer-dot" });
      dot.style.background = colours[label];
      button.append(dot, name);
      button.setAttribute("aria-pressed", "false");
      button.addEventListener("click", () => {
        this.state.shownClass = this.state.shownClass === label ? null : label;
        for (const [i, other] of [...this.part("legend").children].entries()) {
          other.setAttribute("aria-pressed", String(i === this.state.shownClass));
        }
        this.drawPlane();
      });
      this.part("legend").append(button);
    }
  }

  addExamples(role, title, choose) {
    const { examples, classes } = this.network.data;
    this.part(role).append(element("span", { className: "explorer-title", textContent: title }));
    for (const [index, { label }] of examples.entries()) {
      const button = element("button", { type: "button", className: "explorer-example" });
      const canvas = element("canvas", { width: this.width, height: this.height });
      paint(canvas, this.images[index], this.width, this.height);
      canvas.setAttribute("aria-hidden", "true");
      button.append(canvas);
      button.setAttribute("aria-label", `${title} this test image, ` +
        (classes.length < 2 ? `number ${index + 1}` : `class ${classes[label]}`));
      button.addEventListener("click", () => this.change(() => choose(index)));
      this.part(role).append(button);
    }
  }

  listen() {
    const [plane, point] = [this.part("plane"), this.part("point")];
    const follow = (event) => {
      const box = plane.getBoundingClientRect();
      const share = [(event.clientX - box.left) / box.width, (box.bottom - event.clientY) / box.height];
      this.move(share.map((s, axis) => {
        const [low, high] = this.range[axis];
        return low + s * (high - low);
      }));
    };
    plane.addEventListener("pointerdown", (event) => {
      if (event.button) return;
      event.preventDefault();
      point.focus({ preventScroll: true });
      plane.setPointerCapture(event.pointerId);
      follow(event);
    });
    plane.addEventListener("pointermove", (event) => {
      if (plane.hasPointerCapture(event.pointerId)) follow(event);
    });
    point.addEventListener("keydown", (event) => {
      const ways = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowDown: [0, -1], ArrowUp: [0, 1] };
      const way = ways[event.key];
      if (!way || event.ctrlKey || event.altKey || event.metaKey) return;
      event.preventDefault();
      const share = event.shiftKey ? 0.1 : 0.02;
      this.move(this.state.z.map((value, axis) =>
        value + way[axis] * share * (this.range[axis][1] - this.range[axis][0])));
    });
    for (const [axis, role] of ["z1", "z2"].entries()) {
      this.part(role).addEventListener("change", ({ target }) => {
        const z = [...this.state.z];
        if (target.value !== "" && Number.isFinite(target.valueAsNumber)) z[axis] = target.valueAsNumber;
        this.move(z);
      });
    }
    this.part("t").addEventListener("input", ({ target }) => this.change((state) => {
      state.t = target.valueAsNumber;
      state.origin ??= 0;
    }));
    this.part("steps").addEventListener("change", ({ target }) => this.change((state) => {
      state.steps = Number(target.value);
    }));
    this.part("noise").addEventListener("click", () => this.change((state) => { state.seed++; }));
    this.part("replay").addEventListener("click", () => this.replay());
  }

  move(z) {
    this.change((state) => {
      state.z = z.map((value, axis) => {
        const [low, high] = this.range[axis];
        return Number(Math.min(Math.max(value, low), high).toPrecision(6));
      });
    });
  }

  change(how) {
    how(this.state);
    this.show();
    return this.draw();
  }

  /** Make every control say what the state is. */
  show() {
    const { z, t, origin } = this.state;
    const point = this.part("point");
    for (const [axis, value] of z.entries()) {
      const [low, high] = this.range[axis];
      const share = Math.min(Math.max((value - low) / (high - low), 0), 1);
      point.style[axis ? "bottom" : "left"] = `${100 * share}%`;
      this.part(axis ? "z2" : "z1").value = value.toFixed(this.digits);
    }
    point.setAttribute("aria-valuenow", z[0].toFixed(this.digits));
    point.setAttribute("aria-valuemin", this.range[0][0].toFixed(this.digits));
    point.setAttribute("aria-valuemax", this.range[0][1].toFixed(this.digits));
    point.setAttribute("aria-valuetext", `z 1: ${z[0].toFixed(this.digits)}, z 2: ${z[1].toFixed(this.digits)}`);
    this.part("t").value = t;
    this.part("t-value").textContent = `t = ${t.toFixed(2)}, ` + (t === 1 ? "pure noise"
      : `the chosen image under noise τ = ${this.sde.tau(t).toPrecision(2)}`);
    const pressed = { origins: t === 1 ? null : origin, codes: this.exampleWithThisCode() };
    for (const [role, index] of Object.entries(pressed)) {
      for (const [i, button] of [...this.part(role).querySelectorAll("button")].entries()) {
        button.setAttribute("aria-pressed", String(i === index));
      }
    }
  }

  exampleWithThisCode() {
    const [a, b] = this.state.z;
    return this.network.data.examples.findIndex(({ code }) => code[0] === a && code[1] === b);
  }

  // Sampling

  /** The images on the way from x at time t to the last one, an asynchronous generator. */
  path(x, z, t, steps) {
    const code = Float32Array.from(z);
    return this.flow.heun((x_t, tau) => this.network.denoise(x_t, code, tau), this.sde, x, t, steps);
  }

  /** What the sampler starts from: noise alone at t = 1, else x_0 + τ(t) ε. */
  startingPoint({ t, seed, origin }) {
    const noise = this.flow.normal(seed, this.images[0].length);
    const tau = this.sde.tau(t);
    return noise.map((value, i) => tau * value + (t === 1 ? 0 : this.images[origin][i]));
  }

  /** Draw the present state; while one picture is being made, the next waits, others are skipped. */
  async draw() {
    this.waiting = true;
    if (this.drawing) return;
    this.drawing = true;
    try {
      while (this.waiting) {
        this.waiting = false;
        await this.drawOnce();
      }
    } finally {
      this.drawing = false;
    }
  }

  async drawOnce() {
    const state = structuredClone(this.state);
    this.replaying = null;
    const began = performance.now();
    const start = this.startingPoint(state);
    const frames = [];
    for await (const frame of this.path(start, state.z, state.t, state.steps)) {
      frames.push(frame);
      this.drawFilm(frames, state.steps + 1);
      await new Promise((resume) => { breath.push(resume); channel.port2.postMessage(0); });
    }
    const image = frames.at(-1).x;
    this.drawImage(image);
    const milliseconds = performance.now() - began;
    const evaluations = Math.max(2 * (frames.length - 1) - 1, 1);
    this.part("timing").textContent =
      `Drawn in ${Math.round(milliseconds)} ms with ${evaluations} evaluations of the network.`;
    this.frames = frames;
    this.drawn = { ...state, start, image, milliseconds, evaluations };
    this.count++;
  }

  async replay() {
    const mine = (this.replaying = {});
    for (const { guess } of this.frames) {
      if (this.replaying !== mine) return;
      this.drawImage(guess);
      await new Promise((resume) => setTimeout(resume, 350));
    }
  }

  // Pictures

  drawImage(image) {
    const canvas = this.part("image");
    [canvas.width, canvas.height] = [this.width, this.height];
    paint(canvas, image, this.width, this.height);
  }

  drawFilm(frames, expected) {
    const columns = Math.min(expected, COLUMNS);
    const canvas = this.part("film");
    const [width, height] = [columns * (this.width + GAP) - GAP, 2 * this.height + GAP];
    if (frames.length === 1) [canvas.width, canvas.height] = [width, height]; // clears it, too
    for (let column = 0; column < columns; column++) {
      const index = Math.round((column * (expected - 1)) / Math.max(columns - 1, 1));
      if (index !== frames.length - 1) continue;
      const { x, tau, guess } = frames[index];
      const scale = Math.sqrt(1 + tau ** 2);
      const left = column * (this.width + GAP);
      paint(canvas, x.map((value) => value / scale), this.width, this.height, left);
      paint(canvas, guess, this.width, this.height, left, this.height + GAP);
    }
  }

  drawPlane() {
    const canvas = this.part("plane").querySelector("canvas");
    const { clientWidth: width, clientHeight: height } = this.part("plane");
    if (!width) return;
    const ratio = devicePixelRatio || 1;
    [canvas.width, canvas.height] = [width * ratio, height * ratio];
    const context = canvas.getContext("2d");
    context.scale(ratio, ratio);
    const place = (code) => [0, 1].map((axis) => {
      const [low, high] = this.range[axis];
      const share = (code[axis] - low) / (high - low);
      return axis ? height * (1 - share) : width * share;
    });
    const { codes, labels, colours } = this.network.data;
    const { shownClass } = this.state;
    for (const [i, code] of codes.entries()) {
      context.globalAlpha = shownClass === null ? 0.7 : labels[i] === shownClass ? 1 : 0.06;
      context.fillStyle = colours[labels[i]];
      const [x, y] = place(code);
      context.fillRect(x - 1.25, y - 1.25, 2.5, 2.5);
    }
    context.globalAlpha = 1;
    context.fillStyle = getComputedStyle(this.section).color;
    context.font = "12px sans-serif";
    for (const axis of [0, 1]) {
      for (const value of ticks(...this.range[axis])) {
        const [x, y] = place(axis ? [this.range[0][0], value] : [value, this.range[1][0]]);
        context.fillRect(axis ? 0 : x, axis ? y : height - 5, axis ? 5 : 1, axis ? 1 : 5);
        context.textAlign = axis ? "left" : "center";
        context.fillText(minus(value), axis ? 8 : x, axis ? y + 4 : height - 9);
      }
    }
    context.textAlign = "right";
    context.fillText("z₁", width - 6, height - 24);
    context.textAlign = "left";
    context.fillText("z₂", 24, 16);
  }
}

// Lets the browser draw and answer between two steps, sooner than a timer would.
const channel = new MessageChannel();
const breath = [];
channel.port1.onmessage = () => breath.shift()?.();

function element(name, properties) {
  return Object.assign(document.createElement(name), properties);
}

/** Values in [−1, 1], others clipped, as width × height pixels of a canvas: grey, or three planes. */
function paint(canvas, values, width, height, left = 0, top = 0) {
  const pixels = new ImageData(width, height);
  const size = width * height;
  for (let i = 0; i < size; i++) {
    for (let colour = 0; colour < 3; colour++) {
      const plane = values.length === size ? 0 : colour * size;
      pixels.data[4 * i + colour] = (values[plane + i] + 1) * 127.5;
    }
    pixels.data[4 * i + 3] = 255;
  }
  canvas.getContext("2d").putImageData(pixels, left, top);
}

/** Round values inside (low, high), about four. */
function ticks(low, high) {
  const raw = (high - low) / 4;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= raw);
  const inside = [];
  // Not in the corners, where they would meet the other axis or the edge.
  for (let k = Math.ceil((low + 0.08 * (high - low)) / step); k * step < high - 0.06 * (high - low); k++) {
    inside.push(Number((k * step).toPrecision(6)));
  }
  return inside;
}

function minus(value) {
  return String(value).replace("-", "−");
}

for (const section of document.querySelectorAll("section.explorer")) {
  section.explorer = new Explorer(section);
}
