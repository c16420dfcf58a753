// Real clients at a portal, from nothing: each finds out where to sign in, registers, is let in by a person, and uses the
// tools, prompts and resources of two servers, one of either generation. The TypeScript SDK, MCP Inspector's command line and
// the Python SDK. ACCESS_URL says where Access listens, PERSON and PASSWORD who consents, PYTHON which interpreter has the SDK.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { UnauthorizedError } from "@modelcontextprotocol/sdk/client/auth.js";
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { CreateMessageRequestSchema, ElicitRequestSchema, ListRootsRequestSchema } from "@modelcontextprotocol/sdk/types.js";

import { access_url, api, authority_file, settled, suite } from "./platform.mjs";
import { consent, fetch } from "./person.mjs";
import { start } from "./reference.mjs";

const here = dirname(fileURLToPath(import.meta.url));
const address = new URL(`https://tools.localhost:${new URL(access_url).port}/mcp`);
const callback = "http://127.0.0.1:8976/callback";

/** Publishes a portal in front of both servers, for the demo's person. */
async function publish({ sessions, stateless }) {
  const mcp = "/access/ai-controls/mcp";
  for (const [id, { url }] of Object.entries({ early: sessions, late: stateless })) {
    await api("POST", `${mcp}/servers`, { id, name: id, hostname: url, auth_type: "unauthenticated" });
    const synced = await api("POST", `${mcp}/servers/${id}/sync`, {});
    assert.equal(synced.status, "ready", JSON.stringify(synced));
  }
  const servers = ["early", "late"].map((server_id) => ({ server_id, on_behalf: false }));
  await api("POST", `${mcp}/portals`, { id: "tools", name: "Tools", hostname: address.hostname, servers });
  const names = ["early", "late", "Tools"];
  for (const app of (await api("GET", "/access/apps?per_page=100")).filter(({ type, name }) => type.startsWith("mcp") && names.includes(name))) {
    const include = [{ email: { email: process.env.PERSON } }];
    await api("POST", `/access/apps/${app.id}/policies`, { name: "the person", decision: "allow", include });
  }
  await settled();
}

/** Leaves the demo as it was found. */
async function withdraw() {
  for (const path of ["portals/tools", "servers/early", "servers/late"]) await api("DELETE", `/access/ai-controls/mcp/${path}`);
}

/** What the SDK keeps for a server, and the person who says yes. */
class Kept {
  redirectUrl = callback;
  clientMetadata = {
    client_name: "Portal suite", redirect_uris: [callback], grant_types: ["authorization_code", "refresh_token"],
    response_types: ["code"], token_endpoint_auth_method: "none",
  };
  clientInformation = () => this.client;
  saveClientInformation = (client) => void (this.client = client);
  tokens = () => this.given;
  saveTokens = (tokens) => void (this.given = tokens);
  redirectToAuthorization = (address) => void (this.address = address);
  saveCodeVerifier = (verifier) => void (this.verifier = verifier);
  codeVerifier = () => this.verifier;
}

const kept = new Kept();
const text = ({ content }) => content.map(({ text }) => text).join("\n");

async function typescript() {
  const capabilities = { sampling: {}, elicitation: {}, roots: {} };
  const connect = async () => {
    const client = new Client({ name: "portal-suite", version: "1" }, { capabilities });
    client.setRequestHandler(ElicitRequestSchema, () => ({ action: "accept", content: { name: "Ana", username: "ana", email: "ana@acme.test" } }));
    client.setRequestHandler(CreateMessageRequestSchema, () => ({ role: "assistant", content: { type: "text", text: "Paris" }, model: "none" }));
    client.setRequestHandler(ListRootsRequestSchema, () => ({ roots: [{ uri: "file:///work", name: "work" }] }));
    const transport = new StreamableHTTPClientTransport(address, { authProvider: kept, fetch });
    await client.connect(transport);
    return [client, transport];
  };
  await assert.rejects(connect(), UnauthorizedError);
  const back = await consent(kept.address, callback);
  await new StreamableHTTPClientTransport(address, { authProvider: kept, fetch }).finishAuth(back.searchParams.get("code"));
  const [client, transport] = await connect();
  const { tools } = await client.listTools();
  const names = tools.map(({ name }) => name);
  for (const name of ["early_test_simple_text", "late_test_simple_text", "portal_list_servers"]) assert.ok(names.includes(name), `${name} in ${names}`);
  for (const server of ["early", "late"]) {
    assert.match(text(await client.callTool({ name: `${server}_test_simple_text`, arguments: {} })), /simple text response/);
    const seen = [];
    await client.callTool({ name: `${server}_test_tool_with_progress`, arguments: {} }, undefined, { onprogress: ({ progress }) => seen.push(progress) });
    assert.deepEqual(seen, [0, 50, 100]);
    const read = await client.readResource({ uri: `mcp-server:${server}/test://static-text` });
    assert.match(read.contents[0].text, /static text resource/);
    const prompt = await client.getPrompt({ name: `${server}_test_prompt_with_arguments`, arguments: { arg1: "a", arg2: "b" } });
    assert.match(prompt.messages[0].content.text, /arg1='a', arg2='b'/);
  }
  // A server with sessions asks in the middle of a call, one without by its result; the client hears the same.
  assert.match(text(await client.callTool({ name: "early_test_elicitation", arguments: { message: "Who?" } })), /"username":"ana"/);
  assert.match(text(await client.callTool({ name: "early_test_sampling", arguments: { prompt: "?" } })), /LLM response: Paris/);
  assert.equal(text(await client.callTool({ name: "late_test_input_required_result_elicitation", arguments: {} })), "Hello, Ana!");
  assert.equal(text(await client.callTool({ name: "late_test_input_required_result_sampling", arguments: {} })), "Paris");
  assert.equal(text(await client.callTool({ name: "late_test_input_required_result_list_roots", arguments: {} })), "file:///work");
  assert.match(text(await client.callTool({ name: "late_slow_compute", arguments: { seconds: 1.5 } })), /Computed/);
  // A server that hangs up in the middle is come back to, by the portal and by the client.
  assert.match(text(await client.callTool({ name: "early_test_reconnection", arguments: {} })), /You came back/);
  await transport.terminateSession();
  await client.close();
}

/** Runs a program to its end and returns what it printed. */
async function run(program, args, env = {}) {
  const child = spawn(program, args, { env: { ...process.env, ...env }, stdio: ["ignore", "pipe", "pipe"] });
  const [out, err] = [[], []];
  child.stdout.on("data", (data) => out.push(data));
  child.stderr.on("data", (data) => err.push(data));
  const code = await new Promise((done) => child.once("close", done));
  assert.equal(code, 0, `${Buffer.concat(err)}\n${Buffer.concat(out)}`);
  return Buffer.concat(out).toString();
}

async function inspector() {
  const program = join(here, "node_modules/@modelcontextprotocol/inspector/clients/launcher/build/index.js");
  const ask = async (...args) => {
    const loader = `--import ${join(here, "conformance-loader.mjs")}`;
    const whole = [program, "--cli", address.href, "--transport", "http", "--header", `Authorization: Bearer ${kept.given.access_token}`, ...args];
    return JSON.parse(await run(process.execPath, whole, { NODE_OPTIONS: loader, NODE_EXTRA_CA_CERTS: authority_file }));
  };
  const { tools } = await ask("--method", "tools/list");
  assert.ok(tools.some(({ name }) => name === "late_greet"));
  const greeted = await ask("--method", "tools/call", "--tool-name", "late_greet", "--tool-arg", "name=Ana");
  assert.equal(greeted.content[0].text, "Hello, Ana!");
  const { resources } = await ask("--method", "resources/list");
  assert.ok(resources.some(({ uri }) => uri === "mcp-server:early/test://static-text"));
  const read = await ask("--method", "resources/read", "--uri", "mcp-server:early/test://static-text");
  assert.match(read.contents[0].text, /static text resource/);
  const prompt = await ask("--method", "prompts/get", "--prompt-name", "early_test_simple_prompt");
  assert.match(prompt.messages[0].content.text, /simple prompt/);
}

const python = async () => {
  const said = await run(process.env.PYTHON, [join(process.env.PYTHON_SUITES, "portal.py")], { PORTAL: address.href });
  assert.match(said, /python: passed/);
};

const servers = await start();
try {
  await publish(servers);
  await suite("portal", {
    "the TypeScript SDK signs in from nothing and uses both generations of servers": typescript,
    "MCP Inspector's command line lists, calls, reads and prompts": inspector,
    "the Python SDK signs in from nothing and uses both generations of servers": python,
  });
} finally {
  await withdraw();
  await Promise.all([servers.sessions.end(), servers.stateless.end()]);
}
