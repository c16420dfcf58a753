// npm `oidc-provider` in one process with its in-memory adapter: the peer for sign-ins and refreshes. It listens with TLS,
// signs people in by one argon2id hash of the parameters that the platform's have, and asks for no consent. Access tokens are
// opaque, its quickest kind. Arguments: certificate and key (PEM files), the password. Prints its port once it listens.
import { readFileSync } from "node:fs";
import { createServer } from "node:https";
import { hash, verify } from "@node-rs/argon2";
import Provider from "oidc-provider";

const [certificate, key, password] = process.argv.slice(2);
const kept = await hash(password, { memoryCost: 19_456, timeCost: 2, parallelism: 1 });
const server = createServer({ cert: readFileSync(certificate), key: readFileSync(key) });
await new Promise((listening) => server.listen(0, "127.0.0.1", listening));
const { port } = server.address();

const HOUR = 3600;
const provider = new Provider(`https://peer.localhost:${port}`, {
  clients: [
    {
      client_id: "bench",
      token_endpoint_auth_method: "none",
      redirect_uris: ["https://client.localhost/callback"],
      grant_types: ["authorization_code", "refresh_token"],
    },
  ],
  cookies: { keys: ["a key of the benchmark"] },
  features: { devInteractions: { enabled: false } },
  findAccount: (_context, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
  interactions: { url: (_context, { uid }) => `/interaction/${uid}` },
  issueRefreshToken: () => true,
  async loadExistingGrant({ oidc }) {
    const grant = new oidc.provider.Grant({ clientId: oidc.client.clientId, accountId: oidc.session.accountId });
    grant.addOIDCScope("wiki");
    await grant.save();
    return grant;
  },
  pkce: { required: () => true },
  rotateRefreshToken: true,
  // Without `openid` there is no ID token to sign.
  scopes: ["wiki"],
  ttl: { AccessToken: HOUR, AuthorizationCode: 60, Grant: HOUR, IdToken: HOUR, Interaction: 600, RefreshToken: HOUR, Session: HOUR },
});

const answer = provider.callback();
server.on("request", async (request, response) => {
  if (!request.url.startsWith("/interaction/")) return answer(request, response);
  if (request.method === "GET") {
    response.setHeader("content-type", "text/html");
    return response.end(`<form method="post" action="${request.url}"><input name="state" value="none"></form>`);
  }
  let form = "";
  for await (const chunk of request.setEncoding("utf8")) form += chunk;
  const fields = new URLSearchParams(form);
  if (!(await verify(kept, fields.get("password") ?? ""))) {
    response.statusCode = 403;
    return response.end("wrong password");
  }
  return provider.interactionFinished(request, response, { login: { accountId: fields.get("email") } });
});
console.log(port);
