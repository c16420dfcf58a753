// What MCP's conformance suite starts as the client under test: it hands the scenario on to client-conformance.mjs, which has
// a portal do it, and ends as that went.
const { CONDUCTOR, MCP_CONFORMANCE_SCENARIO: scenario, MCP_CONFORMANCE_PROTOCOL_VERSION: version, MCP_CONFORMANCE_CONTEXT: context } = process.env;
const response = await fetch(CONDUCTOR, {
  method: "POST",
  body: JSON.stringify({ scenario, version, url: process.argv.at(-1), context: context ? JSON.parse(context) : {} }),
});
console.log(await response.text());
process.exit(response.ok ? 0 : 1);
