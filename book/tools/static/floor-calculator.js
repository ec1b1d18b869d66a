// The floor of a denoising loss, for what a reader trains: choose, type a loss, read the answer.
// Formulas of scorerep.worlds.floor and .schedule; tests/book/test_floor_calculator.py compares
// them with the library. A classic script: it runs on a page that was opened from a file, too.

(() => {
const T_MIN = 1e-5, INFINITE = 1e6, MEMORISED = 0.01;

/** α and τ of x_t = α x_0 + τ ε. */
function kernel(path, t) {
  const total = 0.5 * t * (0.2 + 19.9 * t); // ∫ β of the VP paths
  const angle = (s) => Math.PI / 2 * (s + 0.008) / 1.008;
  switch (path) {
    case "ve": return [1, 0.01 * Math.sqrt(Math.expm1(2 * Math.log(5000) * t))];
    case "vp-linear": return [Math.exp(-total / 2), Math.sqrt(-Math.expm1(-total))];
    case "sub-vp": return [Math.exp(-total / 2), -Math.expm1(-total)];
    case "vp-cosine": {
      const alpha = Math.min(1, Math.max(0, Math.cos(angle(t)) / Math.cos(angle(0))));
      return [alpha, Math.sqrt(1 - alpha * alpha)];
    }
    case "edm": return [1, t];
    default: return [1 - t, t];
  }
}

/** Times that are trained equally often, from standard normal quantiles of as many parts. */
function spread({ path, density, mean, std }, quantiles) {
  return quantiles.map((z, i) => {
    const value = mean + std * z;
    if (path === "edm") return Math.exp(value);
    if (density === "normal") return 1 / (1 + Math.exp(-value));
    return T_MIN + (1 - T_MIN) * (i + 0.5) / quantiles.length;
  });
}

/** What is left open of x_0 at a level, and by the best linear denoiser; pixels in [−1, 1]. */
function between(world, sigma) {
  const { levels, share, error, linear } = world;
  const at = Math.log(sigma);
  let i = levels.findIndex((level) => Math.log(level) > at);
  if (i < 0) i = levels.length - 1;
  i = Math.max(i, 1);
  const [low, high] = [Math.log(levels[i - 1]), Math.log(levels[i])];
  const part = Math.min(1, Math.max(0, (at - low) / (high - low)));
  const mix = (a, b) => a + (b - a) * part;
  const most = Math.exp(mix(Math.log(linear[i - 1]), Math.log(linear[i])));
  return { left: most * mix(share[i - 1], share[i]), error: most * mix(error[i - 1], error[i]),
    linear: most };
}

/** Rows by time: t, sigma, floor, error, linear, ceiling, memorised. */
function rows(world, settings, quantiles) {
  const { path, target, weighting, data, scale } = settings;
  const units = settings.factor * (settings.pixels === "sum" ? world.pixels : 1);
  return spread(settings, quantiles).map((t) => {
    const [alpha, tau] = kernel(path, t);
    const sigma = Math.min(tau / alpha, INFINITE), snr = (alpha / tau) ** 2;
    const found = between(world, sigma / scale);
    const out = sigma * data / Math.sqrt(sigma ** 2 + data ** 2);
    const [a, b] = { x0: [1, 0], eps: [0, 1], score: [0, -1 / tau], v: [-tau, alpha],
      F: [out / data ** 2, -out / sigma], flow: [-1, 1] }[target];
    const factor2 = (a - b * alpha / tau) ** 2;
    const weight = units * { none: 1, tau2: tau ** 2, snr: snr / factor2,
      "min-snr": Math.min(snr, 5) / factor2, edm: (snr + 1 / data ** 2) / factor2 }[weighting];
    const pixel = scale ** 2 * weight * factor2;
    return { t, sigma, floor: pixel * found.left, error: pixel * found.error,
      linear: pixel * found.linear,
      ceiling: weight * (a ** 2 * scale ** 2 * world.variance + b ** 2),
      memorised: found.left < MEMORISED * found.linear };
  });
}

/** Averages over the training, and what they say of a loss (nan if there is none). */
function judge(table, loss) {
  const mean = (name) => table.reduce((sum, row) => sum + row[name], 0) / table.length;
  const [floor, linear, ceiling, known] = ["floor", "linear", "ceiling", "memorised"].map(mean);
  const error = Math.sqrt(table.reduce((sum, row) => sum + row.error ** 2, 0)) / table.length;
  let verdict = "none";
  if (loss > 0) {
    verdict = loss < floor - 3 * error ? "below" : loss > ceiling ? "above mean" :
      loss > linear ? "above linear" : "between";
  }
  return { floor, error, linear, ceiling, known, verdict, share: floor / loss,
    won: Math.max(0, loss - floor) };
}

/** A number in four digits, as one reads it. */
const said = (x) => x === 0 ? "0" : x < 1e-4 || x >= 1e6 ? x.toExponential(1)
  : String(Number(x.toPrecision(x < 1 ? 3 : 4)));
const percent = (x) => `${Math.round(100 * x)} %`;

/** The answer, in sentences. */
function sentences(found, loss, images) {
  const { floor, error, linear, ceiling, known, verdict, share, won } = found;
  const told = [`Averaged over the training: floor ${said(floor)} (± ${said(error)}), best linear ` +
    `denoiser ${said(linear)}, answering the mean ${said(ceiling)}.`];
  if (verdict === "below") told.push(`Your loss is below the floor of these images: no network ` +
    "that sees the noisy image and t alone has that. Compare target, weighting, pixels, factor " +
    "and how t is drawn; or the network is told more, such as a label.");
  if (verdict === "between") told.push(`Your loss is better than any linear denoiser's. ` +
    `${percent(share)} of it is floor; at most ${said(won)} could be won on these very images, ` +
    "and for new images less: their floor is higher.");
  if (verdict === "above linear") told.push(`A linear denoiser has less: at least ` +
    `${said(loss - linear)} can be won. ${percent(share)} of your loss is floor.`);
  if (verdict === "above mean") told.push("A network that always answers the mean has less: it " +
    "has learned nothing yet, or your loss is another one (a sum, a factor, other pixels).");
  if (known > 0) told.push(`At ${percent(known)} of the training the ${images} images are told ` +
    "apart by the noisy image: this floor is reached there by memorising alone.");
  return told;
}

const SVG = "http://www.w3.org/2000/svg";
const HEIGHT = 250, EDGE = { left: 52, right: 10, top: 10, bottom: 40 };

function draw(svg, table, loss, width) {
  svg.replaceChildren();
  svg.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
  const add = (name, attributes, text) => {
    const element = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    if (text !== undefined) element.textContent = text;
    svg.append(element);
  };
  const seen = table.filter((row) => row.sigma < 1e4);
  const xs = seen.map((row) => Math.log10(row.sigma));
  const [x0, x1] = [Math.min(...xs), Math.max(...xs)];
  const tops = seen.flatMap((row) => [row.ceiling, row.linear, loss > 0 ? loss : 0]);
  const lows = seen.map((row) => row.linear).concat(loss > 0 ? loss : []);
  const y1 = Math.log10(Math.max(...tops)) + 0.15;
  const y0 = Math.max(y1 - 7, Math.log10(Math.min(...lows)) - 1);
  const x = (sigma) => EDGE.left + (Math.log10(sigma) - x0) / (x1 - x0) *
    (width - EDGE.left - EDGE.right);
  const y = (value) => HEIGHT - EDGE.bottom - Math.min(1.05, Math.max(0,
    (Math.log10(Math.max(value, 1e-300)) - y0) / (y1 - y0))) * (HEIGHT - EDGE.top - EDGE.bottom);
  const bottom = HEIGHT - EDGE.bottom;
  const known = seen.filter((row) => row.memorised);
  if (known.length) add("rect", { x: EDGE.left, y: EDGE.top, class: "fc-known",
    width: Math.max(0, x(known[known.length - 1].sigma) - EDGE.left), height: bottom - EDGE.top });
  const every = Math.ceil((y1 - y0) / 6);
  for (let e = Math.ceil(y0); e <= y1; e += every) {
    add("line", { x1: EDGE.left, x2: width - EDGE.right, y1: y(10 ** e), y2: y(10 ** e),
      class: "fc-grid" });
    add("text", { x: EDGE.left - 6, y: y(10 ** e) + 4, "text-anchor": "end" },
      e >= -3 && e <= 3 ? String(Number((10 ** e).toPrecision(1))) : `1e${e}`);
  }
  for (let e = Math.ceil(x0); e <= x1; e++)
    add("text", { x: x(10 ** e), y: bottom + 16, "text-anchor": "middle" },
      String(Number((10 ** e).toPrecision(1))));
  add("text", { x: (EDGE.left + width) / 2, y: HEIGHT - 4, "text-anchor": "middle" },
    "noise over signal, σ");
  const line = (name, kind) => { // from where it comes up through the lower edge
    const first = seen.findIndex((row) => Math.log10(row[name]) > y0);
    const shown = first < 0 ? [] : seen.slice(Math.max(0, first - 1));
    add("path", { class: kind, d: shown.map((row, i) =>
      `${i ? "L" : "M"}${x(row.sigma).toFixed(1)} ${y(row[name]).toFixed(1)}`).join("") });
  };
  line("ceiling", "fc-ceiling");
  line("linear", "fc-linear");
  line("floor", "fc-floor");
  if (loss > 0) add("line", { x1: EDGE.left, x2: width - EDGE.right, y1: y(loss), y2: y(loss),
    class: "fc-loss" });
}

function start(root) {
  const { worlds, quantiles } = JSON.parse(root.dataset.floors);
  const controls = {};
  for (const control of root.querySelectorAll("select, input")) controls[control.name] = control;
  const svg = root.querySelector("svg"), output = root.querySelector("output");
  const body = root.querySelector("tbody");

  function show() {
    const path = controls.path.value, world = worlds[controls.images.value];
    controls.density.disabled = path === "edm";
    const normal = path === "edm" || controls.density.value === "normal";
    for (const name of ["mean", "std"]) controls[name].disabled = !normal;
    const data = controls.target.value === "F" || controls.weighting.value === "edm";
    controls.data.disabled = !data;
    const settings = { scale: Number(controls.scale.value) };
    for (const name of ["path", "density", "target", "weighting", "pixels"])
      settings[name] = controls[name].value;
    const wrong = [];
    for (const name of ["mean", "std", "data", "factor", "loss"]) {
      const control = controls[name], text = control.value.trim();
      settings[name] = text === "" ? NaN : Number(text.replace(",", "."));
      const bad = !control.disabled && !(name === "loss" && text === "") && (name === "mean" ?
        !Number.isFinite(settings[name]) : !(settings[name] > 0 && settings[name] < Infinity));
      control.setAttribute("aria-invalid", String(bad));
      if (bad) wrong.push(control.labels[0].querySelector("span").textContent);
    }
    if (wrong.length) {
      output.replaceChildren(Object.assign(document.createElement("p"),
        { textContent: `Not a number that can be used: ${wrong.join(", ")}.` }));
      return;
    }
    const table = rows(world, settings, quantiles), found = judge(table, settings.loss);
    const told = sentences(found, settings.loss, world.images.toLocaleString("en"));
    output.replaceChildren(...told.map((text) =>
      Object.assign(document.createElement("p"), { textContent: text })));
    svg.setAttribute("aria-label", `Loss by noise level, both axes logarithmic. ${told[0]}`);
    draw(svg, table, settings.loss, Math.max(260, svg.clientWidth || 600));
    const few = table.filter((_, i) => i % 4 === 2);
    body.replaceChildren(...few.map((row) => {
      const line = document.createElement("tr");
      for (const name of ["t", "sigma", "floor", "linear", "ceiling"])
        line.append(Object.assign(document.createElement("td"), { textContent: said(row[name]) }));
      line.append(Object.assign(document.createElement("td"),
        { textContent: row.memorised ? "yes" : "no" }));
      return line;
    }));
  }

  const usual = { eps: "vp-linear", x0: "vp-linear", v: "vp-cosine", score: "ve", F: "edm",
    flow: "flow" };
  controls.target.addEventListener("change", () => {
    controls.path.value = usual[controls.target.value];
    controls.weighting.value = controls.target.value === "score" ? "tau2" : "none";
    controls.path.dispatchEvent(new Event("change"));
  });
  controls.path.addEventListener("change", () => {
    [controls.mean.value, controls.std.value] = controls.path.value === "edm" ? [-1.2, 1.2] : [0, 1];
  });
  for (const event of ["input", "change"]) root.addEventListener(event, show);
  root.classList.add("fc-ready");
  show();
  new ResizeObserver(show).observe(svg.parentElement);
}

if (typeof document !== "undefined") document.querySelectorAll(".floor-calculator").forEach(start);
else globalThis.floorCalculator = { rows, judge, sentences }; // in node, for the test
})();
