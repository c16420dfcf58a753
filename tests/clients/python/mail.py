"""The outbox against aiosmtpd, over implicit TLS and over STARTTLS, and a sign-in with the code that is mailed.

API_URL, API_TOKEN, ACCOUNT_ID and ACCESS_URL say where.
"""

import email
import email.policy
import html
import http.server
import os
import pathlib
import queue
import re
import ssl
import tempfile
import threading
from urllib.parse import urljoin, urlsplit

import requests
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult
from authority import authority
from person import AUTHORITY

ACCOUNT = f"{os.environ['API_URL']}/accounts/{os.environ['ACCOUNT_ID']}"
HOST = f"notes.localhost:{urlsplit(os.environ['ACCESS_URL']).port}"
PATIENCE = 60
taken = queue.Queue()


def account(method, path, body=None):
    headers = {"Authorization": f"Bearer {os.environ['API_TOKEN']}"}
    answer = requests.request(method, f"{ACCOUNT}{path}", json=body, headers=headers, timeout=PATIENCE)
    assert answer.ok, answer.text
    return answer.json()["result"]


def api(method, path, body=None):
    return account(method, f"/portunus{path}", body)


class Keep:
    async def handle_DATA(self, server, session, envelope):
        taken.put((session.authenticated, envelope))
        return "250 kept"


class Server(Controller):
    """A mail server on a free port."""

    def _trigger_server(self):
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()


def check(_server, _session, _envelope, _mechanism, given):
    return AuthResult(success=(given.login, given.password) == (b"portunus", b"correct horse"))


def browser():
    """Somebody with a browser and nothing in it."""
    session = requests.Session()
    session.verify = AUTHORITY
    session.trust_env = False
    session.headers["Accept"] = "text/html"
    return session


def submit(session, page, action, **fields):
    """Sends the form of a page."""
    found = re.search(rf'<form[^>]*action="([^"]+/{action})"[^>]*>(.*?)</form>', page.text, re.S)
    assert found, page.text
    state = html.unescape(re.search(r'name="state" value="([^"]+)"', found.group(2)).group(1))
    return session.post(urljoin(page.url, found.group(1)), data={"state": state, **fields}, timeout=PATIENCE)


class Notes(http.server.BaseHTTPRequestHandler):
    """The application: it says who it is told is there."""

    def do_GET(self):
        body = self.headers["Cf-Access-Authenticated-User-Email"].encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def by_mail():
    """Whoever a policy covers gets a code and signs in with it, once; whoever it does not is answered alike and gets none."""
    notes = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Notes)
    threading.Thread(target=notes.serve_forever, daemon=True).start()
    made = account("POST", "/access/identity_providers", {"name": "Mail", "type": "onetimepin", "config": {}})
    assert made["config"]["redirect_url"].endswith("/cdn-cgi/access/callback"), made
    app = {
        "type": "self_hosted",
        "name": "Notes",
        "domain": "notes.localhost",
        "allowed_idps": [made["id"]],
        "portunus": {"origin": {"url": f"http://127.0.0.1:{notes.server_port}"}},
        "policies": [{"name": "Staff", "decision": "allow", "include": [{"email_domain": {"domain": "example.test"}}]}],
    }
    app = account("POST", "/access/apps", app)
    api("POST", "/snapshot/settle", {})
    ada, eve = browser(), browser()
    answers = {}
    for somebody, address in [(eve, "eve@elsewhere.test"), (ada, "ada@example.test")]:
        page = somebody.get(f"https://{HOST}/", timeout=PATIENCE)
        answers[address] = submit(somebody, page, "pin", email=address)
        assert answers[address].status_code == 200 and "a code has been sent to it" in answers[address].text
    _, envelope = taken.get(timeout=PATIENCE)
    assert envelope.rcpt_tos == ["ada@example.test"], envelope.rcpt_tos
    message = email.message_from_bytes(envelope.content, policy=email.policy.default)
    assert message.get_content_type() == "multipart/alternative" and message["Auto-Submitted"] == "auto-generated"
    text, page = (message.get_body((kind,)).get_content() for kind in ("plain", "html"))
    assert envelope.content.isascii() and "Notes" in text
    (code,) = re.findall(r"^(\d{6})\s*$", text, re.M)
    assert f">{code}<" in page and code not in message["Subject"]
    asked = answers["ada@example.test"]
    stolen = submit(eve, answers["eve@elsewhere.test"], "pin-code", code=code)
    assert stolen.status_code == 401 and "does not have access" in stolen.text, stolen.text
    entered = submit(ada, asked, "pin-code", code=code)
    assert (entered.url, entered.text) == (f"https://{HOST}/", "ada@example.test")
    who = ada.get(f"https://{HOST}/cdn-cgi/access/get-identity", timeout=PATIENCE).json()
    assert (who["email"], who["idp"]["type"]) == ("ada@example.test", "onetimepin"), who
    # What bound the sign-in to this browser is gone with it.
    assert submit(ada, asked, "pin-code", code=code).status_code == 400
    account("DELETE", f"/access/apps/{app['id']}")
    account("DELETE", f"/access/identity_providers/{made['id']}")
    notes.shutdown()


root, identity = authority()
with tempfile.TemporaryDirectory() as directory:
    file = pathlib.Path(directory, "identity.pem")
    file.write_bytes(identity)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(file)

before = api("GET", "/network")
api("PUT", "/network", {**before, "roots": [*before.get("roots", []), root]})
# With TLS from the first byte aiosmtpd itself does not know that a password is safe.
for protection, how in [
    ("implicit", {"ssl_context": context, "auth_require_tls": False}),
    ("starttls", {"tls_context": context, "require_starttls": True}),
]:
    server = Server(Keep(), hostname="127.0.0.1", port=0, authenticator=check, auth_required=True, **how)
    server.start()
    try:
        settings = {
            "host": "127.0.0.1",
            "port": server.port,
            "tls": protection,
            "username": "portunus",
            "password": "correct horse",
            "from": "Portunus <portunus@example.test>",
        }
        api("PUT", "/mail_server", settings)
        asked = api("POST", "/mail_server/test", {"to": f"{protection}@example.test"})
        authenticated, envelope = taken.get(timeout=PATIENCE)
        assert authenticated
        assert (envelope.mail_from, envelope.rcpt_tos) == ("portunus@example.test", [f"{protection}@example.test"])
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        assert message["Subject"] == asked["subject"] and message["Message-ID"] == f"<{asked['id']}@example.test>"
        assert message["Date"].datetime and message["Auto-Submitted"] == "auto-generated"
        assert "arrives" in message.get_content(), message
        if protection == "starttls":
            by_mail()
    finally:
        server.stop()
api("DELETE", "/mail_server")
api("PUT", "/network", before)
assert taken.empty(), "a mail came twice"
print("mail: aiosmtpd took a mail over implicit TLS and one over STARTTLS, and a code that signs in")
