// The probability flow in the reader's browser: the library's SDE, noise levels and Heun's method
// (scorerep/sde.py, scorerep/sampling.py), on a denoiser that onnxruntime-web runs.

/** The variance-exploding SDE: how much noise there is at time t, and when there is that much. */
export class VESDE {
  constructor(sigmaMin, sigmaMax) {
    this.sigmaMin = sigmaMin;
    this.logRange = Math.log(sigmaMax / sigmaMin);
  }

  tau(t) {
    return this.sigmaMin * Math.sqrt(Math.expm1(2 * this.logRange * t));
  }

  timeOfTau(tau) {
    return Math.log1p((tau / this.sigmaMin) ** 2) / (2 * this.logRange);
  }
}

/** EDM's noise levels from τ(t) down to tauMin, then 0: as `samplers._levels` in the library. */
export function levels(sde, t, steps, tauMin = 0.01, rho = 7) {
  const start = sde.tau(t);
  const low = Math.min(tauMin, start);
  if (low === start) return [start, 0];
  const [a, b] = [start ** (1 / rho), low ** (1 / rho)];
  const grid = Array.from({ length: steps }, (_, i) => (a + (i / (steps - 1)) * (b - a)) ** rho);
  return [start, ...grid.slice(1), 0];
}

/**
 * Heun's method from x at time t to an image; 2·steps − 1 evaluations of `denoise(x, tau)`.
 *
 * Yields {tau, x, guess} before each step, guess = E[x_0 | x, z]; the last one has τ = 0 and the
 * image as both. Arrays are Float32Array.
 */
export async function* heun(denoise, sde, x, t = 1, steps = 18) {
  const grid = levels(sde, t, steps);
  for (let i = 0; i + 1 < grid.length; i++) {
    const [tau, after] = [grid[i], grid[i + 1]];
    const guess = await denoise(x, tau);
    yield { tau, x, guess };
    // dx/dτ = (x − D)/τ is the probability flow with τ as its time.
    const slope = x.map((value, j) => (value - guess[j]) / tau);
    let next = x.map((value, j) => value + (after - tau) * slope[j]);
    if (after > 0) {
      const second = await denoise(next, after);
      next = x.map(
        (value, j) => value + (after - tau) * 0.5 * (slope[j] + (next[j] - second[j]) / after),
      );
    }
    x = next;
  }
  yield { tau: 0, x, guess: x };
}

/** n standard normal numbers that depend on the seed alone (Box–Muller on mulberry32). */
export function normal(seed, n) {
  let state = (seed * 0x9e3779b9) >>> 0;
  const uniform = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let a = Math.imul(state ^ (state >>> 15), state | 1);
    a ^= a + Math.imul(a ^ (a >>> 7), a | 61);
    return (((a ^ (a >>> 14)) >>> 0) + 0.5) / 2 ** 32;
  };
  return Float32Array.from(
    { length: n },
    () => Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * uniform()),
  );
}

/** Why the network cannot run here, as a sentence for the reader. */
export class CannotRun extends Error {}

/** {data, denoise(x, z, tau)} from the files in the folder `base`, a URL that ends in a slash. */
export async function load(base) {
  if (typeof WebAssembly !== "object") {
    throw new CannotRun("WebAssembly is switched off in this browser, and the network needs it.");
  }
  if (typeof DecompressionStream !== "function") {
    throw new CannotRun("This browser is too old: it cannot unpack compressed files.");
  }
  const [ort, wasm, model, data] = await Promise.all([
    import(new URL("ort.wasm.bundle.min.js", base)),
    fetchBytes(new URL("ort-wasm-simd-threaded.wasm.gz", base)).then(unpacked),
    fetchBytes(new URL("denoiser.onnx", base)),
    fetchBytes(new URL("data.json", base)),
  ]);
  ort.env.wasm.wasmBinary = wasm;
  ort.env.wasm.numThreads = 1; // more need headers that a plain file server does not send
  const session = await ort.InferenceSession.create(new Uint8Array(model), {
    executionProviders: ["wasm"],
    graphOptimizationLevel: "basic", // more takes longer to start, and runs are no faster
  });
  const page = JSON.parse(new TextDecoder().decode(data));
  const shape = [1, ...page.image_shape];
  const denoise = async (x, z, tau) => {
    const feeds = {
      x: new ort.Tensor("float32", x, shape),
      tau: new ort.Tensor("float32", [tau], [1]),
      z: new ort.Tensor("float32", z, [1, z.length]),
    };
    const { x_0 } = await session.run(feeds);
    return x_0.data;
  };
  return { data: page, denoise };
}

async function fetchBytes(url) {
  const response = await fetch(url);
  if (!response.ok) throw new CannotRun(`${url.pathname} could not be loaded (${response.status}).`);
  return response.arrayBuffer();
}

async function unpacked(buffer) {
  const [first, second] = new Uint8Array(buffer);
  // A server that declares the file's compression has had the browser unpack it already.
  if (first !== 0x1f || second !== 0x8b) return buffer;
  const stream = new Blob([buffer]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).arrayBuffer();
}
