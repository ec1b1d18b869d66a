// Print a document twice: once to learn on which page each anchor is, then with the numbers.
// Input: a line of JSON: modules, browser, document (address), width, first, last (files); after the
// first printing a line with the page of each anchor. Output: a line of JSON after each printing.
import readline from "node:readline";
import { launch, PATIENCE } from "../assets/driver.mjs";

const lines = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const read = async () => JSON.parse((await lines.next()).value);
const say = (value) => console.log(JSON.stringify(value));

// What follows runs in the page.

/** Formulas and pictures are there; a formula is one picture, whose words are its TeX. */
async function settle() {
  await window.MathJax.startup.promise;
  for (const { typesetRoot, math } of window.MathJax.startup.document.math) {
    typesetRoot.querySelector("mjx-assistive-mml")?.remove(); // unseen, and as wide as unbroken lines
    typesetRoot.setAttribute("role", "img");
    typesetRoot.setAttribute("aria-label", math.trim());
    for (const part of typesetRoot.children) part.setAttribute("aria-hidden", "true");
  }
  await document.fonts.ready;
  await Promise.all([...document.images].map((image) => image.decode().catch(() => {})));
}

/** Wide formulas are set smaller, then wide tables; what they are in has the text's width. */
function fit() {
  const smaller = (element, room, wide, least) => {
    const now = parseFloat(getComputedStyle(element).fontSize);
    element.style.setProperty("font-size", `${now * Math.max(least, 0.99 * room / wide)}px`, "important");
  };
  const measured = [...document.querySelectorAll("main mjx-container")].map((formula) => {
    const box = formula.closest("td, th") ? null : formula.closest("div.math, p, li, dd, dt, figcaption, section");
    const room = box?.clientWidth ?? Infinity;
    const number = formula.parentElement.querySelector(":scope > .eqno")?.offsetWidth ?? 0;
    const inner = formula.firstElementChild?.getBoundingClientRect().width ?? 0;
    return [formula, room - number, inner];
  });
  for (const [formula, room, wide] of measured) if (wide > room) smaller(formula, room, wide, 0.5);
  for (const span of document.querySelectorAll("main .keep")) {
    const box = span.closest("td, th, p, li, dd, dt, figcaption");
    if (box && span.offsetWidth > box.clientWidth) span.classList.add("too-wide");
  }
  for (const output of document.querySelectorAll("main .cell_output pre")) {
    output.style.whiteSpace = "pre";
    const room = output.clientWidth, wide = output.scrollWidth;
    if (wide > room) smaller(output, room, wide, 0.75);
    output.style.whiteSpace = "";
  }
  const tables = [...document.querySelectorAll("main table")];
  for (const table of tables) {
    for (let turn = 0; turn < 4; turn++) {
      const room = table.parentElement.clientWidth, wide = table.offsetWidth;
      if (wide <= room + 1) break;
      if (turn === 1) table.classList.add("narrow-words");
      else smaller(table, room, wide, 0.8);
    }
  }
}

/** Elements that reach beyond the text's width, and pictures that did not load. */
function problems(width) {
  const where = (e) => {
    const page = e.closest("article")?.id ?? "";
    return `${page}: ${e.tagName.toLowerCase()}.${[...e.classList].join(".")} ` +
      `${e.textContent.trim().slice(0, 40)}`;
  };
  const beyond = [];
  for (const element of document.querySelectorAll("body *")) {
    if (element.closest("mjx-container > *")) continue; // its strokes and kerns; the whole is measured
    const box = element.tagName === "MJX-CONTAINER" ? element.firstElementChild : element;
    const { left, right, width: wide, height } = box.getBoundingClientRect();
    if (wide > 1 && height > 1 && (right > width + 2 || left < -2))
      beyond.push(`${where(element)} from ${Math.round(left)} to ${Math.round(right)} of ${width} px`);
  }
  const whole = document.documentElement.scrollWidth; // beyond it, the browser prints all smaller
  if (whole > width + 1) beyond.unshift(`the document is ${whole} px wide, not ${width}`);
  const missing = [...document.images].filter((i) => i.naturalWidth === 0).map((i) => i.src);
  const unread = [...document.querySelectorAll("mjx-merror")].map((e) => where(e));
  return { beyond: beyond.slice(0, 40), missing, unread, formulas: document.querySelectorAll("mjx-container").length };
}

/** Write the page of its target into every link that names one. */
function number(pages) {
  for (const link of document.querySelectorAll('a[href^="#"]')) {
    const page = pages[decodeURIComponent(link.getAttribute("href").slice(1))];
    if (page === undefined) continue;
    const place = link.matches(".code-back") ? link : link.querySelector(".page-of");
    if (place) place.textContent = page;
  }
}

const job = await read();
const browser = await launch(job.modules, job.browser, "--allow-file-access-from-files");
try {
  const page = await browser.newPage({ viewport: { width: job.width, height: 1000 } });
  page.setDefaultTimeout(PATIENCE);
  const foreign = [];
  await page.route((url) => /^https?:/.test(url.href), (route) => {
    foreign.push(route.request().url());
    return route.abort();
  });
  await page.emulateMedia({ media: "print", colorScheme: "light", reducedMotion: "reduce" });
  await page.goto(job.document, { waitUntil: "load" });
  await page.evaluate(settle);
  await page.evaluate(fit);
  const found = { ...await page.evaluate(problems, job.width), foreign };
  const settings = { preferCSSPageSize: true, printBackground: true, tagged: true, outline: true, timeout: 0 };
  await page.pdf({ ...settings, path: job.first });
  say(found);
  await page.evaluate(number, await read());
  await page.pdf({ ...settings, path: job.last });
  say({});
} finally {
  await browser.close();
}
