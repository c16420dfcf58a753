"""The Python SDK at a portal, from nothing. PORTAL is its address, PERSON and PASSWORD who consents; started by portal.mjs."""

import asyncio
import os
import ssl
from urllib.parse import parse_qs, urlsplit

import httpx2
from mcp import ClientSession
from mcp.client.auth import OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import AuthorizationCodeResult, OAuthClientMetadata
from mcp.types import ElicitResult

from oauth import CALLBACK, METADATA, Memory
from person import AUTHORITY, consent

PORTAL = os.environ["PORTAL"]


async def elicit(context, params):
    return ElicitResult(action="accept", content={"name": "Ana", "username": "ana", "email": "ana@acme.test"})


async def main():
    back = {}

    async def redirect(address):
        found = await asyncio.to_thread(consent, address, CALLBACK)
        back.update({name: values[0] for name, values in parse_qs(urlsplit(found).query).items()})

    async def called_back():
        return AuthorizationCodeResult(code=back["code"], state=back["state"], iss=back["iss"])

    metadata = OAuthClientMetadata.model_validate(METADATA)
    provider = OAuthClientProvider(PORTAL, metadata, Memory(), redirect, called_back)
    trust = ssl.create_default_context(cafile=AUTHORITY)
    async with httpx2.AsyncClient(auth=provider, verify=trust, trust_env=False, timeout=60) as client:
        async with streamable_http_client(PORTAL, http_client=client) as (read, write, *_):
            async with ClientSession(read, write, elicitation_callback=elicit) as session:
                await session.initialize()
                names = [tool.name for tool in (await session.list_tools()).tools]
                assert "early_test_simple_text" in names and "late_test_simple_text" in names, names
                for server in ["early", "late"]:
                    answer = await session.call_tool(f"{server}_test_simple_text", {})
                    assert "simple text response" in answer.content[0].text, answer
                    found = await session.read_resource(f"mcp-server:{server}/test://static-text")
                    assert "static text resource" in found.contents[0].text, found
                asked = await session.call_tool("early_test_elicitation", {"message": "Who?"})
                assert '"username":"ana"' in asked.content[0].text, asked
                asked = await session.call_tool("late_test_input_required_result_elicitation", {})
                assert asked.content[0].text == "Hello, Ana!", asked
    print("python: passed")


asyncio.run(main())
