// What the type definitions must refuse; were they too loose, the expected errors would be missing and that is an error.

interface Env {
  TRAINING: KVNamespace;
  TOKEN: string;
}

export default {
  async fetch(request, env, ctx) {
    const email: string | undefined = request.cf.identity?.email;
    // @ts-expect-error: who is asking may be unknown.
    const certain: string = request.cf.identity.email;
    // @ts-expect-error: a group is more than its name.
    const group: string | undefined = request.cf.identity?.groups[0];
    // @ts-expect-error: a value that is not there is null.
    const stored: string = await env.TRAINING.get("ana");
    // @ts-expect-error: this Worker has no such binding.
    env.LEARNING;
    // @ts-expect-error: what a promise leaves behind must be a promise.
    ctx.waitUntil(env.TOKEN);
    // @ts-expect-error: there is no document in a Worker.
    document.title;
    const changed = new Request(request, { headers: { "x-training": `${email} ${certain} ${group} ${stored}` } });
    return changed;
  },
} satisfies ExportedHandler<Env>;

export const wrong = {
  // @ts-expect-error: a text is not an answer.
  async fetch() {
    return "allowed";
  },
} satisfies ExportedHandler;
