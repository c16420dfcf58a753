"""Python requests through interception: PROXY, CA_CERTIFICATE and the API's address say where."""

import os
from urllib.parse import quote, urlsplit

import requests

ACCOUNT = f"{os.environ['API_URL']}/accounts/{os.environ['ACCOUNT_ID']}"
AUTHORITY = os.environ["CA_CERTIFICATE"]
PROXY = urlsplit(os.environ["PROXY"])
TIMEOUT = 60


def api(method, path, **body):
    """Calls the admin API and returns the result."""
    headers = {"Authorization": f"Bearer {os.environ['API_TOKEN']}"}
    answer = requests.request(method, ACCOUNT + path, headers=headers, json=body or None, timeout=TIMEOUT).json()
    assert answer["success"], answer["errors"]
    return answer["result"]


def session(email, token, authority=AUTHORITY):
    """What a program of this person uses."""
    made = requests.Session()
    made.trust_env = False
    made.proxies["https"] = f"http://{quote(email, safe='')}:{token}@{PROXY.netloc}"
    made.verify = authority
    return made


def credential(email):
    """Makes a proxy token for a person who exists, and waits until the gateway knows it."""
    person = next(known for known in api("GET", "/portunus/users?per_page=100") if known["email"] == email)
    token = api("POST", f"/portunus/users/{person['id']}/proxy_tokens", name="client suite")["value"]
    api("POST", "/portunus/snapshot/settle")
    return token


ana, ben = (session(email, credential(email)) for email in ("ana@acme.test", "ben@acme.test"))

page = ana.get("https://finance.acme.test/", timeout=TIMEOUT)
assert page.status_code == 200 and "x-training-valid-until: 2027-06-30" in page.text, page.text
sent = ben.get("https://finance.acme.test/", timeout=TIMEOUT)
assert [hop.status_code for hop in sent.history] == [302], sent.history
assert sent.url.startswith("https://learning.acme.test/compliance?from=") and "Compliance training" in sent.text
moved = ana.get("https://finance.acme.test/reports-2019/q3", allow_redirects=False, timeout=TIMEOUT)
assert moved.is_redirect and moved.headers["location"].startswith("https://finance.acme.test/archive"), moved.headers
print("python through the proxy: rules decide for the person of the credential")

blocked = ana.get("https://chat.openmind.test/", headers={"Accept": "application/json"}, timeout=TIMEOUT)
assert blocked.status_code == 403 and "has not been reviewed" in blocked.text, blocked.text
blocked.json()
print("python through the proxy: a block is JSON for a program")

try:
    session("ana@acme.test", "ptn_wrong").get("https://finance.acme.test/", timeout=TIMEOUT)
except requests.exceptions.ProxyError as error:
    assert "407" in str(error), error
else:
    raise AssertionError("a wrong credential was not refused")
print("python through the proxy: a wrong credential is refused with 407")

try:
    session("ana@acme.test", credential("ana@acme.test"), authority=True).get("https://finance.acme.test/", timeout=TIMEOUT)
except requests.exceptions.SSLError:
    pass
else:
    raise AssertionError("a client without the authority did not refuse")
print("python through the proxy: a client without the authority refuses")
