// The idea, to be dragged: which way back does a noisy point have, and what does a code change?
// Formulas of scorerep.worlds; tests/book/test_score_field.py compares them with the library.
// A classic script, no module: a browser runs no modules on a page that was opened from a file.

(() => {
const CONCENTRATION = 8; // of the code's reading of a direction

/** Weights p(group | z) of a code z, a blurred reading of the direction (radians); null: no code. */
function weights(world, z) {
  if (z === null) return world.weights;
  const raw = world.means.map(([x, y], k) =>
    world.weights[k] * Math.exp(CONCENTRATION * (Math.cos(z - Math.atan2(y, x)) - 1)));
  const sum = raw.reduce((a, b) => a + b);
  return raw.map((w) => w / sum);
}

/** Mean of x_0 and trace of its covariance, given x_t = x_0 + τ ε and the groups' weights. */
function posterior(world, weight, [x, y], tau) {
  const spread = world.variance + tau * tau;
  const logs = world.means.map(([a, b], k) =>
    Math.log(weight[k]) - ((x - a) ** 2 + (y - b) ** 2) / (2 * spread));
  const top = Math.max(...logs);
  const p = logs.map((l) => Math.exp(l - top));
  const total = p.reduce((a, b) => a + b);
  const shrink = world.variance / spread; // within a group the guess moves this far towards x_t
  let mean = [0, 0], square = 0;
  world.means.forEach(([a, b], k) => {
    const guess = [a + shrink * (x - a), b + shrink * (y - b)];
    mean = mean.map((m, i) => m + (p[k] / total) * guess[i]);
    square += (p[k] / total) * (guess[0] ** 2 + guess[1] ** 2);
  });
  const between = Math.max(0, square - mean[0] ** 2 - mean[1] ** 2);
  return { mean, variance: between + 2 * shrink * tau * tau };
}

const SVG = "http://www.w3.org/2000/svg";
const RIM = 1.95; // radius on which the code's handle runs
const FIELD = 1.65; // the arrows reach from −this to this
const STEPS = 15;

function draw(name, attributes, parent) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  parent.append(element);
  return element;
}

function start(root) {
  const world = JSON.parse(root.dataset.world);
  const svg = root.querySelector("svg");
  const [known, angle, level] = root.querySelectorAll("input");
  const output = root.querySelector("output");
  const state = { x: [0.35, 0.3] };

  draw("circle", { r: RIM, class: "sf-rim" }, svg);
  const dots = world.points.map(([x, y, k]) =>
    draw("circle", { cx: x, cy: -y, r: 0.028, fill: world.colours[k] }, svg));
  const arrows = [];
  for (let i = 0; i < STEPS; i++) for (let j = 0; j < STEPS; j++) {
    const place = [i, j].map((n) => FIELD * (2 * n / (STEPS - 1) - 1));
    if (Math.hypot(...place) < FIELD + 0.05)
      arrows.push({ place, line: draw("path", { class: "sf-arrow" }, svg) });
  }
  const hidden = draw("circle", { class: "sf-hidden" }, svg);
  const way = draw("path", { class: "sf-way" }, svg);
  const guess = draw("circle", { r: 0.05, class: "sf-guess" }, svg);
  const code = draw("circle", { r: 0.1, class: "sf-code" }, svg);
  const point = draw("circle", { r: 0.1, class: "sf-point", tabindex: 0, role: "application",
    "aria-label": "Noisy point; arrow keys move it" }, svg);

  const arrow = ([x, y], [u, v], head) => {
    const [tx, ty] = [x + u, y + v];
    const size = Math.hypot(u, v) || 1, [du, dv] = [head * u / size, head * v / size];
    return `M${x} ${-y}L${tx} ${-ty}M${tx - du - 0.6 * dv} ${-(ty - dv + 0.6 * du)}L${tx} ${-ty}` +
      `L${tx - du + 0.6 * dv} ${-(ty - dv - 0.6 * du)}`;
  };

  function show() {
    const tau = 10 ** Number(level.value), z = known.checked ? angle.value * Math.PI / 180 : null;
    const weight = weights(world, z), most = Math.max(...weight);
    dots.forEach((dot, n) =>
      dot.setAttribute("opacity", 0.12 + 0.78 * weight[world.points[n][2]] / most));
    for (const { place, line } of arrows) {
      const { mean } = posterior(world, weight, place, tau);
      const d = [mean[0] - place[0], mean[1] - place[1]], far = Math.hypot(...d);
      const scale = 0.2 / (far + 0.35); // far ones are shown shorter
      line.setAttribute("d", arrow(place, [d[0] * scale, d[1] * scale], 0.06));
    }
    const { mean, variance } = posterior(world, weight, state.x, tau);
    const without = posterior(world, world.weights, state.x, tau).variance;
    point.setAttribute("cx", state.x[0]);
    point.setAttribute("cy", -state.x[1]);
    way.setAttribute("d", arrow(state.x, [mean[0] - state.x[0], mean[1] - state.x[1]], 0.12));
    for (const mark of [guess, hidden]) {
      mark.setAttribute("cx", mean[0]);
      mark.setAttribute("cy", -mean[1]);
    }
    hidden.setAttribute("r", Math.sqrt(variance));
    const at = angle.value * Math.PI / 180;
    code.setAttribute("cx", RIM * Math.cos(at));
    code.setAttribute("cy", -RIM * Math.sin(at));
    code.setAttribute("opacity", known.checked ? 1 : 0.3);
    angle.setAttribute("aria-valuetext", `${angle.value} degrees`);
    level.setAttribute("aria-valuetext", tau.toFixed(2));
    output.textContent = `Noise τ = ${tau.toFixed(2)}. Typical error of the best guess: ` +
      `${Math.sqrt(without).toFixed(2)} without a code` +
      (z === null ? "." : `, ${Math.sqrt(variance).toFixed(2)} with this code.`);
  }

  // The code goes round once when the picture comes into view; any touch ends that.
  let moving = null;
  const stop = () => { cancelAnimationFrame(moving); moving = null; };
  function round() {
    const from = Number(angle.value), begin = performance.now();
    const step = (now) => {
      const share = Math.min(1, (now - begin) / 4500);
      angle.value = Math.round(from + 360 * share * share * (3 - 2 * share)) % 360;
      show();
      moving = share < 1 ? requestAnimationFrame(step) : null;
    };
    moving = requestAnimationFrame(step);
  }

  const place = (event) => {
    const p = new DOMPoint(event.clientX, event.clientY).matrixTransform(
      svg.getScreenCTM().inverse());
    return [p.x, -p.y];
  };
  const within = (x) => x.map((v) => Math.min(FIELD, Math.max(-FIELD, v)));
  function drag(handle, move) {
    handle.addEventListener("pointerdown", (event) => {
      handle.setPointerCapture(event.pointerId);
      event.preventDefault();
      handle.focus?.();
    });
    handle.addEventListener("pointermove", (event) => {
      if (!handle.hasPointerCapture(event.pointerId)) return;
      move(place(event));
      show();
    });
  }
  drag(point, (x) => { state.x = within(x); });
  drag(code, ([x, y]) => {
    known.checked = true;
    angle.value = Math.round((Math.atan2(y, x) * 180 / Math.PI + 360) % 360);
  });
  const keys = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
  point.addEventListener("keydown", (event) => {
    if (!(event.key in keys)) return;
    event.preventDefault();
    state.x = within(state.x.map((v, i) => v + 0.1 * keys[event.key][i]));
    show();
  });
  for (const input of [known, angle, level]) input.addEventListener("input", show);
  for (const event of ["pointerdown", "keydown", "input"]) root.addEventListener(event, stop);
  show();
  root.classList.add("sf-ready");
  if (!matchMedia("(prefers-reduced-motion: reduce)").matches)
    new IntersectionObserver((entries, observer) => {
      if (!entries.some((entry) => entry.isIntersecting)) return;
      observer.disconnect();
      round();
    }, { threshold: 0.6 }).observe(svg);
}

if (typeof document !== "undefined") document.querySelectorAll(".score-field").forEach(start);
else globalThis.scoreField = { weights, posterior }; // in node, for the test
})();
