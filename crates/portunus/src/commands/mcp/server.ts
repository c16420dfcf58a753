// An MCP server that is a Worker: two tools over notes in KV. See my-notes.md for how to put it behind a portal.

import { server } from "portunus:mcp";

interface Env {
  NOTES: KVNamespace;
}

export default server<Env>({
  name: "my-notes",
  version: "1.0.0",
  instructions: "Notes that the team keeps.",
  tools: {
    read_note: {
      description: "Returns the text of a note.",
      inputSchema: { properties: { title: { type: "string" } }, required: ["title"] },
      annotations: { readOnlyHint: true },
      async call({ title }, { env }) {
        const text = await env.NOTES.get(title);
        if (text === null) throw new Error(`there is no note "${title}"`);
        return text;
      },
    },
    // Changes something, so it is switched off until the server's document names it.
    write_note: {
      description: "Writes a note, in the place of the one with the same title.",
      inputSchema: { properties: { title: { type: "string" }, text: { type: "string" } }, required: ["title", "text"] },
      annotations: { readOnlyHint: false, destructiveHint: true, idempotentHint: true },
      async call({ title, text }, { env, caller }) {
        await env.NOTES.put(title, `${text}\n\n(${caller?.email ?? "a program"})`);
        return "written";
      },
    },
  },
});
