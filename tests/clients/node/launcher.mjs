// Access's pages in Chromium: welcome, sign-in, launcher, search, tags, languages, denied, sign-out.
//
// Each is looked at in both themes at 360 and 1280 px, with axe-core, for violations of its Content-Security-Policy, and
// the whole way is gone once more without JavaScript.
import assert from "node:assert/strict";
import { setTimeout } from "node:timers/promises";
import { PATIENCE, withBrowser, withPage } from "./chromium.mjs";
import { listen, look } from "./look.mjs";
import { api, suite } from "./platform.mjs";

const { ACCESS_URL, PRINTED } = process.env;
const WIDE = { width: 1280, height: 860 };
const EMAIL = "ana@acme.test";
const [, PASSWORD] = new RegExp(`${EMAIL} with the password (\\S+)`).exec(PRINTED);
const CLOSED = "vault.localhost";
const at = (host, path) => Object.assign(new URL(path, ACCESS_URL), { hostname: host });

/** An application that is closed to Ana, with the sentence its owner wants her to read. */
async function closed(browser) {
  const policy = { name: "The owner alone", decision: "allow", include: [{ email: { email: "ben@acme.test" } }], precedence: 1 };
  await api("POST", "/access/apps", {
    type: "self_hosted",
    name: "Vault",
    domain: CLOSED,
    custom_deny_message: "The vault opens for Ben. Ask him for a copy.",
    tags: ["Money"],
    policies: [policy],
    portunus: { origin: { url: "http://127.0.0.1:9" } },
  });
  await withPage(browser, {}, async (page) => {
    const published = async () => (await page.goto(at(CLOSED, "/").href)).status() === 200;
    // Access follows the store within a moment, and has no certificate for the host before.
    for (const end = Date.now() + PATIENCE; !(await published().catch(() => false)); await setTimeout(100)) {
      assert.ok(Date.now() < end, "the application is not published");
    }
  });
}

async function fine(page, name, complaints) {
  assert.deepEqual(await look(page, name, complaints, WIDE), []);
}

async function signIn(page, password = PASSWORD) {
  await page.locator("input[type=email]").fill(EMAIL);
  await page.locator("input[type=password]").fill(password);
  await page.locator("form:has(input[type=password]) button").click();
}

const tiles = (page) => page.locator(".tiles .name").allInnerTexts();

async function theWholeWay(browser) {
  await withPage(browser, { viewport: WIDE, locale: "en-GB" }, async (page) => {
    const complaints = listen(page);
    await page.goto(ACCESS_URL);
    assert.equal(await page.locator("h1").innerText(), "Welcome to Acme");
    await fine(page, "access-welcome", complaints);
    await page.getByRole("link", { name: "Sign in" }).click();
    await fine(page, "access-sign-in", complaints);
    await signIn(page, "not the password at all");
    await page.getByRole("alert").waitFor();
    const told = await page.locator("input[type=password]").getAttribute("aria-describedby");
    assert.ok(await page.locator(`#${told}`).isVisible(), "the error is tied to the field");
    // The browser says of every answer of 401 that it is one.
    assert.ok(complaints().every((complaint) => complaint.includes("401")));
    await fine(page, "access-sign-in-wrong", complaints);
    await signIn(page);
    await page.waitForURL((url) => url.pathname === "/");
    assert.deepEqual(await tiles(page), ["Acme Finance", "Acme Learning", "Acme wiki", "Tools of Acme"]);
    await fine(page, "access-launcher", complaints);

    await page.getByRole("searchbox").fill("learn");
    await page.keyboard.press("Enter");
    await page.waitForURL(/q=learn/);
    assert.deepEqual(await tiles(page), ["Acme Learning"]);
    await page.goto(ACCESS_URL);
    await page.getByRole("link", { name: /^Everyday/ }).click();
    await page.waitForURL(/tag=Everyday/);
    assert.deepEqual(await tiles(page), ["Acme Learning", "Acme wiki"]);
    await fine(page, "access-launcher-tag", complaints);
    await page.goto(`${ACCESS_URL}/?q=nothing+of+the+kind`);
    await fine(page, "access-launcher-nothing", complaints);

    await page.getByRole("link", { name: "Deutsch" }).click();
    await page.waitForURL(/q=nothing/);
    assert.equal(await page.locator("html").getAttribute("lang"), "de");
    await page.getByRole("link", { name: "Alle Anwendungen zeigen" }).click();
    assert.equal(await page.locator("h1").innerText(), "Ihre Anwendungen");
    await fine(page, "access-launcher-german", complaints);
    await page.getByRole("link", { name: "English" }).click();

    await page.getByRole("link", { name: "Account" }).click();
    await fine(page, "access-account", complaints);
    await page.goto(`${ACCESS_URL}/cdn-cgi/access/mfa`);
    await fine(page, "access-enrolment", complaints);

    await page.goto(ACCESS_URL);
    await page.getByRole("link", { name: /Acme wiki/ }).click();
    await page.getByText("told this page who you are").waitFor();
    complaints();

    const denied = await page.goto(at(CLOSED, "/").href);
    assert.equal(denied.status(), 403);
    await page.getByText("The vault opens for Ben. Ask him for a copy.").waitFor();
    assert.match(await page.locator("code").innerText(), /^[0-9a-f-]{36}$/);
    assert.ok(complaints().every((complaint) => complaint.includes("403")));
    await fine(page, "access-denied", complaints);
    await page.getByRole("link", { name: "Your applications" }).click();
    await page.waitForURL((url) => url.pathname === "/");

    await page.getByRole("link", { name: "Sign out" }).click();
    await fine(page, "access-signed-out", complaints);
    await page.goto(ACCESS_URL);
    assert.equal(await page.locator("h1").innerText(), "Welcome to Acme");
  });
}

async function byKeyboard(browser) {
  await withPage(browser, { viewport: WIDE, locale: "en-GB" }, async (page) => {
    await page.goto(`${ACCESS_URL}/cdn-cgi/access/login/${new URL(ACCESS_URL).hostname}`);
    await page.locator("input[type=email]:focus").waitFor();
    await page.keyboard.type(EMAIL);
    await page.keyboard.press("Tab");
    await page.keyboard.type(PASSWORD);
    await page.keyboard.press("Enter");
    await page.waitForURL((url) => url.pathname === "/");
    await page.keyboard.press("Tab");
    const skip = await page.evaluate(() => document.activeElement.getAttribute("href"));
    assert.equal(skip, "#tiles", "the first stop of the Tab key leads to the tiles");
    await page.keyboard.press("Enter");
    await page.keyboard.press("Tab");
    assert.equal(await page.evaluate(() => document.activeElement.className), "tile");
  });
}

async function withoutScript(browser) {
  await withPage(browser, { viewport: { width: 360, height: 740 }, javaScriptEnabled: false, locale: "de-DE" }, async (page) => {
    await page.goto(ACCESS_URL);
    assert.equal(await page.locator("html").getAttribute("lang"), "de");
    await page.getByRole("link", { name: "Anmelden" }).click();
    await signIn(page);
    await page.waitForURL((url) => url.pathname === "/");
    await page.getByRole("searchbox").fill("finance");
    await page.getByRole("button", { name: "Suchen" }).click();
    await page.waitForURL(/q=finance/);
    assert.deepEqual(await tiles(page), ["Acme Finance"]);
    await page.getByRole("link", { name: "Abmelden" }).click();
    assert.equal(await page.locator("h1").innerText(), "Sie sind abgemeldet");
  });
}

await withBrowser({ trusting: true }, (browser) =>
  suite("launcher", {
    "an application is published that is closed to one person": () => closed(browser),
    "a person signs in, finds an application, is refused at another and signs out, on pages that are fine": () => theWholeWay(browser),
    "the keyboard reaches everything": () => byKeyboard(browser),
    "it works without JavaScript": () => withoutScript(browser),
  }),
);
process.exit(0);
