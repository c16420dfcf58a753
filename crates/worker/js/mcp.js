// The module "portunus:mcp": makes a server of the Model Context Protocol of a list of tools.
//
// It speaks every version that a portal speaks, one request at a time and without sessions. Arguments that do not fit a
// tool's schema never reach it.

const VERSIONS = ["2026-07-28", "2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"];
const STATELESS = VERSIONS[0];
const ANY = { type: "object" };

const types = {
  string: (value) => typeof value === "string",
  number: (value) => typeof value === "number",
  integer: Number.isInteger,
  boolean: (value) => typeof value === "boolean",
  array: Array.isArray,
  object: (value) => value !== null && typeof value === "object" && !Array.isArray(value),
  null: (value) => value === null,
};

// What tools most often say of their arguments; of the rest a tool sees to itself.
function misfit(schema, value, path) {
  const named = [schema.type ?? []].flat();
  if (named.length > 0 && !named.some((type) => types[type]?.(value) ?? true)) return `${path} must be ${named.join(" or ")}`;
  if (schema.enum && !schema.enum.includes(value)) return `${path} must be one of ${schema.enum.map((one) => JSON.stringify(one)).join(", ")}`;
  if (types.array(value) && schema.items) {
    for (const [index, item] of value.entries()) {
      const found = misfit(schema.items, item, `${path}[${index}]`);
      if (found) return found;
    }
  }
  if (!types.object(value)) return undefined;
  const properties = schema.properties ?? {};
  for (const name of schema.required ?? []) {
    if (!Object.hasOwn(value, name)) return `${path}.${name} is missing`;
  }
  for (const [name, member] of Object.entries(value)) {
    const known = Object.hasOwn(properties, name);
    if (!known && schema.additionalProperties === false) return `${path}.${name} is not known`;
    const found = known ? misfit(properties[name], member, `${path}.${name}`) : undefined;
    if (found) return found;
  }
  return undefined;
}

function result(value) {
  if (value === undefined || value === null) return { content: [] };
  if (typeof value === "string") return { content: [{ type: "text", text: value }] };
  if (types.object(value) && Array.isArray(value.content)) return value;
  const content = [{ type: "text", text: JSON.stringify(value) }];
  return types.object(value) ? { content, structuredContent: value } : { content };
}

const failure = (error) => ({ isError: true, content: [{ type: "text", text: error instanceof Error ? error.message : String(error) }] });

class Refusal extends Error {
  constructor(code, message) {
    super(message);
    this.code = code;
  }
}

async function call(tools, params, request, env, ctx) {
  const tool = Object.hasOwn(tools, params.name ?? "") ? tools[params.name] : undefined;
  if (!tool) throw new Refusal(-32602, `there is no tool ${params.name}`);
  const args = params.arguments ?? {};
  const wrong = misfit({ ...ANY, ...tool.inputSchema }, args, "arguments");
  if (wrong) return failure(wrong);
  const facts = request.cf ?? {};
  try {
    return result(await tool.call(args, { env, ctx, request, caller: facts.identity ?? null, facts }));
  } catch (error) {
    return failure(error);
  }
}

export function server({ name, version = "1.0.0", title, instructions, tools }) {
  const info = { name, version, ...(title && { title }) };
  const capabilities = { tools: {} };
  const list = Object.entries(tools).map(([name, { call: _, ...definition }]) => ({
    name,
    ...definition,
    inputSchema: { ...ANY, ...definition.inputSchema },
  }));
  const answer = async (method, params, request, env, ctx) => {
    switch (method) {
      case "server/discover":
        return { supportedVersions: VERSIONS, capabilities, ...(instructions && { instructions }) };
      case "initialize": {
        const known = VERSIONS.includes(params.protocolVersion) && params.protocolVersion !== STATELESS;
        const protocolVersion = known ? params.protocolVersion : VERSIONS[1];
        return { protocolVersion, capabilities, serverInfo: info, ...(instructions && { instructions }) };
      }
      case "ping":
        return {};
      case "tools/list":
        return { tools: list };
      case "tools/call":
        return call(tools, params, request, env, ctx);
      default:
        throw new Refusal(-32601, `there is no method ${method}`);
    }
  };
  return {
    async fetch(request, env, ctx) {
      if (request.method !== "POST") return new Response(null, { status: 405, headers: { allow: "POST" } });
      let message;
      try {
        message = await request.json();
      } catch {
        return Response.json({ jsonrpc: "2.0", id: null, error: { code: -32700, message: "the message is not JSON" } }, { status: 400 });
      }
      if (!types.object(message) || message.jsonrpc !== "2.0" || typeof message.method !== "string") {
        return Response.json({ jsonrpc: "2.0", id: null, error: { code: -32600, message: "the message is no request" } }, { status: 400 });
      }
      if (message.id === undefined) return new Response(null, { status: 202 });
      const params = types.object(message.params) ? message.params : {};
      try {
        const said = await answer(message.method, params, request, env, ctx);
        const stateless = params._meta?.["io.modelcontextprotocol/protocolVersion"] === STATELESS;
        const meta = { ...said._meta, "io.modelcontextprotocol/serverInfo": info };
        const full = stateless ? { resultType: "complete", ...said, _meta: meta } : said;
        return Response.json({ jsonrpc: "2.0", id: message.id, result: full });
      } catch (error) {
        if (!(error instanceof Refusal)) throw error;
        return Response.json({ jsonrpc: "2.0", id: message.id, error: { code: error.code, message: error.message } });
      }
    },
  };
}
