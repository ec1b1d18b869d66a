// Use the site as a reader does: drag the front page's picture, reach it by keyboard, search.
// Input (JSON on stdin): modules, browser, base, word. Output: one JSON object.
import { begin, newPage } from "../../../book/tools/assets/driver.mjs";

const { job, browser } = await begin();
const found = {};
try {
  const page = await newPage(browser);
  await page.goto(job.base + "book/intro.html", { waitUntil: "load" });
  const said = () => page.locator(".score-field output").textContent();
  const middle = async (selector) => {
    const box = await page.locator(selector).boundingBox();
    return [box.x + box.width / 2, box.y + box.height / 2];
  };
  const drag = async (selector, dx, dy) => {
    await page.locator(selector).scrollIntoViewIfNeeded();
    const [x, y] = await middle(selector);
    await page.mouse.move(x, y);
    await page.mouse.down();
    await page.mouse.move(x + dx / 2, y + dy / 2);
    await page.mouse.move(x + dx, y + dy);
    await page.mouse.up();
    const [u, v] = await middle(selector);
    return { said: await said(), moved: [u - x, v - y] };
  };
  found.start = await said();
  found.point = await drag(".sf-point", -60, -40);
  const before = await page.locator(".score-field input[type=range]").first().inputValue();
  found.code = await drag(".sf-code", 40, -60);
  const after = await page.locator(".score-field input[type=range]").first().inputValue();
  found.angles = [before, after];
  await page.locator(".score-field input[type=checkbox]").uncheck();
  found.untold = await said();

  await page.locator("article h1").click();
  const reached = [];
  for (let n = 0; n < 120; n++) {
    await page.keyboard.press("Tab");
    reached.push(await page.evaluate(() => {
      const e = document.activeElement;
      return e.closest(".score-field") ? e.getAttribute("class") ?? e.type : "";
    }));
  }
  found.reached = [...new Set(reached.filter(Boolean))];
  await page.locator(".sf-point").focus();
  const still = await said(), [x] = await middle(".sf-point");
  await page.keyboard.press("ArrowRight");
  found.key = { moved: (await middle(".sf-point"))[0] - x, changed: (await said()) !== still };

  await page.goto(`${job.base}search.html?q=${job.word}`, { waitUntil: "load" });
  // Results come one after another; the summary says when all are there.
  await page.locator("#search-results .search-summary", { hasText: "finished" }).waitFor();
  found.search = await page.locator("#search-results li a").evaluateAll(
    (links) => links.map((link) => new URL(link.href).pathname.split("/").pop()));

  const without = await browser.newContext({ javaScriptEnabled: false });
  const still_page = await without.newPage();
  await still_page.goto(job.base + "book/intro.html");
  found.without = await still_page.locator(".score-field").innerText();
} finally {
  await browser.close();
}
console.log(JSON.stringify(found));
