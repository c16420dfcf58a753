"""An authority that a platform has never heard of."""

import datetime
import ipaddress

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec


def authority():
    """Returns the certificate of a new authority, and one of it for this machine with its key; both are PEM."""
    now = datetime.datetime.now(datetime.timezone.utc)

    def certificate(name, key, issuer, signer, extension):
        subject, above = (x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)]) for text in (name, issuer))
        builder = x509.CertificateBuilder(above, subject, key.public_key(), x509.random_serial_number())
        builder = builder.not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(now + datetime.timedelta(days=1))
        return builder.add_extension(extension, critical=True).sign(signer, hashes.SHA256())

    root_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    root = certificate("Test root", root_key, "Test root", root_key, x509.BasicConstraints(True, None))
    here = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    leaf = certificate("server", key, "Test root", root_key, here)
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return root.public_bytes(pem).decode(), leaf.public_bytes(pem) + private
