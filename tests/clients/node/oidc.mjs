// npm `oidc-provider`, as certified as such servers get, for an identity provider: configured through the API as a generic
// one, signed in through, its keys changed under way, signed out of. The application checks the token it is told.
import assert from "node:assert/strict";
import { createPublicKey, generateKeyPairSync, randomUUID, verify } from "node:crypto";
import { createServer, request as http } from "node:http";
import { request as https } from "node:https";
import Provider from "oidc-provider";
import { access_url, api, authority, suite } from "./platform.mjs";

const listener = Number(new URL(access_url).port);
const SIGN_IN = new URL(access_url).hostname;
const WIKI = "oidc-wiki.localhost";
const OWN = "/cdn-cgi/access";
const CALLBACK = `https://${SIGN_IN}:${listener}${OWN}/callback`;
const SIGNED_OUT = `https://${SIGN_IN}:${listener}${OWN}/logout`;
const CLIENT = { id: "portunus", secret: "a secret, with / and + in it" };
const PEOPLE = {
  ada: { name: "Ada Example", email: "ada@example.test", department: "engineering", groups: ["builders", "staff"] },
  sam: { name: "Sam Example", email: "sam@example.test", department: "sales", groups: ["staff"] },
};

const serve = (handler) =>
  new Promise((resolve, reject) => {
    const server = createServer((incoming, answer) => handler(incoming, answer));
    server.on("error", reject);
    server.listen(0, "127.0.0.1", () => resolve(server));
  });

/** A key of its own id, as after a rotation. */
function jwks() {
  const key = generateKeyPairSync("rsa", { modulusLength: 2048 }).privateKey.export({ format: "jwk" });
  return { keys: [{ ...key, kid: randomUUID(), use: "sig", alg: "RS256" }] };
}

function provider(issuer) {
  const made = new Provider(issuer, {
    clients: [
      {
        client_id: CLIENT.id,
        client_secret: CLIENT.secret,
        redirect_uris: [CALLBACK],
        post_logout_redirect_uris: [SIGNED_OUT],
      },
    ],
    jwks: jwks(),
    cookies: { keys: [randomUUID()] },
    pkce: { required: () => true },
    scopes: ["openid", "email", "profile", "organisation"],
    claims: { email: ["email", "email_verified"], profile: ["name"], organisation: ["department", "groups"] },
    ttl: { AccessToken: 600, AuthorizationCode: 60, Grant: 3600, IdToken: 600, Interaction: 600, Session: 3600 },
    findAccount: (_context, id) =>
      PEOPLE[id] && { accountId: id, claims: () => ({ sub: id, email_verified: true, ...PEOPLE[id] }) },
  });
  return made.callback();
}

/** A browser without a screen: cookies by origin and path, redirects, forms. */
class Browser {
  jar = new Map();
  visited = [];

  async send(method, url, form) {
    const cookies = this.jar.get(url.host) ?? new Map();
    this.jar.set(url.host, cookies);
    const body = form && new URLSearchParams(form).toString();
    const headers = { accept: "text/html", host: url.host };
    const sent = [...cookies].filter(([, { path }]) => url.pathname.startsWith(path));
    if (sent.length) headers.cookie = sent.map(([name, { value }]) => `${name}=${value}`).join("; ");
    if (body) Object.assign(headers, { "content-type": "application/x-www-form-urlencoded", "content-length": Buffer.byteLength(body) });
    const ask = url.protocol === "https:" ? https : http;
    const options = { method, headers, host: "127.0.0.1", port: url.port, path: url.pathname + url.search, servername: url.hostname, ca: authority, agent: false };
    const answer = await new Promise((resolve, reject) => ask(options, resolve).on("error", reject).end(body));
    let text = "";
    for await (const chunk of answer.setEncoding("utf8")) text += chunk;
    for (const cookie of answer.headers["set-cookie"] ?? []) {
      const [, name, value] = cookie.match(/^([^=]+)=([^;]*)/);
      const path = cookie.match(/; *path=([^;]*)/i)?.[1] ?? "/";
      const gone = /; *max-age=0\b/i.test(cookie) || /; *expires=Thu, 01 Jan 1970/i.test(cookie);
      if (gone) cookies.delete(name);
      else cookies.set(name, { value, path });
    }
    this.visited.push(url);
    return { url, status: answer.statusCode, location: answer.headers.location && new URL(answer.headers.location, url), text };
  }

  async follow(method, url, form) {
    let page = await this.send(method, new URL(url), form);
    for (let hops = 0; page.location && page.status < 400; hops += 1) {
      assert.ok(hops < 15, `the redirects go in circles at ${page.url}`);
      page = await this.send("GET", page.location);
    }
    return page;
  }

  /** Sends the form of a page that `wanted` matches, with `fields` beside its hidden ones. */
  submit(page, wanted, fields = {}) {
    const form = page.text.match(/<form[\s\S]*?<\/form>/g)?.find((form) => wanted.test(form));
    assert.ok(form, `no form like ${wanted} at ${page.url}: ${page.text}`);
    const action = form.match(/action="([^"]*)"/)[1].replaceAll("&amp;", "&");
    const hidden = [...form.matchAll(/<input[^>]*type="hidden"[^>]*>/g)].map(([input]) => [
      input.match(/name="([^"]*)"/)[1],
      input.match(/value="([^"]*)"/)?.[1] ?? "",
    ]);
    return this.follow("POST", new URL(action, page.url), { ...Object.fromEntries(hidden), ...fields });
  }

  /** Goes to the application and signs in at the provider where it asks. */
  async signIn(login) {
    let page = await this.follow("GET", `https://${WIKI}:${listener}/welcome`);
    if (/Continue with oidc-provider/.test(page.text)) page = await this.submit(page, /Continue with oidc-provider/);
    if (/name="login"/.test(page.text)) page = await this.submit(page, /name="login"/, { login, password: "any" });
    if (/value="consent"/.test(page.text)) page = await this.submit(page, /value="consent"/);
    return page;
  }
}

/** The claims of a token, after its signature was checked with the keys that Access publishes. */
async function claims(token) {
  const [header, payload, signature] = token.split(".");
  const { kid, alg } = JSON.parse(Buffer.from(header, "base64url"));
  assert.equal(alg, "RS256");
  const { text } = await new Browser().send("GET", new URL(`https://${WIKI}:${listener}${OWN}/certs`));
  const key = createPublicKey({ key: JSON.parse(text).keys.find((key) => key.kid === kid), format: "jwk" });
  assert.ok(verify("RSA-SHA256", Buffer.from(`${header}.${payload}`), key, Buffer.from(signature, "base64url")));
  return JSON.parse(Buffer.from(payload, "base64url"));
}

let handler;
const idp = await serve((incoming, answer) => handler(incoming, answer));
const issuer = `http://127.0.0.1:${idp.address().port}`;
handler = provider(issuer);
const origin = await serve((incoming, answer) => answer.end(JSON.stringify({ application: true, headers: incoming.headers })));
let application;

await suite("oidc-provider", {
  async "is made known by the API as a generic provider, and an application asks for what it says"() {
    await api("PATCH", "/portunus/network", { allow: [`127.0.0.1/32:${idp.address().port}`] });
    const known = await api("POST", "/access/identity_providers", {
      name: "oidc-provider",
      type: "oidc",
      config: {
        issuer,
        client_id: CLIENT.id,
        client_secret: CLIENT.secret,
        scopes: ["openid", "email", "profile", "organisation"],
        claims: ["department", "groups"],
      },
    });
    assert.ok(!JSON.stringify(known).includes(CLIENT.secret));
    const says = (claim_name, claim_value) => ({ oidc: { identity_provider_id: known.id, claim_name, claim_value } });
    application = await api("POST", "/access/apps", {
      type: "self_hosted",
      name: "OIDC wiki",
      domain: WIKI,
      allowed_idps: [known.id],
      portunus: { origin: { url: `http://127.0.0.1:${origin.address().port}` } },
      policies: [{ name: "Engineers", decision: "allow", include: [says("department", "engineering")], require: [says("groups", "builders")] }],
    });
    for (let tries = 0; ; tries += 1) {
      const page = await new Browser().send("GET", new URL(`https://${WIKI}:${listener}/`)).catch((error) => ({ error }));
      if (page.status === 302) break;
      assert.ok(tries < 200, `the application is not published: ${page.error ?? page.text}`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  },
  async "signs a person in by code with PKCE and nonce, and the application is told who it is"() {
    const browser = new Browser();
    const page = await browser.signIn("ada");
    assert.equal(page.status, 200, page.text);
    const asked = browser.visited.find((url) => url.origin === issuer).searchParams;
    assert.equal(asked.get("response_type"), "code");
    assert.equal(asked.get("code_challenge_method"), "S256");
    for (const name of ["state", "nonce", "code_challenge"]) assert.ok(asked.get(name).length >= 43, name);
    const { headers } = JSON.parse(page.text);
    assert.equal(headers["cf-access-authenticated-user-email"], PEOPLE.ada.email);
    const told = await claims(headers["cf-access-jwt-assertion"]);
    assert.equal(told.email, PEOPLE.ada.email);
    assert.deepEqual(told.aud, [application.aud]);
    assert.equal(told.custom?.department, "engineering");
    const { text } = await browser.send("GET", new URL(`https://${WIKI}:${listener}${OWN}/get-identity`));
    const identity = JSON.parse(text);
    assert.equal(identity.name, PEOPLE.ada.name);
    assert.deepEqual(identity.groups.map((group) => group.name ?? group), PEOPLE.ada.groups);
  },
  async "says of somebody else what keeps them out"() {
    const page = await new Browser().signIn("sam");
    assert.equal(page.status, 403);
    assert.match(page.text, /no policy of this application lets you in/);
    assert.ok(!page.text.includes('"headers"'), page.text);
  },
  async "may change its keys while people sign in"() {
    handler = provider(issuer);
    const page = await new Browser().signIn("ada");
    assert.equal(page.status, 200, page.text);
    assert.equal(JSON.parse(page.text).headers["cf-access-authenticated-user-email"], PEOPLE.ada.email);
  },
  async "is signed out of where a person asks for it"() {
    const browser = new Browser();
    await browser.signIn("ada");
    let page = await browser.follow("GET", `${SIGNED_OUT}?provider=1`);
    assert.equal(page.url.origin, issuer, "the provider asks whether the person means it");
    page = await browser.submit(page, /logout/, { logout: "yes" });
    assert.equal(page.url.href.split("?")[0], SIGNED_OUT);
    assert.match(page.text, /signed out/);
    page = await browser.follow("GET", `https://${WIKI}:${listener}/`);
    page = await browser.submit(page, /Continue with oidc-provider/).catch(() => page);
    assert.match(page.text, /name="login"/, "the provider asks who it is again");
  },
});
idp.close();
origin.close();
