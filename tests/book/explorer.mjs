// Drives the live explorer in a headless browser and reports what it saw, as JSON.
//
//     node explorer.mjs URL NODE_MODULES CHROMIUM INPUT.json [SCREENS]
//
// INPUT.json holds {cases: [{x, z, t, steps}]}: the page's sampler is run on each. SCREENS is a
// folder for pictures of the page, to look at. tests/test_explorer.py judges the report.
import { readFileSync } from "node:fs";
import { launch as start, PATIENCE as timeout } from "../../book/tools/assets/driver.mjs";

const [url, modules, executablePath, input, screens] = process.argv.slice(2);
const { cases } = JSON.parse(readFileSync(input, "utf8"));
const PATIENCE = { timeout };

const launch = (...more) => start(modules, executablePath, ...more);

async function open(browser, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
  const page = await context.newPage();
  const seen = { errors: [], requests: [], bytes: 0 };
  page.on("pageerror", (error) => seen.errors.push(error.message));
  page.on("request", (request) => seen.requests.push(request.url()));
  const session = await context.newCDPSession(page);
  await session.send("Network.enable");
  session.on("Network.loadingFinished", (event) => { seen.bytes += event.encodedDataLength; });
  await page.goto(url, { waitUntil: "load" });
  return { page, seen, press: (role) => page.click(`.explorer [data-role="${role}"]`) };
}

/** Wait until the picture of the present state is drawn, and return what it was made of. */
async function drawn(page, count = 0) {
  const explorer = () => document.querySelector("section.explorer").explorer;
  await page.waitForFunction(
    ([n, get]) => {
      const it = eval(get)();
      return it.count > n && !it.drawing;
    }, [count, String(explorer)], PATIENCE);
  return page.evaluate((get) => {
    const it = eval(get)();
    const canvas = it.part("image");
    const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
    return {
      ...it.drawn, start: [...it.drawn.start], image: [...it.drawn.image],
      shown: [...pixels].filter((_, i) => i % 4 === 0), count: it.count,
    };
  }, String(explorer));
}

/** Seconds the processor has spent on all of the browser's processes. */
async function processor(browser) {
  const session = await browser.newBrowserCDPSession();
  const { processInfo } = await session.send("SystemInfo.getProcessInfo");
  await session.detach();
  return processInfo.reduce((sum, { cpuTime }) => sum + cpuTime, 0);
}

async function main(browser) {
  const { page, seen, press } = await open(browser);
  const before = { requests: [...seen.requests], bytes: seen.bytes };
  const [began, spent] = [Date.now(), await processor(browser)];
  await press("start");
  const report = { before, first: await drawn(page) };
  report.first_seconds = (Date.now() - began) / 1000;
  report.first_processor_seconds = (await processor(browser)) - spent;
  report.bytes = seen.bytes - before.bytes;
  if (screens) await page.locator(".explorer").screenshot({ path: `${screens}/desk-start.png` });

  // Drag the point to a fifth from the left and a quarter from the bottom.
  const plane = page.locator('.explorer [data-role="plane"]');
  await plane.scrollIntoViewIfNeeded();
  const box = await plane.boundingBox();
  const point = await page.locator('.explorer [data-role="point"]').boundingBox();
  await page.mouse.move(point.x + point.width / 2, point.y + point.height / 2);
  await page.mouse.down();
  for (let i = 1; i <= 8; i++) {
    await page.mouse.move(
      point.x + (i / 8) * (box.x + 0.2 * box.width - point.x),
      point.y + (i / 8) * (box.y + 0.75 * box.height - point.y));
  }
  await page.mouse.up();
  report.drag = await drawn(page, report.first.count);
  report.range = await page.evaluate(() => document.querySelector(".explorer").explorer.range);

  await page.focus('.explorer [data-role="point"]');
  for (let i = 0; i < 3; i++) await page.keyboard.press("ArrowRight");
  await page.keyboard.press("Shift+ArrowUp");
  report.keyboard = await drawn(page, report.drag.count);
  report.value_text = await page.getAttribute('.explorer [data-role="point"]', "aria-valuetext");

  await press("noise");
  report.noise = await drawn(page, report.keyboard.count);

  // Figure 10: from the fourth test image, under less and less noise, with another one's code.
  await page.locator('.explorer [data-role="origins"] button').nth(3).click();
  const chosen = await drawn(page, report.noise.count);
  await page.focus('.explorer [data-role="t"]');
  for (let i = 0; i < 5; i++) await page.keyboard.press("ArrowLeft");
  report.middle = await drawn(page, chosen.count);
  await page.locator('.explorer [data-role="codes"] button').nth(7).click();
  report.other_code = await drawn(page, report.middle.count);
  report.examples = await page.evaluate(() =>
    document.querySelector(".explorer").explorer.network.data.examples);
  if (screens) await page.locator(".explorer").screenshot({ path: `${screens}/desk-middle.png` });

  await page.selectOption('.explorer [data-role="steps"]', "18");
  report.more_steps = await drawn(page, report.other_code.count);
  await page.selectOption('.explorer [data-role="steps"]', "6");
  let last = await drawn(page, report.more_steps.count);
  report.milliseconds = [];
  const idle = await processor(browser);
  for (let i = 0; i < 12; i++) {
    await press("noise");
    last = await drawn(page, last.count);
    report.milliseconds.push(last.milliseconds);
  }
  report.processor_milliseconds =
    (1000 * ((await processor(browser)) - idle)) / report.milliseconds.length;
  report.evaluations = last.evaluations;

  report.cases = await page.evaluate(async (all) => {
    const it = document.querySelector(".explorer").explorer;
    const images = [];
    for (const { x, z, t, steps } of all) {
      let image;
      for await (const frame of it.path(Float32Array.from(x), z, t, steps)) image = frame.x;
      images.push([...image]);
    }
    return images;
  }, cases);
  report.levels = await page.evaluate(async (all) => {
    const it = document.querySelector(".explorer").explorer;
    return all.map(({ t, steps }) => it.flow.levels(it.sde, t, steps));
  }, cases);
  report.moments = await page.evaluate(() => {
    const { flow } = document.querySelector(".explorer").explorer;
    const values = flow.normal(5, 20_000);
    const mean = (f) => values.reduce((sum, v) => sum + f(v), 0) / values.length;
    return [mean((v) => v), mean((v) => v ** 2), mean((v) => v ** 4)];
  });
  report.errors = seen.errors;
  return report;
}

/** Is anything of the explorer outside the screen of a phone? */
async function phone(browser, colorScheme) {
  const { page, press } = await open(browser, { viewport: { width: 390, height: 844 }, colorScheme });
  await press("start");
  await drawn(page);
  await page.locator('.explorer [data-role="origins"] button').nth(3).click();
  await drawn(page, 1);
  if (screens) await page.locator(".explorer").screenshot({ path: `${screens}/phone-${colorScheme}.png` });
  return page.evaluate(() => [...document.querySelectorAll(".explorer *")]
    .filter((e) => e.getBoundingClientRect().right > document.documentElement.clientWidth + 1)
    .map((e) => `${e.tagName}.${e.className}`));
}

/** What the page says where the network cannot run. */
async function failure(browser, prepare = async () => {}) {
  const { page, seen, press } = await open(browser);
  const before = seen.bytes;
  await prepare(page);
  await press("start");
  await page.waitForSelector('section.explorer[data-state="failed"]', PATIENCE);
  const result = await page.evaluate(() => {
    const { part } = document.querySelector(".explorer").explorer;
    const figures = [...document.querySelectorAll("figure img")];
    return {
      message: part("message").textContent, live: !part("live").hidden,
      can_try_again: !part("start").disabled && part("start").offsetWidth > 0,
      pictures: figures.filter((e) => e.complete && e.naturalWidth > 0 && e.offsetWidth > 0).length,
    };
  });
  if (screens) await page.locator(".explorer").screenshot({ path: `${screens}/failure.png` });
  return { ...result, bytes: seen.bytes - before, page, errors: seen.errors };
}

const browser = await launch();
const report = await main(browser);
report.outside = { light: await phone(browser, "light"), dark: await phone(browser, "dark") };
const broken = await failure(browser, (page) => page.route("**/denoiser.onnx", (route) => route.abort()));
await broken.page.unroute("**/denoiser.onnx");
await broken.page.click('.explorer [data-role="start"]');
report.again = (await drawn(broken.page)).count;
report.unreachable = { ...broken, page: undefined };
await browser.close();
// Without just-in-time compilation V8 has no WebAssembly either.
const without = await launch("--js-flags=--jitless");
report.no_webassembly = { ...(await failure(without)), page: undefined };
await without.close();
process.stdout.write(JSON.stringify(report));
