// Use the calculator of floors as a reader does: choose, type, by keyboard, on paper, on a phone.
// Input (JSON on stdin): modules, browser, base. Output: one JSON object.
import { begin, newPage } from "../../../book/tools/assets/driver.mjs";

const { job, browser } = await begin();
const found = { problems: [] };
try {
  const page = await newPage(browser);
  page.on("pageerror", (error) => found.problems.push(error.message));
  await page.goto(`${job.base}book/floor.html`, { waitUntil: "load" });
  await page.locator(".floor-calculator.fc-ready").waitFor();
  const said = () => page.locator(".floor-calculator output").innerText();
  const control = (name) => page.locator(`.floor-calculator [name=${name}]`);
  const line = () => page.locator(".fc-floor").getAttribute("d");
  found.start = await said();
  found.label = await page.locator(".floor-calculator svg").getAttribute("aria-label");
  const before = await line();
  await control("loss").fill("0.05");
  found.typed = await said();
  await control("images").selectOption("digits");
  found.digits = await said();
  found.moved = await line() !== before;
  await control("target").selectOption("F");
  found.path = await control("path").inputValue();
  found.mean = await control("mean").inputValue();
  found.edm = await said();
  await control("loss").fill("much");
  found.wrong = await said();
  found.invalid = await control("loss").getAttribute("aria-invalid");
  await control("loss").fill("");
  found.without = await said();
  await control("images").focus();
  found.reached = [];
  for (let n = 0; n < 14; n++) {
    found.reached.push(await page.evaluate(() => document.activeElement.name ??
      document.activeElement.tagName.toLowerCase()));
    await page.keyboard.press("Tab");
  }
  await page.locator(".floor-calculator summary").click();
  found.rows = await page.locator(".floor-calculator tbody tr").count();
  await page.emulateMedia({ media: "print" });
  found.printed = await page.locator(".floor-calculator .fc-floor").isVisible();
  await page.emulateMedia({ media: "screen" });
  await page.setViewportSize({ width: 390, height: 844 });
  await page.waitForFunction(() => {
    const svg = document.querySelector(".floor-calculator svg");
    return Math.abs(svg.viewBox.baseVal.width - svg.clientWidth) < 2;
  });
  found.wide = await page.evaluate(() => document.querySelector(".floor-calculator").scrollWidth);
  if (job.shots) {
    await control("images").selectOption("mnist");
    await control("loss").fill("0.03");
    for (const theme of ["light", "dark"]) {
      await page.evaluate((name) => { document.documentElement.dataset.theme = name; }, theme);
      await page.locator(".floor-calculator").screenshot({ path: `${job.shots}/phone-${theme}.png` });
    }
    await page.setViewportSize({ width: 1000, height: 900 });
    await page.waitForTimeout(500);
    await page.locator(".floor-calculator").screenshot({ path: `${job.shots}/laptop-dark.png` });
  }
  const scriptless = await browser.newContext({ javaScriptEnabled: false });
  const still = await scriptless.newPage();
  await still.goto(`${job.base}book/floor.html`);
  found.still = await still.locator(".floor-calculator").innerText();
} finally {
  await browser.close();
}
console.log(JSON.stringify(found));
