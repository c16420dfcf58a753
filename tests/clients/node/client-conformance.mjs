// The client scenarios for authorization of MCP's own conformance suite, with a portal as the client: once with the
// administrator's sign-in for everybody, once with a person's own. Counts are those written down in
// client-conformance-counts.json; a check that is not met is named below with its reason, and any other fails the run.
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { mkdtempSync, readFileSync, readdirSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

import { OWNER, access_url, api, console_url, data, portunus, settled, setup_url, suite } from "./platform.mjs";
import { Browser } from "./person.mjs";

const here = dirname(fileURLToPath(import.meta.url));
const port = new URL(access_url).port;
const MCP = "/access/ai-controls/mcp";
const PERSON = "ana@acme.test";
/** One portal each, by whose sign-in its calls are made with. */
const HOSTS = { administrator: "everybody.acme.test", person: "own.acme.test" };
const page = (who) => new URL(`https://${HOSTS[who]}:${port}/`);

/** Scenarios that a client passes by not getting through. */
const REFUSED = [
  "resource-mismatch", "iss-supported-missing", "iss-wrong-issuer", "iss-unexpected", "iss-normalized",
  "metadata-issuer-mismatch", "scope-retry-limit",
].map((name) => `auth/${name}`);

/** Scenarios of what a portal does not do, and why. None of them is counted as passed, though some of their checks are. */
const NOT_OFFERED = {
  "auth/2025-03-26-oauth-endpoint-fallback": "an authorization server without metadata does not say that it does PKCE with S256",
  "auth/client-credentials-basic": "a portal signs in for people and an administrator, not for itself: no client_credentials",
  "auth/client-credentials-jwt": "the same, and a client proves itself with a secret: no private_key_jwt",
  "auth/enterprise-managed-authorization": "no token of the identity provider is exchanged for one of a server",
  "auth/wif-jwt-bearer": "no token of a workload is exchanged for one of a server",
  "auth/dpop": "tokens are bearer tokens: no DPoP",
  "auth/dpop-nonce": "the same",
};

/** Checks that are not met, with what has to hold all the same: of every sign-in, who asked as which client for what scope. */
const EXCEPTIONS = [
  {
    scenario: "auth/basic-cimd",
    check: "cimd-client-id-used",
    who: "administrator",
    why: "administrators come back to the console, which has no public address for a document: it registers",
    holds: ({ asked }) => asked.every(({ client }) => client === "test-client-id"),
  },
  {
    scenario: "auth/basic-cimd",
    check: "cimd-client-id-used",
    who: "person",
    why: "the suite knows the address of one document, its own client's; the portal's is another",
    holds: ({ asked }) => asked[0]?.client === new URL("/client-metadata.json", page("person")).href,
  },
  ...["scope-step-up-escalation", "sep-2350-scope-union-on-reauth"].map((check) => ({
    scenario: "auth/scope-step-up",
    check,
    who: "person",
    why: "the suite looks at the second sign-in it sees, which is the administrator's; the person's next one asks for both",
    holds: ({ asked }) => asked.map(({ scope }) => scope).join() === "mcp:basic,mcp:basic,mcp:basic mcp:write",
  })),
];

/** What passes, by version and by whose sign-in it is. */
const EXPECTED = JSON.parse(readFileSync(join(here, "client-conformance-counts.json"), "utf8"));

/** The browsers, and what agents of no person send along. */
const at = { played: 0 };

async function prepare() {
  const run = (...args) => execFileSync(portunus, ["user", ...args, "--data", data], { encoding: "utf8" });
  run("add", PERSON);
  const { password } = JSON.parse(run("password", PERSON, "--json"));
  at.person = new Browser({ email: PERSON, password });
  at.administrator = new Browser();
  const link = new URL(setup_url);
  const made = await at.administrator.submit(new URL("/setup", link), { token: link.searchParams.get("token"), name: "", ...OWNER });
  assert.equal(made.location?.pathname, "/", made.text);
  await api("POST", "/access/identity_providers", { name: "Staff", type: "portunus", config: {} });
  const token = await api("POST", "/access/service_tokens", { name: "conformance" });
  at.agent = { "cf-access-client-id": token.client_id, "cf-access-client-secret": token.client_secret };
  at.policies = {
    administrator: { name: "agents", decision: "non_identity", include: [{ service_token: { token_id: token.id } }] },
    person: { name: "staff", decision: "allow", include: [{ email: { email: PERSON } }] },
  };
  // The scenarios' authorization servers are on this machine, each at a port of its own.
  await api("PUT", "/portunus/network", { allow: ["127.0.0.1/32", "::1/128"] });
  for (const [who, hostname] of Object.entries(HOSTS)) {
    await api("POST", `${MCP}/portals`, { id: who, name: who, hostname, servers: [] });
    await admit(who, (app) => app.type === "mcp_portal" && app.domain === hostname);
  }
}

/** Lets whom a portal is for in at an application. */
async function admit(who, is_it) {
  const app = (await api("GET", "/access/apps?per_page=100")).find(is_it);
  await api("POST", `/access/apps/${app.id}/policies`, at.policies[who]);
}

/** Has a portal do what a scenario wants of a client; returns what came of it. */
async function play(who, { scenario, url, context }, number) {
  const id = `${who}-${number}`;
  const credentials = context.client_id && (await registered(url, context));
  await api("POST", `${MCP}/servers`, { id, name: id, hostname: url, auth_type: "oauth", ...credentials });
  await admit(who, (app) => app.type === "mcp" && app.destinations.some((place) => place.mcp_server_id === id));
  const servers = [{ server_id: id, on_behalf: who === "person", portunus: { prefix: false } }];
  await api("PUT", `${MCP}/portals/${who}`, { servers });
  await settled();
  const told = [];
  at.asked = [];
  // Whoever is asked to sign in again does so once.
  const patience = { administrator: 2, person: 2 };
  let asked = "administrator";
  try {
    // The person first: what an authorization server is asked first is then theirs.
    if (who === "person") told.push(await own(id));
    // Then the administrator: what a server offers is asked with their sign-in, whoever calls.
    while (asked && patience[asked] > 0) {
      patience[asked] -= 1;
      told.push(asked === "person" ? await own(id) : await administrators(id));
      const { authentication_status } = await api("GET", `${MCP}/servers/${id}`);
      if (!["connected", "manual"].includes(authentication_status)) continue;
      const answer = await call(who);
      if (answer.result?.content?.[0]?.text === "test") return { answered: true, told, asked: at.asked };
      told.push(JSON.stringify(answer.error ?? answer.result));
      if (answer.error?.code === -32042) asked = "person";
      else if (!told.at(-1).includes("an administrator has to sign in")) asked = undefined;
    }
    return { answered: false, told, asked: at.asked };
  } finally {
    await api("PUT", `${MCP}/portals/${who}`, { servers: [] });
    await api("DELETE", `${MCP}/servers/${id}`);
  }
}

/** The settings of a client that an administrator registered, as they would read them off the authorization server. */
async function registered(url, { client_id, client_secret, issuer }) {
  const server = new URL(url);
  const authority = issuer ?? (await (await fetch(new URL(`/.well-known/oauth-protected-resource${server.pathname}`, server))).json()).authorization_servers[0];
  const auth_credentials = {
    auth_mode: "manual",
    config: { issuer: authority, authorization_endpoint: `${authority}/authorize`, token_endpoint: `${authority}/token` },
    registration_info: { client_id, token_endpoint_auth_method: client_secret ? "client_secret_basic" : "none" },
  };
  return { auth_credentials, ...(client_secret && { client_secret }) };
}

/** The administrator signs in at a server; what they were told. */
async function administrators(id) {
  const begun = await api("POST", `${MCP}/servers/${id}/sign_in`, {}).catch((error) => error);
  if (begun instanceof Error) return begun.message;
  const back = await there(at.administrator, begun.authorization_url, new URL("mcp/servers-callback", console_url));
  const { text } = await at.administrator.open(back);
  await settled();
  return words(text);
}

/** The person signs in at a server, on the portal's page; what they were told. */
async function own(id) {
  const home = await at.person.open(page("person"));
  const action = `/servers/${id}/sign-in`;
  const form = home.text.split("<form").find((part) => part.includes(`action="${action}"`));
  if (!form) return words(home.text);
  const token = /name="token" value="([^"]+)"/.exec(form)[1];
  const between = await at.person.submit(new URL(action, home.url), { token, back: "/" });
  const onward = /0; url=([^"]+)"/.exec(between.text)?.[1].replaceAll("&amp;", "&");
  if (!onward) return words(between.text);
  const { text } = await at.person.open(await there(at.person, onward, new URL("/servers-callback", page("person"))));
  return words(text);
}

/** To the authorization server, which lets everybody in, and back. */
async function there(browser, address, callback) {
  const query = new URL(address).searchParams;
  at.asked.push({ who: browser === at.person ? "person" : "administrator", client: query.get("client_id"), scope: query.get("scope") });
  const { location, status, text } = await browser.send(address);
  assert.ok(location?.href.startsWith(`${callback}?`), `${status} ${location} ${text}`);
  return location;
}

const words = (html) => html.replace(/^.*<main/s, "<main").replace(/<style.*?<\/style>/gs, " ").replace(/<[^>]*>?/g, " ").replace(/\s+/g, " ").trim().slice(0, 120);

/** Calls the server's tool through the portal, as a client that opens pages. */
async function call(who) {
  const url = new URL("/mcp", page(who));
  const browser = who === "person" ? at.person : new Browser();
  const post = (message, session) =>
    browser.send(url, {
      method: "POST",
      headers: { "content-type": "application/json", accept: "application/json, text/event-stream", ...(who !== "person" && at.agent), ...session },
      body: JSON.stringify({ jsonrpc: "2.0", ...message }),
    });
  const clientInfo = { name: "conformance", version: "1" };
  const params = { protocolVersion: "2025-11-25", capabilities: { elicitation: { url: {} } }, clientInfo };
  const begun = await post({ id: 0, method: "initialize", params });
  const session = { "mcp-session-id": begun.headers["mcp-session-id"] };
  await post({ method: "notifications/initialized" }, session);
  const { text } = await post({ id: 1, method: "tools/call", params: { name: "test-tool", arguments: {} } }, session);
  return JSON.parse(text.replace(/^.*?data: (?=\{)/s, ""));
}

/** Runs suites of scenarios; the checks of each scenario, and what its client came to. */
async function run(who, suites) {
  const results = mkdtempSync(join(tmpdir(), "conformance-"));
  const came = new Map();
  let turn = Promise.resolve();
  const conductor = createServer(async (request, response) => {
    const parts = [];
    for await (const part of request) parts.push(part);
    const asked = JSON.parse(Buffer.concat(parts));
    // The suite starts all of its scenarios at once; the portal serves one at a time.
    turn = turn.then(async () => {
      const outcome = asked.scenario.startsWith("auth/")
        ? await play(who, asked, (at.played += 1)).catch((error) => ({ answered: false, asked: [], told: [error.stack] }))
        : { answered: false };
      came.set(asked.scenario, outcome);
      response.writeHead(outcome.answered ? 200 : 400).end(JSON.stringify(outcome));
    });
  });
  await new Promise((done) => conductor.listen(0, "127.0.0.1", done));
  const env = { ...process.env, CONDUCTOR: `http://127.0.0.1:${conductor.address().port}/` };
  try {
    for (const which of suites) await conformance(results, env, which);
    return { came, checks: read(results) };
  } finally {
    conductor.close();
    rmSync(results, { recursive: true, force: true });
  }
}

async function conformance(results, env, which) {
  const program = ["node_modules/@modelcontextprotocol/conformance/dist/index.js", "client"];
  const options = ["--command", "node client-conformance-driver.mjs", "--timeout", "240000", "--output-dir", results, ...which];
  const run = spawn(process.execPath, ["--import", "./conformance-loader.mjs", ...program, ...options], { cwd: here, env, stdio: ["ignore", "pipe", "pipe"] });
  const said = [];
  for (const stream of [run.stdout, run.stderr]) stream.on("data", (part) => said.push(part));
  await new Promise((done) => run.once("close", done));
  assert.match(Buffer.concat(said).toString(), /SUITE SUMMARY/);
}

function read(results) {
  const found = new Map();
  for (const file of readdirSync(results, { recursive: true }).filter((name) => name.endsWith("checks.json"))) {
    const scenario = dirname(file).replace(/-\d{4}-\d\d-\d\dT.*$/, "");
    if (scenario.startsWith("auth/")) found.set(scenario, JSON.parse(readFileSync(join(results, file), "utf8")));
  }
  return found;
}

/** What each scenario came to, by check; one that is made several times is as good as its worst. */
function judged(list) {
  const worst = ["FAILURE", "WARNING", "SKIPPED", "INFO", "SUCCESS"];
  const found = new Map();
  for (const { id, status, description, errorMessage } of list) {
    const known = found.get(id);
    if (!known || worst.indexOf(status) < worst.indexOf(known.status)) found.set(id, { status, text: errorMessage ?? description });
  }
  return found;
}

const part = (who, version, suites) => async () => {
  const { came, checks } = await run(who, suites);
  const counts = { scenarios: 0, of: checks.size, checks: 0 };
  const faults = [];
  for (const [scenario, list] of checks) {
    const outcomes = [...judged(list)];
    const outcome = came.get(scenario);
    const bad = outcomes.filter(([, { status }]) => ["FAILURE", "WARNING"].includes(status));
    counts.scenarios += bad.length === 0 ? 1 : 0;
    counts.checks += outcomes.filter(([, { status }]) => status === "SUCCESS").length;
    const before = faults.length;
    const excused = ([check]) => EXCEPTIONS.some((exception) => exception.scenario === scenario && exception.check === check && exception.who === who && exception.holds(outcome));
    if (!NOT_OFFERED[scenario]) {
      faults.push(...bad.filter((check) => !excused(check)).map(([check, { status, text }]) => `${scenario}: ${check}: ${status}: ${text}`));
      if (outcome?.answered === REFUSED.includes(scenario)) faults.push(`${scenario}: the call was ${outcome.answered ? "" : "not "}answered`);
    }
    if (faults.length > before || process.env.TELL) console.log(scenario, bad, outcome);
  }
  assert.deepEqual(faults, []);
  console.log(`  ${version}, ${who}: ${counts.scenarios} of ${counts.of} scenarios, ${counts.checks} checks`);
  assert.deepEqual(counts, EXPECTED[version][who]);
};

const VERSIONS = {
  "2025-03-26": [["backcompat", "2025-03-26"]],
  "2025-11-25": [["auth", "2025-11-25"]],
  "2026-07-28": [["auth", "2026-07-28"], ["draft", "2026-07-28"]],
  extensions: [["extensions"]],
};
const parts = { "people and portals are there": prepare };
for (const [version, suites] of Object.entries(VERSIONS)) {
  const options = suites.map(([name, of]) => ["--suite", name, ...(of ? ["--spec-version", of] : [])]);
  for (const who of Object.keys(HOSTS)) parts[`a portal is a client of ${version} with the sign-in of the ${who}`] = part(who, version, options);
}
await suite("client conformance", parts);
