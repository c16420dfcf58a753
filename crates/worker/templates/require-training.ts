// Lets a person on when a learning system says that their training is valid, and sends them to the course otherwise.
// A lookup that fails is an exception: the rule's on_error decides, and it blocks unless the owner says otherwise.

interface Parameters {
  lookup_url: string;
  training_url: string;
  course: string;
  header: string;
  timeout_ms: number;
}

interface Env {
  parameters: Parameters;
  lookup_token?: string;
}

interface Training {
  valid: boolean;
  expires?: string;
}

async function lookUp(email: string, env: Env): Promise<Training> {
  const { lookup_url, course, timeout_ms } = env.parameters;
  const url = new URL(lookup_url);
  url.searchParams.set("user", email);
  url.searchParams.set("course", course);
  const headers = new Headers({ accept: "application/json" });
  if (env.lookup_token) headers.set("authorization", `Bearer ${env.lookup_token}`);
  const response = await fetch(url, { headers, redirect: "error", signal: AbortSignal.timeout(timeout_ms) });
  if (response.status === 404) return { valid: false };
  if (!response.ok) throw new Error(`the learning system answered ${response.status}`);
  const training = await response.json<Partial<Training>>();
  if (typeof training.valid !== "boolean") throw new Error("the learning system's answer has no \"valid\"");
  return { valid: training.valid, expires: training.expires };
}

export default {
  async fetch(request, env) {
    const { training_url, header } = env.parameters;
    const email = request.cf.identity?.email;
    const training = email === undefined ? { valid: false } : await lookUp(email, env);
    if (!training.valid) {
      const target = new URL(training_url);
      target.searchParams.set("return_to", request.url);
      return Response.redirect(target, 302);
    }
    const headers = new Headers(request.headers);
    if (header === "") return undefined;
    headers.set(header, training.expires ?? "true");
    return new Request(request, { headers });
  },
} satisfies ExportedHandler<Env>;
