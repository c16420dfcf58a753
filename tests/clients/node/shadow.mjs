// MCP in people's traffic. Real clients go through the gateway, which opens TLS, to real servers of both generations and both
// transports: what they send is told and named, and stopped before a server sees it where a rule says so. Beside it stand
// bodies of everything else (NEGATIVE), of which nothing may be told. PYTHON and PYTHON_SUITES run the Python SDK.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { request as forward } from "node:http";
import { createServer } from "node:https";
import { createServer as createPort } from "node:net";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { SSEClientTransport } from "@modelcontextprotocol/sdk/client/sse.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { ProxyAgent, fetch } from "undici";
import { certificate } from "./origin.mjs";
import { api, authority, credential, proxy, settled, suite } from "./platform.mjs";
import { start as reference } from "./reference.mjs";

const everything = join(dirname(fileURLToPath(import.meta.url)), "node_modules/@modelcontextprotocol/server-everything/dist/index.js");
const [HTTP, SSE, EARLY, LATE, PLAIN] = ["http.shadow.test", "sse.shadow.test", "early.shadow.test", "late.shadow.test", "api.shadow.test"];
const SERVERS = [HTTP, SSE, EARLY, LATE];
// The expressions that circulate for this (docs/shadow-mcp.md).
const TEN = [
  /"method"\s{0,5}:\s{0,5}"initialize"/, /"method"\s{0,5}:\s{0,5}"tools\/call"/, /"method"\s{0,5}:\s{0,5}"tools\/list"/,
  /"method"\s{0,5}:\s{0,5}"resources\/read"/, /"method"\s{0,5}:\s{0,5}"resources\/list"/, /"method"\s{0,5}:\s{0,5}"prompts\/(list|get)"/,
  /"method"\s{0,5}:\s{0,5}"sampling\/createMessage"/, /"protocolVersion"\s{0,5}:\s{0,5}"202[4-9]/,
  /"method"\s{0,5}:\s{0,5}"notifications\/initialized"/, /"method"\s{0,5}:\s{0,5}"roots\/list"/,
];

const started = [];
/** What reached a server: host, method, path, and the bodies of both directions. */
const seen = [];

function port() {
  return new Promise((resolve) => {
    const probe = createPort().listen(0, "127.0.0.1", () => {
      const { port } = probe.address();
      probe.close(() => resolve(port));
    });
  });
}

async function program(mode) {
  const PORT = String(await port());
  started.push(spawn(process.execPath, [everything, mode], { env: { ...process.env, PORT }, stdio: "ignore" }));
  for (let attempt = 0; ; attempt += 1) {
    if (await globalThis.fetch(`http://127.0.0.1:${PORT}/nowhere`).catch(() => undefined)) return Number(PORT);
    assert.ok(attempt < 200, `${mode} does not listen`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** TLS in front of every server, by its name, that remembers what passes. */
async function front() {
  const own = await reference();
  const ports = {
    [HTTP]: await program("streamableHttp"),
    [SSE]: await program("sse"),
    [EARLY]: Number(new URL(own.sessions.url).port),
    [LATE]: Number(new URL(own.stateless.url).port),
  };
  const { root, key, cert } = certificate([...SERVERS, PLAIN]);
  const server = createServer({ key, cert }, (request, response) => {
    const note = { host: request.headers.host, method: request.method, path: request.url, request: "", response: "" };
    seen.push(note);
    request.on("data", (data) => (note.request += data));
    if (note.host === PLAIN) {
      request.on("end", () => response.setHeader("content-type", "application/json").end("{}"));
      return;
    }
    const { method, url: path } = request;
    const headers = { ...request.headers, host: `127.0.0.1:${ports[note.host]}` };
    const onward = forward({ host: "127.0.0.1", port: ports[note.host], method, path, headers }, (answer) => {
      response.writeHead(answer.statusCode, answer.headers);
      answer.on("data", (data) => (note.response += data));
      answer.pipe(response);
    });
    onward.on("error", () => response.destroy());
    response.on("close", () => onward.destroy());
    request.pipe(onward);
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = `127.0.0.1:${server.address().port}`;
  await api("PATCH", "/portunus/network", {
    hosts: Object.fromEntries([...SERVERS, PLAIN].map((name) => [`${name}:443`, address])),
    allow: [`127.0.0.1/32:${server.address().port}`],
    roots: [root],
  });
  await settled();
  return async () => {
    server.close();
    server.closeAllConnections();
    await Promise.all([own.sessions.end(), own.stateless.end()]);
  };
}

const stop = await front();
const ana = await credential("ana@acme.test");
const token = `Basic ${Buffer.from(`${ana.username}:${ana.password}`).toString("base64")}`;
const dispatcher = new ProxyAgent({ uri: proxy, token, requestTls: { ca: authority } });
const through = (url, init) => fetch(url, { ...init, dispatcher });
const way = new URL(proxy);
Object.assign(way, { username: ana.username, password: ana.password });

async function typescript(transport) {
  const client = new Client({ name: "shadow-suite", version: "1" });
  await client.connect(transport);
  try {
    const { tools } = await client.listTools();
    assert.ok(tools.some(({ name }) => name === "echo"));
    const { content } = await client.callTool({ name: "echo", arguments: { message: "to ana@acme.test" } });
    assert.match(content[0].text, /ana@acme\.test/);
  } finally {
    await client.close();
  }
}

const overHttp = () => typescript(new StreamableHTTPClientTransport(new URL(`https://${HTTP}/mcp`), { fetch: through }));
const overEvents = () => typescript(new SSEClientTransport(new URL(`https://${SSE}/sse`), { fetch: through }));

/** Runs the Python SDK against a server; what it called or why it could not. */
async function python(host) {
  const child = spawn(process.env.PYTHON, [join(process.env.PYTHON_SUITES, "shadow.py")], {
    env: { ...process.env, SERVER: `https://${host}/mcp`, WAY: way.href },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const out = [];
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (data) => out.push(data));
  const code = await new Promise((done) => child.once("close", done));
  return { code, said: Buffer.concat(out).toString() };
}

/** Every record of the hosts. */
async function records(hosts) {
  const found = await Promise.all(hosts.map((host) => api("GET", `/portunus/logs/gateway_http?HTTPHost=${host}&per_page=500`)));
  return found.flat().map((record) => record.fields ?? record);
}

async function until(what, ready) {
  for (let attempt = 0; ; attempt += 1) {
    const found = await ready();
    if (found) return found;
    assert.ok(attempt < 200, `not in time: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

async function told() {
  await overHttp();
  await overEvents();
  for (const host of [EARLY, LATE]) {
    const { code, said } = await python(host);
    assert.equal(code, 0, said);
  }
  const count = seen.filter(({ host }) => host !== PLAIN).length;
  const all = await until("a record for each request", async () => {
    const found = await records(SERVERS);
    return found.length >= count && found;
  });
  const missed = all.filter((record) => !record.IsMCP);
  assert.deepEqual(missed.map(({ HTTPMethod, URL }) => `${HTTPMethod} ${URL}`), []);
  const of = (host, field) => new Set(all.filter((record) => record.HTTPHost === host).map((record) => record[field]).filter(Boolean));
  for (const host of SERVERS) {
    assert.ok(of(host, "MCPMethod").has("tools/call"), host);
    assert.deepEqual([...of(host, "MCPTool")], [host === HTTP || host === SSE ? "echo" : "test_simple_text"], host);
    assert.equal(of(host, "MCPServerName").size, 1, `${host}: ${[...of(host, "MCPServerName")]}`);
    assert.ok(all.every(({ Email }) => Email === "ana@acme.test"));
  }
  assert.ok(of(HTTP, "MCPClientName").has("shadow-suite"));
  console.log(`  versions: ${SERVERS.map((host) => [...of(host, "MCPProtocolVersion")].join("/")).join(", ")}`);
  const before = seen.filter(({ host }) => host !== PLAIN);
  const ten = before.filter(({ request, response }) => TEN.some((one) => one.test(request) || one.test(response))).length;
  return { requests: all.length, ours: all.length - missed.length, ten };
}

async function silent() {
  const rows = readFileSync(process.env.NEGATIVE, "utf8").trim().split("\n").map((line) => JSON.parse(line));
  for (const { what, body } of rows) {
    const headers = { "content-type": "application/json", accept: "application/json" };
    const answer = await through(`https://${PLAIN}/rpc`, { method: "POST", headers, body });
    assert.equal(answer.status, 200, what);
    await answer.text();
  }
  const all = await until("a record for each body", async () => {
    const found = await records([PLAIN]);
    return found.length >= rows.length && found;
  });
  assert.deepEqual(all.filter((record) => record.IsMCP).map(({ MCPEvidence }) => MCPEvidence), []);
  return { bodies: rows.length, ours: 0, ten: rows.filter(({ body }) => TEN.some((one) => one.test(body))).length };
}

/** Puts a rule in force while something is tried. */
async function under(rule, attempt) {
  const { id } = await api("POST", "/gateway/rules", { name: "suite", enabled: true, filters: ["http"], precedence: 1, ...rule });
  await settled();
  const before = seen.length;
  try {
    await attempt();
    return seen.slice(before);
  } finally {
    await api("DELETE", `/gateway/rules/${id}`);
    await settled();
  }
}

async function blocked() {
  const rule = { action: "block", traffic: "experimental.is_mcp and not mcp.server.is_portal", rule_settings: { block_reason: "Use the portal." } };
  const reached = await under(rule, async () => {
    await assert.rejects(overHttp(), /Use the portal/);
    await assert.rejects(overEvents(), /403|Use the portal/);
    for (const host of [EARLY, LATE]) {
      const { code, said } = await python(host);
      assert.notEqual(code, 0, said);
    }
  });
  // The older transport asks for its stream before it says anything; no message reached anybody.
  assert.deepEqual(reached.filter(({ method, path }) => method !== "GET" || path !== "/sse"), []);
}

async function oneTool() {
  const rule = { action: "block", traffic: 'any(mcp.tools[*] == "echo")', rule_settings: { payload_log: { enabled: true } } };
  const reached = await under(rule, async () => {
    await assert.rejects(overHttp(), /403|blocked/i);
    await assert.rejects(overEvents(), /403|blocked/i);
  });
  assert.ok(reached.some(({ request }) => request.includes("tools/list")));
  assert.ok(!reached.some(({ request }) => request.includes("tools/call")));
  const record = await until("the masked call", async () => (await records([HTTP])).find(({ MCPPayload }) => MCPPayload));
  assert.deepEqual(record.MCPPayload, [{ method: "tools/call", name: "echo", arguments: { message: "(text, 16)" } }]);
}

async function toThePortal() {
  const redirect = { target_uri: "https://tools.acme.test/mcp" };
  const reached = await under({ action: "redirect", traffic: `experimental.is_mcp and http.request.host == "${HTTP}"`, rule_settings: { redirect } }, async () => {
    await assert.rejects(overHttp(), /redirect|tools\.acme\.test|303/i);
  });
  assert.deepEqual(reached, []);
}

try {
  let mcp, others;
  await suite("shadow MCP", {
    "clients of both generations and transports are told, and every tool named": async () => void (mcp = await told()),
    "what only looks like it stays silent": async () => void (others = await silent()),
    "a rule stops all of it before a server sees a message": blocked,
    "a rule stops one tool, and its call is recorded masked": oneTool,
    "a rule sends it to the portal": toThePortal,
  });
  const row = (name, found, alarms) => console.log(`  | ${name} | ${found} of ${mcp.requests} | ${alarms} of ${others.bodies} |`);
  console.log("  |  | requests of MCP clients found | false alarms |\n  |---|---|---|");
  row("ten expressions", mcp.ten, others.ten);
  row("this detector", mcp.ours, others.ours);
  assert.ok(mcp.ten < mcp.ours);
} finally {
  await stop();
  for (const server of started) server.kill();
}
process.exit(0);
