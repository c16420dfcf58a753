// The authorization scenarios of MCP's own conformance suite against managed OAuth, with nothing excused: a check that fails,
// warns or is skipped fails the run. ACCESS_URL says where Access listens, PERSON and PASSWORD who consents; the application
// is the demo's wiki.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, readdirSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

import { authority_file, suite } from "./platform.mjs";
import { consent, fetch as agent } from "./person.mjs";

const here = dirname(fileURLToPath(import.meta.url));
const issuer = `https://wiki.localhost:${new URL(process.env.ACCESS_URL).port}`;
const scenarios = ["authorization-server-metadata-endpoint", "authorization-code-grant"];

/** A port that nobody listens on. */
async function port() {
  const server = createServer().listen(0, "127.0.0.1");
  await new Promise((done) => server.once("listening", done));
  const found = server.address().port;
  await new Promise((done) => server.close(done));
  return found;
}

/** Registers a public client that is called back at `callback`. */
async function client(callback) {
  const response = await agent(`${issuer}/cdn-cgi/access/oauth/registration`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ client_name: "Conformance", redirect_uris: [callback], token_endpoint_auth_method: "none" }),
  });
  assert.equal(response.status, 201);
  return (await response.json()).client_id;
}

/** Runs every scenario; the person says yes at the address the suite prints. Returns each check by its scenario. */
async function run(version, resource) {
  const callback_port = await port();
  const callback = `http://127.0.0.1:${callback_port}/callback`;
  const results = mkdtempSync(join(tmpdir(), "conformance-"));
  try {
    const program = join(here, "node_modules/@modelcontextprotocol/conformance/dist/index.js");
    const run = spawn(
      process.execPath,
      [
        "--import", join(here, "conformance-loader.mjs"), program, "authorization", "--url", issuer,
        "--client-id", await client(callback), "--resource", resource, "--port", String(callback_port),
        "--spec-version", version, "--output-dir", results,
      ],
      { env: { ...process.env, NODE_EXTRA_CA_CERTS: authority_file }, stdio: ["ignore", "pipe", "inherit"] },
    );
    const ended = new Promise((done) => run.once("close", done));
    const said = [];
    for await (const line of createInterface({ input: run.stdout })) {
      said.push(line);
      if (line.startsWith(`${issuer}/cdn-cgi/access/oauth/authorization?`)) {
        const back = await consent(line, callback);
        assert.equal((await fetch(back)).status, 200);
      }
    }
    assert.equal(await ended, 0, said.join("\n"));
    const files = readdirSync(results, { recursive: true }).filter((name) => name.endsWith("checks.json"));
    return files.flatMap((name) => JSON.parse(readFileSync(join(results, name), "utf8")));
  } finally {
    rmSync(results, { recursive: true, force: true });
  }
}

const part = (version, resource) => async () => {
  const checks = await run(version, resource);
  const found = checks.map(({ id, status }) => `${id}: ${status}`);
  const faults = checks.filter(({ status }) => status !== "SUCCESS");
  assert.deepEqual(faults.map(({ id, status, errorMessage }) => `${id}: ${status}: ${errorMessage}`), []);
  for (const wanted of ["authorization-server-metadata", "authorization-server-metadata-cimd", "authorization-code-grant"]) {
    assert.ok(found.includes(`${wanted}: SUCCESS`), `${wanted} is not among ${found}`);
  }
};

await suite("conformance", {
  "the authorization server conforms to 2025-11-25": part("2025-11-25", `${issuer}/`),
  "the authorization server conforms to 2026-07-28": part("2026-07-28", `${issuer}/mcp`),
});
