// Node's own ways out through an intercepting proxy: fetch (undici) over HTTP/1.1 and HTTP/2, and a WebSocket client.
import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { HttpsProxyAgent } from "https-proxy-agent";
import { Agent, ProxyAgent, fetch, setGlobalDispatcher } from "undici";
import WebSocket from "ws";
import { SITE, SOCKETS, start } from "./origin.mjs";
import { authority, credential, proxy, suite } from "./platform.mjs";

const origin = await start();
const ana = await credential("ana@acme.test");
const ben = await credential("ben@acme.test");
const basic = ({ username, password }) => `Basic ${Buffer.from(`${username}:${password}`).toString("base64")}`;

/** A way through the proxy: for a person or nobody, trusting the platform's authority unless told otherwise. */
const through = (person, { allowH2 = false, ca = authority } = {}) =>
  new ProxyAgent({ uri: proxy, token: person && basic(person), requestTls: { ca }, allowH2 });

const causes = (error) => (error ? `${error.message} ${error.code ?? ""} ${causes(error.cause)}` : "");

async function decidedForThePerson() {
  for (const allowH2 of [false, true]) {
    const passed = await fetch("https://finance.acme.test/", { dispatcher: through(ana, { allowH2 }) });
    assert.equal(passed.status, 200);
    assert.match(await passed.text(), /x-training-valid-until: 2027-06-30/);
    const sent = await fetch("https://finance.acme.test/q3", { dispatcher: through(ben, { allowH2 }) });
    assert.equal(sent.url, "https://learning.acme.test/compliance?from=https%3A%2F%2Ffinance.acme.test%2Fq3");
    assert.match(await sent.text(), /Compliance training/);
  }
}

async function byWhatNodeBringsItself() {
  const own = globalThis.fetch;
  assert.notEqual(own, fetch);
  for (const allowH2 of [false, true]) {
    setGlobalDispatcher(through(ana, { allowH2 }));
    try {
      const passed = await own("https://finance.acme.test/");
      assert.equal(passed.status, 200);
      assert.match(await passed.text(), /x-training-valid-until: 2027-06-30/);
      const body = randomBytes(300_000);
      const answer = await own(`https://${SITE}/digest`, { method: "POST", body });
      assert.equal(await answer.text(), createHash("sha256").update(body).digest("hex"));
      const blocked = await own("https://chat.openmind.test/", { headers: { accept: "text/plain" } });
      assert.equal(blocked.status, 403);
    } finally {
      setGlobalDispatcher(new Agent());
    }
  }
}

async function blockedInTheTypeTheClientAccepts() {
  for (const [accept, type] of [["text/html", "text/html"], ["application/json", "application/json"], ["text/plain", "text/plain"]]) {
    const blocked = await fetch("https://chat.openmind.test/", { dispatcher: through(ana), headers: { accept } });
    assert.equal(blocked.status, 403);
    assert.ok(blocked.headers.get("content-type").startsWith(type), `${accept} got ${blocked.headers.get("content-type")}`);
    assert.match(await blocked.text(), /has not been reviewed/);
  }
}

async function refusedWithAWrongCredential() {
  const wrong = through({ username: ana.username, password: ben.password });
  await assert.rejects(fetch(`https://${SITE}/`, { dispatcher: wrong }), (error) => /407/.test(causes(error)));
}

async function refusedWithoutTheAuthority() {
  await assert.rejects(fetch(`https://${SITE}/`, { dispatcher: through(ana, { ca: [] }) }), (error) =>
    /certificate/i.test(causes(error)),
  );
}

async function bodiesArriveWhole() {
  const body = randomBytes(8 << 20);
  const expected = createHash("sha256").update(body).digest("hex");
  const chunks = async function* () {
    for (let at = 0; at < body.length; at += 65_536) yield body.subarray(at, at + 65_536);
  };
  for (const sent of [body, chunks()]) {
    const answer = await fetch(`https://${SITE}/digest`, { method: "POST", body: sent, duplex: "half", dispatcher: through(ana) });
    assert.equal(await answer.text(), expected);
  }
  const large = await fetch(`https://${SITE}/large`, { dispatcher: through(ana) });
  assert.equal((await large.arrayBuffer()).byteLength, 8 << 20);
}

async function eventsArriveAsTheyHappen() {
  const events = (await fetch(`https://${SITE}/events`, { dispatcher: through(ana) })).body.getReader();
  const first = await events.read();
  assert.equal(Buffer.from(first.value).toString(), "data: first\n\n");
  await (await fetch(`https://${SITE}/release`, { dispatcher: through(ana) })).text();
  const second = await events.read();
  assert.equal(Buffer.from(second.value).toString(), "data: second\n\n");
}

async function theOriginSeesNoCredential() {
  const headers = await (await fetch(`https://${SITE}/headers`, { dispatcher: through(ana) })).json();
  assert.equal(headers["proxy-authorization"], undefined);
  assert.ok(!JSON.stringify(headers).includes(ana.password));
}

async function aWebSocketEchoes() {
  const way = new URL(proxy);
  Object.assign(way, { username: encodeURIComponent(ana.username), password: ana.password });
  const socket = new WebSocket(`wss://${SOCKETS}/`, { agent: new HttpsProxyAgent(way), ca: authority });
  const waiting = [];
  const heard = () => new Promise((resolve, reject) => waiting.push({ resolve, reject }));
  socket.on("message", (data, binary) => waiting.shift().resolve({ data, binary }));
  socket.on("error", (error) => waiting.splice(0).forEach(({ reject }) => reject(error)));
  const large = randomBytes(1 << 20);
  const [text, bytes] = [heard(), heard()];
  socket.on("open", () => {
    socket.send("hello");
    socket.send(large);
  });
  assert.equal((await text).data.toString(), "hello");
  const answer = await bytes;
  assert.ok(answer.binary && large.equals(answer.data));
  const closed = new Promise((resolve) => socket.on("close", resolve));
  socket.close(4001, "done");
  assert.equal(await closed, 4001);
}

await suite("node through the proxy", {
  "rules decide for the person of the credential, over HTTP/1.1 and HTTP/2": decidedForThePerson,
  "the fetch that Node brings itself goes the same way": byWhatNodeBringsItself,
  "a block is HTML, JSON or text as accepted": blockedInTheTypeTheClientAccepts,
  "a wrong credential is refused with 407": refusedWithAWrongCredential,
  "a client without the authority refuses": refusedWithoutTheAuthority,
  "8 MB up, streamed up and down": bodiesArriveWhole,
  "server-sent events are not held back": eventsArriveAsTheyHappen,
  "the origin sees no proxy credential": theOriginSeesNoCredential,
  "a WebSocket carries text, 1 MB of bytes and a close code": aWebSocketEchoes,
});
origin.stop();
process.exit(0);
