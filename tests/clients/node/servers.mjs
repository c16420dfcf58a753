// The MCP servers that people already have, behind a portal: programs of this machine from npm and PyPI, and one of them
// over Streamable HTTP and over HTTP+SSE. What the portal keeps of their definitions is held against what the MCP SDK is
// told by the same server without a portal, and calls go through the portal with the SDK as the client.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createServer } from "node:http";
import { createServer as createPort } from "node:net";
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";

import { access_url, api, settled, suite } from "./platform.mjs";
import { fetch } from "./person.mjs";

const { FILES, PYTHON, CHROMIUM } = process.env;
const HOST = "tools.localhost";
const MCP = "/access/ai-controls/mcp";
const modules = join(dirname(fileURLToPath(import.meta.url)), "node_modules");
const node = (file, ...args) => ({ command: process.execPath, args: [join(modules, file), ...args] });
const everything = "@modelcontextprotocol/server-everything/dist/index.js";

/** How each is started, and one call with what its answer must hold. */
const PROGRAMS = {
  everything: { ...node(everything, "stdio"), call: ["echo", { message: "hello" }, /hello/] },
  filesystem: {
    ...node("@modelcontextprotocol/server-filesystem/dist/index.js", FILES),
    call: ["write_file", { path: join(FILES, "note.txt"), content: "written through the portal" }, /wrote/i],
  },
  memory: {
    ...node("@modelcontextprotocol/server-memory/dist/index.js"),
    env: { MEMORY_FILE_PATH: join(FILES, "memory.jsonl") },
    call: ["create_entities", { entities: [{ name: "Acme", entityType: "company", observations: ["sells anvils"] }] }, /anvils/],
  },
  playwright: {
    ...node("@playwright/mcp/cli.js", "--headless", "--isolated", "--no-sandbox", "--executable-path", CHROMIUM),
    call: ["browser_navigate", { url: "data:text/html,<title>A page</title><h1>Hello</h1>" }, /A page/],
  },
  time: { command: PYTHON, args: ["-m", "mcp_server_time"], call: ["get_current_time", { timezone: "UTC" }, /UTC/] },
  fetch: { command: PYTHON, args: ["-m", "mcp_server_fetch", "--ignore-robots-txt", "--allow-private-ips"] },
};

/** What a server offers when it is asked without a portal. */
async function direct({ command, args, env }) {
  const client = new Client({ name: "suite", version: "1" }, { capabilities: { roots: { listChanged: true }, sampling: {}, elicitation: { form: {}, url: {} } } });
  await client.connect(new StdioClientTransport({ command, args, env: { PATH: process.env.PATH, HOME: FILES, ...env }, stderr: "ignore" }));
  try {
    return (await client.listTools()).tools;
  } finally {
    await client.close();
  }
}

const ids = [];

async function add(id, document) {
  await api("POST", `${MCP}/servers`, { id, name: id, ...document });
  ids.push(id);
  const synced = await api("POST", `${MCP}/servers/${id}/sync`, {});
  assert.equal(synced.status, "ready", JSON.stringify(synced));
  return (await api("GET", `${MCP}/servers/${id}`)).tools;
}

const sorted = (tools) => [...tools].sort((one, other) => one.name.localeCompare(other.name));

async function programs() {
  for (const [id, program] of Object.entries(PROGRAMS)) {
    const { command, args } = program;
    const env = Object.entries(program.env ?? {}).map(([name, value]) => ({ name, value }));
    const [listed, kept] = [await direct(program), await add(id, { portunus: { stdio: { command, args, env } } })];
    // The SDK leaves out what it does not know, so names and schemas are what both can be held to.
    const shape = ({ name, description, inputSchema }) => ({ name, description, inputSchema });
    assert.deepEqual(sorted(kept).map(shape), sorted(listed).map(shape), id);
    console.log(`  ${id}: ${kept.length} tools`);
  }
}

/** A free port of loopback. */
function port() {
  return new Promise((resolve) => {
    const probe = createPort().listen(0, "127.0.0.1", () => {
      const { port } = probe.address();
      probe.close(() => resolve(port));
    });
  });
}

const started = [];

async function remote() {
  const tools = {};
  for (const [id, mode, path] of [
    ["everything-http", "streamableHttp", "/mcp"],
    ["everything-sse", "sse", "/sse"],
    // Named by its bare address, so that it has to be looked for.
    ["everything-found", "sse", "/"],
  ]) {
    const PORT = String(await port());
    const server = spawn(process.execPath, [join(modules, everything), mode], { env: { ...process.env, PORT }, stdio: "ignore" });
    started.push(server);
    for (let attempt = 0; ; attempt += 1) {
      const there = await globalThis.fetch(`http://127.0.0.1:${PORT}/nowhere`).catch(() => undefined);
      if (there) break;
      assert.ok(attempt < 200, `${mode} does not listen`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    tools[id] = sorted(await add(id, { hostname: `http://127.0.0.1:${PORT}${path}`, auth_type: "unauthenticated" })).map(({ name }) => name);
  }
  assert.deepEqual(tools["everything-sse"], tools["everything-http"]);
  assert.deepEqual(tools["everything-found"], tools["everything-http"]);
}

async function open() {
  const token = await api("POST", "/access/service_tokens", { name: "servers suite" });
  const servers = ids.map((server_id) => ({ server_id, on_behalf: false }));
  await api("POST", `${MCP}/portals`, { id: "tools", name: "Tools", hostname: HOST, servers });
  for (const app of await api("GET", "/access/apps?per_page=100")) {
    const ours = app.type === "mcp" ? app.destinations.some((place) => ids.includes(place.mcp_server_id)) : app.domain === HOST;
    if (!ours) continue;
    await api("POST", `/access/apps/${app.id}/policies`, { name: "suite", decision: "non_identity", include: [{ service_token: { token_id: token.id } }] });
  }
  await settled();
  const client = new Client({ name: "suite", version: "1" }, { capabilities: { sampling: {}, elicitation: {} } });
  const headers = { "cf-access-client-id": token.client_id, "cf-access-client-secret": token.client_secret };
  const url = new URL(`https://${HOST}:${new URL(access_url).port}/mcp`);
  await client.connect(new StreamableHTTPClientTransport(url, { fetch, requestInit: { headers } }));
  return client;
}

let client;

const text = (result) => result.content.map((part) => part.text ?? "").join("\n");

async function call(tool, args, options) {
  const result = await client.callTool({ name: tool, arguments: args }, undefined, options);
  assert.ok(!result.isError, `${tool}: ${text(result)}`);
  return text(result);
}

async function calls() {
  client = await open();
  for (const [id, { call: expected }] of Object.entries(PROGRAMS)) {
    if (!expected) continue;
    const [tool, args, answer] = expected;
    assert.match(await call(`${id}_${tool}`, args), answer, id);
  }
  assert.equal(readFileSync(join(FILES, "note.txt"), "utf8"), "written through the portal");
  // What was kept for the session is there for its next call.
  assert.match(await call("memory_read_graph", {}), /Acme/);
  const outside = await client.callTool({ name: "filesystem_read_text_file", arguments: { path: "/etc/hostname" } });
  assert.ok(outside.isError, "the filesystem server reads what it was given alone");
  for (const id of ["everything-http", "everything-sse", "everything-found"]) {
    assert.match(await call(`${id}_echo`, { message: "over a wire" }), /over a wire/, id);
  }
}

async function asks() {
  const { CreateMessageRequestSchema } = await import("@modelcontextprotocol/sdk/types.js");
  client.setRequestHandler(CreateMessageRequestSchema, () => ({ model: "suite", role: "assistant", content: { type: "text", text: "a line of verse" } }));
  const { tools } = await client.listTools();
  const named = (id, part) => tools.find(({ name }) => name.startsWith(`${id}_`) && name.includes(part))?.name;
  for (const id of ["everything", "everything-sse"]) {
    const tool = named(id, "long-running");
    assert.ok(tool, `${id} has a long-running tool`);
    const seen = [];
    await call(tool, { duration: 1, steps: 3 }, { onprogress: ({ progress }) => seen.push(progress) });
    assert.ok(seen.length >= 2, `${id}: ${seen}`);
  }
  const sampling = named("everything", "sampling");
  if (sampling) assert.match(await call(sampling, { prompt: "a line", maxTokens: 20 }), /a line of verse/);
}

async function fetches() {
  const origin = createServer((_, response) => response.setHeader("content-type", "text/html").end("<p>Fetched through the portal</p>"));
  await new Promise((resolve) => origin.listen(0, "127.0.0.1", resolve));
  assert.match(await call("fetch_fetch", { url: `http://127.0.0.1:${origin.address().port}/`, raw: true }), /Fetched through the portal/);
  origin.close();
}

try {
  await suite("servers", {
    "programs offer through a portal what they offer without": programs,
    "the same server over Streamable HTTP, HTTP+SSE, and where it has to be looked for": remote,
    "their tools are called by the MCP SDK": calls,
    "progress and questions come while they work": asks,
    "PyPI's fetch fetches": fetches,
  });
  await client.close();
} finally {
  for (const server of started) server.kill();
}
