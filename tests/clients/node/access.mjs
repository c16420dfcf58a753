// Access in Chromium: sign-in, second factors and passkeys with authenticators that the debugging protocol makes: one of
// the device with a fingerprint, a security key, and one of the older U2F kind.
//
// Every page that is met must load without a console error or a violation of its Content-Security-Policy, and is looked at
// in both themes at 360 and 1280 px, with axe-core.
import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { execFileSync } from "node:child_process";
import { createServer } from "node:http";
import { withBrowser, withPage } from "./chromium.mjs";
import { listen, look } from "./look.mjs";
import { fetch as agent } from "./person.mjs";
import { access_url, api, data, portunus, suite } from "./platform.mjs";

const PEOPLE = ["ana@acme.test", "ben@acme.test"];
const WIDE = { width: 1280, height: 900 };
const team = new URL(access_url);
const wiki = new URL(`https://wiki.localhost:${team.port}/`);
const account = new URL("/cdn-cgi/access/account", team);

const DEVICE = { protocol: "ctap2", transport: "internal", hasResidentKey: true, hasUserVerification: true, isUserVerified: true };
const KEY = { protocol: "ctap2", transport: "usb", hasResidentKey: false, hasUserVerification: false };
const U2F = { protocol: "u2f", transport: "usb", hasResidentKey: false, hasUserVerification: false };

const passwords = Object.fromEntries(
  PEOPLE.map((email) => {
    const told = execFileSync(portunus, ["user", "password", email, "--data", data, "--json"], { encoding: "utf8" });
    return [email, JSON.parse(told).password];
  }),
);

let versions = 0;

/** Says which second factors the wiki takes, if any, and for how long; then waits until that is in force. */
async function asks(browser, kinds, session_duration = "1h") {
  const app = (await api("GET", "/access/apps")).find((known) => known.domain === "wiki.localhost");
  const config = kinds.length > 0 ? { allowed_authenticators: kinds, session_duration } : { mfa_disabled: true };
  const { id, aud, created_at, updated_at, policies, ...rest } = app;
  versions += 1;
  const name = `Acme wiki ${versions}`;
  await api("PUT", `/access/apps/${id}`, { ...rest, name, mfa_config: config });
  await withPage(browser, {}, async (page) => {
    for (let tries = 0; tries < 300; tries += 1) {
      await page.goto(wiki.href);
      if ((await page.locator("body").innerText()).includes(name)) return;
    }
    assert.fail("Access does not take over what was stored");
  });
}

/** Runs `use` in a browser of its own that holds the authenticators, and looks at every page on the way. */
function person(browser, use) {
  return withPage(browser, { viewport: WIDE }, async (page, context) => {
    const complaints = listen(page);
    const session = await context.newCDPSession(page);
    await session.send("WebAuthn.enable");
    const hold = async (options) => {
      const { authenticatorId } = await session.send("WebAuthn.addVirtualAuthenticator", { options: { ...options, automaticPresenceSimulation: true } });
      return authenticatorId;
    };
    const drop = (authenticatorId) => session.send("WebAuthn.removeVirtualAuthenticator", { authenticatorId });
    await use({ page, context, session, hold, drop });
    // A refused proof is a page with the status 401, which Chromium tells too.
    assert.deepEqual(complaints().filter((text) => !/status of 401/.test(text)), []);
  });
}

/** Looks at the page in both themes, wide and narrow. */
async function fine(page, name) {
  assert.deepEqual(await look(page, `webauthn-${name}`, () => [], WIDE), []);
}

async function signIn(page, email) {
  await page.goto(wiki.href);
  await page.getByLabel("E-mail address").fill(email);
  await page.getByLabel("Password").fill(passwords[email]);
  await page.getByRole("button", { name: "Sign in", exact: true }).click();
}

const inTheWiki = (page) => page.waitForURL((url) => url.host === wiki.host && url.pathname === "/");
const press = (page, name) => page.getByRole("button", { name }).click();

async function passkey(browser) {
  await asks(browser, []);
  await person(browser, async ({ page, context, hold }) => {
    await hold(DEVICE);
    await page.goto(wiki.href);
    await fine(page, "sign-in");
    await signIn(page, "ana@acme.test");
    await inTheWiki(page);
    await page.goto(account.href);
    await fine(page, "account-empty");
    await page.getByRole("link", { name: "Add a way to prove it is you" }).click();
    await fine(page, "add");
    await page.locator("form", { hasText: "Sign in without a password" }).getByLabel("Name").fill("Ana's laptop");
    await press(page, "Add passkey");
    await page.getByText("Ana's laptop").waitFor();
    await fine(page, "account-passkey");
    await context.clearCookies();
    await page.goto(wiki.href);
    await press(page, "Sign in with a passkey");
    await inTheWiki(page);
    const identity = await page.evaluate(() => fetch("/cdn-cgi/access/get-identity").then((answer) => answer.json()));
    assert.equal(identity.email, "ana@acme.test");
  });
}

async function nobodysPasskey(browser) {
  await person(browser, async ({ page, hold }) => {
    await hold(DEVICE);
    await page.goto(wiki.href);
    await press(page, "Sign in with a passkey");
    await page.getByRole("alert").filter({ hasText: "That did not work" }).waitFor();
    await fine(page, "sign-in-no-passkey");
  });
}

async function stepUp(browser) {
  await asks(browser, ["biometrics", "security_key", "totp"], "0m");
  await person(browser, async ({ page, context, hold, drop }) => {
    const device = await hold(DEVICE);
    await signIn(page, "ben@acme.test");
    await page.getByRole("heading", { level: 1, name: "Add a way to prove it is you" }).waitFor();
    await fine(page, "enrol");
    await press(page, "Add this device");
    await page.getByRole("heading", { name: "Your recovery codes" }).waitFor();
    await fine(page, "recovery-codes");
    await page.getByRole("link", { name: "Continue" }).click();
    await inTheWiki(page);
    // A key and a U2F key beside it, while the proof is young.
    await drop(device);
    for (const [options, name] of [[KEY, "Office key"], [U2F, "Old key"]]) {
      const held = await hold(options);
      await page.goto(new URL("/cdn-cgi/access/mfa", team).href);
      await page.locator("form", { hasText: "A key that you plug in" }).getByLabel("Name").fill(name);
      await press(page, "Add security key");
      await page.getByText(name).waitFor();
      await proved(page, context);
      await drop(held);
    }
    await page.goto(account.href);
    await fine(page, "account");
    // Neither of these is the one in the machine.
    await hold(KEY);
    await context.clearCookies();
    await signIn(page, "ben@acme.test");
    await fine(page, "prompt");
    await press(page, "Use security key");
    await page.getByRole("alert").filter({ hasText: "That did not work" }).waitFor();
    await fine(page, "prompt-wrong-key");
    await page.goto(wiki.href);
    assert.equal(new URL(page.url()).host, team.host, "a wrong key opens nothing");
    await page.goto(account.href);
    await fine(page, "account-guarded");
  });
}

/** Signs in again, as on another computer, with the key that is held. */
async function proved(page, context) {
  const cookies = await context.cookies();
  await context.clearCookies();
  await signIn(page, "ben@acme.test");
  await press(page, "Use security key");
  await inTheWiki(page);
  assert.ok(cookies.every((cookie) => cookie.secure), "cookies are for TLS alone");
}

async function reset(browser) {
  await asks(browser, ["biometrics"]);
  const ben = (await api("GET", "/access/users?email=ben@acme.test"))[0];
  const factors = () => api("GET", `/portunus/users/${ben.id}/mfa_authenticators`);
  const kinds = (await factors()).map((factor) => factor.type).sort();
  assert.deepEqual(kinds, ["biometrics", "recovery_codes", "security_key", "security_key"]);
  await api("DELETE", `/portunus/users/${ben.id}/mfa_authenticators`);
  assert.deepEqual(await factors(), []);
  await person(browser, async ({ page, hold }) => {
    await hold(DEVICE);
    await signIn(page, "ben@acme.test");
    await page.getByRole("heading", { level: 1, name: "Add a way to prove it is you" }).waitFor();
  });
  await asks(browser, []);
}

async function withoutScript(browser) {
  await withPage(browser, { javaScriptEnabled: false }, async (page) => {
    await page.goto(wiki.href);
    assert.equal(await page.getByRole("button", { name: "Sign in with a passkey" }).isVisible(), false);
    await signIn(page, "ana@acme.test");
    await inTheWiki(page);
  });
}

/** A program on the person's own machine that wants to act for them: it registers, and waits where it is called back. */
async function client() {
  const server = createServer((_, answer) => answer.setHeader("content-type", "text/html").end("<title>Back</title>You may close this."));
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  const callback = `http://127.0.0.1:${server.address().port}/callback`;
  const endpoint = (name) => new URL(`/cdn-cgi/access/oauth/${name}`, wiki);
  const registered = await agent(endpoint("registration"), {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ client_name: "Desk agent", redirect_uris: [callback], token_endpoint_auth_method: "none" }),
  });
  assert.equal(registered.status, 201);
  const { client_id } = await registered.json();
  const verifier = randomBytes(32).toString("base64url");
  const state = randomBytes(8).toString("hex");
  const address = endpoint("authorization");
  address.search = new URLSearchParams({
    response_type: "code", client_id, redirect_uri: callback, state, resource: wiki.href,
    code_challenge: createHash("sha256").update(verifier).digest("base64url"), code_challenge_method: "S256",
  });
  const redeem = (code) => {
    const body = new URLSearchParams({ grant_type: "authorization_code", client_id, code, redirect_uri: callback, code_verifier: verifier });
    return agent(endpoint("token"), { method: "POST", body });
  };
  return { address: address.href, callback, state, redeem, close: () => server.close() };
}

async function consent(browser) {
  const issuer = wiki.origin;
  for (const answer of ["Allow", "Refuse"]) {
    const asking = await client();
    try {
      await person(browser, async ({ page }) => {
        await page.goto(asking.address);
        await page.getByLabel("E-mail address").fill("ana@acme.test");
        await page.getByLabel("Password").fill(passwords["ana@acme.test"]);
        await page.getByRole("button", { name: "Sign in", exact: true }).click();
        await page.getByRole("heading", { level: 1, name: "Let an application act for you?" }).waitFor();
        const text = await page.locator("main").innerText();
        for (const told of ["Desk agent", "ana@acme.test", wiki.href, "do everything there that you may do", "127.0.0.1"]) {
          assert.ok(text.includes(told), `${told} is not in ${text}`);
        }
        await fine(page, "consent");
        await press(page, answer);
        await page.waitForURL((url) => url.href.startsWith(asking.callback));
        const { searchParams: back } = new URL(page.url());
        assert.deepEqual([back.get("state"), back.get("iss")], [asking.state, issuer]);
        if (answer === "Refuse") {
          assert.deepEqual([back.get("error"), back.has("code")], ["access_denied", false]);
          return;
        }
        assert.equal(back.has("error"), false);
        const redeemed = await asking.redeem(back.get("code"));
        assert.equal(redeemed.status, 200);
        const { access_token } = await redeemed.json();
        const read = await agent(wiki, { headers: { authorization: `Bearer ${access_token}` } });
        assert.equal(read.status, 200);
        // What was shown once is worth nothing a second time.
        assert.equal((await asking.redeem(back.get("code"))).status, 400);
      });
    } finally {
      asking.close();
    }
  }
}

await withBrowser({ trusting: true }, (browser) =>
  suite("access", {
    "a passkey is added after a password and then signs in alone": () => passkey(browser),
    "a device without a passkey signs nobody in": () => nobodysPasskey(browser),
    "device, security key and U2F key are enrolled and proved, and a wrong key is refused": () => stepUp(browser),
    "a reset by an administrator makes a person enrol anew": () => reset(browser),
    "passwords work without JavaScript": () => withoutScript(browser),
    "a person allows an agent, or refuses it, on a page that says who asks for what": () => consent(browser),
  }),
);
process.exit(0);
