// sslscan against the access listener: no protocol before TLS 1.2, no cipher without forward secrecy and authenticated
// encryption, no weak curve, no compression, no renegotiation.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { access_url, suite } from "./platform.mjs";

const { hostname, port } = new URL(access_url);
const TLS_1_3 = ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"];
const TLS_1_2 = ["ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-ECDSA-CHACHA20-POLY1305"];
const GROUPS = [/x25519/i, /secp256r1/, /secp384r1/];

const report = execFileSync("sslscan", ["--xml=-", `--sni-name=${hostname}`, `127.0.0.1:${port}`], { encoding: "utf8" });

/** The attributes of every element of a name. */
function elements(name) {
  return [...report.matchAll(new RegExp(`<${name} ([^>]*?)/?>`, "g"))].map(([, attributes]) =>
    Object.fromEntries([...attributes.matchAll(/([\w-]+)="([^"]*)"/g)].map(([, key, value]) => [key, value])),
  );
}

await suite("listener", {
  "speaks TLS 1.2 and 1.3 and nothing older"() {
    const spoken = elements("protocol").filter(({ enabled }) => enabled === "1");
    assert.deepEqual(spoken.map(({ type, version }) => `${type} ${version}`), ["tls 1.2", "tls 1.3"]);
  },
  "agrees on no cipher but AEAD with forward secrecy"() {
    const ciphers = elements("cipher");
    const of = (version) => ciphers.filter(({ sslversion }) => sslversion === version).map(({ cipher }) => cipher).sort();
    assert.deepEqual([of("TLSv1.3"), of("TLSv1.2")], [TLS_1_3, TLS_1_2]);
  },
  "exchanges keys over strong curves alone"() {
    const groups = elements("group").map(({ name }) => name);
    assert.ok(groups.length > 0);
    for (const name of groups) assert.ok(GROUPS.some((good) => good.test(name)), name);
  },
  "offers no renegotiation and does not bleed"() {
    for (const { supported } of elements("renegotiation")) assert.equal(supported, "0");
    const heartbleed = elements("heartbleed");
    assert.ok(heartbleed.length > 0 && heartbleed.every(({ vulnerable }) => vulnerable === "0"));
  },
  "shows a certificate for the name that was asked for"() {
    assert.match(report, new RegExp(`DNS:${hostname.replaceAll(".", "\\.")}`));
    assert.match(report, /<self-signed>false</);
    assert.match(report, /<expired>false</);
  },
});
