// A person with a browser, as far as sign-in and consent go: a cookie jar, redirects, forms.
import { Agent, request, fetch as send } from "undici";
import assert from "node:assert/strict";

import { authority } from "./platform.mjs";

// Every host of the platform is on this machine.
const dispatcher = new Agent({
  connect: { ca: authority, lookup: (_, options, done) => done(null, options.all ? [{ address: "127.0.0.1", family: 4 }] : "127.0.0.1", 4) },
});

/** fetch as agents use it: no cookies, names of the platform found here. */
export const fetch = (url, options = {}) => send(url, { ...options, dispatcher });

/** A browser of one person: its cookies, and what it is shown. */
export class Browser {
  #jar = new Map();

  constructor({ email, password } = {}) {
    this.person = { email, password };
  }

  /** Sends one request, and follows nothing. */
  async send(url, { headers, ...options } = {}) {
    const { host } = new URL(url);
    const cookies = [...(this.#jar.get(host) ?? new Map())].map(([name, value]) => `${name}=${value}`).join("; ");
    // Not fetch, which says of itself that it is no navigation.
    const response = await request(url, {
      dispatcher,
      ...options,
      headers: { accept: "text/html", ...(cookies && { cookie: cookies }), ...headers },
    });
    for (const cookie of [response.headers["set-cookie"] ?? []].flat()) {
      const [, name, value] = /^([^=]+)=([^;]*)/.exec(cookie);
      if (!this.#jar.has(host)) this.#jar.set(host, new Map());
      if (cookie.includes("Max-Age=0")) this.#jar.get(host).delete(name);
      else this.#jar.get(host).set(name, value);
    }
    const { location } = response.headers;
    const text = await response.body.text();
    return { url: new URL(url), status: response.statusCode, headers: response.headers, location: location && new URL(location, url), text };
  }

  /** Sends a form as a page of the same place would. */
  submit(url, fields) {
    const headers = { "content-type": "application/x-www-form-urlencoded", origin: new URL(url).origin };
    return this.send(url, { method: "POST", body: new URLSearchParams(fields).toString(), headers });
  }

  /** Follows redirects and signs in where it is asked to, until a page or an address below `callback` comes. */
  async open(address, { callback, answer } = {}) {
    let seen = { location: new URL(address) };
    for (let step = 0; step < 20; step += 1) {
      if (seen.location) {
        if (callback && seen.location.href.startsWith(callback)) return seen;
        seen = await this.send(seen.location);
        continue;
      }
      const [, action, form] = /<form[^>]*action="([^"]+)"[^>]*>(.*?)<\/form>/s.exec(seen.text) ?? [];
      const asks = { password: this.person, consent: answer && { answer } }[/(password|consent)$/.exec(action)?.[1]];
      if (!asks) return seen;
      const state = /name="state" value="([^"]+)"/.exec(form)[1];
      seen = await this.submit(new URL(action, seen.url), { state, ...asks });
    }
    return assert.fail("the redirects go in circles");
  }
}

/** Signs in and consents to a request for authorization; returns where the client is called back. */
export async function consent(address, callback, answer = "allow") {
  const browser = new Browser({ email: process.env.PERSON, password: process.env.PASSWORD });
  const { location, status, text } = await browser.open(address, { callback, answer });
  return location ?? assert.fail(`no form: ${status} ${text}`);
}
