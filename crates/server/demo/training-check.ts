// Asks the learning system whether this person's compliance training is valid.
// Expired: the browser is sent to the training page. Valid: the request goes on, with a header for the finance site.

interface Training {
  status: "valid" | "expired";
  expires: string;
}

export default {
  async fetch(request, env): Promise<Response | Request | undefined> {
    const person = request.cf.identity?.email;
    if (!person) return new Response("Sign in to the proxy to reach the finance site.\n", { status: 403 });

    const answer = await fetch(`${env.LEARNING_API}/api/training?person=${encodeURIComponent(person)}`);
    if (!answer.ok) throw new Error(`the learning system answered ${answer.status}`);
    const training: Training = await answer.json();

    if (training.status !== "valid") {
      return Response.redirect(`${env.LEARNING_SITE}/compliance?from=${encodeURIComponent(request.url)}`, 302);
    }
    const allowed = new Request(request);
    allowed.headers.set("x-training-valid-until", training.expires);
    return allowed;
  },
} satisfies ExportedHandler<{ LEARNING_API: string; LEARNING_SITE: string }>;
