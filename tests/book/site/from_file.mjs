// Open pages of the site from files, as a reader does who clicks the address that make book prints.
// Input (JSON on stdin): modules, browser, base (a file:// address). Output: one JSON object.
import { begin, newPage } from "../../../book/tools/assets/driver.mjs";

const { job, browser } = await begin();
const found = { problems: [] };
try {
  const page = await newPage(browser);
  const where = () => page.url().split("/").pop();
  page.on("pageerror", (error) => found.problems.push(`${where()}: ${error.message}`));
  page.on("requestfailed", (request) =>
    found.problems.push(`${where()}: ${request.url()} ${request.failure()?.errorText}`));
  const open = (name) => page.goto(job.base + name, { waitUntil: "load" });

  await open("index.html");
  await page.locator(".score-field.sf-ready").waitFor();
  const said = () => page.locator(".score-field output").textContent();
  found.start = await said();
  await page.locator(".sf-point").focus();
  await page.keyboard.press("ArrowRight");
  found.moved = await said();
  found.fonts = await page.evaluate(async () => [...await document.fonts.ready]
    .map((font) => [font.family, font.status]).filter(([, status]) => status !== "unloaded"));
  found.formulas = await page.locator("mjx-container").count();

  await open("book/explorer.html");
  if (await page.locator(".explorer").count()) {
    found.explorer = await page.locator('.explorer [data-role="message"]').textContent();
    found.disabled = await page.locator('.explorer [data-role="start"]').isDisabled();
  }
  found.still = await page.locator("article figure img").first().evaluate((i) => i.naturalWidth);

  await open("book/one_page.html");
  await page.locator(".moving").scrollIntoViewIfNeeded();
  await page.locator(".moving-live").waitFor();
  const moving = () => page.locator(".moving output").textContent();
  found.moving = [await moving()];
  await page.locator(".moving input").press("Home");
  found.moving.push(await moving());

  await open(`search.html?q=${job.word}`);
  // Results come one after another; the summary says when all are there.
  await page.locator("#search-results .search-summary", { hasText: "finished" }).waitFor();
  found.search = await page.locator("#search-results li a").evaluateAll(
    (links) => links.map((link) => link.href.split("/").pop().split("?")[0]));
} finally {
  await browser.close();
}
console.log(JSON.stringify(found));
