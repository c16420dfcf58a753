//! Asking another service whether a person may sign in (reference section 3.4).
//!
//! Decides what is sent and whether a reply counts. Sending it is the caller's, under a short deadline. Invariant: only a
//! live reply to this very question, signed with RS256 by a key the service publishes, says yes; everything else is no.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::jose::{Algorithm, JoseError, Jwks, Unverified, encode};
use crate::keys::{KeyError, KeyRing};

/// How long a question may be answered, in seconds.
pub const LIFETIME: i64 = 60;
/// How far the service's clock may be from ours, in seconds.
pub const SKEW: i64 = 30;
/// Longest reply, in bytes.
pub const MAX_REPLY: usize = 32 * 1_024;

/// A question under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    nonce: String,
    /// The JSON to post to `evaluate_url`.
    pub body: Value,
}

/// Why a reply does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReplyError {
    #[error("the service's reply is not one")]
    Malformed,
    /// Fetch the service's keys again and ask once more; the second time it is a refusal.
    #[error("the service's reply is signed with a key that is not known")]
    FreshKeys,
    #[error(transparent)]
    Jose(JoseError),
    #[error("the service's reply is to another question")]
    Nonce,
    #[error("the service's reply has expired or is not valid yet")]
    Time,
}

/// Writes the question about a person. `identity` is [`crate::app_token::identity_document`].
///
/// # Errors
/// If signing fails.
pub fn ask(keys: &KeyRing, identity: &Value, random: [u8; 32], now: i64) -> Result<Question, KeyError> {
    let nonce = encode(&random);
    let expires = now.saturating_add(LIFETIME);
    let claims = json!({"identity": identity, "nonce": nonce, "iat": now, "exp": expires});
    let token = keys.current().sign(&claims)?;
    Ok(Question { nonce, body: json!({"token": token}) })
}

#[derive(Deserialize)]
struct Reply {
    token: String,
}

impl Question {
    /// Reads the body of a reply with status 200: whether the person may sign in.
    ///
    /// # Errors
    /// If the reply does not count.
    pub fn answer(&self, body: &[u8], keys: &Jwks, now: i64) -> Result<bool, ReplyError> {
        if body.len() > MAX_REPLY {
            return Err(ReplyError::Malformed);
        }
        let reply: Reply = serde_json::from_slice(body).map_err(|_| ReplyError::Malformed)?;
        let token = Unverified::parse(&reply.token, &[Algorithm::Rs256]).map_err(ReplyError::Jose)?;
        let claims = token.verify(keys).map_err(|error| {
            if error == JoseError::UnknownKey { ReplyError::FreshKeys } else { ReplyError::Jose(error) }
        })?;
        let nonce = claims.get("nonce").and_then(Value::as_str).unwrap_or_default();
        if verify_slices_are_equal(nonce.as_bytes(), self.nonce.as_bytes()).is_err() {
            return Err(ReplyError::Nonce);
        }
        let number = |name: &str| claims.get(name).and_then(Value::as_i64);
        let live = number("exp").is_some_and(|expires| now < expires.saturating_add(SKEW))
            && number("iat").is_none_or(|issued| issued <= now.saturating_add(SKEW));
        if !live {
            return Err(ReplyError::Time);
        }
        claims.get("success").and_then(Value::as_bool).ok_or(ReplyError::Malformed)
    }
}
