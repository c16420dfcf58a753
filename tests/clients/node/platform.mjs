// The platform under test, as the environment describes it, and the calls every suite needs.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";

const { API_URL, API_TOKEN, ACCOUNT_ID, CA_CERTIFICATE } = process.env;

export const { ACCESS_URL: access_url, CONSOLE_URL: console_url, SETUP_URL: setup_url, PROXY: proxy } = process.env;
/** The program, and the directory of the platform that runs, for what is done on its machine. */
export const { PORTUNUS: portunus, DATA: data } = process.env;
export const authority_file = CA_CERTIFICATE;
export const authority = CA_CERTIFICATE && readFileSync(CA_CERTIFICATE, "utf8");

/** The console's administrator, whom its suite makes with the setup link. */
export const OWNER = { email: "owner@acme.test", password: "correct horse battery staple" };

/** Calls the admin API and returns the result; a refusal is an error that says why. */
export async function api(method, path, body) {
  const response = await fetch(`${API_URL}/accounts/${ACCOUNT_ID}${path}`, {
    method,
    headers: { authorization: `Bearer ${API_TOKEN}`, "content-type": "application/json" },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  const answer = await response.json();
  assert.ok(answer.success, `${method} ${path}: ${JSON.stringify(answer.errors)}`);
  return answer.result;
}

/** Waits until the gateway decides by everything that was stored. */
export const settled = () => api("POST", "/portunus/snapshot/settle", {});

/** Makes a proxy token for a person who exists, and waits until the gateway knows it. */
export async function credential(email) {
  const person = (await api("GET", "/portunus/users?per_page=100")).find((known) => known.email === email);
  assert.ok(person, `${email} is not known`);
  const token = await api("POST", `/portunus/users/${person.id}/proxy_tokens`, { name: "client suite" });
  await settled();
  return { username: email, password: token.value };
}

/** Runs the parts of a suite in order and prints each that passed. */
export async function suite(name, parts) {
  for (const [fact, part] of Object.entries(parts)) {
    const started = performance.now();
    try {
      await part();
    } catch (error) {
      console.error(`${name}: FAILED: ${fact}`);
      throw error;
    }
    console.log(`${name}: ${fact} (${Math.round(performance.now() - started)} ms)`);
  }
}
