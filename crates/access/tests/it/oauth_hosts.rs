//! Several applications with managed OAuth on one host: each is found, and each keeps to itself.

use base64::Engine as _;
use http::{Method, StatusCode};
use identity::opaque::Digest;
use serde_json::{Value, json};
use url::Url;

use crate::oauth::{REDIRECT, Tokens, VERIFIER, is_challenge, parameter, value};
use crate::support::{Setup, Stand, WIKI, allow};
use testkit::{Browser, Seen};

/// An agent that knows the address of what it wants, and finds all else by discovery (RFC 9728, then RFC 8414).
struct Agent<'s> {
    stand: &'s Stand,
    http: Browser,
    resource: Url,
    /// The resource's metadata, and its authorization server's.
    metadata: Value,
    server: Value,
    client: String,
}

impl<'s> Agent<'s> {
    async fn discover(stand: &'s Stand, path: &str) -> Self {
        let mut http = stand.browser();
        let resource = stand.url(WIKI, path);
        let request = http.request(Method::GET, &resource);
        let challenge = send(&mut http, request).await;
        assert!(is_challenge(&challenge), "{path}: {} {}", challenge.status, challenge.text);
        let header = challenge.headers["www-authenticate"].to_str().unwrap();
        let address = header.split("resource_metadata=\"").nth(1).unwrap().split('"').next().unwrap();
        let request = http.request(Method::GET, &address.parse().unwrap());
        let metadata = value(&send(&mut http, request).await);
        assert_eq!(metadata["resource"], resource.as_str().trim_end_matches('/'));
        let issuer: Url = metadata["authorization_servers"][0].as_str().unwrap().parse().unwrap();
        let inserted = issuer.path().trim_end_matches('/');
        let address = issuer.join(&format!("/.well-known/oauth-authorization-server{inserted}")).unwrap();
        let request = http.request(Method::GET, &address);
        let server = value(&send(&mut http, request).await);
        // RFC 8414 section 3.3: a document that says another issuer must not be used.
        assert_eq!(server["issuer"], metadata["authorization_servers"][0]);
        Self { stand, http, resource, metadata, server, client: String::new() }
    }

    fn endpoint(&self, name: &str) -> Url {
        self.server[name].as_str().unwrap().parse().unwrap()
    }

    async fn register(&mut self, redirect: &str) -> Seen {
        let body = json!({"client_name": "Editor", "redirect_uris": [redirect], "token_endpoint_auth_method": "none",
            "grant_types": ["authorization_code", "refresh_token"]});
        let request = self.http.request(Method::POST, &self.endpoint("registration_endpoint")).json(&body);
        let made = send(&mut self.http, request).await;
        if made.status == StatusCode::CREATED {
            self.client = value(&made)["client_id"].as_str().unwrap().to_owned();
        }
        made
    }

    fn authorization(&self, resource: Option<&str>) -> Url {
        let challenge = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(Digest::of(VERIFIER).0);
        let mut url = self.endpoint("authorization_endpoint");
        url.query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", &self.client)
            .append_pair("redirect_uri", REDIRECT)
            .append_pair("code_challenge", &challenge)
            .append_pair("code_challenge_method", "S256");
        if let Some(resource) = resource {
            url.query_pairs_mut().append_pair("resource", resource);
        }
        url
    }

    /// The person signs in where they have to and says yes; returns the code.
    async fn code(&self, browser: &mut Browser, resource: Option<&str>) -> String {
        let mut page = browser.open(&self.authorization(resource)).await;
        if page.text.contains("Continue with Test provider") {
            let away = browser.submit(&page, "provider", &[]).await;
            page = browser.follow(away).await;
        }
        let asked = self.endpoint("authorization_endpoint").path().replace("authorization", "consent");
        let form = asked.strip_prefix("/cdn-cgi/access/").unwrap();
        let sent = browser.submit(&page, form, &[("answer", "allow")]).await;
        assert_eq!(sent.status, StatusCode::FOUND, "{} {}", page.text, sent.text);
        let sent = sent.location();
        // RFC 9207: who answers is the server that was asked.
        assert_eq!(parameter(&sent, "iss").as_deref(), self.server["issuer"].as_str());
        parameter(&sent, "code").unwrap()
    }

    async fn token(&mut self, fields: &[(&str, &str)]) -> Seen {
        let request = self.http.request(Method::POST, &self.endpoint("token_endpoint"));
        let request = request.form(&[&[("client_id", self.client.as_str())], fields].concat());
        send(&mut self.http, request).await
    }

    async fn redeem(&mut self, code: &str) -> Seen {
        let fields = [("code", code), ("redirect_uri", REDIRECT), ("code_verifier", VERIFIER)];
        self.token(&[&[("grant_type", "authorization_code")], &fields[..]].concat()).await
    }

    async fn refresh(&mut self, token: &str) -> Seen {
        self.token(&[("grant_type", "refresh_token"), ("refresh_token", token)]).await
    }

    async fn call(&mut self, path: &str, token: &str) -> StatusCode {
        let request = self.http.request(Method::GET, &self.stand.url(WIKI, path));
        send(&mut self.http, request.header("authorization", format!("Bearer {token}"))).await.status
    }
}

async fn send(http: &mut Browser, request: reqwest::RequestBuilder) -> Seen {
    let response = request.send().await.unwrap();
    http.keep(response).await
}

fn rules(loopback: bool) -> Value {
    let allowed = json!(["https://agent.example/cb"]);
    json!({"dynamic_client_registration": {"enabled": true, "allow_any_on_loopback": loopback, "allowed_uris": allowed}})
}

/// A wiki at `wiki` (its whole host if empty) and two further applications of the same host.
async fn stand(wiki: &str) -> Stand {
    let everyone = || vec![allow(json!({"everyone": {}}))];
    let more = [("Alpha", "/alpha", true), ("Beta", "/beta/mcp", true), ("Strict", "/strict", false)];
    let more = more.map(|(name, path, loopback)| {
        (json!({"name": name, "domain": format!("{WIKI}{path}"), "oauth_configuration": rules(loopback)}), everyone())
    });
    let wiki = json!({"domain": format!("{WIKI}{wiki}"), "oauth_configuration": rules(true)});
    Stand::start(Setup { wiki, more: more.to_vec(), policies: everyone(), ..Setup::default() }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn each_application_of_a_host_has_its_own_way_from_the_challenge_to_a_call() {
    for root in ["", "/wiki"] {
        let stand = stand(root).await;
        let mut browser = stand.browser();
        let mut issuers = Vec::new();
        let first = if root.is_empty() { "/" } else { root };
        for (path, name) in [(first, "Wiki"), ("/alpha", "Alpha"), ("/beta/mcp", "Beta")] {
            let mut agent = Agent::discover(&stand, path).await;
            assert_eq!(agent.register(REDIRECT).await.status, StatusCode::CREATED, "{path}");
            let resource = agent.metadata["resource"].as_str().unwrap().to_owned();
            // Clients that do not know RFC 8707 get a token for the application's first page.
            for named in [Some(resource.as_str()), None] {
                let code = agent.code(&mut browser, named).await;
                let reply = agent.redeem(&code).await;
                assert_eq!(reply.status, StatusCode::OK, "{path}: {}", reply.text);
                if root.is_empty() || name != "Wiki" {
                    assert_eq!(value(&reply)["resource"], resource, "{path}");
                }
                let tokens = Tokens::of(&reply);
                let next = Tokens::of(&agent.refresh(&tokens.refresh).await);
                let path = agent.resource.path().to_owned();
                for other in [path.as_str(), "/", "/wiki", "/alpha", "/alpha/x", "/beta/mcp", "/strict"] {
                    let own = agent.owns(other, root);
                    let status = agent.call(other, &next.access).await;
                    let expected = match own {
                        Some(true) => StatusCode::OK,
                        Some(false) => StatusCode::UNAUTHORIZED,
                        None => StatusCode::NOT_FOUND,
                    };
                    assert_eq!(status, expected, "a token for {path} at {other}");
                }
            }
            issuers.push(agent.server["issuer"].clone());
        }
        // The one that speaks for the host has the host's name; nothing is shared.
        let origin = stand.url(WIKI, "/").origin().ascii_serialization();
        assert_eq!(issuers[0], origin);
        issuers.dedup();
        assert_eq!(issuers.len(), 3);
        stand.shut_down().await;
    }
}

impl Agent<'_> {
    /// Whether a path belongs to the agent's application; `None` where it belongs to none.
    fn owns(&self, path: &str, root: &str) -> Option<bool> {
        let of = |path: &str| {
            let further = ["/alpha", "/beta/mcp", "/strict"].into_iter().find(|prefix| path.starts_with(prefix));
            further.or_else(|| path.starts_with(root).then_some("wiki"))
        };
        of(path).map(|found| Some(found) == of(self.resource.path()))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_application_gave_is_unknown_to_the_others_of_its_host() {
    let stand = stand("").await;
    let mut browser = stand.browser();
    let mut alpha = Agent::discover(&stand, "/alpha").await;
    let mut beta = Agent::discover(&stand, "/beta/mcp").await;
    let mut host = Agent::discover(&stand, "/").await;
    for agent in [&mut alpha, &mut beta, &mut host] {
        agent.register(REDIRECT).await;
    }
    let code = alpha.code(&mut browser, None).await;
    // A client of one is none of another, and neither is a code.
    for agent in [&mut beta, &mut host] {
        let own = std::mem::replace(&mut agent.client, alpha.client.clone());
        let refused = agent.redeem(&code).await;
        assert_eq!((refused.status, &value(&refused)["error"]), (StatusCode::UNAUTHORIZED, &json!("invalid_client")));
        let shown = browser.open(&agent.authorization(None)).await;
        assert!(shown.status == StatusCode::BAD_REQUEST && shown.text.contains("invalid_client"), "{}", shown.text);
        agent.client = own;
    }
    let tokens = Tokens::of(&alpha.redeem(&code).await);
    for agent in [&mut beta, &mut host] {
        let refused = agent.refresh(&tokens.refresh).await;
        assert_eq!((refused.status, &value(&refused)["error"]), (StatusCode::BAD_REQUEST, &json!("invalid_grant")));
        let request = agent.http.request(Method::POST, &agent.endpoint("revocation_endpoint"));
        let request = request.form(&[("token", tokens.refresh.as_str()), ("client_id", &agent.client)]);
        assert_eq!(send(&mut agent.http, request).await.status, StatusCode::OK);
    }
    // None of that ended the grant.
    let next = Tokens::of(&alpha.refresh(&tokens.refresh).await);
    assert_eq!(alpha.call("/alpha", &next.access).await, StatusCode::OK);
    // No resource but its own can be asked for.
    for (agent, others) in [
        (&alpha, ["/", "/beta/mcp", "/wiki"]),
        (&beta, ["/", "/beta", "/alpha"]),
        (&host, ["/alpha", "/beta/mcp", "/strict"]),
    ] {
        for other in others {
            let refused = browser.get(&agent.authorization(Some(stand.url(WIKI, other).as_str()))).await;
            assert_eq!(parameter(&refused.location(), "error").as_deref(), Some("invalid_target"), "{other}");
        }
    }
    // The registration rules are the application's own, and not those of its host.
    let mut strict = Agent::discover(&stand, "/strict").await;
    let refused = strict.register(REDIRECT).await;
    assert_eq!(
        (refused.status, &value(&refused)["error"]),
        (StatusCode::BAD_REQUEST, &json!("invalid_client_metadata"))
    );
    assert_eq!(strict.register("https://agent.example/cb").await.status, StatusCode::CREATED);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_that_names_no_application_of_the_host_is_none() {
    let stand = stand("").await;
    let alpha = Agent::discover(&stand, "/alpha").await;
    let issuer: Url = alpha.server["issuer"].as_str().unwrap().parse().unwrap();
    let mut http = stand.browser();
    let strange = "/cdn-cgi/access/oauth/00000000-0000-0000-0000-00000000ffff";
    for path in [
        format!("{strange}/token"),
        format!("{strange}/authorization"),
        "/cdn-cgi/access/oauth/alpha/token".into(),
        format!("{}/x/token", issuer.path()),
        format!("{}/", issuer.path()),
        issuer.path().to_owned(),
    ] {
        let request = http.request(Method::POST, &stand.url(WIKI, &path)).form(&[("grant_type", "refresh_token")]);
        let seen = send(&mut http, request).await;
        assert_eq!(seen.status, StatusCode::NOT_FOUND, "{path}: {}", seen.text);
    }
    // Its metadata are nobody's: they would be the application's at the root, behind its policies.
    let request =
        http.request(Method::GET, &stand.url(WIKI, &format!("/.well-known/oauth-authorization-server{strange}")));
    assert!(is_challenge(&send(&mut http, request).await));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_finds_its_way_into_a_portal_and_nobody_else_does() {
    let wiki = json!({"type": "mcp_portal", "portunus": {}, "oauth_configuration": rules(true)});
    let policies = vec![allow(json!({"everyone": {}}))];
    let stand = Stand::start(Setup { wiki, policies, ..Setup::default() }).await;
    let mut browser = stand.browser();
    let mut agent = Agent::discover(&stand, "/mcp").await;
    assert_eq!(agent.register(REDIRECT).await.status, StatusCode::CREATED);
    let code = agent.code(&mut browser, None).await;
    let tokens = Tokens::of(&agent.redeem(&code).await);
    assert_eq!(agent.call("/mcp", "oauth:invented").await, StatusCode::UNAUTHORIZED);
    // The portal has no origin: whoever gets here is past Access.
    assert_eq!(agent.call("/mcp", &tokens.access).await, StatusCode::BAD_GATEWAY);
    stand.shut_down().await;
}
