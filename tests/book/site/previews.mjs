// Look at previews as a reader does: by pointer, by keyboard, by finger, in both themes.
// Input (JSON on stdin): modules, browser, base. Output: one JSON object.
import { begin, newPage } from "../../../book/tools/assets/driver.mjs";

const { job, browser, axe } = await begin();
const found = { foreign: [], violations: {} };
const link = (kind) => `article a.reference.internal[href*="${kind}"]`;
const KINDS = { equation: "#equation-eq", term: "glossary.html#term", work: "references.html#id" };
const open = async (options) => {
  const page = await newPage(browser, options);
  page.on("request", (r) => { if (!r.url().startsWith(job.base)) found.foreign.push(r.url()); });
  await page.goto(job.base + "book/denoising.html", { waitUntil: "load" });
  await page.evaluate(() => window.MathJax.startup.promise);
  return page;
};
const shown = (page) => page.evaluate(() => {
  const box = document.getElementById("preview"), around = box.getBoundingClientRect();
  const described = document.querySelector('[aria-describedby="preview"]');
  return { hidden: box.hidden, text: box.textContent.trim(), role: box.getAttribute("role"),
    described: described?.getAttribute("href") ?? null,
    formulas: box.querySelectorAll("mjx-container").length,
    within: around.left >= 0 && around.right <= innerWidth && box.scrollWidth <= box.clientWidth + 1,
    links: box.querySelectorAll("a, button, [tabindex]").length };
});
try {
  for (const colorScheme of ["light", "dark"]) {
    const page = await open({ colorScheme });
    await page.evaluate(axe());
    for (const [name, kind] of Object.entries(KINDS)) {
      await page.locator(link(kind)).first().hover();
      await page.waitForFunction(() => !document.getElementById("preview").hidden);
      await page.waitForFunction(() => {
        const box = document.getElementById("preview");
        return !box.querySelector(".math") || box.querySelector("mjx-container");
      });
      const now = await shown(page);
      if (colorScheme === "light") found[name] = now;
      const result = await page.evaluate(() => axe.run("#preview", {
        runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"], resultTypes: ["violations"] }));
      found.violations[`${name} ${colorScheme}`] = result.violations.map((rule) => rule.id);
      if (name === "term" && colorScheme === "light") {
        await page.locator("#preview").hover(); // the pointer may go there
        await page.waitForTimeout(600);
        found.entered = await shown(page);
        await page.keyboard.press("Escape");
        found.escaped = await shown(page);
        await page.locator(link(kind)).first().hover();
        await page.waitForFunction(() => !document.getElementById("preview").hidden);
      }
      await page.mouse.move(2, 2);
      await page.waitForFunction(() => document.getElementById("preview").hidden);
    }
    await page.context().close();
  }

  const keys = await open({});
  await keys.locator("article h1").click();
  for (let n = 0; n < 200; n++) {
    await keys.keyboard.press("Tab");
    if (!(await shown(keys)).hidden) break;
  }
  found.focused = await shown(keys);
  found.active = await keys.evaluate(() => document.activeElement.getAttribute("href"));
  await keys.keyboard.press("Escape");
  found.dismissed = await shown(keys);
  found.still = await keys.evaluate(() => document.activeElement.getAttribute("href"));
  await keys.keyboard.press("Tab");
  await keys.keyboard.press("Enter"); // whatever comes next, no preview holds the reader
  await keys.context().close();

  const phone = await open({ viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true });
  const target = phone.locator(link("glossary.html#term")).first();
  await target.scrollIntoViewIfNeeded();
  await Promise.all([phone.waitForURL(/glossary\.html#term/), target.tap()]);
  found.tapped = new URL(phone.url()).pathname.split("/").pop();
} finally {
  await browser.close();
}
console.log(JSON.stringify(found));
