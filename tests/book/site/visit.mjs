// Visit pages in a real browser and say what is wrong with each, one line of JSON a visit.
// Input (JSON on stdin): modules, browser, base, pages, widths, themes, allowed, settle.
import { begin, newPage } from "../../../book/tools/assets/driver.mjs";

const { job, browser, axe } = await begin();
const LEVELS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"];

// What follows runs in the page.

/** Unfold everything and load lazy pictures: what a reader can open has to hold too. */
async function unfold() {
  for (const details of document.querySelectorAll("details")) details.open = true;
  for (const button of document.querySelectorAll(".toggle-button-hidden")) button.click();
  for (const image of document.images) image.loading = "eager";
  if (window.MathJax?.startup?.promise) await window.MathJax.startup.promise;
  const pending = [...document.images].filter((image) => !image.complete);
  await Promise.all(pending.map((image) => new Promise((done) => {
    image.addEventListener("load", done);
    image.addEventListener("error", done);
  })));
}

/** Elements that reach beyond the right edge and lie in no box that scrolls or clips. */
function overflowing() {
  const width = document.documentElement.clientWidth;
  const where = (e) => `${e.tagName.toLowerCase()}${e.id && "#" + e.id}` +
    `${[...e.classList].map((name) => "." + name).join("")}`;
  const clipped = (e) => {
    for (let box = e; box && box !== document.body; box = box.parentElement) {
      const style = getComputedStyle(box);
      if (style.position === "fixed") return true; // a drawer beside the page
      if (box !== e && style.overflowX !== "visible" &&
          box.getBoundingClientRect().right <= width + 1) return true;
    }
    return false;
  };
  const found = [];
  for (const element of document.querySelectorAll("main *, article *")) {
    const box = element.getBoundingClientRect();
    if (box.width > 1 && box.height > 1 && box.right > width + 1 && !clipped(element))
      found.push(`${where(element)} ends at ${Math.round(box.right)} px of ${width}`);
  }
  const whole = document.documentElement.scrollWidth;
  if (whole > width + 1) found.unshift(`the page is ${whole} px wide in a window of ${width}`);
  return [...new Set(found)].slice(0, 5);
}

/** Controls that a reader sees and the Tab key passes over. */
function unreachable() {
  const controls = "a[href], button, input, select, textarea, summary, [role=button], [role=slider]";
  return [...document.querySelectorAll(controls)]
    .filter((e) => e.tabIndex < 0 && !e.disabled && e.getBoundingClientRect().width > 1 &&
      e.checkVisibility({ visibilityProperty: true, opacityProperty: true }))
    .map((e) => e.outerHTML.slice(0, 120));
}

/** Violations as sentences, and the entries of the allow-list that were needed. */
async function violations([levels, allowed]) {
  const result = await axe.run(document, { runOnly: levels, resultTypes: ["violations"] });
  const found = [], used = [];
  for (const rule of result.violations) for (const node of rule.nodes) {
    const element = document.querySelector(node.target[0]);
    const entry = allowed.find((a) => a.rule === rule.id && element?.closest(a.selector));
    if (entry) used.push(allowed.indexOf(entry));
    else found.push(`${rule.id}: ${node.target.join(" ")}: ${node.html.slice(0, 120)}` +
      ` (${(node.any[0] ?? node.all[0] ?? node.none[0])?.message ?? rule.help})`);
  }
  return { found, used: [...new Set(used)] };
}

/** One page at one width: loaded once, then shown in each theme, where only colours differ. */
async function visit(browser, name, width) {
  const page = await newPage(browser, {
    viewport: { width, height: width < 600 ? 844 : 900 }, colorScheme: job.themes[0],
  });
  const requests = [], foreign = [], scripts = [];
  const short = (request) => request.url().slice(job.base.length);
  page.on("pageerror", (error) => scripts.push(error.message));
  page.on("requestfailed", (r) => {
    if (r.url().startsWith(job.base)) requests.push(`${short(r)}: ${r.failure()?.errorText}`);
  });
  page.on("response", (r) => { if (r.status() >= 400) requests.push(`${short(r)}: ${r.status()}`); });
  await page.route((url) => !url.href.startsWith(job.base) && /^https?:/.test(url.href), (route) => {
    foreign.push(route.request().url());
    return route.abort();
  });
  try {
    await page.goto(job.base + name, { waitUntil: "load" });
    await page.evaluate(unfold);
    await page.evaluate(axe());
    for (const theme of job.themes) {
      await page.emulateMedia({ colorScheme: theme });
      await page.waitForTimeout(job.settle);
      const pictures = await page.evaluate(() => [...document.images]
        .filter((image) => image.naturalWidth === 0).map((image) => image.getAttribute("src") ?? ""));
      const overflow = await page.evaluate(overflowing);
      const keyboard = await page.evaluate(unreachable);
      const rules = theme === job.themes[0] ? LEVELS : ["color-contrast"];
      const { found, used } = await page.evaluate(violations, [rules, job.allowed]);
      if (job.shots) await page.screenshot({
        path: `${job.shots}/${name.replaceAll("/", "_")}-${width}-${theme}.png`, fullPage: true });
      console.log(JSON.stringify({ page: name, width, theme, used, problems: {
        accessibility: found, overflow, keyboard, requests, foreign, scripts, pictures } }));
    }
  } catch (error) {
    throw new Error(`${name} at ${width} px: ${error.message}`);
  } finally {
    await page.context().close();
  }
}

const todo = job.pages.flatMap((name) => job.widths.map((width) => [name, width]));
async function worker() {
  for (let next = todo.shift(); next; next = todo.shift()) await visit(browser, ...next);
}
try {
  await Promise.all([worker(), worker()]);
} finally {
  await browser.close();
}
