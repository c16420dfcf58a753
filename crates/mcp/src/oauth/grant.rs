//! What an authorization server gave: tokens, how long they hold, and where they are renewed.
//!
//! Decides whether an answer of a token endpoint is used, when a token is renewed ahead of its end, and what is written
//! down. Invariants: a grant is bound to the issuer and the settings it was made under; a renewed grant keeps what the
//! answer does not replace; and nothing of a token is in what is written in clear.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use types::Secret;
use url::Url;

use super::client::Client;
use super::flow::{Pending, TokenRequest};
use super::{MAX_DOCUMENT, plain_error, scopes};
use crate::document::credentials::TokenAuthMethod;

/// Longest token.
const MAX_TOKEN: usize = 16 << 10;
/// A token is renewed when this part of its life is left, in seconds, within the two bounds.
const RENEW_PART: i64 = 5;
const RENEW_BOUNDS: (i64, i64) = (2, 300);
/// How long whoever renews has, before somebody else may try.
pub const LEASE: i64 = 30;

/// What is written in clear of a grant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Changes when the person signs in anew, and not when a token is renewed.
    pub sign_in: String,
    pub issuer: Option<String>,
    pub token: Url,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revocation: Option<Url>,
    pub client_id: String,
    pub method: TokenAuthMethod,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_expires: Option<i64>,
    pub resource: String,
    /// As granted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// What the server asked for since, and the next sign-in asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wanted: Option<String>,
    /// Of the server's settings it was made under.
    pub settings: String,
    /// When the access token was given, in seconds since the epoch.
    pub obtained: i64,
    /// Somebody is renewing it until then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renewing: Option<i64>,
}

/// A sign-in that stands.
#[derive(Clone, PartialEq, Eq)]
pub struct Grant {
    pub state: State,
    /// When the access token ends, in seconds since the epoch; `None`: the server did not say.
    pub expires: Option<i64>,
    /// It does not work any more.
    pub lapsed: bool,
    pub access_token: Secret<String>,
    refresh_token: Option<Secret<String>>,
    client_secret: Option<Secret<String>>,
}

impl fmt::Debug for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Grant({}, expires {:?}, lapsed {})", self.state.resource, self.expires, self.lapsed)
    }
}

/// Why the answer of a token endpoint is not used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// The server's error word. `invalid_grant`: what was shown is worth nothing any more.
    #[error("the authorization server refused: {0}")]
    Refused(String),
    #[error("the authorization server answered {0}")]
    Status(u16),
    #[error("the authorization server's answer is no token that can be used")]
    Malformed,
}

impl AnswerError {
    /// Whether asking again could not help: the grant, or the client that it was given to, is gone.
    #[must_use]
    pub fn is_final(&self) -> bool {
        match self {
            Self::Refused(word) => {
                matches!(word.as_str(), "invalid_grant" | "invalid_client" | "unauthorized_client" | "invalid_scope")
            }
            Self::Status(_) | Self::Malformed => false,
        }
    }
}

/// A sound answer of a token endpoint.
pub struct Tokens {
    access_token: Secret<String>,
    refresh_token: Option<Secret<String>>,
    expires_in: Option<i64>,
    scope: Option<String>,
}

impl Tokens {
    /// Reads an answer (RFC 6749 section 5).
    ///
    /// # Errors
    /// It is a refusal, or no bearer token.
    pub fn parse(status: u16, body: &[u8]) -> Result<Self, AnswerError> {
        if body.len() > MAX_DOCUMENT {
            return Err(AnswerError::Malformed);
        }
        let members: Option<Map<String, Value>> = serde_json::from_slice(body).ok();
        if let Some(error) = members.as_ref().and_then(|members| members.get("error")) {
            return Err(AnswerError::Refused(plain_error(error.as_str().unwrap_or_default())));
        }
        if status != 200 {
            return Err(AnswerError::Status(status));
        }
        let members = members.ok_or(AnswerError::Malformed)?;
        let text = |name: &str| members.get(name).and_then(Value::as_str);
        // RFC 6749 section 7.1: a token of another type is not used.
        if !text("token_type").is_some_and(|kind| kind.eq_ignore_ascii_case("bearer")) {
            return Err(AnswerError::Malformed);
        }
        let token = |name: &str| {
            let sound =
                |text: &&str| (1..=MAX_TOKEN).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
            match text(name) {
                None => Ok(None),
                Some(found) => {
                    Some(found).filter(sound).map(|t| Some(Secret::new(t.to_owned()))).ok_or(AnswerError::Malformed)
                }
            }
        };
        // Some servers write the number as a text.
        let expires_in = members.get("expires_in").and_then(|value| {
            value
                .as_i64()
                .or_else(|| value.as_f64().map(|seconds| seconds as i64))
                .or_else(|| value.as_str()?.parse().ok())
        });
        Ok(Self {
            access_token: token("access_token")?.ok_or(AnswerError::Malformed)?,
            refresh_token: token("refresh_token")?,
            expires_in: expires_in.filter(|seconds| *seconds > 0),
            scope: text("scope").and_then(|scope| scopes(scope.split(' '))),
        })
    }

    fn expires(&self, now: i64) -> Option<i64> {
        self.expires_in.map(|seconds| now.saturating_add(seconds))
    }
}

impl Grant {
    /// Makes a grant of what a sign-in brought. `sign_in` is a name of its own, `settings` those of the server.
    #[must_use]
    pub fn new(pending: &Pending, tokens: Tokens, sign_in: String, settings: String, now: i64) -> Self {
        let plan = &pending.plan;
        Self {
            expires: tokens.expires(now),
            lapsed: false,
            state: State {
                sign_in,
                issuer: plan.endpoints.issuer.clone(),
                token: plan.endpoints.token.clone(),
                revocation: plan.endpoints.revocation.clone(),
                client_id: plan.client.id.clone(),
                method: plan.client.method,
                secret_expires: plan.client.secret_expires,
                resource: plan.resource.clone(),
                // RFC 6749 section 5.1: what is not said is what was asked for.
                scope: tokens.scope.or_else(|| plan.scope.clone()),
                wanted: None,
                settings,
                obtained: now,
                renewing: None,
            },
            access_token: tokens.access_token,
            refresh_token: tokens.refresh_token,
            client_secret: plan.client.secret.clone(),
        }
    }

    /// Makes the renewed grant. A server that sends no new refresh token lets the old one stand (RFC 6749 section 6).
    #[must_use]
    pub fn renewed(&self, tokens: Tokens, now: i64) -> Self {
        let mut state = State { obtained: now, renewing: None, ..self.state.clone() };
        state.scope = tokens.scope.clone().or(state.scope);
        Self {
            expires: tokens.expires(now),
            lapsed: false,
            state,
            access_token: tokens.access_token,
            refresh_token: tokens.refresh_token.or_else(|| self.refresh_token.clone()),
            client_secret: self.client_secret.clone(),
        }
    }

    /// Returns the same, lapsed: only a new sign-in helps.
    #[must_use]
    pub fn without_use(&self) -> Self {
        Self { lapsed: true, state: State { renewing: None, ..self.state.clone() }, ..self.clone() }
    }

    /// Whether it was made under these settings, works, and has not ended.
    #[must_use]
    pub fn is_good(&self, settings: &str, now: i64) -> bool {
        self.stands(settings) && self.expires.is_none_or(|expires| now < expires)
    }

    /// Whether it was made under these settings and was not refused.
    #[must_use]
    pub fn stands(&self, settings: &str) -> bool {
        !self.lapsed && self.state.settings == settings
    }

    /// Whether it is time to renew it: a part of its life is left.
    #[must_use]
    pub fn is_due(&self, now: i64) -> bool {
        self.expires.is_some_and(|expires| {
            let life = expires.saturating_sub(self.state.obtained);
            let ahead = (life / RENEW_PART).clamp(RENEW_BOUNDS.0, RENEW_BOUNDS.1);
            now >= expires.saturating_sub(ahead)
        })
    }

    #[must_use]
    pub fn can_renew(&self) -> bool {
        self.refresh_token.is_some()
    }

    fn client(&self) -> Client {
        Client {
            id: self.state.client_id.clone(),
            secret: self.client_secret.clone(),
            method: self.state.method,
            secret_expires: self.state.secret_expires,
        }
    }

    /// Says what to post to renew it; `None` where nothing was given to do so with.
    #[must_use]
    pub fn renewal(&self) -> Option<TokenRequest> {
        let refresh = self.refresh_token.as_ref()?;
        let form = vec![
            ("grant_type", "refresh_token".to_owned()),
            ("refresh_token", refresh.expose().clone()),
            ("resource", self.state.resource.clone()),
        ];
        Some(TokenRequest::new(&self.state.token, &self.client(), form))
    }

    /// Says what to post so that the server forgets it (RFC 7009): the refresh token, with which access tokens go.
    #[must_use]
    pub fn revocation(&self) -> Option<TokenRequest> {
        let address = self.state.revocation.as_ref()?;
        let (token, hint) = match &self.refresh_token {
            Some(token) => (token, "refresh_token"),
            None => (&self.access_token, "access_token"),
        };
        let form = vec![("token", token.expose().clone()), ("token_type_hint", hint.to_owned())];
        Some(TokenRequest::new(address, &self.client(), form))
    }

    /// Writes its secrets down, to be sealed.
    #[must_use]
    pub fn write(&self) -> Secret<String> {
        let text = |secret: &Option<Secret<String>>| secret.as_ref().map(|secret| secret.expose().clone());
        Secret::new(
            json!({
                "access_token": self.access_token.expose(),
                "refresh_token": text(&self.refresh_token),
                "client_secret": text(&self.client_secret),
            })
            .to_string(),
        )
    }

    /// Reads what was written.
    #[must_use]
    pub fn read(state: &Value, secrets: &Secret<String>, expires: Option<i64>, lapsed: bool) -> Option<Self> {
        let state = State::deserialize(state).ok()?;
        let Secrets { access_token, refresh_token, client_secret } = serde_json::from_str(secrets.expose()).ok()?;
        Some(Self { state, expires, lapsed, access_token, refresh_token, client_secret })
    }
}

#[derive(Deserialize)]
struct Secrets {
    access_token: Secret<String>,
    refresh_token: Option<Secret<String>>,
    client_secret: Option<Secret<String>>,
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use types::Secret;

    use super::{AnswerError, Grant, Tokens};
    use crate::document::credentials::TokenAuthMethod;
    use crate::oauth::client::Client;
    use crate::oauth::flow::{Endpoints, Plan, Random, begin};

    fn tokens(body: &Value) -> Result<Tokens, AnswerError> {
        Tokens::parse(200, body.to_string().as_bytes())
    }

    fn grant(body: &Value) -> Grant {
        let url = |text: &str| text.parse().unwrap();
        let endpoints = Endpoints {
            issuer: Some("https://as.example".into()),
            authorization: url("https://as.example/a"),
            token: url("https://as.example/t"),
            revocation: Some(url("https://as.example/r")),
            names_itself: false,
            offline: false,
        };
        let client = Client {
            id: "c".into(),
            secret: Some(Secret::new("hush".to_owned())),
            method: TokenAuthMethod::Post,
            secret_expires: None,
        };
        let plan = Plan {
            endpoints,
            client,
            resource: "https://a.example/mcp".into(),
            scope: Some("a b".into()),
            redirect: url("https://p.example/servers-callback"),
        };
        let (_, _, pending) = begin(plan, [0; 32], &Random { state: [0; 32], verifier: [0; 32] }, 1_000);
        Grant::new(&pending, tokens(body).unwrap(), "one".into(), "s1".into(), 1_000)
    }

    #[test]
    fn an_answer_is_used_only_when_it_is_a_bearer_token() {
        for (status, body, expected) in [
            (400, json!({"error": "invalid_grant"}), AnswerError::Refused("invalid_grant".into())),
            (200, json!({"error": "x\n"}), AnswerError::Refused("x".into())),
            (502, json!({}), AnswerError::Status(502)),
            (200, json!({"access_token": "a"}), AnswerError::Malformed),
            (200, json!({"access_token": "a", "token_type": "mac"}), AnswerError::Malformed),
            (200, json!({"access_token": "a\r\nx: y", "token_type": "bearer"}), AnswerError::Malformed),
            (200, json!({"access_token": "a", "token_type": "bearer", "refresh_token": ""}), AnswerError::Malformed),
            (200, json!([]), AnswerError::Malformed),
        ] {
            assert_eq!(Tokens::parse(status, body.to_string().as_bytes()).err(), Some(expected), "{body}");
        }
        assert!(AnswerError::Refused("invalid_grant".into()).is_final());
        assert!(!AnswerError::Refused("temporarily_unavailable".into()).is_final());
        assert!(!AnswerError::Status(503).is_final());
    }

    #[test]
    fn a_token_is_renewed_ahead_of_its_end_and_keeps_what_the_answer_leaves_out() {
        let first =
            grant(&json!({"access_token": "t1", "token_type": "Bearer", "expires_in": "3600", "refresh_token": "r1"}));
        assert_eq!((first.expires, first.state.scope.as_deref()), (Some(4_600), Some("a b")));
        assert!(
            !first.is_due(4_299) && first.is_due(4_300) && first.is_good("s1", 4_599) && !first.is_good("s1", 4_600)
        );
        assert!(!first.is_good("s2", 1_000) && !first.without_use().is_good("s1", 1_000));
        let second =
            first.renewed(tokens(&json!({"access_token": "t2", "token_type": "Bearer", "scope": "a"})).unwrap(), 5_000);
        assert_eq!((second.expires, second.state.scope.as_deref()), (None, Some("a")));
        assert!(!second.is_due(i64::MAX) && second.state.sign_in == first.state.sign_in);
        let form = second.renewal().unwrap().form;
        assert!(
            form.contains(&("refresh_token", "r1".to_owned())) && form.contains(&("client_secret", "hush".to_owned()))
        );
        assert!(form.contains(&("resource", "https://a.example/mcp".to_owned())));
        let rotated = json!({"access_token": "t3", "token_type": "Bearer", "refresh_token": "r3"});
        let third = second.renewed(tokens(&rotated).unwrap(), 5_000);
        assert!(third.renewal().unwrap().form.contains(&("refresh_token", "r3".to_owned())));
        assert!(third.revocation().unwrap().form.contains(&("token", "r3".to_owned())));
    }

    #[test]
    fn what_is_written_in_clear_holds_no_secret_and_is_read_back_with_what_is_sealed() {
        let grant = grant(&json!({"access_token": "t1", "token_type": "Bearer", "refresh_token": "r1"}));
        let state = serde_json::to_value(&grant.state).unwrap();
        let clear = format!("{state} {grant:?} {:?}", grant.write());
        for secret in ["t1", "r1", "hush"] {
            assert!(!clear.contains(secret), "{clear}");
        }
        assert_eq!(Grant::read(&state, &grant.write(), None, false), Some(grant));
    }
}
