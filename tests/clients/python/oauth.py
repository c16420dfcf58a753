"""Managed OAuth with the libraries agents are made of: the MCP SDK and Authlib.

ACCESS_URL says where Access listens, PERSON and PASSWORD who consents; the application is the demo's wiki.
"""

import asyncio
import os
import ssl
from urllib.parse import parse_qs, urlsplit

import httpx2
import requests
from authlib.integrations.requests_client import OAuth2Session
from mcp.client.auth import OAuthClientProvider
from mcp.shared.auth import AuthorizationCodeResult, OAuthClientMetadata

from person import AUTHORITY, consent

WIKI = f"https://wiki.localhost:{urlsplit(os.environ['ACCESS_URL']).port}"
CALLBACK = "http://127.0.0.1:8976/callback"
METADATA = {
    "client_name": "Client suite",
    "redirect_uris": [CALLBACK],
    "grant_types": ["authorization_code", "refresh_token"],
    "response_types": ["code"],
    "token_endpoint_auth_method": "none",
}


class Memory:
    """What the MCP SDK keeps for a server."""

    tokens = client = None

    async def get_tokens(self):
        return self.tokens

    async def set_tokens(self, tokens):
        self.tokens = tokens

    async def get_client_info(self):
        return self.client

    async def set_client_info(self, client):
        self.client = client


async def mcp_sdk():
    back = {}

    async def redirect(address):
        found = await asyncio.to_thread(consent, address, CALLBACK)
        back.update({name: values[0] for name, values in parse_qs(urlsplit(found).query).items()})

    async def called_back():
        return AuthorizationCodeResult(code=back["code"], state=back["state"], iss=back["iss"])

    memory = Memory()
    provider = OAuthClientProvider(
        f"{WIKI}/", OAuthClientMetadata.model_validate(METADATA), memory, redirect, called_back
    )
    trust = ssl.create_default_context(cafile=AUTHORITY)
    async with httpx2.AsyncClient(auth=provider, verify=trust, trust_env=False) as client:
        answer = await client.get(f"{WIKI}/")
        assert answer.status_code == 200, answer.text
        assert "Access told this page who you are" in answer.text
    assert memory.tokens.refresh_token and memory.client.client_id


def authlib():
    plain = requests.Session()
    plain.verify, plain.trust_env = AUTHORITY, False
    server = plain.get(f"{WIKI}/.well-known/oauth-authorization-server").json()
    made = plain.post(server["registration_endpoint"], json=METADATA)
    assert made.status_code == 201, made.text
    session = OAuth2Session(
        made.json()["client_id"],
        redirect_uri=CALLBACK,
        code_challenge_method="S256",
        token_endpoint_auth_method="none",
        token_endpoint=server["token_endpoint"],
        revocation_endpoint_auth_method="none",
    )
    session.verify, session.trust_env = AUTHORITY, False
    verifier = "v" * 64
    address, state = session.create_authorization_url(server["authorization_endpoint"], code_verifier=verifier)
    back = consent(address, CALLBACK)
    session.fetch_token(server["token_endpoint"], authorization_response=back, state=state, code_verifier=verifier)
    assert "Access told this page who you are" in session.get(f"{WIKI}/").text
    first = session.token
    session.refresh_token(server["token_endpoint"], refresh_token=first["refresh_token"])
    assert session.token["refresh_token"] != first["refresh_token"]
    assert session.get(f"{WIKI}/").status_code == 200


if __name__ == "__main__":
    asyncio.run(mcp_sdk())
    print("oauth.py: the MCP SDK finds, registers, is let in and calls")
    authlib()
    print("oauth.py: Authlib registers, is let in, calls and refreshes")
