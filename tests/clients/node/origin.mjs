// A web site of the suite's own behind the gateway: echo, upload, events that wait to be asked for, WebSocket.
// Its certificate chains to a root that is made for this run and that only the platform is told to trust.
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createSecureServer } from "node:http2";
import { createServer } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { WebSocketServer } from "ws";
import { api, settled } from "./platform.mjs";

export const SITE = "app.suite.test";
export const SOCKETS = "socket.suite.test";
const PAGE = "<!doctype html><html lang=en><title>Suite</title><h1>Suite</h1>";

/** Starts the sites and tells the gateway where they are; `stop` ends them. */
export async function start() {
  const { root, key, cert } = certificate([SITE, SOCKETS]);
  let release;
  const asked = new Promise((resolve) => (release = resolve));
  const site = createSecureServer({ key, cert, allowHTTP1: true }, (request, response) => serve(request, response, asked, release));
  const sockets = createServer({ key, cert }, (_request, response) => response.end());
  const upgrades = new WebSocketServer({ server: sockets });
  upgrades.on("connection", (socket) => {
    socket.on("message", (data, binary) => socket.send(data, { binary }));
    socket.on("error", () => socket.terminate());
  });
  const ports = await Promise.all([site, sockets].map(listen));
  await api("PATCH", "/portunus/network", {
    hosts: { [`${SITE}:443`]: `127.0.0.1:${ports[0]}`, [`${SOCKETS}:443`]: `127.0.0.1:${ports[1]}` },
    allow: ports.map((port) => `127.0.0.1/32:${port}`),
    roots: [root],
  });
  await settled();
  return {
    stop() {
      for (const socket of upgrades.clients) socket.terminate();
      site.close();
      sockets.close();
      sockets.closeAllConnections();
    },
  };
}

function listen(server) {
  return new Promise((resolve, reject) => {
    server.on("error", reject);
    server.listen(0, "127.0.0.1", () => resolve(server.address().port));
  });
}

function serve(request, response, asked, release) {
  const { pathname } = new URL(request.url, `https://${SITE}`);
  if (pathname === "/headers") return response.end(JSON.stringify(request.headers));
  if (pathname === "/large") return response.end(Buffer.alloc(8 << 20, "portunus "));
  if (pathname === "/digest") return digest(request, response);
  if (pathname === "/events") return events(response, asked);
  if (pathname === "/release") {
    release();
    return response.end("released");
  }
  response.setHeader("content-type", "text/html; charset=utf-8");
  response.end(PAGE);
}

function digest(request, response) {
  const hash = createHash("sha256");
  request.on("data", (chunk) => hash.update(chunk));
  request.on("end", () => response.end(hash.digest("hex")));
}

/** The second event leaves only after a client who has seen the first asked for it: a buffering gateway stands still. */
function events(response, asked) {
  response.setHeader("content-type", "text/event-stream");
  response.write("data: first\n\n");
  asked.then(() => response.end("data: second\n\n"));
}

/** A certificate for names, and the root that is made for it. */
export function certificate(names) {
  const directory = mkdtempSync(join(tmpdir(), "portunus-origin-"));
  try {
    const openssl = (...words) => execFileSync("openssl", words, { cwd: directory, stdio: ["ignore", "ignore", "pipe"] });
    const made = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"];
    openssl(...made, "-keyout", "root.key", "-out", "root.pem", "-subj", "/CN=Client suite root");
    openssl(
      ...made, "-CA", "root.pem", "-CAkey", "root.key", "-keyout", "leaf.key", "-out", "leaf.pem", "-subj", `/CN=${names[0]}`,
      "-addext", "basicConstraints=critical,CA:FALSE", "-addext", `subjectAltName=${names.map((name) => `DNS:${name}`)}`,
    );
    const [root, key, cert] = ["root.pem", "leaf.key", "leaf.pem"].map((name) => readFileSync(join(directory, name), "utf8"));
    return { root, key, cert };
  } finally {
    rmSync(directory, { recursive: true });
  }
}
