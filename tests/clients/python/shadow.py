"""The Python SDK at an MCP server behind the gateway. SERVER is the address, WAY the proxy with a person's credential."""

import asyncio
import os
import ssl

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client


async def main():
    trust = ssl.create_default_context(cafile=os.environ["CA_CERTIFICATE"])
    async with httpx2.AsyncClient(proxy=os.environ["WAY"], verify=trust, trust_env=False, timeout=60) as http:
        async with Client(streamable_http_client(os.environ["SERVER"], http_client=http)) as client:
            names = [tool.name for tool in (await client.list_tools()).tools]
            assert "test_simple_text" in names, names
            answer = await client.call_tool("test_simple_text", {})
            assert "simple text response" in answer.content[0].text, answer
    print("python: passed")


asyncio.run(main())
