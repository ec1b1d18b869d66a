// What drivers of a real browser share: flags, patience, the job, an engine for accessibility.
import fs from "node:fs";
import { createRequire } from "node:module";

export const FLAGS = [ // asks no host but the site's
  "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
  "--disable-background-networking", "--disable-component-update", "--disable-sync",
];
export const PATIENCE = 1_800_000; // half an hour: busy machines are slow, not broken

/** Start the browser at a path, with playwright-core of a node_modules folder. */
export const launch = (modules, executablePath, ...more) =>
  createRequire(modules + "/")("playwright-core").chromium.launch(
    { executablePath, args: [...FLAGS, ...more] });

/** The job (JSON on stdin), its browser, and the source of axe-core where it is installed. */
export async function begin() {
  const job = JSON.parse(fs.readFileSync(0, "utf8"));
  const axe = () => fs.readFileSync(
    createRequire(job.modules + "/").resolve("axe-core/axe.min.js"), "utf8");
  return { job, browser: await launch(job.modules, job.browser), axe };
}

/** A page in a context of its own that asks for less motion, unless told otherwise. */
export async function newPage(browser, options = {}) {
  const context = await browser.newContext({ reducedMotion: "reduce", ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE);
  return page;
}
