// The server scenarios of MCP's own conformance suite: against the reference server, and against a portal that fronts it
// without prefix, in both generations. What the server passes directly it must pass through the portal, and the counts are
// those written down here.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, readdirSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import { request as send } from "node:https";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

import { access_url, api, authority, settled, suite } from "./platform.mjs";
import { start } from "./reference.mjs";

const here = dirname(fileURLToPath(import.meta.url));
const port = new URL(access_url).port;

/** The scenarios of the extension for tasks, which no version's list names. */
const TASKS = [
  "lifecycle", "capability-negotiation", "wire-fields", "request-state-removal", "mrtr-input", "request-headers",
  "dispatch-and-envelope", "required-task-error", "mrtr-composition",
].map((name) => `tasks-${name}`);

/** Runs every server scenario of a version; the outcomes by scenario and check. */
async function run(version, url) {
  const all = await scenarios(url, ["--suite", "all", "--spec-version", version]);
  if (version < "2026-07-28") return all;
  const of_tasks = await Promise.all(TASKS.map((name) => scenarios(url, ["--scenario", name])));
  return new Map([all, ...of_tasks].flatMap((outcomes) => [...outcomes]));
}

async function scenarios(url, which) {
  const results = mkdtempSync(join(tmpdir(), "conformance-"));
  try {
    const program = join(here, "node_modules/@modelcontextprotocol/conformance/dist/index.js");
    const run = spawn(
      process.execPath,
      ["--import", join(here, "conformance-loader.mjs"), program, "server", "--url", url, ...which, "--output-dir", results],
      { stdio: ["ignore", "pipe", "pipe"] },
    );
    const said = [];
    for (const stream of [run.stdout, run.stderr]) stream.on("data", (data) => said.push(data));
    await new Promise((done) => run.once("close", done));
    const outcomes = new Map();
    for (const file of readdirSync(results, { recursive: true }).filter((name) => name.endsWith("checks.json"))) {
      const scenario = /server-(.*)-\d{4}-/.exec(dirname(file))?.[1] ?? dirname(file);
      for (const { id, status, description, errorMessage } of JSON.parse(readFileSync(join(results, file), "utf8"))) {
        const key = `${scenario}/${id}/${description}`;
        // A check that is made several times is as good as its worst.
        const worst = { FAILURE: 0, WARNING: 1, SKIPPED: 2, INFO: 3, SUCCESS: 4 };
        const known = outcomes.get(key);
        if (!known || worst[status] < worst[known.status]) outcomes.set(key, { scenario, status, errorMessage });
      }
    }
    assert.ok(outcomes.size > 0, Buffer.concat(said).toString());
    return outcomes;
  } finally {
    rmSync(results, { recursive: true, force: true });
  }
}

/** How many scenarios and checks passed. */
function count(outcomes) {
  const scenarios = new Map();
  for (const { scenario, status } of outcomes.values()) {
    scenarios.set(scenario, (scenarios.get(scenario) ?? true) && status !== "FAILURE" && status !== "WARNING");
  }
  const passed = [...outcomes.values()].filter(({ status }) => status === "SUCCESS").length;
  return { scenarios: [...scenarios.values()].filter(Boolean).length, of: scenarios.size, checks: passed };
}

/** Publishes a portal in front of one server; returns what its agents send along. */
async function publish(id, url) {
  const mcp = "/access/ai-controls/mcp";
  const token = await api("POST", "/access/service_tokens", { name: `conformance ${id}` });
  await api("POST", `${mcp}/servers`, { id, name: id, hostname: url, auth_type: "unauthenticated" });
  const servers = [{ server_id: id, on_behalf: false, portunus: { prefix: false } }];
  await api("POST", `${mcp}/portals`, { id, name: id, hostname: `${id}.localhost`, servers });
  for (const app of await api("GET", "/access/apps?per_page=100")) {
    const is_of = app.type === "mcp_portal" ? app.domain?.startsWith(`${id}.`) : app.type === "mcp" && app.name === id;
    if (is_of || (["mcp", "mcp_portal"].includes(app.type) && app.name === id)) {
      const include = [{ service_token: { token_id: token.id } }];
      await api("POST", `/access/apps/${app.id}/policies`, { name: "agents", decision: "non_identity", include });
    }
  }
  const synced = await api("POST", `${mcp}/servers/${id}/sync`, {});
  assert.equal(synced.status, "ready", JSON.stringify(synced));
  await settled();
  return { "cf-access-client-id": token.client_id, "cf-access-client-secret": token.client_secret };
}

/** Leaves the demo as it was found. */
async function withdraw() {
  for (const id of ["older", "newer"]) {
    for (const kind of ["portals", "servers"]) await api("DELETE", `/access/ai-controls/mcp/${kind}/${id}`);
  }
  for (const token of await api("GET", "/access/service_tokens")) {
    if (token.name.startsWith("conformance ")) await api("DELETE", `/access/service_tokens/${token.id}`);
  }
}

/**
 * The suite wants a server on this machine, without TLS and without a credential. This forwards to the portal and adds both;
 * where a request names the forwarder as its host or origin it names the portal instead. Everything else passes as it is.
 */
async function forward(host, credentials) {
  const server = createServer((request, response) => {
    const own = new RegExp(`^(https?://)?(localhost|127\\.0\\.0\\.1):${server.address().port}$`);
    const headers = { ...request.headers, ...credentials };
    if (own.test(headers.host)) headers.host = `${host}:${port}`;
    if (own.test(headers.origin)) headers.origin = `https://${host}:${port}`;
    const { method, url: path } = request;
    const sent = send({ host: "127.0.0.1", port, servername: host, ca: authority, method, path, headers, agent: false }, (answer) => {
      response.writeHead(answer.statusCode, answer.headers);
      response.flushHeaders();
      answer.pipe(response);
    });
    sent.on("error", () => response.destroy());
    response.on("close", () => sent.destroy());
    request.pipe(sent);
  });
  server.listen(0, "127.0.0.1");
  await new Promise((done) => server.once("listening", done));
  return { url: `http://localhost:${server.address().port}/mcp`, end: () => (server.close(), server.closeAllConnections()) };
}

/** Checks that are made of answers that come as events; where the portal answers in one piece there is nothing to check. */
const OF_EVENTS = ["server-sse-streams-functional"];

/** What passes, by version; of the tasks extension as well, which the suite counts apart. */
const EXPECTED = JSON.parse(readFileSync(join(here, "conformance-counts.json"), "utf8"));

const part = (version, id, server) => async () => {
  const portal = await forward(`${id}.localhost`, await publish(id, server.url));
  const direct = await run(version, server.url);
  const through = await run(version, portal.url);
  portal.end();
  const passes = (outcome) => outcome && !["FAILURE", "WARNING"].includes(outcome.status);
  const excused = (check) => !through.has(check) && OF_EVENTS.includes(check.split("/")[1]);
  const lost = [...direct].filter(([check, { status }]) => status === "SUCCESS" && !passes(through.get(check)) && !excused(check));
  const told = lost.map(([check]) => `${check}: ${through.get(check)?.status ?? "not made"}: ${through.get(check)?.errorMessage}`);
  const counts = { direct: count(direct), portal: count(through) };
  const faults = [...direct].filter(([, outcome]) => !passes(outcome)).map(([check, outcome]) => `${check}: ${outcome.errorMessage}`);
  if (process.env.TELL) console.log(JSON.stringify({ version, counts, faults, told }, null, 2));
  assert.deepEqual(told, [], "what the server passes directly it passes through the portal");
  assert.deepEqual(counts, EXPECTED[version]);
  const { scenarios, of, checks } = counts.portal;
  console.log(`  ${version}: ${scenarios} of ${of} scenarios and ${checks} checks through the portal, ${counts.direct.scenarios} and ${counts.direct.checks} directly`);
};

const { sessions, stateless } = await start();
try {
  await suite("portal conformance", {
    "a portal in front of a server with sessions conforms to 2025-11-25": part("2025-11-25", "older", sessions),
    "a portal in front of a server without conforms to 2026-07-28": part("2026-07-28", "newer", stateless),
  });
} finally {
  await withdraw();
  await Promise.all([sessions.end(), stateless.end()]);
}
