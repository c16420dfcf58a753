//! One application, its clients and a person, for the tests of the authorization server.

use types::{ApplicationId, UserId};
use url::Url;
use uuid::Uuid;

use super::authorization::{Arrival, Decision, Lifetimes, PendingRequest, Refusal, Target, begin, consent_token};
use super::client::{AuthenticationMethod, Client, GrantType, Origin};
use super::error::OauthError;
use super::form::Form;
use super::grant::{Grant, RefreshStep, Standing};
use super::token::{TokenReply, TokenRequest};
use crate::opaque::{Digest, Seed, text};

pub(super) const NOW: i64 = 1_800_000_000;
pub(super) const APPLICATION: ApplicationId = ApplicationId(Uuid::from_u128(1));
pub(super) const PERSON: UserId = UserId(Uuid::from_u128(2));
pub(super) const SESSION: Digest = Digest([3; 32]);
pub(super) const VERIFIER: &str = "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopq";
pub(super) const REDIRECT: &str = "https://agent.example/cb";

pub(super) fn seed(number: u64) -> Seed {
    Digest::of(&number.to_string()).0
}

pub(super) fn challenge() -> String {
    text(&Digest::of(VERIFIER).0)
}

pub(super) fn public() -> Client {
    Client {
        id: "agent".to_owned(),
        application: APPLICATION,
        origin: Origin::Registered,
        name: "Agent".to_owned(),
        redirect_uris: vec![REDIRECT.to_owned(), "http://127.0.0.1/cb".to_owned()],
        method: AuthenticationMethod::None,
        secret: None,
        grant_types: vec![GrantType::AuthorizationCode, GrantType::RefreshToken],
        created_at: NOW,
        last_used_at: None,
    }
}

pub(super) fn confidential() -> Client {
    Client {
        id: "server".to_owned(),
        method: AuthenticationMethod::Basic,
        secret: Some(Digest::of("hush")),
        ..public()
    }
}

/// A form with some parameters replaced, added, or (with `None`) left out.
pub(super) fn form(base: &[(&str, &str)], changes: &[(&str, Option<&str>)]) -> Form {
    let mut text = url::form_urlencoded::Serializer::new(String::new());
    for (name, value) in base.iter().filter(|(name, _)| !changes.iter().any(|(changed, _)| changed == name)) {
        text.append_pair(name, value);
    }
    for (name, value) in changes.iter().filter_map(|(name, value)| value.map(|value| (name, value))) {
        text.append_pair(name, value);
    }
    Form::parse(text.finish().as_bytes()).unwrap()
}

pub(super) fn authorize(client: Option<&Client>, changes: &[(&str, Option<&str>)]) -> Result<PendingRequest, Refusal> {
    let challenge = challenge();
    let base = [
        ("client_id", client.map_or("agent", |client| &client.id)),
        ("redirect_uri", REDIRECT),
        ("response_type", "code"),
        ("state", "st&te"),
        ("code_challenge", challenge.as_str()),
        ("code_challenge_method", "S256"),
        ("resource", "https://app.example/mcp"),
        ("scope", "read openid"),
    ];
    let target = Target {
        application: APPLICATION,
        issuer: "https://team.example",
        default_resource: "https://app.example",
        contains: &|url: &Url| url.origin() == Url::parse("https://app.example").unwrap().origin(),
        scopes: &["read".to_owned(), "write".to_owned()],
        lifetimes: Lifetimes { access_token: 900, grant: 14 * 86_400 },
    };
    begin(
        &form(&base, changes),
        client,
        &target,
        Arrival { request_id: "request", browser_secret: "browser", now: NOW },
    )
}

pub(super) fn decision(token: &str) -> Decision<'_> {
    Decision {
        user: PERSON,
        session: SESSION,
        request_id: "request",
        browser_secret: "browser",
        consent_token: token,
        now: NOW,
    }
}

pub(super) fn approved(client: &Client, number: u64) -> (Grant, String) {
    let pending = authorize(Some(client), &[]).unwrap();
    let token = consent_token("browser", "request", &SESSION);
    let (grant, url) = pending.approve(decision(&token), &seed(number)).unwrap();
    let code = url.query_pairs().find(|(name, _)| name == "code").unwrap().1.into_owned();
    (grant, code)
}

pub(super) fn code_request(
    code: &str,
    changes: &[(&str, Option<&str>)],
    authorization: Option<&str>,
) -> Result<TokenRequest, OauthError> {
    let base = [
        ("grant_type", "authorization_code"),
        ("client_id", "agent"),
        ("code", code),
        ("redirect_uri", REDIRECT),
        ("code_verifier", VERIFIER),
    ];
    TokenRequest::read(&form(&base, changes), authorization)
}

pub(super) fn refresh_request(
    token: &str,
    changes: &[(&str, Option<&str>)],
    authorization: Option<&str>,
) -> Result<TokenRequest, OauthError> {
    let base = [("grant_type", "refresh_token"), ("client_id", "agent"), ("refresh_token", token)];
    TokenRequest::read(&form(&base, changes), authorization)
}

/// What a plane does with a token request.
pub(super) fn exchange(
    grant: &mut Grant,
    client: &Client,
    request: &TokenRequest,
    standing: Standing,
    now: i64,
    number: u64,
) -> Result<TokenReply, OauthError> {
    let authenticated = client.authenticate(&request.credential)?;
    if matches!(request.presented, super::token::Presented::Code { .. }) {
        return grant.redeem(request, authenticated, standing, now, &seed(number));
    }
    match grant.refresh(request, authenticated, now) {
        RefreshStep::Repeat(reply) => Ok(reply),
        RefreshStep::Refused(error) => Err(error),
        RefreshStep::Recheck(rotation) => grant.rotate(rotation, standing, now, &seed(number)),
    }
}

pub(super) fn redeemed(client: &Client, number: u64) -> (Grant, TokenReply) {
    let (mut grant, code) = approved(client, number);
    let request = code_request(&code, &[], None).unwrap();
    let reply = exchange(&mut grant, client, &request, Standing::Allowed, NOW + 1, number + 1).unwrap();
    (grant, reply)
}

pub(super) fn refresh_of(reply: &TokenReply) -> String {
    reply.refresh_token.clone().unwrap().into_inner()
}
