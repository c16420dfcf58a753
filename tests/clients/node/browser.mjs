// Chromium with the platform as its proxy: what a person sees of a block, a redirect, a Worker's answer and a WebSocket.
import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { withBrowser, withPage } from "./chromium.mjs";
import { SITE, SOCKETS, start } from "./origin.mjs";
import { authority, credential, proxy, suite } from "./platform.mjs";

const origin = await start();
const ana = await credential("ana@acme.test");
const ben = await credential("ben@acme.test");
const [, common_name] = /^CN=(.+)$/m.exec(new X509Certificate(authority).subject);

/** Opens a page as a person; the demo asks a browser who it is. */
const open = (browser, person, url, use) =>
  withPage(browser, { proxy: { server: proxy, ...person } }, async (page) => use(page, await page.goto(url)));

const protocol = (page) => page.evaluate(() => performance.getEntriesByType("navigation")[0].nextHopProtocol);
const text = (page) => page.locator("body").innerText();

async function withoutTrust() {
  await withBrowser({ trusting: false }, (browser) =>
    withPage(browser, { proxy: { server: proxy, ...ana } }, (page) =>
      assert.rejects(page.goto(`https://${SITE}/`), /ERR_CERT_AUTHORITY_INVALID/),
    ),
  );
}

async function intercepted(browser) {
  await open(browser, ana, `https://${SITE}/`, async (page, response) => {
    assert.equal(response.status(), 200);
    assert.equal((await response.securityDetails()).issuer, common_name);
    assert.equal(await protocol(page), "h2");
  });
}

async function blocked(browser) {
  await open(browser, ana, "https://chat.openmind.test/", async (page, response) => {
    assert.equal(response.status(), 403);
    assert.ok(response.headers()["content-type"].startsWith("text/html"));
    assert.match(await text(page), /This AI site has not been reviewed/);
    assert.equal(await page.locator("h1").count(), 1);
  });
}

async function redirected(browser) {
  await open(browser, ben, "https://finance.acme.test/q3", async (page) => {
    assert.equal(page.url(), "https://learning.acme.test/compliance?from=https%3A%2F%2Ffinance.acme.test%2Fq3");
    assert.equal(await page.locator("h1").innerText(), "Compliance training");
  });
}

async function passed(browser) {
  await open(browser, ana, "https://finance.acme.test/", async (page, response) => {
    assert.equal(response.status(), 200);
    assert.match(await text(page), /x-training-valid-until: 2027-06-30/);
    assert.equal(await protocol(page), "h2");
  });
}

async function socket(browser) {
  await open(browser, ana, `https://${SITE}/`, async (page) => {
    const heard = await page.evaluate(
      (address) =>
        new Promise((resolve, reject) => {
          const socket = new WebSocket(address);
          socket.onopen = () => socket.send("hello");
          socket.onmessage = (event) => resolve(event.data);
          socket.onerror = () => reject(new Error("the WebSocket failed"));
        }),
      `wss://${SOCKETS}/`,
    );
    assert.equal(heard, "hello");
  });
}

await suite("browser", { "without the authority in its store it refuses the certificate": withoutTrust });
await withBrowser({ trusting: true }, async (browser) => {
  await suite("browser", {
    "a page through interception, verified and over HTTP/2": () => intercepted(browser),
    "an unreviewed AI site shows the block page": () => blocked(browser),
    "whose training has expired lands on the training page": () => redirected(browser),
    "whose training is valid reaches the finance site, over HTTP/2": () => passed(browser),
    "a WebSocket of a page": () => socket(browser),
  });
});
origin.stop();
process.exit(0);
