// Opens a ticket for a person and site, once per quiet time, through a webhook that the receiver can verify.

interface Parameters {
  webhook_url: string;
  title: string;
  block: boolean;
  message: string;
  repeat_after_s: number;
  timeout_ms: number;
}

interface Env {
  parameters: Parameters;
  webhook_secret: string;
  STATE: KVNamespace;
}

interface Ticket {
  id?: string;
  url?: string;
}

const encoder = new TextEncoder();

const escapeHtml = (text: string): string =>
  text.replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);

async function signature(secret: string, body: string): Promise<string> {
  const seconds = Math.floor(Date.now() / 1000);
  const key = await crypto.subtle.importKey("raw", encoder.encode(secret), { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
  const mac = new Uint8Array(await crypto.subtle.sign("HMAC", key, encoder.encode(`${seconds}.${body}`)));
  return `t=${seconds},v1=${Array.from(mac, (byte) => byte.toString(16).padStart(2, "0")).join("")}`;
}

async function open(request: IncomingRequest, env: Env): Promise<Ticket> {
  const { webhook_url, title, timeout_ms } = env.parameters;
  const url = new URL(request.url);
  // The query may hold secrets of the site, so it stays here.
  const body = JSON.stringify({
    title,
    user: request.cf.identity?.email ?? null,
    host: url.host,
    path: url.pathname,
    method: request.method,
    rule: request.cf.rule ?? null,
    time: new Date().toISOString(),
  });
  const response = await fetch(webhook_url, {
    method: "POST",
    headers: { "content-type": "application/json", "x-portunus-signature": await signature(env.webhook_secret, body) },
    body,
    redirect: "error",
    signal: AbortSignal.timeout(timeout_ms),
  });
  if (!response.ok) throw new Error(`the ticket system answered ${response.status}`);
  const answer = await response.json<Ticket>().catch((): Ticket => ({}));
  return { id: answer.id === undefined ? undefined : String(answer.id), url: answer.url === undefined ? undefined : String(answer.url) };
}

function page(message: string, ticket: Ticket): Response {
  const link = ticket.url !== undefined && /^https?:\/\//.test(ticket.url) ? ticket.url : undefined;
  const name = ticket.id === undefined ? "your ticket" : `ticket ${escapeHtml(ticket.id)}`;
  const reference = link === undefined ? name : `<a href="${escapeHtml(link)}">${name}</a>`;
  const html = `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>A ticket has been opened</title>
<style>body{font:1.1rem/1.5 system-ui,sans-serif;max-width:36rem;margin:4rem auto;padding:0 1rem;color-scheme:light dark}</style>
<main><h1>A ticket has been opened</h1><p>${escapeHtml(message)}</p><p>Reference: ${reference}.</p></main>
</html>`;
  return new Response(html, {
    status: 403,
    headers: {
      "content-type": "text/html;charset=utf-8",
      "cache-control": "no-store",
      "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'",
    },
  });
}

export default {
  async fetch(request, env) {
    const { block, message, repeat_after_s } = env.parameters;
    const person = request.cf.identity?.email ?? request.cf.source?.ip ?? "unknown";
    const digest = await crypto.subtle.digest("SHA-256", encoder.encode(`${person}\n${new URL(request.url).host}`));
    const key = `ticket:${btoa(String.fromCharCode(...new Uint8Array(digest)))}`;
    let ticket = await env.STATE.get<Ticket>(key, "json");
    if (ticket === null) {
      ticket = await open(request, env);
      await env.STATE.put(key, JSON.stringify(ticket), { expirationTtl: Math.max(60, repeat_after_s) });
    }
    return block ? page(message, ticket) : undefined;
  },
} satisfies ExportedHandler<Env>;
