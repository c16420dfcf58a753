// Leaves the decision about a request to an outside service. Anything but a clear answer is an exception, and the
// rule's on_error decides.

interface Parameters {
  url: string;
  challenge_url?: string;
  send_url: boolean;
  timeout_ms: number;
}

interface Env {
  parameters: Parameters;
  token?: string;
}

type Decision = "allow" | "challenge" | "deny";

async function ask(request: IncomingRequest, env: Env): Promise<{ decision: Decision; reason: string }> {
  const { url, send_url, timeout_ms } = env.parameters;
  const target = new URL(request.url);
  const headers = new Headers({ "content-type": "application/json", accept: "application/json" });
  if (env.token) headers.set("authorization", `Bearer ${env.token}`);
  const { identity, device, country, risk, application, source } = request.cf;
  const response = await fetch(url, {
    method: "POST",
    headers,
    body: JSON.stringify({
      user: identity?.email ?? null,
      groups: identity?.groups.map((group) => group.name) ?? [],
      device: device ?? null,
      country: country ?? null,
      risk: risk ?? null,
      application: application ?? null,
      client_ip: source?.ip ?? null,
      method: request.method,
      host: target.host,
      url: send_url ? request.url : null,
    }),
    redirect: "error",
    signal: AbortSignal.timeout(timeout_ms),
  });
  if (!response.ok) throw new Error(`the risk service answered ${response.status}`);
  const { decision, reason } = await response.json<{ decision?: unknown; reason?: unknown }>();
  if (decision !== "allow" && decision !== "challenge" && decision !== "deny") {
    throw new Error("the risk service's answer has no decision");
  }
  return { decision, reason: typeof reason === "string" ? reason.slice(0, 500) : "" };
}

export default {
  async fetch(request, env) {
    const { decision, reason } = await ask(request, env);
    if (decision === "allow") return undefined;
    console.log(decision, reason);
    const { challenge_url } = env.parameters;
    if (decision === "challenge" && challenge_url) {
      const target = new URL(challenge_url);
      target.searchParams.set("return_to", request.url);
      return Response.redirect(target, 302);
    }
    return new Response(`Access is denied by a risk check.${reason === "" ? "" : ` ${reason}`}\n`, {
      status: 403,
      headers: { "content-type": "text/plain;charset=utf-8", "cache-control": "no-store" },
    });
  },
} satisfies ExportedHandler<Env>;
