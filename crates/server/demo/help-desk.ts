// The tickets of Acme's help desk, as an MCP server: one tool reads, one changes.

import { server } from "portunus:mcp";

interface Env {
  TICKETS: KVNamespace;
}
interface Ticket {
  id: string;
  title: string;
  status: "open" | "assigned" | "closed";
  assignee: string | null;
}

const FIRST: Ticket[] = [
  { id: "T-1", title: "The coffee machine beeps", status: "open", assignee: null },
  { id: "T-2", title: "No sound in the meeting room", status: "open", assignee: null },
  { id: "T-3", title: "A new badge for Ben", status: "closed", assignee: "Dora Lind" },
];

async function tickets(env: Env): Promise<Ticket[]> {
  return (await env.TICKETS.get("tickets", "json")) ?? FIRST;
}

export default server<Env>({
  name: "help-desk",
  title: "Help desk of Acme",
  instructions: "Tickets of the help desk.",
  tools: {
    list_tickets: {
      description: "Lists tickets, of one status or all.",
      inputSchema: { properties: { status: { type: "string", enum: ["open", "assigned", "closed"] } } },
      annotations: { readOnlyHint: true, openWorldHint: false },
      call: async ({ status }, { env }) => ({
        tickets: (await tickets(env)).filter((ticket) => status === undefined || ticket.status === status),
      }),
    },
    // The server's document switches it on: what changes something is off until somebody does.
    update_ticket: {
      description: "Changes the status or the assignee of a ticket.",
      inputSchema: {
        properties: {
          id: { type: "string" },
          status: { type: "string", enum: ["open", "assigned", "closed"] },
          assignee: { type: "string" },
        },
        required: ["id"],
      },
      annotations: { destructiveHint: false, idempotentHint: true, openWorldHint: false },
      call: async ({ id, ...changes }, { env }) => {
        const all = await tickets(env);
        const found = all.findIndex((ticket) => ticket.id === id);
        if (found < 0) throw new Error(`there is no ticket ${id}`);
        all[found] = { ...all[found], ...changes };
        await env.TICKETS.put("tickets", JSON.stringify(all));
        return all[found];
      },
    },
  },
});
