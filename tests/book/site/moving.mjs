// Move every moving picture of some pages, as a reader does with keys, pointer and choices.
// Input (JSON on stdin): modules, browser, base, pages. Output: one line of JSON a page and look.
import { begin, newPage } from "../../../book/tools/assets/driver.mjs";

const { job, browser, axe } = await begin();
const LEVELS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"];
const LOOKS = {
  "wide, light": { viewport: { width: 1280, height: 900 }, colorScheme: "light",
    reducedMotion: "no-preference" },
  "phone, dark, less motion": { viewport: { width: 390, height: 844 }, colorScheme: "dark",
    reducedMotion: "reduce" },
};

// What follows runs in the page.

/** What a picture shows now: its drawing as one number, and its words. */
function state(root) {
  let sum = 0;
  const add = (number) => { sum = (sum * 31 + number) % 4294967291; };
  for (const path of root.querySelectorAll(".moving-panel svg path"))
    for (const sign of path.getAttribute("d")) add(sign.charCodeAt(0));
  for (const canvas of root.querySelectorAll("canvas")) {
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    for (let i = 0; i < data.length; i += 12) add(data[i] + 256 * data[i + 1] + data[i + 2]);
  }
  return { drawn: sum, said: root.querySelector("output").textContent };
}

/** Which of a picture's two forms are seen: its still, its live one. */
const forms = (roots) => roots.map((root) => ["still", "live"].filter((form) =>
  root.querySelector(`.moving-${form}`)?.checkVisibility()));

/** Data that are loaded though their picture is far below the window. */
const early = (roots) => roots.filter((root) => root.getBoundingClientRect().top > innerHeight + 600)
  .map((root) => root.querySelector(".moving-data").dataset.src.split("/").pop())
  .filter((name) => [...document.scripts].some((script) => script.src.endsWith(name)));

/** Until marks have come to rest. */
const rest = (page) => page.waitForTimeout(330);

async function move(page, root) {
  await root.scrollIntoViewIfNeeded();
  await root.locator(".moving-live").waitFor();
  const found = { controls: [], gliding: false, dragged: null };
  found.named = await root.evaluate((r) => Boolean(r.getAttribute("aria-label") &&
    r.querySelector("[role=img]").getAttribute("aria-label").length > 20));
  found.inside = await root.evaluate((r) =>
    r.querySelector(".moving-live").getBoundingClientRect().right <= innerWidth + 1);
  for (const input of await root.locator("input, select").all()) {
    const kind = await input.evaluate((e) => e.localName);
    const states = [await root.evaluate(state)];
    await input.focus();
    const reached = await input.evaluate((e) => document.activeElement === e && e.tabIndex === 0 &&
      (e.labels[0]?.textContent.trim().length ?? 0) > 0);
    await page.keyboard.press(kind === "input" ? "Home" : "ArrowDown");
    await rest(page);
    states.push(await root.evaluate(state));
    let text = "";
    if (kind === "input") {
      await page.keyboard.press("End");
      await page.waitForFunction((e) => e.value === e.max, await input.elementHandle());
      const now = await root.evaluate(state); // on the way, if marks glide
      await rest(page);
      found.gliding ||= now.drawn !== (await root.evaluate(state)).drawn;
      await rest(page);
      states.push(await root.evaluate(state));
      const box = await input.boundingBox();
      await page.mouse.click(box.x + 0.4 * box.width, box.y + box.height / 2);
      await rest(page);
      states.push(await root.evaluate(state));
      text = await input.getAttribute("aria-valuetext");
    }
    const label = await input.evaluate((e) => e.labels[0]?.textContent);
    const told = kind === "select" ? await input.evaluate((e) => [...e.options].map((o) => o.text))
      : states.map((s) => s.said);
    found.controls.push({ label, kind, reached: reached && (kind === "select" || text.length > 3),
      drawn: new Set(states.map((s) => s.drawn)).size, said: new Set(told).size });
  }
  const handle = root.locator("svg.moving-drag").first();
  if (await handle.count()) {
    await handle.scrollIntoViewIfNeeded();
    const box = await handle.boundingBox(), old = await root.evaluate(state);
    await page.mouse.move(box.x + 0.3 * box.width, box.y + 0.3 * box.height);
    await page.mouse.down();
    await page.mouse.move(box.x + 0.85 * box.width, box.y + 0.6 * box.height, { steps: 3 });
    await page.mouse.up();
    await rest(page);
    found.dragged = (await root.evaluate(state)).said !== old.said;
  }
  return found;
}

async function visit(name, look) {
  const page = await newPage(browser, LOOKS[look]);
  const problems = [], pictures = [];
  page.on("pageerror", (error) => problems.push(error.message));
  page.on("requestfailed", (request) => {
    if (request.url().startsWith(job.base)) problems.push(request.url());
  });
  await page.route((url) => /^https?:/.test(url.href) && !url.href.startsWith(job.base),
    (route) => route.abort()); // what a site asks of others is another test's matter
  page.on("response", (r) => { if (r.status() >= 400) problems.push(`${r.url()}: ${r.status()}`); });
  try {
    await page.goto(job.base + name, { waitUntil: "load" });
    await page.evaluate(() => window.MathJax?.startup?.promise);
    const loaded = await page.locator(".moving").evaluateAll(early);
    for (const root of await page.locator(".moving").all())
      pictures.push(await move(page, root));
    await page.evaluate(axe());
    const violations = await page.evaluate(async (levels) => {
      const { violations } = await axe.run({ include: [[".moving"]] }, { runOnly: levels });
      return violations.flatMap((rule) => rule.nodes.map((node) => `${rule.id}: ${node.html}`));
    }, LEVELS);
    const result = { page: name, look, loaded, pictures, problems, violations };
    if (look.startsWith("wide")) {
      await page.emulateMedia({ media: "print" });
      result.printed = await page.locator(".moving").evaluateAll(forms);
      const plain = await browser.newContext({ javaScriptEnabled: false });
      const still = await plain.newPage();
      await still.goto(job.base + name);
      result.without = [];
      for (const root of await still.locator(".moving").all())
        result.without.push(await root.locator(".moving-still").isVisible() &&
          !await root.locator(".moving-live").count() ? ["still"] : ["live"]);
      await plain.close();
    }
    console.log(JSON.stringify(result));
  } catch (error) {
    throw new Error(`${name}, ${look}: ${error.message}`);
  } finally {
    await page.context().close();
  }
}

const todo = job.pages.flatMap((name) => Object.keys(LOOKS).map((look) => [name, look]));
async function worker() {
  for (let next = todo.shift(); next; next = todo.shift()) await visit(...next);
}
try {
  await Promise.all([worker(), worker()]);
} finally {
  await browser.close();
}
