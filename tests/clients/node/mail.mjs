// What Access does by mail, in Chromium: signing in with a code, and temporary access that somebody else grants. Without a
// mail server letters wait in the outbox, from where they are read here.
//
// Every page that is met is looked at in both themes at 360 and 1280 px, with axe-core.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { withBrowser, withPage } from "./chromium.mjs";
import { listen, look } from "./look.mjs";
import { access_url, api, data, portunus, settled, suite } from "./platform.mjs";

const WIDE = { width: 1280, height: 900 };
const [ANA, BEN] = ["ana@acme.test", "ben@acme.test"];
const team = new URL(access_url);
const notes = new URL(`https://notes.localhost:${team.port}/`);

const press = (page, name) => page.getByRole("button", { name, exact: true }).click();
const inTheNotes = (page) => page.waitForURL((url) => url.host === notes.host && url.pathname === "/");
const heading = (page, name) => page.getByRole("heading", { level: 1, name }).waitFor();

/** Looks at the page in both themes, wide and narrow. */
async function fine(page, name) {
  assert.deepEqual(await look(page, `mail-${name}`, () => [], WIDE), []);
}

/** Runs `use` in a browser of its own; what is refused is a page with a status of its own, which Chromium tells too. */
function person(browser, use) {
  return withPage(browser, { viewport: WIDE }, async (page, context) => {
    const complaints = listen(page);
    await use(page, context);
    assert.deepEqual(complaints().filter((text) => !/status of 40[0-9]|status of 410/.test(text)), []);
  });
}

const seen = new Set();

/** Waits for a new letter to an address and returns its text. */
async function letter(to) {
  for (let tries = 0; tries < 300; tries += 1) {
    const fresh = (await api("GET", "/portunus/outbox")).find((mail) => mail.to === to && !seen.has(mail.id));
    if (fresh) {
      seen.add(fresh.id);
      return (await api("GET", `/portunus/outbox/${fresh.id}`)).text;
    }
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  return assert.fail(`no letter to ${to} comes`);
}

const code = async (to) => (await letter(to)).match(/^(\d{6})$/m)[1];

/** Publishes an application where the wiki's is; `more` is merged into its document. */
async function publish(more, policy) {
  const wiki = (await api("GET", "/access/apps")).find((app) => app.domain === "wiki.localhost");
  const include = [{ email_domain: { domain: "acme.test" } }];
  const { origin } = wiki.portunus;
  const policies = [{ name: "Staff", decision: "allow", include, ...policy }];
  const made = await api("POST", "/access/apps", { type: "self_hosted", name: "Notes", domain: notes.hostname, portunus: { origin }, policies, ...more });
  await settled();
  return made;
}

async function byMail(browser) {
  const provider = await api("POST", "/access/identity_providers", { name: "Mail", type: "onetimepin", config: {} });
  const app = await publish({ allowed_idps: [provider.id] });
  await person(browser, async (page) => {
    await page.goto(notes.href);
    await fine(page, "address");
    await page.getByLabel("E-mail address").fill(ANA);
    await press(page, "Send me a code");
    await heading(page, "Look at your mail");
    await fine(page, "code");
    const mailed = await code(ANA);
    await page.getByLabel("Code of six digits").fill(mailed === "000000" ? "000001" : "000000");
    await press(page, "Sign in");
    await page.getByRole("alert").filter({ hasText: "does not have access" }).waitFor();
    await fine(page, "code-wrong");
    await page.getByLabel("Code of six digits").fill(mailed);
    await press(page, "Sign in");
    await inTheNotes(page);
    const identity = await page.goto(new URL("/cdn-cgi/access/get-identity", notes).href).then((answer) => answer.json());
    assert.deepEqual([identity.email, identity.idp.type], [ANA, "onetimepin"]);
  });
  await withPage(browser, { javaScriptEnabled: false, locale: "de-DE" }, async (page) => {
    await page.goto(notes.href);
    await page.getByLabel("E-Mail-Adresse").fill("niemand@elsewhere.test");
    await press(page, "Code senden");
    await heading(page, "Sehen Sie in Ihre E-Mail");
    await press(page, "Andere Adresse benutzen");
    await page.getByLabel("E-Mail-Adresse").fill(ANA);
    await press(page, "Code senden");
    await page.getByLabel("Code aus sechs Ziffern").fill(await code(ANA));
    await press(page, "Anmelden");
    await inTheNotes(page);
  });
  assert.deepEqual((await api("GET", "/portunus/outbox")).filter((mail) => mail.to !== ANA), [], "mail to nobody else");
  await api("DELETE", `/access/apps/${app.id}`);
  await api("DELETE", `/access/identity_providers/${provider.id}`);
}

function password(email) {
  const told = execFileSync(portunus, ["user", "password", email, "--data", data, "--json"], { encoding: "utf8" });
  return JSON.parse(told).password;
}

async function signIn(page, email, secret) {
  await page.getByLabel("E-mail address").fill(email);
  await page.getByLabel("Password").fill(secret);
  await press(page, "Sign in");
}

/** Looks at a page that loads itself again: at a copy that does not. */
async function fineCopy(page, name) {
  const markup = await page.content();
  await person(page.context().browser(), async (copy) => {
    await copy.setContent(markup);
    await fine(copy, name);
  });
}

const link = async (to) => (await letter(to)).match(/^https:.*$/m)[0];
const asked = (status) => api("GET", `/portunus/approvals?status=${status}`);

async function approval(browser) {
  const secrets = { [ANA]: password(ANA), [BEN]: password(BEN) };
  const built_in = (await api("GET", "/access/identity_providers")).find((provider) => provider.type === "portunus");
  const app = await publish({ allowed_idps: [built_in.id] }, {
    approval_required: true,
    approval_groups: [{ approvals_needed: 1, email_addresses: [BEN, ANA] }],
    purpose_justification_required: true,
    purpose_justification_prompt: "Which ticket is it for?",
  });
  const ask = async (page) => {
    await heading(page, "Ask for access");
    await page.getByLabel("Which ticket is it for?").fill("INC-7, the notes of Tuesday");
    await press(page, "Ask");
    await heading(page, "Waiting for an answer");
  };
  await person(browser, async (ana) => {
    await ana.goto(notes.href);
    await signIn(ana, ANA, secrets[ANA]);
    await heading(ana, "Ask for access");
    await fine(ana, "ask");
    await ask(ana);
    await fineCopy(ana, "waiting");
    await person(browser, async (ben) => {
      const first = await link(BEN);
      await ben.goto(first);
      await signIn(ben, BEN, secrets[BEN]);
      await heading(ben, "Somebody asks for access");
      await ben.getByText("INC-7, the notes of Tuesday").waitFor();
      await fine(ben, "approve");
      await ben.getByLabel("For how long").selectOption("4 hours");
      await press(ben, "Grant access");
      await ben.getByText("Granted until").waitFor();
      await fine(ben, "granted");
      // Nothing is pressed: the page that waits goes on by itself.
      await inTheNotes(ana);
      const [granted] = await asked("granted");
      assert.deepEqual([granted.email, granted.approvers, granted.app_name], [ANA, [BEN], "Notes"]);
      await api("DELETE", `/portunus/approvals/${granted.id}`);
      await settled();
      await ana.goto(notes.href);
      await ask(ana);
      await ben.goto(first);
      await ben.getByText("approves nothing for you").waitFor();
      await fine(ben, "approve-nothing");
      await ben.goto(await link(BEN));
      await press(ben, "Refuse");
      await ben.getByText("The request was refused.").waitFor();
    });
    await heading(ana, "Your request was refused");
    await fine(ana, "refused");
  });
  await withPage(browser, { javaScriptEnabled: false }, async (page) => {
    await page.goto(notes.href);
    await signIn(page, ANA, secrets[ANA]);
    await ask(page);
    await page.getByRole("link", { name: "Look again" }).click();
    await heading(page, "Waiting for an answer");
  });
  await api("DELETE", `/access/apps/${app.id}`);
}

await withBrowser({ trusting: true }, (browser) =>
  suite("mail", {
    "a code that was mailed signs in, with and without JavaScript": () => byMail(browser),
    "a person asks, another grants or refuses, and the page that waits goes on": () => approval(browser),
  }),
);
process.exit(0);
