// The console in Chromium: first run, sign-in, and every page one can walk to, in both themes, wide and narrow.
//
// Pages are found by following links from the navigation, so a new page is looked at without being named here. Each must
// load without a console error or a violation of the Content-Security-Policy, fit its width, and pass axe-core.
// SCREENSHOTS names a directory for pictures of all of them.
import assert from "node:assert/strict";
import { ProxyAgent, fetch } from "undici";
import { withBrowser, withPage } from "./chromium.mjs";
import { listen, look as lookAt } from "./look.mjs";
import { OWNER, authority, console_url, credential, proxy, setup_url, suite } from "./platform.mjs";

const WIDE = { width: 1600, height: 1000 };
const NARROW = { width: 360, height: 740 };
/** More pages than this mean that the walk does not see that two are alike. */
const MOST_PAGES = 140;

/** What is wrong with the pages looked at; all of it is told at once. */
const faults = [];

/** Fills a form of credentials by the types of its fields and sends it. */
async function submit(page, values) {
  for (const [type, value] of Object.entries(values)) await page.locator(`main input[type=${type}]`).fill(value);
  await Promise.all([page.waitForURL((url) => url.pathname === "/"), page.locator("main button[type=submit]").click()]);
}

async function signIn(page) {
  await page.goto(new URL("/sign-in", console_url).href);
  await submit(page, OWNER);
}

async function firstRun(browser) {
  await withPage(browser, { viewport: WIDE }, async (page, context) => {
    const complaints = listen(page);
    await page.goto(setup_url);
    await look(page, "setup", complaints);
    await submit(page, OWNER);
    await Promise.all([page.waitForURL(/\/sign-in/), page.getByRole("button", { name: "Sign out" }).click()]);
    await look(page, "sign-in", complaints);
    await submit(page, OWNER);
    const cookies = (await context.cookies()).filter((cookie) => cookie.httpOnly);
    assert.ok(cookies.length > 0 && cookies.every((cookie) => cookie.sameSite !== "None"), "the session cookie is for this site alone");
    assert.deepEqual(complaints(), []);
    assert.deepEqual(faults, []);
    const again = await page.goto(setup_url);
    assert.ok(again.status() >= 400, `the setup link works twice: ${again.status()}`);
  });
}

async function strangersAreSentToSignIn(browser) {
  await withPage(browser, {}, async (page) => {
    for (const path of ["/", "/rules", "/settings"]) {
      await page.goto(new URL(path, console_url).href);
      assert.equal(new URL(page.url()).pathname, "/sign-in", path);
    }
    await page.locator("main input[type=email]").fill(OWNER.email);
    await page.locator("main input[type=password]").fill("not the password at all");
    await page.locator("main button[type=submit]").click();
    await page.getByRole("alert").first().waitFor();
    assert.equal(new URL(page.url()).pathname, "/sign-in");
  });
}

/** Two pages that differ only in which thing, or which days, they show are looked at once. */
function kind(url) {
  const named = (segment, at, all) => at > 1 && !["new", "lists"].includes(segment) && ["applications", "groups", "library", "mcp", "people", "portals", "servers", "workers"].includes(all[at - 1]);
  const isOne = (segment, at, all) => /^[0-9a-f-]{16,}$|^\d+$/.test(segment) || named(segment, at, all);
  const segments = url.pathname.split("/").map((segment, at, all) => (isOne(segment, at, all) ? "*" : segment));
  return `${segments.join("/")}?${[...url.searchParams.keys()].filter((key) => key !== "days").sort()}`;
}

async function everyPage(browser) {
  await withPage(browser, { viewport: WIDE }, async (page, context) => {
    const complaints = listen(page);
    await signIn(page);
    const links = async () =>
      // A link within a drawing has an attribute, no address.
      (await page.locator("a[href]").evaluateAll((all) => all.map((a) => new URL(a.getAttribute("href"), document.baseURI).href))).map((href) => new URL(href));
    const waiting = await links();
    const seen = new Set();
    while (waiting.length > 0) {
      const url = waiting.shift();
      url.hash = "";
      if (url.origin !== new URL(console_url).origin || seen.has(kind(url))) continue;
      seen.add(kind(url));
      assert.ok(seen.size <= MOST_PAGES, `more than ${MOST_PAGES} pages: ${[...seen]}`);
      // What is not a page, a certificate to download say, only has to be there.
      const answer = await context.request.get(url.href);
      if (answer.status() !== 200) faults.push(`${url.pathname} answers ${answer.status()}`);
      if (answer.status() !== 200 || !answer.headers()["content-type"].startsWith("text/html")) continue;
      const policy = answer.headers()["content-security-policy"] ?? "";
      if (!/default-src '(self|none)'/.test(policy) || policy.includes("unsafe")) faults.push(`${url.pathname} has the policy "${policy}"`);
      await page.goto(url.href);
      const name = kind(url).replaceAll(/[^a-z*-]+/g, "_").replaceAll("*", "one").replaceAll(/^_|_$/g, "") || "overview";
      await look(page, name, complaints);
      waiting.push(...(await links()));
    }
    assert.equal(faults.length, 0, `\n${faults.join("\n")}`);
    console.log(`console: looked at ${seen.size} addresses: ${[...seen].map((one) => one.replace(/\?$/, "")).join(" ")}`);
  });
}

/** Looks at the page in both themes and widths, and notes what is wrong with it. */
async function look(page, name, complaints) {
  faults.push(...(await lookAt(page, name, complaints, WIDE)));
}

/** What is at hand on every page stays within the window, however wide that is. */
async function fitsBetween(browser) {
  await withPage(browser, { viewport: WIDE }, async (page) => {
    await signIn(page);
    for (let width = NARROW.width; width <= WIDE.width; width += 80) {
      await page.setViewportSize({ width, height: 800 });
      const end = await page.locator("header").first().evaluate((head) => Math.max(...[...head.querySelectorAll(".who *")].map((one) => one.getBoundingClientRect().right)));
      assert.ok(end <= width, `the head of a page ends at ${end} of ${width} px`);
    }
  });
}

async function keyboard(browser) {
  await withPage(browser, { viewport: WIDE }, async (page) => {
    await signIn(page);
    await page.keyboard.press("Tab");
    const skip = await page.evaluate(() => document.activeElement.getAttribute("href"));
    assert.match(skip ?? "", /^#/, "the first stop of the Tab key skips the navigation");
    await page.keyboard.press("Escape");
    await page.keyboard.press("?");
    await page.locator("dialog[open]").waitFor();
    await page.keyboard.press("Escape");
    await page.locator("dialog[open]").waitFor({ state: "detached" });
    await page.keyboard.press("g");
    await page.keyboard.press("r");
    await page.waitForURL(/\/rules$/);
  });
}

async function checkedWhileTyped(browser) {
  await withPage(browser, { viewport: WIDE }, async (page) => {
    await signIn(page);
    await page.goto(new URL("/rules/new", console_url).href);
    const traffic = page.getByLabel("Traffic", { exact: true });
    await traffic.fill('http.request.hots == "a"');
    await page.getByText("did you mean `http.request.host`").waitFor();
    await traffic.fill('http.request.host == "a"');
    await page.getByText("did you mean `http.request.host`").waitFor({ state: "detached" });
  });
}

/** A draft against the traffic of before: beside the editor as one writes, on a page of its own without a script. */
async function replayed(browser) {
  const draft = async (page) => {
    await signIn(page);
    await page.goto(new URL("/rules/new", console_url).href);
    await page.getByLabel("Name", { exact: true }).fill("No finance");
    await page.getByLabel("Traffic", { exact: true }).fill('http.request.host == "finance.acme.test"');
    // Before the Worker, whose opinion is not recorded, and before what redirects old reports: those are certain to change.
    await page.getByText("Order, schedule and expiry").click();
    await page.getByLabel("Precedence", { exact: true }).fill("1500");
    await page.getByLabel("Period", { exact: true }).selectOption("24h");
  };
  await withPage(browser, { viewport: WIDE }, async (page) => {
    const complaints = listen(page);
    await draft(page);
    const button = page.getByRole("button", { name: "Replay this draft" });
    await button.focus();
    await page.keyboard.press("Enter");
    await page.locator("#replayed h2", { hasText: "would change" }).waitFor();
    await look(page, "replay_editor", complaints);
    assert.equal(new URL(page.url()).pathname, "/rules/new", "the draft is still there");
    await page.locator("#replayed a[href^='/activity/gateway_http/']").first().click();
    await page.waitForURL(/\/activity\/gateway_http\//);
    await page.getByText("finance.acme.test").first().waitFor();
  });
  await withPage(browser, { viewport: NARROW, javaScriptEnabled: false }, async (page) => {
    await draft(page);
    await page.getByRole("button", { name: "Replay this draft" }).click();
    await page.getByRole("heading", { name: /would change$/ }).first().waitFor();
    await page.getByRole("button", { name: "Replay again" }).click();
    await page.getByRole("heading", { name: /would change$/ }).first().waitFor();
  });
  await withPage(browser, { viewport: WIDE }, async (page) => {
    const complaints = listen(page);
    await draft(page);
    // What is not recorded is said to be unknown.
    await page.getByLabel("Traffic", { exact: true }).fill('any(http.request.headers["cookie"][*] contains "x") or http.request.host == "finance.acme.test"');
    await page.locator("form[data-check]").evaluate((form) => {
      const button = form.querySelector("[data-partial='#replayed']");
      form.action = button.formAction;
      form.submit();
    });
    await page.waitForURL(/\/rules\/replay$/);
    await page.getByText("Referer and User-Agent").waitFor();
    await look(page, "replay", complaints);
  });
  assert.deepEqual(faults, []);
}

/** From what is used to one application, to the rule that follows, to what it would have changed, to the rule in force. */
async function found(browser) {
  await withPage(browser, { viewport: WIDE }, async (page) => {
    const complaints = listen(page);
    await signIn(page);
    await page.getByRole("link", { name: "Usage", exact: true }).click();
    await page.getByLabel("Artificial intelligence").selectOption("any");
    await page.getByRole("button", { name: "Show" }).click();
    await page.waitForURL(/\/usage\?.*ai=any/);
    await page.locator("table.usage").getByRole("link", { name: "ChatGPT", exact: true }).click();
    await page.waitForURL(/\/usage\/applications\/chatgpt/);
    // First click: the drafted rule. Second: it is created; in between it is replayed.
    await page.getByRole("link", { name: "Block", exact: true }).click();
    await page.waitForURL(/\/rules\/new/);
    await page.getByLabel("Period", { exact: true }).selectOption("30d");
    await page.getByRole("button", { name: "Replay this draft" }).click();
    await page.locator("#replayed h2", { hasText: "would change" }).waitFor();
    const changed = await page.locator("#replayed").innerText();
    assert.match(changed, /@acme\.test/, "the replay names who is concerned");
    await look(page, "finding_to_rule", complaints);
    await page.getByRole("button", { name: "Create" }).click();
    await page.waitForURL(/\/rules\/[0-9a-f-]{36}/);
    assert.equal(await page.getByLabel("Name", { exact: true }).inputValue(), "Block ChatGPT");
    assert.match(await page.getByLabel("Traffic", { exact: true }).inputValue(), /app\.ids\[\*\] in \{1199\}/);
    await page.getByRole("link", { name: "Delete" }).click();
    await page.locator("main").getByRole("button", { name: /Delete/ }).click();
    await page.waitForURL(/\/rules(\?|$)/);
  });
  assert.deepEqual(faults, []);
}

async function previewed(browser) {
  await withPage(browser, { viewport: WIDE }, async (page) => {
    await signIn(page);
    await page.goto(new URL("/workers/training-check", console_url).href);
    await page.locator("[name=url]").fill("https://finance.acme.test/");
    await page.locator("[name=cf]").fill(JSON.stringify({ identity: { email: "ben@acme.test" } }));
    await page.getByRole("button", { name: /^Run/ }).click();
    await page.getByText("https://learning.acme.test/compliance?from=").first().waitFor();
  });
}

async function withoutScript(browser) {
  await withPage(browser, { viewport: NARROW, javaScriptEnabled: false }, async (page) => {
    await signIn(page);
    const pages = await page.getByRole("navigation").first().getByRole("link").evaluateAll((all) => all.map((a) => a.href));
    assert.ok(pages.length >= 5, "the navigation has few links");
    for (const href of pages) {
      assert.equal((await page.goto(href)).status(), 200, href);
      assert.equal(await page.locator("h1").count(), 1, href);
    }
  });
}

/** Pages that show traffic need some: allowed, redirected, blocked. */
async function traffic() {
  for (const email of ["ana@acme.test", "ben@acme.test"]) {
    const { username, password } = await credential(email);
    const token = `Basic ${Buffer.from(`${username}:${password}`).toString("base64")}`;
    const dispatcher = new ProxyAgent({ uri: proxy, token, requestTls: { ca: authority } });
    for (const url of ["https://finance.acme.test/", "https://finance.acme.test/reports-2019", "https://chat.openmind.test/", "https://learning.acme.test/"]) {
      await (await fetch(url, { dispatcher })).arrayBuffer();
    }
  }
}

await traffic();
await withBrowser({ trusting: false }, (browser) =>
  suite("console", {
    "the setup link makes the administrator once, who signs out and in": () => firstRun(browser),
    "strangers and wrong passwords get no further than the sign-in": () => strangersAreSentToSignIn(browser),
    "every page: no errors, no policy violations, accessible, fits 360 and 1600 px in both themes": () => everyPage(browser),
    "the head of a page fits every width": () => fitsBetween(browser),
    "an expression is checked while it is typed": () => checkedWhileTyped(browser),
    "a draft is replayed over recorded traffic, with a script and without": () => replayed(browser),
    "from what is used to a rule, replayed before it is created": () => found(browser),
    "a Worker is tried against a request before it serves": () => previewed(browser),
    "the keyboard reaches everything": () => keyboard(browser),
    "it works without JavaScript": () => withoutScript(browser),
  }),
);
process.exit(0);
