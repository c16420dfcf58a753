// The published TypeScript SDK against a running platform: API_URL, API_TOKEN and ACCOUNT_ID say where.
// Everything is created, listed, read, changed and deleted through the SDK's own methods, paging included.
import assert from "node:assert/strict";
import Cloudflare, { toFile } from "cloudflare";

const { API_URL, API_TOKEN, ACCOUNT_ID: account_id } = process.env;
const client = new Cloudflare({ baseURL: API_URL, apiToken: API_TOKEN, maxRetries: 0 });
const gateway = client.zeroTrust.gateway;
const suffix = `${process.pid}-${Date.now()}`;

/** Reads every page, as the SDK iterates. */
async function all(pages) {
  const items = [];
  for await (const item of pages) items.push(item);
  return items;
}

async function refused(promise, status) {
  await assert.rejects(promise, (error) => {
    assert.equal(error.status, status, error.message);
    assert.ok(error.errors[0].code >= 1000);
    return true;
  });
}

async function accountAndTokens() {
  const verified = await client.user.tokens.verify();
  assert.equal(verified.status, "active");
  assert.ok((await all(client.accounts.list())).some((account) => account.id === account_id));
  const token = await client.accounts.tokens.create({
    account_id,
    name: `sdk ${suffix}`,
    policies: [
      {
        effect: "allow",
        permission_groups: [{ id: await groupId("Zero Trust Read") }],
        resources: { [`com.cloudflare.api.account.${account_id}`]: "*" },
      },
    ],
  });
  const weak = new Cloudflare({ baseURL: API_URL, apiToken: token.value, maxRetries: 0 });
  await all(weak.zeroTrust.gateway.rules.list({ account_id }));
  await refused(weak.zeroTrust.gateway.rules.create({ account_id, name: "x", action: "block" }), 403);
  assert.ok((await all(client.accounts.tokens.list({ account_id }))).some((listed) => listed.id === token.id));
  await client.accounts.tokens.delete(token.id, { account_id });
  await refused(weak.zeroTrust.gateway.rules.list({ account_id }), 401);
}

async function groupId(name) {
  const groups = await all(client.accounts.tokens.permissionGroups.list({ account_id }));
  return groups.find((group) => group.name === name).id;
}

async function lists() {
  const list = await gateway.lists.create({
    account_id,
    name: `sites ${suffix}`,
    type: "DOMAIN",
    items: [{ value: "bank.example", description: "the bank" }],
  });
  assert.equal(list.items[0].description, "the bank");
  assert.ok((await all(gateway.lists.list({ account_id }))).some((listed) => listed.id === list.id && listed.count === 1));
  await gateway.lists.edit(list.id, { account_id, append: [{ value: "pay.example" }], remove: ["bank.example"] });
  const items = await all(gateway.lists.items.list(list.id, { account_id }));
  assert.deepEqual(items.map((item) => item.value), ["pay.example"]);
  const renamed = await gateway.lists.update(list.id, { account_id, name: `renamed ${suffix}` });
  assert.equal(renamed.name, `renamed ${suffix}`);
  assert.equal((await gateway.lists.get(list.id, { account_id })).name, renamed.name);
  return list;
}

async function rules(list) {
  const traffic = `any(http.request.domains[*]   in $${list.id})`;
  const rule = await gateway.rules.create({
    account_id,
    name: `block ${suffix}`,
    action: "block",
    filters: ["http"],
    enabled: true,
    traffic,
    rule_settings: { block_reason: "not here" },
  });
  assert.equal(rule.traffic, traffic);
  assert.deepEqual(rule.rule_settings, { block_reason: "not here" });
  assert.ok((await all(gateway.rules.list({ account_id }))).some((listed) => listed.id === rule.id));
  const changed = await gateway.rules.update(rule.id, { account_id, name: rule.name, action: "allow", filters: ["http"], enabled: false, traffic });
  assert.equal(changed.action, "allow");
  assert.equal(changed.version, rule.version + 1);
  assert.deepEqual(await gateway.rules.get(rule.id, { account_id }), changed);
  assert.deepEqual(await all(gateway.rules.listTenant({ account_id })), []);
  await refused(gateway.lists.delete(list.id, { account_id }), 409);
  await refused(gateway.rules.create({ account_id, name: "x", action: "block", traffic: "http.request.hots == 1" }), 400);
  await gateway.rules.delete(rule.id, { account_id });
  await refused(gateway.rules.get(rule.id, { account_id }), 404);
  await gateway.lists.delete(list.id, { account_id });
}

async function settings() {
  const before = await gateway.configurations.get({ account_id });
  await gateway.configurations.update({ account_id, settings: { ...before.settings, activity_log: { enabled: true } } });
  const edited = await gateway.configurations.edit({ account_id, settings: { protocol_detection: { enabled: true } } });
  assert.deepEqual(edited.settings.activity_log, { enabled: true });
  await gateway.configurations.update({ account_id, settings: before.settings });
  assert.deepEqual((await gateway.configurations.get({ account_id })).settings, before.settings);

  const logging = await gateway.logging.get({ account_id });
  assert.deepEqual(await gateway.logging.update({ account_id, ...logging }), logging);
  assert.ok((await all(gateway.categories.list({ account_id }))).length > 20);
  assert.ok((await all(gateway.appTypes.list({ account_id }))).length > 30);
  assert.equal((await gateway.list({ account_id })).id, account_id);

  const certificate = await gateway.certificates.create({ account_id, validity_period_days: 90 });
  assert.equal(certificate.binding_status, "inactive");
  assert.equal((await gateway.certificates.activate(certificate.id, { account_id, body: {} })).binding_status, "available");
  assert.ok((await all(gateway.certificates.list({ account_id }))).some((listed) => listed.id === certificate.id));
  await gateway.certificates.deactivate(certificate.id, { account_id, body: {} });
  await gateway.certificates.delete(certificate.id, { account_id });

  const endpoint = await gateway.proxyEndpoints.create({ account_id, name: `office ${suffix}`, ips: ["192.0.2.0/24"] });
  const changed = await gateway.proxyEndpoints.edit(endpoint.id, { account_id, ips: ["198.51.100.0/24"] });
  assert.deepEqual(changed.ips, ["198.51.100.0/24"]);
  assert.ok((await all(gateway.proxyEndpoints.list({ account_id }))).some((listed) => listed.id === endpoint.id));
  await gateway.proxyEndpoints.delete(endpoint.id, { account_id });
}

async function workers() {
  const scripts = client.workers.scripts;
  const name = `sdk-${suffix}`;
  const source = "export default { async fetch(request: Request): Promise<Response> { return new Response('hi'); } };\n";
  const namespace = await client.kv.namespaces.create({ account_id, title: `sdk ${suffix}` });
  const script = await scripts.update(name, {
    account_id,
    metadata: {
      main_module: "main.ts",
      compatibility_date: "2026-01-01",
      bindings: [
        { name: "GREETING", type: "plain_text", text: "hello" },
        { name: "SEEN", type: "kv_namespace", namespace_id: namespace.id },
        { name: "LIMIT", type: "ratelimit", namespace_id: "1", simple: { limit: 10, period: 60 } },
        { name: "TOKEN", type: "secret_text", text: "hush" },
      ],
    },
    files: [
      await toFile(Buffer.from(source), "main.ts", { type: "application/typescript" }),
      await toFile(Buffer.from("export const answer = 42;"), "util.mjs", { type: "application/javascript+module" }),
    ],
  });
  assert.equal(script.id, name);
  assert.ok((await all(scripts.list({ account_id }))).some((listed) => listed.id === name));
  assert.ok((await scripts.get(name, { account_id })).includes(source.trim()));
  assert.ok((await (await scripts.content.get(name, { account_id })).text()).includes("answer = 42"));

  const bound = await scripts.scriptAndVersionSettings.get(name, { account_id });
  assert.deepEqual(bound.bindings.map((binding) => binding.name), ["GREETING", "SEEN", "LIMIT", "TOKEN"]);
  assert.deepEqual(bound.bindings[2].simple, { limit: 10, period: 60 });
  assert.ok(!JSON.stringify(bound).includes("hush"));
  const tagged = await scripts.settings.edit(name, { account_id, tags: ["sdk"] });
  assert.deepEqual(tagged.tags, ["sdk"]);

  await scripts.secrets.update(name, { account_id, name: "OTHER", text: "more", type: "secret_text" });
  assert.deepEqual((await all(scripts.secrets.list(name, { account_id }))).map((secret) => secret.name).sort(), ["OTHER", "TOKEN"]);
  assert.equal((await scripts.secrets.get("OTHER", { account_id, script_name: name })).name, "OTHER");
  await scripts.secrets.delete("OTHER", { account_id, script_name: name });

  await scripts.schedules.update(name, { account_id, body: [{ cron: "*/30 * * * *" }] });
  assert.equal((await scripts.schedules.get(name, { account_id })).schedules[0].cron, "*/30 * * * *");
  const versions = await all(scripts.versions.list(name, { account_id }));
  assert.equal(versions.length, 1);
  assert.equal((await scripts.versions.get(versions[0].id, { account_id, script_name: name })).number, 1);
  await refused(
    scripts.update("broken", {
      account_id,
      metadata: { main_module: "a.ts" },
      files: [await toFile(Buffer.from("export default {"), "a.ts", { type: "application/typescript" })],
    }),
    400,
  );
  await scripts.delete(name, { account_id });
  await refused(scripts.get(name, { account_id }), 404);
  return namespace;
}

async function kv(namespace) {
  const id = namespace.id;
  await client.kv.namespaces.values.update("a/b", { account_id, namespace_id: id, value: "one", metadata: { who: "ada" } });
  assert.equal(await (await client.kv.namespaces.values.get("a/b", { account_id, namespace_id: id })).text(), "one");
  assert.deepEqual(await client.kv.namespaces.metadata.get("a/b", { account_id, namespace_id: id }), { who: "ada" });
  const body = Array.from({ length: 25 }, (_, index) => ({ key: `k${String(index).padStart(2, "0")}`, value: "v" }));
  assert.equal((await client.kv.namespaces.keys.bulkUpdate(id, { account_id, body })).successful_key_count, 25);
  const keys = await all(client.kv.namespaces.keys.list(id, { account_id, limit: 10, prefix: "k" }));
  assert.equal(keys.length, 25);
  const read = await client.kv.namespaces.keys.bulkGet(id, { account_id, keys: ["k00", "none"] });
  assert.deepEqual(read.values, { k00: "v", none: null });
  await client.kv.namespaces.keys.bulkDelete(id, { account_id, body: body.map((pair) => pair.key) });
  await client.kv.namespaces.values.delete("a/b", { account_id, namespace_id: id });
  await refused(client.kv.namespaces.values.get("a/b", { account_id, namespace_id: id }), 404);
  assert.equal((await client.kv.namespaces.update(id, { account_id, title: `renamed ${suffix}` })).title, `renamed ${suffix}`);
  assert.ok((await all(client.kv.namespaces.list({ account_id }))).some((listed) => listed.id === id));
  await client.kv.namespaces.delete(id, { account_id });
}

async function access() {
  const { access, identityProviders, organizations } = client.zeroTrust;
  const provider = await identityProviders.create({
    account_id,
    name: `Okta ${suffix}`,
    type: "okta",
    config: { client_id: "portunus", client_secret: "hush", okta_account: "https://acme.okta.example" },
  });
  assert.ok(!JSON.stringify(provider).includes("hush"));
  assert.ok((await all(identityProviders.list({ account_id }))).some((listed) => listed.id === provider.id));
  const renamed = await identityProviders.update(provider.id, {
    account_id,
    name: `Okta renamed ${suffix}`,
    type: "okta",
    config: { client_id: "portunus", okta_account: "https://acme.okta.example" },
  });
  assert.equal((await identityProviders.get(provider.id, { account_id })).name, renamed.name);

  const group = await access.groups.create({
    account_id,
    name: `staff ${suffix}`,
    include: [{ email_domain: { domain: "example.com" } }],
  });
  assert.ok((await all(access.groups.list({ account_id }))).some((listed) => listed.id === group.id));
  const changed = await access.groups.update(group.id, {
    account_id,
    name: group.name,
    include: [{ email: { email: "ada@example.com" } }],
  });
  assert.deepEqual((await access.groups.get(group.id, { account_id })).include, changed.include);

  const token = await access.serviceTokens.create({ account_id, name: `backup ${suffix}`, duration: "60m" });
  assert.ok(token.client_secret.startsWith("cfast_"));
  assert.ok((await all(access.serviceTokens.list({ account_id }))).some((listed) => listed.id === token.id));
  assert.equal((await access.serviceTokens.update(token.id, { account_id, name: token.name, duration: "8760h" })).duration, "8760h");
  await access.serviceTokens.refresh(token.id, { account_id });
  assert.notEqual((await access.serviceTokens.rotate(token.id, { account_id })).client_secret, token.client_secret);
  assert.equal((await access.serviceTokens.get(token.id, { account_id })).client_secret, undefined);

  const policy = await access.policies.create({
    account_id,
    name: `staff ${suffix}`,
    decision: "allow",
    include: [{ group: { id: group.id } }],
  });
  assert.ok((await all(access.policies.list({ account_id }))).some((listed) => listed.id === policy.id));
  const renamedPolicy = await access.policies.update(policy.id, {
    account_id,
    name: `everybody ${suffix}`,
    decision: "allow",
    include: [{ group: { id: group.id } }],
    require: [{ geo: { country_code: "DE" } }],
  });
  assert.equal((await access.policies.get(policy.id, { account_id })).require.length, renamedPolicy.require.length);

  const application = await access.applications.create({
    account_id,
    type: "self_hosted",
    name: `Wiki ${suffix}`,
    domain: `wiki-${suffix}.example.com`,
    allowed_idps: [provider.id],
    policies: [{ id: policy.id, precedence: 1 }],
  });
  assert.equal(application.policies[0].id, policy.id);
  assert.ok((await all(access.applications.list({ account_id }))).some((listed) => listed.id === application.id));
  const updated = await access.applications.update(application.id, {
    account_id,
    type: "self_hosted",
    name: `Handbook ${suffix}`,
    domain: application.domain,
    session_duration: "8h",
  });
  assert.equal((await access.applications.get(application.id, { account_id })).session_duration, updated.session_duration);
  const own = await access.applications.policies.create(application.id, {
    account_id,
    name: "machines",
    decision: "non_identity",
    include: [{ service_token: { token_id: token.id } }],
  });
  const listedPolicies = await all(access.applications.policies.list(application.id, { account_id }));
  assert.deepEqual(listedPolicies.map((listed) => listed.id), [policy.id, own.id]);
  await access.applications.policies.delete(own.id, { account_id, app_id: application.id });
  await access.applications.revokeTokens(application.id, { account_id });
  await access.applications.settings.update(application.id, { account_id, allow_iframe: true });
  await refused(access.applications.userPolicyChecks.list(application.id, { account_id }), 400);

  const test = await access.applications.policyTests.create({
    account_id,
    policies: [{ name: "staff", decision: "allow", include: [{ email_domain: { domain: "example.com" } }] }],
  });
  assert.equal(test.status, "success");
  const report = await access.applications.policyTests.get(test.id, { account_id });
  assert.equal(report.status, "complete");
  assert.equal(report.percent_users_processed, 100);
  assert.deepEqual(await all(access.applications.policyTests.users.list(test.id, { account_id, status: "fail" })), []);
  const logins = await access.logs.accessRequests.list({ account_id, limit: 5, direction: "desc" });
  assert.ok(Array.isArray(logins.result ?? logins));

  await access.tags.create({ account_id, name: `tag-${suffix}` });
  assert.ok((await all(access.tags.list({ account_id }))).some((listed) => listed.name === `tag-${suffix}`));
  assert.equal((await access.tags.get(`tag-${suffix}`, { account_id })).name, `tag-${suffix}`);
  await access.tags.delete(`tag-${suffix}`, { account_id });
  const page = await access.customPages.create({ account_id, name: `no ${suffix}`, type: "forbidden", custom_html: "<h1>No</h1>" });
  const identified = page.uid ?? page.id;
  assert.ok((await all(access.customPages.list({ account_id }))).some((listed) => listed.uid === identified));
  assert.equal((await access.customPages.get(identified, { account_id })).custom_html, "<h1>No</h1>");
  await access.customPages.update(identified, { account_id, name: `never ${suffix}`, type: "forbidden", custom_html: "<h1>Never</h1>" });
  await access.customPages.delete(identified, { account_id });
  assert.ok(Array.isArray(await all(access.bookmarks.list({ account_id }))));
  assert.equal((await access.keys.update({ account_id, key_rotation_interval_days: 40 })).key_rotation_interval_days, 40);
  assert.equal((await access.keys.rotate({ account_id })).days_until_next_rotation, 40);
  const hosts = [{ hostname: "wiki.example.com", china_network: false, client_certificate_forwarding: true }];
  await access.certificates.settings.update({ account_id, settings: hosts });
  assert.equal((await all(access.certificates.settings.get({ account_id })))[0].hostname, "wiki.example.com");
  assert.ok((await access.keys.get({ account_id })).key_rotation_interval_days >= 21);
  await organizations.update({ account_id, session_duration: "24h" });
  assert.equal((await organizations.list({ account_id })).session_duration, "24h");
  const person = await access.users.create({ account_id, email: `ada-${suffix}@example.com`, name: "Ada" });
  assert.ok((await all(access.users.list({ account_id, email: person.email }))).some((listed) => listed.id === person.id));
  assert.deepEqual(await all(access.users.activeSessions.list(person.id, { account_id })), []);
  assert.deepEqual(await all(access.users.failedLogins.list(person.id, { account_id })), []);
  await refused(access.users.lastSeenIdentity.get(person.id, { account_id }), 404);
  assert.equal(await organizations.revokeUsers({ account_id, email: person.email }), true);
  const seat = (seat_uid) => ({ account_id, body: [{ seat_uid, access_seat: false, gateway_seat: false }] });
  const seats = await all(client.zeroTrust.seats.edit(seat(person.seat_uid)));
  assert.deepEqual(seats.map(({ seat_uid, access_seat }) => [seat_uid, access_seat]), [[person.seat_uid, false]]);
  await refused(client.zeroTrust.seats.edit(seat("00000000-0000-4000-8000-000000000000")), 400);
  await access.users.delete(person.id, { account_id });

  await refused(access.groups.delete(group.id, { account_id }), 409);
  await refused(access.applications.create({ account_id, type: "self_hosted", domain: "https://x" }), 400);
  await access.applications.delete(application.id, { account_id });
  await refused(access.applications.get(application.id, { account_id }), 404);
  await access.policies.delete(policy.id, { account_id });
  await access.groups.delete(group.id, { account_id });
  await access.serviceTokens.delete(token.id, { account_id });
  await identityProviders.delete(provider.id, { account_id });
}

async function mcp() {
  const { portals, servers } = client.zeroTrust.access.aiControls.mcp;
  const id = `jira-${suffix}`;
  const server = await servers.create({
    account_id,
    id,
    name: "Jira",
    hostname: "https://jira.example.com/mcp",
    auth_type: "bearer",
    auth_credentials: JSON.stringify({ headers: { "X-Key": "hush" } }),
    updated_tools: [{ name: "delete_issue", enabled: false }],
  });
  assert.deepEqual([server.id, server.status, server.authentication_status], [id, "waiting", "connected"]);
  assert.ok(!JSON.stringify(server).includes("hush"));
  assert.ok((await all(servers.list({ account_id, search: id, per_page: 1 }))).some((listed) => listed.id === id));
  assert.equal((await servers.update(id, { account_id, description: "Tickets" })).description, "Tickets");
  assert.deepEqual((await servers.read(id, { account_id })).updated_tools, server.updated_tools);
  await refused(servers.create({ account_id, id: "a_b", name: "x", hostname: "https://x.example/mcp", auth_type: "oauth" }), 400);

  const portal = await portals.create({
    account_id,
    id: `staff-${suffix}`,
    name: "Staff",
    hostname: `mcp-${suffix}.example.com`,
    servers: [{ server_id: id, on_behalf: false, updated_tools: [{ name: "get_issue", alias: "look_up" }] }],
  });
  assert.deepEqual([portal.code_mode, portal.allow_code_mode, portal.servers[0].server_id], ["opt_in", true, id]);
  assert.equal(portal.servers[0].updated_tools[0].portal_alias, "look_up");
  assert.ok((await all(portals.list({ account_id, search: portal.hostname }))).some((listed) => listed.id === portal.id));
  assert.equal((await portals.update(portal.id, { account_id, code_mode: "enforced" })).servers.length, 1);
  assert.equal((await portals.read(portal.id, { account_id })).code_mode, "enforced");
  await refused(portals.update(portal.id, { account_id, code_mode: "off", allow_code_mode: true }), 400);
  const types = (await all(client.zeroTrust.access.applications.list({ account_id }))).map((application) => application.type);
  assert.ok(types.includes("mcp") && types.includes("mcp_portal"));
  await refused(servers.delete(id, { account_id }), 409);
  assert.equal((await portals.delete(portal.id, { account_id })).id, portal.id);
  assert.equal((await servers.delete(id, { account_id })).id, id);
  await refused(servers.read(id, { account_id }), 404);
}

await accountAndTokens();
await rules(await lists());
await settings();
await kv(await workers());
await access();
await mcp();
console.log("node SDK: accounts, tokens, lists, rules, settings, certificates, proxy endpoints, Workers, KV, Access, MCP");
