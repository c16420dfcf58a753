// Who is who at Acme, as an MCP server: two tools that only read.

import { server } from "portunus:mcp";

const PEOPLE = [
  { name: "Ana Costa", email: "ana@acme.test", team: "Finance", extension: 4101 },
  { name: "Ben Okafor", email: "ben@acme.test", team: "Finance", extension: 4102 },
  { name: "Chidi Anand", email: "chidi@acme.test", team: "Help desk", extension: 4357 },
  { name: "Dora Lind", email: "dora@acme.test", team: "Help desk", extension: 4358 },
];
const readOnly = { readOnlyHint: true, openWorldHint: false };

export default server({
  name: "staff",
  title: "Staff of Acme",
  instructions: "People of Acme: who they are, and who is on call.",
  tools: {
    find_people: {
      description: "Finds people of Acme by a part of their name or team.",
      inputSchema: { properties: { query: { type: "string" } }, required: ["query"] },
      annotations: readOnly,
      call: ({ query }) => {
        const wanted = query.toLowerCase();
        return { people: PEOPLE.filter(({ name, team }) => `${name} ${team}`.toLowerCase().includes(wanted)) };
      },
    },
    on_call: {
      description: "Returns who of a team is on call.",
      inputSchema: { properties: { team: { type: "string", enum: ["Finance", "Help desk"] } }, required: ["team"] },
      annotations: readOnly,
      call: ({ team }) => PEOPLE.find((person) => person.team === team),
    },
  },
});
