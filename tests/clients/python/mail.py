"""The outbox against aiosmtpd, over implicit TLS and over STARTTLS: API_URL, API_TOKEN and ACCOUNT_ID say where."""

import datetime
import email
import email.policy
import ipaddress
import os
import pathlib
import queue
import ssl
import tempfile

import requests
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

BASE = f"{os.environ['API_URL']}/accounts/{os.environ['ACCOUNT_ID']}/portunus"
PATIENCE = 60
taken = queue.Queue()


def api(method, path, body=None):
    headers = {"Authorization": f"Bearer {os.environ['API_TOKEN']}"}
    answer = requests.request(method, f"{BASE}{path}", json=body, headers=headers, timeout=PATIENCE)
    assert answer.ok, answer.text
    return answer.json()["result"]


def authority():
    """An authority that a platform has never heard of, and a certificate of it for this machine."""
    now = datetime.datetime.now(datetime.timezone.utc)

    def certificate(name, key, issuer, signer, extension):
        subject, above = (x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)]) for text in (name, issuer))
        builder = x509.CertificateBuilder(above, subject, key.public_key(), x509.random_serial_number())
        builder = builder.not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(now + datetime.timedelta(days=1))
        return builder.add_extension(extension, critical=True).sign(signer, hashes.SHA256())

    root_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    root = certificate("Mail root", root_key, "Mail root", root_key, x509.BasicConstraints(True, None))
    here = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    leaf = certificate("mail", key, "Mail root", root_key, here)
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return root.public_bytes(pem).decode(), leaf.public_bytes(pem) + private


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
    finally:
        server.stop()
api("DELETE", "/mail_server")
api("PUT", "/network", before)
assert taken.empty(), "a mail came twice"
print("mail: aiosmtpd took a mail over implicit TLS and one over STARTTLS")
