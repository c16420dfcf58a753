// Applications that verify Access's token as docs/access-verify.md shows, in Node and in Python: tokens of the running
// platform are taken, and forged ones are refused. `verify.mjs` and `verify.py` are the page's own examples.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { createHmac, createPublicKey, createSign, generateKeyPairSync } from "node:crypto";
import { createServer } from "node:http";
import { request } from "node:https";
import { api, authority, authority_file, settled, suite } from "./platform.mjs";

const { ACCESS_URL, PYTHON, PYTHON_RUNNER } = process.env;
const port = new URL(ACCESS_URL).port;
const site = `https://localhost:${port}`;
const encode = (value) => Buffer.from(typeof value === "string" ? value : JSON.stringify(value)).toString("base64url");

/** Sends a request through Access and returns the body. */
function get(path, headers = {}) {
  return new Promise((resolve, reject) => {
    const asked = request(`${site}${path}`, { ca: authority, headers }, (answer) => {
      let body = "";
      answer.on("data", (part) => (body += part));
      answer.on("end", () => resolve({ status: answer.statusCode, body }));
    });
    asked.on("error", reject);
    asked.end();
  });
}

function listen(handler) {
  const server = createServer(handler);
  return new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve(server)));
}

function sign(key, header, claims) {
  const text = `${encode(header)}.${encode(claims)}`;
  return `${text}.${createSign("RSA-SHA256").update(text).sign(key).toString("base64url")}`;
}

/** What the examples make of tokens, in each language: the claims, or null for a refusal. */
function verified(environment, tokens) {
  const input = JSON.stringify(tokens);
  const env = { ...process.env, ...environment, NODE_EXTRA_CA_CERTS: authority_file, SSL_CERT_FILE: authority_file };
  return [
    [process.execPath, ["verify-run.mjs"]],
    [PYTHON, [PYTHON_RUNNER]],
  ].map(([program, args]) => {
    const ran = spawnSync(program, args, { input, env, cwd: import.meta.dirname, encoding: "utf8", timeout: 60_000 });
    assert.equal(ran.status, 0, ran.stderr);
    return JSON.parse(ran.stdout);
  });
}

const echo = await listen((asked, answer) => answer.end(asked.headers["cf-access-jwt-assertion"] ?? ""));
const agent = await api("POST", "/access/service_tokens", { name: "verifier" });
const policies = [{ name: "Agents", decision: "non_identity", include: [{ service_token: { token_id: agent.id } }] }];
const portunus = { origin: { url: `http://127.0.0.1:${echo.address().port}` } };
const publish = (name, domain) => api("POST", "/access/apps", { type: "self_hosted", name, domain, portunus, policies });
const wiki = await publish("Verified", "localhost/wiki");
const other = await publish("Other", "localhost/other");
await settled();

const headers = { "cf-access-client-id": agent.client_id, "cf-access-client-secret": agent.client_secret };
const token = (await get("/wiki", headers)).body;
const stranger = (await get("/other", headers)).body;
const [header, claims] = token.split(".", 2).map((part) => JSON.parse(Buffer.from(part, "base64url")));
const certs = JSON.parse((await get("/cdn-cgi/access/certs")).body);
const ours = { CERTS_URL: `${site}/cdn-cgi/access/certs`, ISSUER: claims.iss, AUDIENCE: wiki.aud };

await suite("verify", {
  "a token of Access is taken": () => {
    assert.equal(claims.iss, "https://access.localhost");
    assert.equal(header.alg, "RS256");
    for (const [found] of verified(ours, [token])) assert.equal(found.common_name, agent.client_id);
  },
  "forged tokens, and those of another application, are refused": () => {
    const jwk = certs.keys.find((key) => key.kid === header.kid);
    const pem = createPublicKey({ key: jwk, format: "jwk" }).export({ type: "spki", format: "pem" });
    const hmac = (secret) => {
      const text = `${encode({ ...header, alg: "HS256" })}.${encode(claims)}`;
      return `${text}.${createHmac("sha256", secret).update(text).digest("base64url")}`;
    };
    const foreign = generateKeyPairSync("rsa", { modulusLength: 2048 }).privateKey;
    const [head, , signature] = token.split(".");
    const forged = {
      "no signature under alg none": `${encode({ ...header, alg: "none" })}.${encode(claims)}.`,
      "alg None with the old signature": `${encode({ ...header, alg: "None" })}.${encode(claims)}.${signature}`,
      "HMAC under the public key in PEM": hmac(pem),
      "HMAC under the modulus": hmac(Buffer.from(jwk.n, "base64url")),
      "another key under our key id": sign(foreign, header, claims),
      "another key that names itself": sign(foreign, { ...header, kid: "ff".repeat(32), jwk }, claims),
      "changed claims": `${head}.${encode({ ...claims, common_name: "admin" })}.${signature}`,
      "another application's token": stranger,
      "no token": "",
      "no token at all": "x.y.z",
    };
    for (const found of verified(ours, Object.values(forged))) {
      Object.keys(forged).forEach((name, index) => assert.equal(found[index], null, name));
    }
  },
  "issuer, audience and end are held against what is asked for": async () => {
    const { privateKey, publicKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
    const jwk = { ...publicKey.export({ format: "jwk" }), kid: "a", alg: "RS256", use: "sig" };
    const program = `require("http").createServer((q, s) => s.end(process.env.KEYS)).listen(0, "127.0.0.1", function () { console.log(this.address().port) })`;
    const { spawn } = await import("node:child_process");
    const server = spawn(process.execPath, ["-e", program], { env: { ...process.env, KEYS: JSON.stringify({ keys: [jwk] }) } });
    try {
      const address = await new Promise((resolve) => server.stdout.once("data", (text) => resolve(String(text).trim())));
      const now = Math.floor(Date.now() / 1000);
      const good = { iss: "https://team", aud: ["a"], exp: now + 60, iat: now, sub: "" };
      const without = (name) => Object.fromEntries(Object.entries(good).filter(([key]) => key !== name));
      const signed = (payload) => sign(privateKey, { alg: "RS256", kid: "a", typ: "JWT" }, payload);
      const wrong = [
        { ...good, exp: now - 10 }, { ...good, iss: "https://other" }, { ...good, aud: ["b"] },
        without("exp"), without("iss"), without("aud"),
      ];
      const environment = { CERTS_URL: `http://127.0.0.1:${address}/`, ISSUER: "https://team", AUDIENCE: "a" };
      for (const [first, ...rest] of verified(environment, [good, ...wrong].map(signed))) {
        assert.equal(first.iss, "https://team");
        assert.deepEqual(rest, wrong.map(() => null));
      }
    } finally {
      server.kill();
    }
  },
});

for (const app of [wiki, other]) await api("DELETE", `/access/apps/${app.id}`);
await api("DELETE", `/access/service_tokens/${agent.id}`);
echo.close();
