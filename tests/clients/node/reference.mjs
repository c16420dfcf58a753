// An MCP server with everything that the server scenarios of MCP's conformance suite want to see, in both generations: with
// sessions on the published SDK, without them by hand. `start` returns the address of each and how to end them.
import { createHmac, randomUUID, timingSafeEqual } from "node:crypto";
import { createServer } from "node:http";
import { Server } from "@modelcontextprotocol/sdk/server/index.js";
import { StreamableHTTPServerTransport } from "@modelcontextprotocol/sdk/server/streamableHttp.js";
import * as types from "@modelcontextprotocol/sdk/types.js";

const PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg==";
const WAV = "UklGRiYAAABXQVZFZm10IBAAAAABAAEAQB8AAAB9AAACABAAZGF0YQIAAAA=";

const pause = (time) => new Promise((done) => setTimeout(done, time));
const text = (text) => ({ type: "text", text });
const said = (...parts) => ({ content: parts.map((part) => (typeof part === "string" ? text(part) : part)) });
const image = { type: "image", data: PNG, mimeType: "image/png" };
const form = (message, properties, required = Object.keys(properties)) => ({
  method: "elicitation/create",
  params: { mode: "form", message, requestedSchema: { type: "object", properties, required } },
});
const sample = (prompt, maxTokens = 100) => ({
  method: "sampling/createMessage",
  params: { messages: [{ role: "user", content: text(prompt) }], maxTokens },
});

const schema = {
  $schema: "https://json-schema.org/draft/2020-12/schema",
  type: "object",
  $defs: {
    address: { $anchor: "addressDef", type: "object", properties: { street: { type: "string" }, city: { type: "string" } } },
  },
  properties: {
    name: { type: "string" },
    address: { $ref: "#/$defs/address" },
    contactMethod: { type: "string", enum: ["phone", "email"] },
    phone: { type: "string" },
    email: { type: "string" },
  },
  allOf: [{ anyOf: [{ required: ["phone"] }, { required: ["email"] }] }],
  if: { properties: { contactMethod: { const: "phone" } }, required: ["contactMethod"] },
  then: { required: ["phone"] },
  else: { required: ["email"] },
  additionalProperties: false,
};

const options = ["option1", "option2", "option3"];
const titled = (word) => ["First", "Second", "Third"].map((nth, at) => ({ const: `value${at + 1}`, title: `${nth} ${word}` }));

/** What both generations do alike. Each gets what was asked and a way to speak meanwhile. */
const plain = {
  test_simple_text: () => said("This is a simple text response for testing."),
  test_image_content: () => said(image),
  test_audio_content: () => said({ type: "audio", data: WAV, mimeType: "audio/wav" }),
  test_embedded_resource: () =>
    said({ type: "resource", resource: { uri: "test://embedded-resource", mimeType: "text/plain", text: "This is an embedded resource content." } }),
  test_multiple_content_types: () =>
    said("Multiple content types test:", image, {
      type: "resource",
      resource: { uri: "test://mixed-content-resource", mimeType: "application/json", text: JSON.stringify({ test: "data", value: 123 }) },
    }),
  test_error_handling: () => ({ ...said("This tool intentionally returns an error for testing"), isError: true }),
  json_schema_2020_12_tool: () => said("It has a schema."),
  async test_tool_with_progress({ progress }) {
    for (const step of [0, 50, 100]) {
      await progress(step, 100);
      await pause(50);
    }
    return said("It went on and on.");
  },
};

/** What only works where a server may ask in the middle of a call. */
const asking = {
  async test_tool_with_logging({ log }) {
    for (const what of ["started", "processing data", "completed"]) {
      await log("info", `Tool ${what === "processing data" ? what : `execution ${what}`}`);
      await pause(50);
    }
    return said("It was logged.");
  },
  async test_sampling({ args, ask }) {
    const answer = await ask(sample(args.prompt));
    return said(`LLM response: ${answer.content.text}`);
  },
  async test_elicitation({ args, ask }) {
    const field = (description) => ({ type: "string", description });
    const answer = await ask(form(args.message, { username: field("User's response"), email: field("User's email address") }));
    return said(`User response: action=${answer.action}, content=${JSON.stringify(answer.content)}`);
  },
  async test_elicitation_sep1034_defaults({ ask }) {
    const properties = {
      name: { type: "string", default: "John Doe" },
      age: { type: "integer", default: 30 },
      score: { type: "number", default: 95.5 },
      status: { type: "string", enum: ["active", "inactive", "pending"], default: "active" },
      verified: { type: "boolean", default: true },
    };
    const answer = await ask(form("Please look through these", properties, []));
    return said(`Elicitation completed: action=${answer.action}, content=${JSON.stringify(answer.content)}`);
  },
  async test_elicitation_sep1330_enums({ ask }) {
    const properties = {
      untitledSingle: { type: "string", enum: options },
      titledSingle: { type: "string", oneOf: titled("Option") },
      legacyEnum: { type: "string", enum: ["opt1", "opt2", "opt3"], enumNames: ["Option One", "Option Two", "Option Three"] },
      untitledMulti: { type: "array", items: { type: "string", enum: options } },
      titledMulti: { type: "array", items: { anyOf: titled("Choice") } },
    };
    const answer = await ask(form("Please choose", properties, []));
    return said(`Elicitation completed: action=${answer.action}, content=${JSON.stringify(answer.content)}`);
  },
  async test_reconnection({ hang_up }) {
    hang_up();
    await pause(100);
    return said("You came back.");
  },
};

const needs = { test_sampling: "prompt", test_elicitation: "message", greet: "name" };
/** How often the lists were made to change; the last of each says so. */
const times = { tools: 0, prompts: 0 };
const tool = (name) => ({
  name,
  description: name === "json_schema_2020_12_tool" ? "Tool with JSON Schema 2020-12 features" : `Does ${name}`,
  inputSchema:
    name === "json_schema_2020_12_tool"
      ? schema
      : { type: "object", properties: needs[name] ? { [needs[name]]: { type: "string" } } : {}, required: needs[name] ? [needs[name]] : [] },
});

const user = (content) => ({ role: "user", content });
const prompts = {
  test_simple_prompt: [[], () => [user(text("This is a simple prompt for testing."))]],
  test_prompt_with_arguments: [
    ["arg1", "arg2"],
    ({ arg1, arg2 }) => [user(text(`Prompt with arguments: arg1='${arg1}', arg2='${arg2}'`))],
  ],
  test_prompt_with_embedded_resource: [
    ["resourceUri"],
    ({ resourceUri }) => [
      user({ type: "resource", resource: { uri: resourceUri, mimeType: "text/plain", text: "Embedded resource content for testing." } }),
      user(text("Please process the embedded resource above.")),
    ],
  ],
  test_prompt_with_image: [[], () => [user(image), user(text("Please analyze the image above."))]],
};
const listed_prompts = () =>
  Object.entries(prompts).map(([name, [needed]]) => ({
    name,
    description: `Gives ${name}`,
    arguments: needed.map((name) => ({ name, description: `The ${name}`, required: true })),
  }));

const resources = [
  { uri: "test://static-text", name: "text", description: "A text", mimeType: "text/plain" },
  { uri: "test://static-binary", name: "picture", description: "A picture", mimeType: "image/png" },
  { uri: "test://watched-resource", name: "watched", description: "A text that changes", mimeType: "text/plain" },
];
const templates = [{ uriTemplate: "test://template/{id}/data", name: "template", description: "Data by id", mimeType: "application/json" }];

/** The contents of a resource; undefined where there is none. */
function read(uri) {
  const of = (rest) => [{ uri, ...rest }];
  if (uri === "test://static-text") return of({ mimeType: "text/plain", text: "This is the content of the static text resource." });
  if (uri === "test://static-binary") return of({ mimeType: "image/png", blob: PNG });
  if (uri === "test://watched-resource") return of({ mimeType: "text/plain", text: "Watched." });
  const id = /^test:\/\/template\/([^/]+)\/data$/.exec(uri)?.[1];
  return id && of({ mimeType: "application/json", text: JSON.stringify({ id, templateTest: true, data: `Data for ID: ${id}` }) });
}

const body_of = async (request) => {
  const parts = [];
  for await (const part of request) parts.push(part);
  return JSON.parse(Buffer.concat(parts).toString() || "null");
};

/** Whether a request comes from a page of another site (DNS rebinding). */
function is_foreign(request) {
  const local = (host) => /^(localhost|127\.0\.0\.1|\[::1\])(:\d+)?$/.test(host);
  const { host, origin } = request.headers;
  return !local(host) || (origin && !local(origin.replace(/^https?:\/\//, "")));
}

// ---- With sessions, on the SDK.

/** Keeps events so that a client can come back for them. */
class Events {
  all = [];
  async storeEvent(stream, message) {
    this.all.push({ id: `${stream}/${this.all.length}`, stream, message });
    return this.all.at(-1).id;
  }
  async replayEventsAfter(last, { send }) {
    const at = this.all.findIndex(({ id }) => id === last);
    const { stream } = this.all[at];
    for (const event of this.all.slice(at + 1).filter((event) => event.stream === stream)) {
      if (Object.keys(event.message).length) await send(event.id, event.message);
    }
    return stream;
  }
}

function with_sessions() {
  const server = new Server(
    { name: "reference", version: "1.0.0" },
    { capabilities: { tools: { listChanged: true }, prompts: { listChanged: true }, resources: { subscribe: true, listChanged: true }, logging: {}, completions: {} } },
  );
  const tools = { ...plain, ...asking };
  server.setRequestHandler(types.ListToolsRequestSchema, () => ({ tools: Object.keys(tools).map(tool) }));
  server.setRequestHandler(types.CallToolRequestSchema, async ({ params }, extra) => {
    const run = tools[params.name];
    if (!run) throw new types.McpError(types.ErrorCode.InvalidParams, `Unknown tool: ${params.name}`);
    const token = params._meta?.progressToken;
    return run({
      args: params.arguments ?? {},
      ask: ({ method, params }) =>
        extra.sendRequest({ method, params }, method === "elicitation/create" ? types.ElicitResultSchema : types.CreateMessageResultSchema),
      log: (level, data) => extra.sendNotification({ method: "notifications/message", params: { level, data } }),
      progress: async (progress, total) =>
        token === undefined || extra.sendNotification({ method: "notifications/progress", params: { progressToken: token, progress, total } }),
      hang_up: () => extra.closeSSEStream?.(),
    });
  });
  server.setRequestHandler(types.ListPromptsRequestSchema, () => ({ prompts: listed_prompts() }));
  server.setRequestHandler(types.GetPromptRequestSchema, ({ params }) => ({ messages: prompts[params.name][1](params.arguments ?? {}) }));
  server.setRequestHandler(types.ListResourcesRequestSchema, () => ({ resources }));
  server.setRequestHandler(types.ListResourceTemplatesRequestSchema, () => ({ resourceTemplates: templates }));
  server.setRequestHandler(types.ReadResourceRequestSchema, ({ params }) => {
    const contents = read(params.uri);
    if (!contents) throw new types.McpError(-32002, "Resource not found", { uri: params.uri });
    return { contents };
  });
  server.setRequestHandler(types.SubscribeRequestSchema, () => ({}));
  server.setRequestHandler(types.UnsubscribeRequestSchema, () => ({}));
  server.setRequestHandler(types.SetLevelRequestSchema, () => ({}));
  server.setRequestHandler(types.CompleteRequestSchema, ({ params }) => ({ completion: { values: [`${params.argument.value}is`], total: 1, hasMore: false } }));
  return server;
}

function sessions() {
  const transports = new Map();
  return createServer(async (request, response) => {
    if (is_foreign(request)) return response.writeHead(403).end();
    const id = request.headers["mcp-session-id"];
    const body = request.method === "POST" ? await body_of(request) : undefined;
    let transport = transports.get(id);
    if (!transport && id) return response.writeHead(404).end();
    if (!transport) {
      transport = new StreamableHTTPServerTransport({
        sessionIdGenerator: randomUUID,
        eventStore: new Events(),
        retryInterval: 100,
        onsessioninitialized: (id) => transports.set(id, transport),
        onsessionclosed: (id) => transports.delete(id),
      });
      await with_sessions().connect(transport);
    }
    return transport.handleRequest(request, response, body);
  });
}

// ---- Without sessions, by hand (2026-07-28).

const VERSION = "2026-07-28";
const META = "io.modelcontextprotocol/";
const TASKS = `${META}tasks`;
const key = randomUUID();
const signed = (state) => `${state}.${createHmac("sha256", key).update(state).digest("hex")}`;
const fault = (code, message, data) => Object.assign(new Error(message), { code, data });
const invalid = (message, data) => fault(-32602, message, data);

/** What a state says; a state that was not made here is an error. */
function opened(state) {
  const [said] = state.split(".");
  const [sent, own] = [Buffer.from(state), Buffer.from(signed(said))];
  if (sent.length !== own.length || !timingSafeEqual(sent, own)) throw invalid("requestState is none of this server's");
  return said;
}

const wants = (inputRequests, state) => ({ resultType: "input_required", inputRequests, ...(state && { requestState: signed(state) }) });
const words = (name) => ({ [name]: { type: "string" } });
const name_form = form("What is your name?", words("name"));

/** Tools that are tried again with what they asked for. */
const rounds = {
  test_input_required_result_elicitation({ answers }) {
    const name = answers.user_name?.content?.name;
    return typeof name === "string" ? said(`Hello, ${name}!`) : wants({ user_name: name_form });
  },
  test_input_required_result_sampling({ answers }) {
    const answer = answers.capital_question?.content;
    return answer ? said(answer.text) : wants({ capital_question: sample("What is the capital of France?") });
  },
  test_input_required_result_list_roots({ answers }) {
    const roots = answers.client_roots?.roots;
    return roots ? said(roots.map(({ uri }) => uri).join(" ")) : wants({ client_roots: { method: "roots/list", params: {} } });
  },
  test_input_required_result_request_state({ answers, state }) {
    if (state && answers.confirm) return said(`state-ok: ${opened(state)}`);
    return wants({ confirm: form("Please confirm", { ok: { type: "boolean" } }) }, "confirm");
  },
  test_input_required_result_multiple_inputs({ answers, state }) {
    if (state && opened(state) && answers.user_name && answers.greeting && answers.client_roots) return said("All of it is here.");
    return wants({ user_name: name_form, greeting: sample("Generate a greeting", 50), client_roots: { method: "roots/list", params: {} } }, "three");
  },
  test_input_required_result_multi_round({ answers, state }) {
    const round = state && opened(state);
    if (round === "two" && answers.step2) return said("That is all.");
    if (round === "one" && answers.step1) return wants({ step2: form("Step 2: What is your favorite color?", words("color")) }, "two");
    return wants({ step1: form("Step 1: What is your name?", words("name")) }, "one");
  },
  test_input_required_result_tampered_state({ answers, state }) {
    if (state && opened(state) && answers.confirm) return said("It is as it was.");
    return wants({ confirm: form("Please confirm", { ok: { type: "boolean" } }) }, "whole");
  },
  test_input_required_result_capabilities({ able }) {
    const all = { ask: [name_form, "elicitation"], think: [sample("Think"), "sampling"] };
    return wants(Object.fromEntries(Object.entries(all).filter(([, [, needed]]) => able[needed]).map(([name, [request]]) => [name, request])));
  },
  test_missing_capability({ able }) {
    if (!able.sampling) throw fault(-32021, "it needs sampling", { requiredCapabilities: { sampling: {} } });
    return said("It can.");
  },
  async test_streaming_elicitation({ answers, progress }) {
    await progress(1, 2);
    return answers.user_name ? said("Thank you.") : wants({ user_name: name_form });
  },
  async test_logging_tool({ log }) {
    await log("info", "It runs.");
    return said("It ran.");
  },
  test_trigger_tool_change: ({ tell }) => ((times.tools += 1), tell("tools"), said("They changed.")),
  test_trigger_prompt_change: ({ tell }) => ((times.prompts += 1), tell("prompts"), said("They changed.")),
  greet: ({ args }) => said(`Hello, ${args.name}!`),
  test_x_mcp_header: ({ args }) => said(JSON.stringify(args)),
};

/** Tools that may take their time: what each does once it is a task. */
const jobs = {
  slow_compute: async (task, { seconds = 0.3 }) => (await pause(seconds * 1000), said("Computed.")),
  failing_job: async () => (await pause(50), { ...said("It does not work."), isError: true }),
  protocol_error_job: async () => {
    await pause(50);
    throw fault(-32603, "the job failed");
  },
  test_tool_with_task: async (task, args, answers) => said(`Done for ${answers.user_name.content.name}.`),
  confirm_delete: async (task) => said(`Deleted: ${JSON.stringify((await task.ask({ confirm: form("Really?", { confirm: { type: "boolean" } }) })).confirm)}`),
  multi_input: async (task) => said(Object.keys(await task.ask({ first: form("One?", words("one")), second: form("Two?", words("two")) })).join(" ")),
};
const required_jobs = new Set(["failing_job", "test_tool_with_task"]);

const parameters = (schema) => Object.entries(schema.properties ?? {}).filter(([, property]) => property["x-mcp-header"]);
const listed = () => [
  ...Object.keys(plain).map(tool),
  ...Object.keys(rounds).map((name) =>
    name === "test_x_mcp_header"
      ? { ...tool(name), inputSchema: { type: "object", properties: { region: { type: "string", "x-mcp-header": "Region" }, query: { type: "string" } }, required: ["region", "query"] } }
      : tool(name),
  ),
  ...Object.keys(jobs).map((name) => ({ ...tool(name), description: `Does ${name}, ${times.tools}`, inputSchema: { type: "object", properties: { seconds: { type: "number" } } } })),
];

class Task {
  id = randomUUID();
  made = new Date();
  status = "working";
  asked = {};
  answers = {};
  listeners = new Set();
  constructor(run) {
    run(this).then(
      (result) => this.turn("completed", { result }),
      ({ code = -32603, message }) => this.turn("failed", { error: { code, message }, statusMessage: message }),
    );
  }
  turn(status, rest = {}) {
    if (["completed", "failed", "cancelled"].includes(this.status)) return;
    Object.assign(this, { status, rest, changed: new Date() });
    for (const listener of this.listeners) listener(this.show());
  }
  ask(requests) {
    this.asked = requests;
    this.turn("input_required");
    return new Promise((done) => (this.resume = done));
  }
  update(responses) {
    for (const [name, response] of Object.entries(responses)) {
      if (!(name in this.asked)) continue;
      this.answers[name] = response;
      delete this.asked[name];
    }
    if (this.status === "input_required" && !Object.keys(this.asked).length) {
      this.turn("working");
      this.resume(this.answers);
    }
  }
  show() {
    const { id: taskId, status, made, changed = made, rest } = this;
    const times = { createdAt: made.toISOString(), lastUpdatedAt: changed.toISOString() };
    return { taskId, status, ...times, ttlMs: 60_000, pollIntervalMs: 50, ...rest, ...(status === "input_required" && { inputRequests: { ...this.asked } }) };
  }
}

function stateless() {
  const tasks = new Map();
  const streams = new Set();
  const tell = (kind) => {
    for (const stream of streams) if (stream.filter[`${kind}ListChanged`]) stream.send({ method: `notifications/${kind}/list_changed` });
  };
  const cached = { ttlMs: 1000, cacheScope: "public" };
  const task_of = ({ taskId }) => tasks.get(taskId) ?? (() => { throw invalid("Task not found"); })();

  /** Holds the head of a request against its body; what it says of its client. */
  function checked(request, { method, params = {} }) {
    const meta = params._meta ?? {};
    const head = (name) => request.headers[name]?.trim();
    const plain = (value) => {
      const encoded = /^=\?base64\?(.*)\?=$/.exec(value)?.[1];
      if (encoded === undefined) return value;
      if (encoded.length % 4 || !/^[A-Za-z0-9+/]*={0,2}$/.test(encoded)) throw fault(-32020, "a header is not Base64");
      return Buffer.from(encoded, "base64").toString();
    };
    for (const name of ["protocolVersion", "clientCapabilities"]) if (!meta[META + name]) throw Object.assign(invalid(`_meta lacks ${name}`), { status: 400 });
    if (head("mcp-protocol-version") !== meta[`${META}protocolVersion`]) throw fault(-32020, "the versions differ");
    if (meta[`${META}protocolVersion`] !== VERSION) throw fault(-32022, "unsupported", { supported: [VERSION], requested: meta[`${META}protocolVersion`] });
    if (head("mcp-method") !== method) throw fault(-32020, "the methods differ");
    const member = { "tools/call": "name", "prompts/get": "name", "resources/read": "uri", "tasks/get": "taskId", "tasks/update": "taskId", "tasks/cancel": "taskId" }[method];
    if (member && (head("mcp-name") === undefined || plain(head("mcp-name")) !== params[member])) throw fault(-32020, "the names differ");
    if (method === "tools/call") {
      const found = listed().find(({ name }) => name === params.name);
      for (const [name, property] of parameters(found?.inputSchema ?? {})) {
        const value = params.arguments?.[name] ?? undefined;
        const header = head(`mcp-param-${property["x-mcp-header"].toLowerCase()}`);
        if ((header === undefined ? undefined : plain(header)) !== (value === undefined ? undefined : String(value))) throw fault(-32020, `${name} differs`);
      }
    }
    return { able: meta[`${META}clientCapabilities`], level: meta[`${META}logLevel`], token: meta.progressToken };
  }

  async function call({ name, arguments: args = {}, inputResponses = {}, requestState }, client, say) {
    if (typeof inputResponses !== "object" || Array.isArray(inputResponses)) throw invalid("inputResponses is no object");
    const may = client.able.extensions?.[TASKS];
    if (jobs[name]) {
      if (!may && required_jobs.has(name)) throw fault(-32021, "it is a task", { requiredCapabilities: { extensions: { [TASKS]: {} } } });
      if (!may) return jobs[name]({ ask: async () => ({}) }, args, inputResponses);
      if (name === "test_tool_with_task" && !inputResponses.user_name) return wants({ user_name: name_form }, "before");
      const task = new Task((task) => jobs[name](task, args, inputResponses));
      tasks.set(task.id, task);
      return { resultType: "task", ...task.show() };
    }
    const run = plain[name] ?? rounds[name];
    if (!run) throw invalid(`Unknown tool: ${name}`);
    return run({
      args, answers: inputResponses, state: requestState, able: client.able, tell,
      progress: async (progress, total) => client.token === undefined || say({ method: "notifications/progress", params: { progressToken: client.token, progress, total } }),
      log: async (level, data) => client.level === undefined || say({ method: "notifications/message", params: { level, data } }),
    });
  }

  const answers = {
    "server/discover": () => ({
      supportedVersions: [VERSION],
      capabilities: { tools: { listChanged: true }, prompts: { listChanged: true }, resources: { listChanged: true, subscribe: true }, completions: {}, extensions: { [TASKS]: {} } },
      ...cached,
    }),
    "tools/list": () => ({ tools: listed(), ...cached }),
    "tools/call": call,
    "prompts/list": () => ({ prompts: [...listed_prompts(), { name: "test_input_required_result_prompt", description: `Asks first, ${times.prompts}` }], ...cached }),
    "prompts/get": ({ name, arguments: args = {}, inputResponses = {} }) => {
      if (name === "test_input_required_result_prompt") {
        const context = inputResponses.user_context;
        return context ? { messages: [user(text(JSON.stringify(context)))] } : wants({ user_context: form("What context should the prompt use?", words("context")) });
      }
      if (!prompts[name]) throw invalid(`Unknown prompt: ${name}`);
      return { messages: prompts[name][1](args) };
    },
    "resources/list": () => ({ resources, ...cached }),
    "resources/templates/list": () => ({ resourceTemplates: templates, ...cached }),
    "resources/read": ({ uri }) => {
      const contents = read(uri);
      if (!contents) throw invalid("Resource not found", { uri });
      return { contents, ...cached };
    },
    "completion/complete": ({ argument }) => ({ completion: { values: [`${argument.value}is`], total: 1, hasMore: false } }),
    "tasks/get": (params) => task_of(params).show(),
    "tasks/update": (params) => (task_of(params).update(params.inputResponses ?? {}), {}),
    "tasks/cancel": (params) => (task_of(params).turn("cancelled"), {}),
  };

  function listen(id, { notifications = {} }, client, response) {
    const { taskIds } = notifications;
    if (taskIds && !client.able.extensions?.[TASKS]) throw fault(-32021, "tasks are not declared", { requiredCapabilities: { extensions: { [TASKS]: {} } } });
    response.writeHead(200, { "content-type": "text/event-stream" });
    const send = ({ method, params = {} }) =>
      response.write(`data: ${JSON.stringify({ jsonrpc: "2.0", method, params: { ...params, _meta: { [`${META}subscriptionId`]: id } } })}\n\n`);
    const known = (taskIds ?? []).filter((id) => tasks.has(id));
    const agreed = { ...notifications, ...(taskIds && { taskIds: known }) };
    send({ method: "notifications/subscriptions/acknowledged", params: { notifications: agreed } });
    const stream = { filter: notifications, send };
    const listener = (params) => send({ method: "notifications/tasks", params });
    streams.add(stream);
    for (const id of known) tasks.get(id).listeners.add(listener);
    response.on("close", () => {
      streams.delete(stream);
      for (const id of known) tasks.get(id).listeners.delete(listener);
    });
  }

  return createServer(async (request, response) => {
    if (is_foreign(request)) return response.writeHead(403).end();
    if (request.method !== "POST") return response.writeHead(405).end();
    const message = await body_of(request);
    const { id, method, params = {} } = message;
    if (id === undefined) return response.writeHead(202).end();
    const write = (status, body) => {
      const whole = JSON.stringify({ jsonrpc: "2.0", id, ...body });
      if (response.headersSent) return response.end(`data: ${whole}\n\n`);
      return response.writeHead(status, { "content-type": "application/json" }).end(whole);
    };
    const say = (notification) => {
      if (!response.headersSent) response.writeHead(200, { "content-type": "text/event-stream" });
      response.write(`data: ${JSON.stringify({ jsonrpc: "2.0", ...notification })}\n\n`);
    };
    try {
      const client = checked(request, message);
      if (method === "subscriptions/listen") return listen(id, params, client, response);
      if (!answers[method]) throw Object.assign(fault(-32601, "no such method"), { status: 404 });
      if (method.startsWith("tasks/") && !client.able.extensions?.[TASKS]) {
        throw fault(-32021, "tasks are not declared", { requiredCapabilities: { extensions: { [TASKS]: {} } } });
      }
      const result = await answers[method](params, client, say);
      return write(200, { result: { resultType: "complete", _meta: { [`${META}serverInfo`]: { name: "reference", version: "1.0.0" } }, ...result } });
    } catch (error) {
      const { code = -32603, message, data, status = [-32020, -32021, -32022].includes(code) ? 400 : 200 } = error;
      return write(status, { error: { code, message, ...(data && { data }) } });
    }
  });
}

/** Starts a server; its address, and how to end it. */
async function begin(server) {
  server.listen(0, "127.0.0.1");
  await new Promise((done) => server.once("listening", done));
  const end = () => new Promise((done) => (server.close(done), server.closeAllConnections()));
  return { url: `http://127.0.0.1:${server.address().port}/mcp`, end };
}

export const start = async () => ({ sessions: await begin(sessions()), stateless: await begin(stateless()) });
