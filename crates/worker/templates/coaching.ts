// Shows a page before a person goes on to a site; an acknowledgement is remembered per person and site.
// The acknowledgement is a form sent to the site's own origin, which this action answers itself. It counts only when the
// browser says that the form came from that origin, so no other site can acknowledge for a person.

interface Parameters {
  title: string;
  message: string;
  button: string;
  remember_s: number;
}

interface Env {
  parameters: Parameters;
  STATE: KVNamespace;
}

const ACKNOWLEDGE = "/.portunus/acknowledge";

const escapeHtml = (text: string): string =>
  text.replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);

function page(parameters: Parameters, returnTo: string): Response {
  const { title, message, button } = parameters;
  const paragraphs = message.split(/\n\s*\n/).map((text) => `<p>${escapeHtml(text)}</p>`).join("\n");
  const html = `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escapeHtml(title)}</title>
<style>
body{font:1.1rem/1.5 system-ui,sans-serif;max-width:36rem;margin:4rem auto;padding:0 1rem;color-scheme:light dark}
button{font:inherit;padding:.6rem 1.2rem;border-radius:.4rem;border:2px solid currentColor;cursor:pointer}
button:focus-visible{outline:3px solid Highlight;outline-offset:2px}
</style>
<main>
<h1>${escapeHtml(title)}</h1>
${paragraphs}
<form method="post" action="${ACKNOWLEDGE}">
<input type="hidden" name="return_to" value="${escapeHtml(returnTo)}">
<button type="submit">${escapeHtml(button)}</button>
</form>
</main>
</html>`;
  return new Response(html, {
    status: 403,
    headers: {
      "content-type": "text/html;charset=utf-8",
      "cache-control": "no-store",
      "referrer-policy": "same-origin",
      "x-frame-options": "DENY",
      "content-security-policy":
        "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    },
  });
}

// A path on the same site, never another one.
function localPath(value: unknown): string {
  if (typeof value !== "string" || !/^\/(?![/\\])/.test(value) || /[\r\n]/.test(value)) return "/";
  return value;
}

async function acknowledge(request: IncomingRequest, env: Env, key: string): Promise<Response> {
  const { origin } = new URL(request.url);
  const site = request.headers.get("sec-fetch-site");
  if (request.headers.get("origin") !== origin || (site !== null && site !== "same-origin")) {
    return new Response("The acknowledgement must come from the page itself.", { status: 403 });
  }
  const form = await request.formData();
  await env.STATE.put(key, "1", { expirationTtl: Math.max(60, env.parameters.remember_s) });
  return new Response(null, { status: 303, headers: { location: localPath(form.get("return_to")), "cache-control": "no-store" } });
}

export default {
  async fetch(request, env) {
    const url = new URL(request.url);
    const person = request.cf.identity?.email;
    if (person === undefined) {
      return new Response("This site needs an acknowledgement, and nobody is signed in.", { status: 403 });
    }
    const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(`${person}\n${url.host}`));
    const key = `coaching:${btoa(String.fromCharCode(...new Uint8Array(digest)))}`;
    if (request.method === "POST" && url.pathname === ACKNOWLEDGE) return acknowledge(request, env, key);
    if ((await env.STATE.get(key)) !== null) return undefined;
    const wantsPage = request.method === "GET" && (request.headers.get("accept") ?? "").includes("text/html");
    if (wantsPage) return page(env.parameters, url.pathname + url.search);
    return new Response(`${env.parameters.title}: open this site in a browser first.`, { status: 403 });
  },
} satisfies ExportedHandler<Env>;
