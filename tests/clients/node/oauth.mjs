// Managed OAuth with the libraries agents are made of: the MCP SDK, oauth4webapi, openid-client. ACCESS_URL says where
// Access listens, PERSON and PASSWORD who consents; the application is the demo's wiki.
import assert from "node:assert/strict";
import {
  auth,
  discoverAuthorizationServerMetadata,
  extractWWWAuthenticateParams,
  refreshAuthorization,
} from "@modelcontextprotocol/sdk/client/auth.js";
import * as oauth from "oauth4webapi";
import * as openid from "openid-client";

import { suite } from "./platform.mjs";
import { consent, fetch } from "./person.mjs";

const wiki = new URL(`https://wiki.localhost:${new URL(process.env.ACCESS_URL).port}`);
const callback = "http://127.0.0.1:8976/callback";
const metadata = {
  client_name: "Client suite",
  redirect_uris: [callback],
  grant_types: ["authorization_code", "refresh_token"],
  response_types: ["code"],
  token_endpoint_auth_method: "none",
};

/** Reads the wiki with a token; the page says whether it was told who asks. */
async function call(token) {
  const response = await fetch(wiki, { headers: { authorization: `Bearer ${token}` } });
  assert.equal(response.status, 200);
  assert.match(await response.text(), /Access told this page who you are/);
}

/** What the MCP SDK keeps for a server. */
class Kept {
  redirectUrl = callback;
  clientMetadata = metadata;
  state = () => "state of the suite";
  clientInformation = () => this.client;
  saveClientInformation = (client) => void (this.client = client);
  tokens = () => this.given;
  saveTokens = (tokens) => void (this.given = tokens);
  redirectToAuthorization = (address) => void (this.address = address);
  saveCodeVerifier = (verifier) => void (this.verifier = verifier);
  codeVerifier = () => this.verifier;
}

async function mcp() {
  const refused = await fetch(wiki);
  assert.equal(refused.status, 401);
  const { resourceMetadataUrl } = extractWWWAuthenticateParams(refused);
  const kept = new Kept();
  const options = { serverUrl: wiki, resourceMetadataUrl, fetchFn: fetch };
  assert.equal(await auth(kept, options), "REDIRECT");
  const back = await consent(kept.address, callback);
  assert.equal(back.searchParams.get("state"), "state of the suite");
  assert.equal(await auth(kept, { ...options, authorizationCode: back.searchParams.get("code") }), "AUTHORIZED");
  await call(kept.given.access_token);
  // The SDK refreshes by itself when it is asked again.
  const first = kept.given;
  assert.equal(await auth(kept, options), "AUTHORIZED");
  assert.notEqual(kept.given.refresh_token, first.refresh_token);
  await call(kept.given.access_token);
  // Several processes with one refresh token get one answer.
  const server = await discoverAuthorizationServerMetadata(wiki, { fetchFn: fetch });
  const refreshToken = kept.given.refresh_token;
  const again = () =>
    refreshAuthorization(wiki, { metadata: server, clientInformation: kept.client, refreshToken, fetchFn: fetch });
  const answers = await Promise.all(Array.from({ length: 8 }, again));
  assert.equal(new Set(answers.map((answer) => answer.refresh_token)).size, 1);
  await call(answers[7].access_token);
}

async function webapi() {
  const options = { [oauth.customFetch]: fetch };
  const resource = await oauth.processResourceDiscoveryResponse(wiki, await oauth.resourceDiscoveryRequest(wiki, options));
  const issuer = new URL(resource.authorization_servers[0]);
  const found = await oauth.discoveryRequest(issuer, { ...options, algorithm: "oauth2" });
  const server = await oauth.processDiscoveryResponse(issuer, found);
  const made = await oauth.dynamicClientRegistrationRequest(server, metadata, options);
  const client = await oauth.processDynamicClientRegistrationResponse(made);
  const verifier = oauth.generateRandomCodeVerifier();
  const state = oauth.generateRandomState();
  const address = new URL(server.authorization_endpoint);
  address.search = new URLSearchParams({
    client_id: client.client_id,
    redirect_uri: callback,
    response_type: "code",
    code_challenge: await oauth.calculatePKCECodeChallenge(verifier),
    code_challenge_method: "S256",
    state,
    resource: resource.resource,
  });
  // Checks `iss` too, which the metadata promises (RFC 9207).
  const parameters = oauth.validateAuthResponse(server, client, await consent(address, callback), state);
  const reply = await oauth.authorizationCodeGrantRequest(server, client, oauth.None(), parameters, callback, verifier, options);
  const tokens = await oauth.processAuthorizationCodeResponse(server, client, reply);
  await call(tokens.access_token);
  const gone = await oauth.revocationRequest(server, client, oauth.None(), tokens.refresh_token, options);
  await oauth.processRevocationResponse(gone);
  const refused = await fetch(wiki, { headers: { authorization: `Bearer ${tokens.access_token}` } });
  assert.equal(refused.status, 401);
  assert.match(refused.headers.get("www-authenticate"), /error="invalid_token"/);
}

async function openidClient() {
  const options = { [openid.customFetch]: fetch, algorithm: "oauth2" };
  const config = await openid.dynamicClientRegistration(wiki, { ...metadata, token_endpoint_auth_method: "client_secret_post" }, undefined, options);
  const verifier = openid.randomPKCECodeVerifier();
  const state = openid.randomState();
  const address = openid.buildAuthorizationUrl(config, {
    redirect_uri: callback,
    code_challenge: await openid.calculatePKCECodeChallenge(verifier),
    code_challenge_method: "S256",
    state,
  });
  const back = await consent(address, callback);
  const tokens = await openid.authorizationCodeGrant(config, back, { pkceCodeVerifier: verifier, expectedState: state });
  await call(tokens.access_token);
  const next = await openid.refreshTokenGrant(config, tokens.refresh_token);
  await call(next.access_token);
  const refused = await consent(openid.buildAuthorizationUrl(config, {
    redirect_uri: callback,
    code_challenge: await openid.calculatePKCECodeChallenge(verifier),
    code_challenge_method: "S256",
    state,
  }), callback, "deny");
  assert.equal(refused.searchParams.get("error"), "access_denied");
}

await suite("oauth.mjs", {
  "the MCP SDK finds, registers, is let in, calls, refreshes alone and in eight processes": mcp,
  "oauth4webapi follows RFC 9728 to a token, a call and its revocation": webapi,
  "openid-client with a secret of its own, refused once": openidClient,
});
