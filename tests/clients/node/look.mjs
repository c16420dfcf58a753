// Looking at a page as its readers do: both themes, wide and narrow, with axe-core, and what the browser complains about.
// SCREENSHOTS names a directory for pictures of all of them.
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import axe from "axe-core";

const NARROW = { width: 360, height: 740 };
const SCREENSHOTS = process.env.SCREENSHOTS;
if (SCREENSHOTS) mkdirSync(SCREENSHOTS, { recursive: true });

/** Listens to everything a page may complain about, and returns what takes the complaints. */
export function listen(page) {
  const heard = [];
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) heard.push(`${message.type()}: ${message.text()}`);
  });
  page.on("pageerror", (error) => heard.push(`exception: ${error.message}`));
  return () => heard.splice(0);
}

/** Looks at the page and returns what is wrong with it. `wide` is the larger of the two sizes. */
export async function look(page, name, complaints, wide) {
  const faults = [];
  const fault = (text) => faults.push(`${name}: ${text}`);
  if ((await page.locator("h1").count()) !== 1) fault("does not have one h1");
  if (!(await page.title())) fault("has no title");
  const colours = [];
  for (const viewport of [wide, NARROW]) {
    await page.setViewportSize(viewport);
    const overflow = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
    if (overflow > 0) fault(`is ${overflow} px too wide for ${viewport.width} px`);
    for (const colorScheme of ["light", "dark"]) {
      await page.emulateMedia({ colorScheme });
      if (viewport === wide) colours.push(await page.evaluate(() => getComputedStyle(document.body).backgroundColor));
      // Colours are the same in both widths, and the layout in both themes.
      if ((viewport === wide) === (colorScheme === "light")) {
        for (const violation of await violations(page)) fault(`(${viewport.width}, ${colorScheme}) ${violation}`);
      }
      if (SCREENSHOTS) await page.screenshot({ path: join(SCREENSHOTS, `${name}-${colorScheme}-${viewport.width}.png`), fullPage: true });
    }
  }
  // A page behind a card may be of one colour; the card is not.
  const cards = page.locator("main > .card");
  if (colours[0] === colours[1] && (await cards.count()) === 0) fault("has no dark theme");
  await page.emulateMedia({ colorScheme: null });
  await page.setViewportSize(wide);
  complaints().forEach(fault);
  return faults;
}

/** What axe-core finds that keeps somebody from using the page. */
async function violations(page) {
  // Evaluated over the debugging protocol, which the Content-Security-Policy does not concern.
  await page.evaluate(axe.source);
  const { violations: found } = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ["violations"] }));
  const grave = found.filter((violation) => ["serious", "critical"].includes(violation.impact));
  return grave.map(({ id, nodes }) => {
    const told = nodes.slice(0, 3).map((node) => `\n    ${node.target}: ${node.failureSummary.replaceAll(/\s+/g, " ")}`);
    return `${id}, ${nodes.length} times${told.join("")}`;
  });
}
