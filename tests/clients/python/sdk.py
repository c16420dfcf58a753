"""The published Python SDK against a running platform: API_URL, API_TOKEN and ACCOUNT_ID say where.

Everything is created, listed, read, changed and deleted through the SDK's own methods, paging included.
"""

import os
import time

import cloudflare
from cloudflare import Cloudflare

ACCOUNT = os.environ["ACCOUNT_ID"]
client = Cloudflare(base_url=os.environ["API_URL"], api_token=os.environ["API_TOKEN"], max_retries=0)
gateway = client.zero_trust.gateway
SUFFIX = f"{os.getpid()}-{int(time.time() * 1000)}"


def refused(status, call, *arguments, **named):
    """The call must fail with this status and an error of the envelope."""
    try:
        call(*arguments, **named)
    except cloudflare.APIStatusError as error:
        assert error.status_code == status, error
        assert error.errors[0].code >= 1000
    else:
        raise AssertionError(f"not refused: {call}")


def account():
    assert client.user.tokens.verify().status == "active"
    assert any(found.id == ACCOUNT for found in client.accounts.list())


def lists_and_rules():
    items = [{"value": "bank.example", "description": "the bank"}]
    made = gateway.lists.create(account_id=ACCOUNT, name=f"py {SUFFIX}", type="DOMAIN", items=items)
    assert made.items[0].description == "the bank"
    assert any(found.id == made.id and found.count == 1 for found in gateway.lists.list(account_id=ACCOUNT))
    gateway.lists.edit(made.id, account_id=ACCOUNT, append=[{"value": "pay.example"}], remove=["bank.example"])
    assert [item.value for item in gateway.lists.items.list(made.id, account_id=ACCOUNT)] == ["pay.example"]
    assert gateway.lists.update(made.id, account_id=ACCOUNT, name=f"py2 {SUFFIX}").name == f"py2 {SUFFIX}"

    traffic = f"any(http.request.domains[*]   in ${made.id})"
    settings = {"block_reason": "not here"}
    rule = gateway.rules.create(
        account_id=ACCOUNT, name=f"py {SUFFIX}", action="block", filters=["http"], traffic=traffic, rule_settings=settings
    )
    assert rule.traffic == traffic
    assert rule.rule_settings.to_dict() == settings
    assert any(found.id == rule.id for found in gateway.rules.list(account_id=ACCOUNT))
    changed = gateway.rules.update(rule.id, account_id=ACCOUNT, name=rule.name, action="allow", traffic=traffic)
    assert (changed.action, changed.version) == ("allow", rule.version + 1)
    assert gateway.rules.get(rule.id, account_id=ACCOUNT) == changed
    refused(409, gateway.lists.delete, made.id, account_id=ACCOUNT)
    refused(400, gateway.rules.create, account_id=ACCOUNT, name="x", action="block", traffic="http.request.hots == 1")
    gateway.rules.delete(rule.id, account_id=ACCOUNT)
    refused(404, gateway.rules.get, rule.id, account_id=ACCOUNT)
    gateway.lists.delete(made.id, account_id=ACCOUNT)


def settings():
    before = gateway.configurations.get(account_id=ACCOUNT).settings.to_dict()
    edited = gateway.configurations.edit(account_id=ACCOUNT, settings={"protocol_detection": {"enabled": True}})
    assert edited.settings.protocol_detection.enabled is True
    gateway.configurations.update(account_id=ACCOUNT, settings=before)
    assert gateway.configurations.get(account_id=ACCOUNT).settings.to_dict() == before
    logging = gateway.logging.get(account_id=ACCOUNT)
    assert gateway.logging.update(account_id=ACCOUNT, **logging.to_dict()) == logging
    assert len(list(gateway.categories.list(account_id=ACCOUNT))) > 20
    assert len(list(gateway.app_types.list(account_id=ACCOUNT))) > 30

    certificate = gateway.certificates.create(account_id=ACCOUNT, validity_period_days=90)
    assert certificate.binding_status == "inactive"
    gateway.certificates.activate(certificate.id, account_id=ACCOUNT)
    assert gateway.certificates.get(certificate.id, account_id=ACCOUNT).binding_status == "available"
    gateway.certificates.deactivate(certificate.id, account_id=ACCOUNT)
    gateway.certificates.delete(certificate.id, account_id=ACCOUNT)

    endpoint = gateway.proxy_endpoints.create(account_id=ACCOUNT, name=f"py {SUFFIX}", kind="ip")
    gateway.proxy_endpoints.edit(endpoint.id, account_id=ACCOUNT, ips=["192.0.2.0/24"])
    assert any(found.id == endpoint.id for found in gateway.proxy_endpoints.list(account_id=ACCOUNT))
    gateway.proxy_endpoints.delete(endpoint.id, account_id=ACCOUNT)


def workers_and_kv():
    scripts = client.workers.scripts
    name = f"py-{SUFFIX}"
    namespace = client.kv.namespaces.create(account_id=ACCOUNT, title=f"py {SUFFIX}")
    source = b"export default { async fetch(request: Request): Promise<Response> { return new Response('hi'); } };\n"
    bindings = [
        {"name": "GREETING", "type": "plain_text", "text": "hello"},
        {"name": "SEEN", "type": "kv_namespace", "namespace_id": namespace.id},
        {"name": "TOKEN", "type": "secret_text", "text": "hush"},
    ]
    metadata = {"main_module": "main.ts", "compatibility_date": "2026-01-01", "bindings": bindings}
    files = [("main.ts", source, "application/typescript")]
    assert scripts.update(name, account_id=ACCOUNT, metadata=metadata, files=files).id == name
    assert any(found.id == name for found in scripts.list(account_id=ACCOUNT))
    assert source.decode().strip() in scripts.get(name, account_id=ACCOUNT)
    bound = scripts.script_and_version_settings.get(name, account_id=ACCOUNT)
    assert [binding.name for binding in bound.bindings] == ["GREETING", "SEEN", "TOKEN"]
    patch = {"bindings": [{"name": "GREETING", "type": "plain_text", "text": "bye"}]}
    bound = scripts.script_and_version_settings.edit(name, account_id=ACCOUNT, settings=patch)
    assert [binding.name for binding in bound.bindings] == ["GREETING", "TOKEN"]
    secret = {"name": "OTHER", "text": "more", "type": "secret_text"}
    scripts.secrets.update(name, account_id=ACCOUNT, **secret)
    assert len(list(scripts.secrets.list(name, account_id=ACCOUNT))) == 2
    scripts.schedules.update(name, account_id=ACCOUNT, body=[{"cron": "*/30 * * * *"}])
    assert scripts.schedules.get(name, account_id=ACCOUNT).schedules[0].cron == "*/30 * * * *"
    scripts.delete(name, account_id=ACCOUNT)
    refused(404, scripts.get, name, account_id=ACCOUNT)

    values = client.kv.namespaces.values
    values.update("a/b", account_id=ACCOUNT, namespace_id=namespace.id, value=b"one", metadata={"who": "ada"})
    assert values.get("a/b", account_id=ACCOUNT, namespace_id=namespace.id).text() == "one"
    pairs = [{"key": f"k{index:02}", "value": "v"} for index in range(25)]
    client.kv.namespaces.bulk_update(namespace.id, account_id=ACCOUNT, body=pairs)
    keys = client.kv.namespaces.keys.list(namespace.id, account_id=ACCOUNT, limit=10, prefix="k")
    assert len(list(keys)) == 25
    client.kv.namespaces.delete(namespace.id, account_id=ACCOUNT)


def access():
    access, providers = client.zero_trust.access, client.zero_trust.identity_providers
    config = {"client_id": "portunus", "client_secret": "hush", "okta_account": "https://acme.okta.example"}
    provider = providers.create(account_id=ACCOUNT, name=f"Okta py {SUFFIX}", type="okta", config=config)
    assert "hush" not in provider.to_json()
    assert any(found.id == provider.id for found in providers.list(account_id=ACCOUNT))
    del config["client_secret"]
    named = f"Okta renamed py {SUFFIX}"
    providers.update(provider.id, account_id=ACCOUNT, name=named, type="okta", config=config)
    assert providers.get(provider.id, account_id=ACCOUNT).name == named

    include = [{"email_domain": {"domain": "example.com"}}]
    group = access.groups.create(account_id=ACCOUNT, name=f"staff py {SUFFIX}", include=include)
    assert any(found.id == group.id for found in access.groups.list(account_id=ACCOUNT))
    named = f"everybody py {SUFFIX}"
    access.groups.update(group.id, account_id=ACCOUNT, name=named, include=include)
    assert access.groups.get(group.id, account_id=ACCOUNT).name == named

    token = access.service_tokens.create(account_id=ACCOUNT, name=f"backup py {SUFFIX}")
    assert token.client_secret.startswith("cfast_")
    assert any(found.id == token.id for found in access.service_tokens.list(account_id=ACCOUNT))
    access.service_tokens.update(token.id, account_id=ACCOUNT, name=f"nightly py {SUFFIX}", duration="8760h")
    access.service_tokens.refresh(token.id, account_id=ACCOUNT)
    assert access.service_tokens.rotate(token.id, account_id=ACCOUNT).client_secret != token.client_secret

    include = [{"group": {"id": group.id}}]
    policy = access.policies.create(account_id=ACCOUNT, name=f"staff py {SUFFIX}", decision="allow", include=include)
    assert any(found.id == policy.id for found in access.policies.list(account_id=ACCOUNT))
    access.policies.update(policy.id, account_id=ACCOUNT, name=named, decision="allow", include=include)
    assert access.policies.get(policy.id, account_id=ACCOUNT).name == named

    domain = f"wiki-py-{SUFFIX}.example.com"
    links = [{"id": policy.id, "precedence": 1}]
    application = access.applications.create(
        account_id=ACCOUNT, type="self_hosted", name=f"Wiki py {SUFFIX}", domain=domain, policies=links
    )
    assert application.policies[0].id == policy.id
    assert any(found.id == application.id for found in access.applications.list(account_id=ACCOUNT))
    access.applications.update(
        application.id, account_id=ACCOUNT, type="self_hosted", name=f"Handbook py {SUFFIX}", domain=domain
    )
    assert access.applications.get(application.id, account_id=ACCOUNT).name == f"Handbook py {SUFFIX}"
    assert [found.id for found in access.applications.policies.list(application.id, account_id=ACCOUNT)] == [policy.id]

    test = access.applications.policy_tests.create(account_id=ACCOUNT, policies=[policy.id])
    report = access.applications.policy_tests.get(test.id, account_id=ACCOUNT)
    assert report.status == "complete" and report.percent_users_processed == 100
    assert list(access.applications.policy_tests.users.list(test.id, account_id=ACCOUNT, status="fail")) == []
    refused(400, access.applications.user_policy_checks.list, application.id, account_id=ACCOUNT)
    access.applications.settings.update(application.id, account_id=ACCOUNT, allow_iframe=True)
    access.logs.access_requests.list(account_id=ACCOUNT, limit=5, direction="desc")
    person = access.users.create(account_id=ACCOUNT, email=f"ada-py-{SUFFIX}@example.com", name="Ada")
    assert any(found.id == person.id for found in access.users.list(account_id=ACCOUNT, email=person.email))
    assert list(access.users.active_sessions.list(person.id, account_id=ACCOUNT)) == []
    assert list(access.users.failed_logins.list(person.id, account_id=ACCOUNT)) == []
    assert client.zero_trust.organizations.revoke_users(account_id=ACCOUNT, email=person.email) is True
    access.users.delete(person.id, account_id=ACCOUNT)
    assert access.keys.update(account_id=ACCOUNT, key_rotation_interval_days=41).key_rotation_interval_days == 41

    refused(409, access.policies.delete, policy.id, account_id=ACCOUNT)
    access.applications.delete(application.id, account_id=ACCOUNT)
    refused(404, access.applications.get, application.id, account_id=ACCOUNT)
    access.policies.delete(policy.id, account_id=ACCOUNT)
    access.groups.delete(group.id, account_id=ACCOUNT)
    access.service_tokens.delete(token.id, account_id=ACCOUNT)
    providers.delete(provider.id, account_id=ACCOUNT)


def mcp():
    portals, servers = (getattr(client.zero_trust.access.ai_controls.mcp, name) for name in ("portals", "servers"))
    named = f"wiki-py-{SUFFIX}"
    server = servers.create(
        id=named,
        account_id=ACCOUNT,
        name="Wiki",
        hostname="https://wiki.example.com/mcp",
        auth_type="bearer",
        auth_credentials="hush",
    )
    assert (server.id, server.status, server.tools) == (named, "waiting", [])
    assert any(found.id == named for found in servers.list(account_id=ACCOUNT, search=named))
    assert servers.update(named, account_id=ACCOUNT, description="Pages").description == "Pages"
    portal = portals.create(
        id=f"staff-py-{SUFFIX}",
        account_id=ACCOUNT,
        name="Staff",
        hostname=f"mcp-py-{SUFFIX}.example.com",
        servers=[{"server_id": named}],
    )
    assert portal.servers[0].server_id == named
    assert any(found.id == portal.id for found in portals.list(account_id=ACCOUNT, search=portal.hostname))
    assert portals.update(portal.id, account_id=ACCOUNT, name="Everybody").name == "Everybody"
    assert portals.read(portal.id, account_id=ACCOUNT).servers[0].hostname == "https://wiki.example.com/mcp"
    refused(409, servers.delete, named, account_id=ACCOUNT)
    portals.delete(portal.id, account_id=ACCOUNT)
    servers.delete(named, account_id=ACCOUNT)
    refused(404, servers.read, named, account_id=ACCOUNT)


account()
lists_and_rules()
settings()
workers_and_kv()
access()
mcp()
print("python SDK: account, lists, rules, settings, certificates, proxy endpoints, Workers, KV, Access, MCP")
