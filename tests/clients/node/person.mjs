// A person with a browser, as far as sign-in and consent go: a cookie jar, redirects, forms.
import { Agent, request, fetch as send } from "undici";
import assert from "node:assert/strict";

import { authority } from "./platform.mjs";

const { PERSON, PASSWORD } = process.env;

// Every host of the platform is on this machine.
const dispatcher = new Agent({
  connect: { ca: authority, lookup: (_, options, done) => done(null, options.all ? [{ address: "127.0.0.1", family: 4 }] : "127.0.0.1", 4) },
});

/** fetch as agents use it: no cookies, names of the platform found here. */
export const fetch = (url, options = {}) => send(url, { ...options, dispatcher });

/** Signs in and consents to a request for authorization; returns where the client is called back. */
export async function consent(address, callback, answer = "allow") {
  const jar = new Map();
  let [url, options] = [new URL(address), {}];
  for (let step = 0; step < 20; step += 1) {
    const cookies = [...(jar.get(url.host) ?? new Map())].map(([name, value]) => `${name}=${value}`).join("; ");
    const headers = { accept: "text/html", ...(cookies && { cookie: cookies }), ...options.headers };
    // Not fetch, which says of itself that it is no navigation.
    const response = await request(url, { dispatcher, ...options, headers });
    for (const cookie of [response.headers["set-cookie"] ?? []].flat()) {
      const [, name, value] = /^([^=]+)=([^;]*)/.exec(cookie);
      if (!jar.has(url.host)) jar.set(url.host, new Map());
      if (cookie.includes("Max-Age=0")) jar.get(url.host).delete(name);
      else jar.get(url.host).set(name, value);
    }
    const { location } = response.headers;
    if (location) {
      await response.body.dump();
      url = new URL(location, url);
      if (url.href.startsWith(callback)) return url;
      options = {};
      continue;
    }
    const page = await response.body.text();
    const [, action, form] = /<form[^>]*action="([^"]+)"[^>]*>(.*?)<\/form>/s.exec(page) ?? assert.fail(`no form: ${response.statusCode} ${page}`);
    const state = /name="state" value="([^"]+)"/.exec(form)[1];
    const fields = action.endsWith("password") ? { email: PERSON, password: PASSWORD } : { answer };
    url = new URL(action, url);
    options = {
      method: "POST",
      body: new URLSearchParams({ state, ...fields }).toString(),
      headers: { "content-type": "application/x-www-form-urlencoded", origin: url.origin },
    };
  }
  return assert.fail("the redirects go in circles");
}
