//! Service tokens: what programs sign in with (reference section 2.7).
//!
//! Decides whether a presented pair is a token, reads it from a request's headers, and what strict mode refuses. Drawing
//! the randomness is the caller's. Invariant: only SHA-256 hashes of secrets are kept; a secret has 238 bits of entropy,
//! so there is nothing a slow hash would protect, and hashes are compared in constant time.

use std::fmt;
use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use types::{Secret, ServiceTokenId};

use crate::audience;
use crate::document::{self, Lifetime, Problem, Problems};

/// Version of the stored document.
pub const VERSION: u32 = 1;
/// Members the API returns and takes back without effect.
pub const READ_ONLY: [&str; 9] = [
    "id",
    "client_id",
    "client_secret",
    "created_at",
    "updated_at",
    "last_seen_at",
    "expires_at",
    "client_secret_version",
    "previous_client_secret_expires_at",
];

const PREFIX: &str = "cfast_";
const RANDOM_LENGTH: usize = 40;
const CHECKSUM_LENGTH: usize = 8;
const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// Random bytes a secret is made of: enough that all but one in 10^30 draws give forty letters.
pub const ENTROPY: usize = 96;
/// Shortest and longest time the old secret works beside the new one.
pub const GRACE: [Duration; 2] = [Duration::from_secs(3_600), Duration::from_secs(30 * 24 * 3_600)];

/// A token as written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ServiceTokenDocument {
    pub name: String,
    /// A Go duration or `forever`; absent means a year.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
}

/// How long a token works from the moment it is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenLifetime {
    Forever,
    For(Duration),
}

impl ServiceTokenDocument {
    /// Reads what an author sent.
    ///
    /// # Errors
    /// With every fault found.
    pub fn read(value: &Value) -> Result<Self, Vec<Problem>> {
        let document: Self = document::read(value, &READ_ONLY)?;
        let mut problems = Problems::default();
        problems.check("/name", document::name(&document.name, 255));
        problems.check("/duration", document.lifetime());
        problems.finish(document)
    }

    /// Returns how long the token works.
    ///
    /// # Errors
    /// If the duration is not one.
    pub fn lifetime(&self) -> Result<TokenLifetime, String> {
        match self.duration.as_deref() {
            None | Some("") => Ok(TokenLifetime::For(Duration::from_secs(8_760 * 3_600))),
            Some("forever") => Ok(TokenLifetime::Forever),
            Some(text) => {
                let lifetime: Lifetime = text.parse().map_err(|error| format!("{error}, or `forever`"))?;
                let hour = Duration::from_secs(3_600);
                lifetime.within(hour, hour * 24 * 366 * 100).map(TokenLifetime::For)
            }
        }
    }
}

/// The SHA-256 of a secret: what is stored. Not itself a secret.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SecretHash([u8; 32]);

impl SecretHash {
    /// Hashes a text.
    #[must_use]
    pub fn of(text: &str) -> Self {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest(&SHA256, text.as_bytes()).as_ref());
        Self(hash)
    }

    /// Tells, in constant time, whether `text` hashes to this.
    #[must_use]
    pub fn verifies(&self, text: &str) -> bool {
        verify_slices_are_equal(&self.0, &Self::of(text).0).is_ok()
    }
}

impl fmt::Display for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for SecretHash {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SecretHash {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        audience::bytes(&text).map(Self).ok_or_else(|| serde::de::Error::custom("not a SHA-256 in hexadecimal"))
    }
}

/// The public half of a token: 32 hexadecimal digits and `.access`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct ClientId(Box<str>);

impl ClientId {
    /// Makes the client id of random bytes.
    #[must_use]
    pub fn of(random: [u8; 16]) -> Self {
        Self(format!("{}.access", uuid::Uuid::from_bytes(random).simple()).into())
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::str::FromStr for ClientId {
    type Err = PresentedError;

    fn from_str(text: &str) -> Result<Self, PresentedError> {
        let digits = text.strip_suffix(".access").ok_or(PresentedError::Malformed)?;
        let valid = digits.len() == 32 && digits.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if valid { Ok(Self(text.into())) } else { Err(PresentedError::Malformed) }
    }
}

impl<'de> Deserialize<'de> for ClientId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Makes a secret of random bytes; `None` if they happened to give too few letters, and the caller draws again.
#[must_use]
pub fn secret_of(random: &[u8; ENTROPY]) -> Option<Secret<String>> {
    // 248 is the largest multiple of 62 in a byte; larger values would favour the first letters.
    let letters = random.iter().filter(|byte| **byte < 248).take(RANDOM_LENGTH);
    let letters: String = letters.map(|byte| char::from(ALPHABET[usize::from(*byte) % ALPHABET.len()])).collect();
    if letters.len() < RANDOM_LENGTH {
        return None;
    }
    let text = format!("{PREFIX}{letters}");
    let checksum = crc32fast::hash(text.as_bytes());
    Some(Secret::new(format!("{text}{checksum:08x}")))
}

/// Tells whether a text could be a secret: the format with its checksum, or the older 64 hexadecimal digits.
#[must_use]
pub fn is_well_formed(text: &str) -> bool {
    if text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return true;
    }
    if text.len() != PREFIX.len() + RANDOM_LENGTH + CHECKSUM_LENGTH || !text.is_ascii() || !text.starts_with(PREFIX) {
        return false;
    }
    let (body, checksum) = text.split_at(PREFIX.len() + RANDOM_LENGTH);
    body.bytes().skip(PREFIX.len()).all(|b| b.is_ascii_alphanumeric())
        && checksum == format!("{:08x}", crc32fast::hash(body.as_bytes()))
}

/// A token as it is stored and compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceToken {
    pub id: ServiceTokenId,
    pub name: String,
    pub client_id: ClientId,
    pub hash: SecretHash,
    /// Counts rotations, from one.
    pub version: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<PreviousSecret>,
    /// `None`: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    pub enabled: bool,
}

/// The secret before the last rotation, which still works for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreviousSecret {
    pub hash: SecretHash,
    pub expires_at: Timestamp,
}

/// What is known about a token that was presented with a good secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenCheck {
    Valid,
    /// Valid, by the secret before the last rotation.
    ValidByPrevious,
    WrongSecret,
    Expired,
    Disabled,
}

impl ServiceToken {
    /// Checks a presented secret. The secret is compared before anything else is said about the token.
    #[must_use]
    pub fn check(&self, secret: &Secret<String>, now: Timestamp) -> TokenCheck {
        let current = self.hash.verifies(secret.expose());
        let previous = self.previous.is_some_and(|previous| {
            // Both comparisons are made whatever the first one said.
            previous.hash.verifies(secret.expose()) && now < previous.expires_at
        });
        if !current && !previous {
            return TokenCheck::WrongSecret;
        }
        if !self.enabled {
            return TokenCheck::Disabled;
        }
        if self.expires_at.is_some_and(|expires| now >= expires) {
            return TokenCheck::Expired;
        }
        if current { TokenCheck::Valid } else { TokenCheck::ValidByPrevious }
    }

    /// Puts a new secret in place of the current one. Without a time until which the old one works, it ends at once.
    ///
    /// # Errors
    /// If that time is not between an hour and thirty days ahead.
    pub fn rotate(&self, hash: SecretHash, previous_until: Option<Timestamp>, now: Timestamp) -> Result<Self, String> {
        let previous = match previous_until {
            None => None,
            Some(until) => {
                let grace = until.duration_since(now).unsigned_abs();
                if until <= now || grace < GRACE[0] || grace > GRACE[1] {
                    return Err("the old secret can work for one hour to thirty days more".to_owned());
                }
                Some(PreviousSecret { hash: self.hash, expires_at: until })
            }
        };
        Ok(Self { hash, version: self.version.saturating_add(1), previous, ..self.clone() })
    }

    /// Moves the expiry a year ahead, as `refresh` does; a token that never expires stays so.
    #[must_use]
    pub fn refresh(&self) -> Self {
        let year = jiff::SignedDuration::from_hours(8_760);
        let expires_at = self.expires_at.map(|expires| expires.checked_add(year).unwrap_or(Timestamp::MAX));
        Self { expires_at, ..self.clone() }
    }
}

/// Headers a pair may stand in.
pub const ID_HEADER: &str = "cf-access-client-id";
/// The header of the secret half.
pub const SECRET_HEADER: &str = "cf-access-client-secret";

/// A pair read from a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Presented {
    pub client_id: ClientId,
    pub secret: Secret<String>,
}

/// Why a request's headers hold no pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PresentedError {
    #[error("not a service token")]
    Malformed,
    #[error("only one half of a service token was sent")]
    Incomplete,
    #[error("a header of the service token was sent twice")]
    Duplicate,
    #[error("the service token was sent in two ways")]
    Mixed,
}

/// Reads a pair. `values` returns every value of a header by its lower-case name; `single` is the application's own
/// header that holds both halves. Duplicate, incomplete and mixed styles are refused whatever the mode: which of two
/// values counts would be a guess.
///
/// # Errors
/// If something that means to be a service token is not one.
pub fn read<'h, V>(values: impl Fn(&str) -> V, single: Option<&str>) -> Result<Option<Presented>, PresentedError>
where
    V: Iterator<Item = &'h [u8]>,
{
    let one = |name: &str| -> Result<Option<&'h [u8]>, PresentedError> {
        let mut all = values(name);
        let first = all.next();
        if all.next().is_some() { Err(PresentedError::Duplicate) } else { Ok(first) }
    };
    let pair = (one(ID_HEADER)?, one(SECRET_HEADER)?);
    let packed = single.map(one).transpose()?.flatten();
    match (pair, packed) {
        ((None, None), None) => Ok(None),
        ((Some(id), Some(secret)), None) => presented(id, secret).map(Some),
        ((None, None), Some(packed)) => unpack(packed),
        ((Some(_), None) | (None, Some(_)), None) => Err(PresentedError::Incomplete),
        (_, Some(_)) => Err(PresentedError::Mixed),
    }
}

fn presented(id: &[u8], secret: &[u8]) -> Result<Presented, PresentedError> {
    let [id, secret] = [id, secret].map(|text| std::str::from_utf8(text).map(str::trim).unwrap_or_default());
    if !is_well_formed(secret) {
        return Err(PresentedError::Malformed);
    }
    Ok(Presented { client_id: id.parse()?, secret: Secret::new(secret.to_owned()) })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Packed {
    #[serde(rename = "cf-access-client-id", default)]
    id: Option<String>,
    #[serde(rename = "cf-access-client-secret", default)]
    secret: Option<String>,
}

/// Reads the JSON object in a single header. The header may carry something else (`Authorization` often does), which is
/// not a service token and no fault.
fn unpack(value: &[u8]) -> Result<Option<Presented>, PresentedError> {
    if value.len() > 1_024 || !value.trim_ascii_start().starts_with(b"{") {
        return Ok(None);
    }
    let packed: Packed = serde_json::from_slice(value).map_err(|_| PresentedError::Malformed)?;
    match (packed.id, packed.secret) {
        (Some(id), Some(secret)) => presented(id.as_bytes(), secret.as_bytes()).map(Some),
        _ => Err(PresentedError::Incomplete),
    }
}

#[cfg(test)]
mod tests {
    use jiff::{SignedDuration, Timestamp};
    use types::{Secret, ServiceTokenId};
    use uuid::Uuid;

    use super::{
        ClientId, ENTROPY, ID_HEADER, Presented, PresentedError, SECRET_HEADER, SecretHash, ServiceToken, TokenCheck,
        is_well_formed, read, secret_of,
    };

    fn secret(seed: u8) -> Secret<String> {
        secret_of(&[seed; ENTROPY]).unwrap()
    }

    fn token() -> ServiceToken {
        ServiceToken {
            id: ServiceTokenId(Uuid::nil()),
            name: "ci".into(),
            client_id: ClientId::of([7; 16]),
            hash: SecretHash::of(secret(1).expose()),
            version: 1,
            previous: None,
            expires_at: None,
            enabled: true,
        }
    }

    #[test]
    fn a_mistyped_secret_is_refused_without_a_lookup() {
        let secret = secret(9).into_inner();
        assert_eq!((secret.len(), &secret[..6]), (54, "cfast_"));
        assert!(is_well_formed(&secret));
        assert!(is_well_formed(&"ab".repeat(32)));
        for at in 0..secret.len() {
            let mut other = secret.clone().into_bytes();
            other[at] = if other[at] == b'x' { b'y' } else { b'x' };
            assert!(!is_well_formed(std::str::from_utf8(&other).unwrap()), "byte {at}");
        }
        assert!(!is_well_formed("") && !is_well_formed(&"é".repeat(27)));
        assert!(secret_of(&[255; ENTROPY]).is_none());
    }

    #[test]
    fn the_old_secret_works_until_its_grace_ends() {
        let now = Timestamp::UNIX_EPOCH;
        let hour = SignedDuration::from_hours(1);
        let rotated = token().rotate(SecretHash::of(secret(2).expose()), Some(now + hour), now).unwrap();
        assert_eq!(rotated.version, 2);
        for (seed, at, expected) in [
            (2, now, TokenCheck::Valid),
            (1, now, TokenCheck::ValidByPrevious),
            (1, now + hour, TokenCheck::WrongSecret),
            (3, now, TokenCheck::WrongSecret),
        ] {
            assert_eq!(rotated.check(&secret(seed), at), expected, "secret {seed} at {at}");
        }
        let cut = token().rotate(SecretHash::of(secret(2).expose()), None, now).unwrap();
        assert_eq!(cut.check(&secret(1), now), TokenCheck::WrongSecret);
        assert!(token().rotate(cut.hash, Some(now + SignedDuration::from_mins(5)), now).is_err());
        assert!(token().rotate(cut.hash, Some(now + hour * 24 * 31), now).is_err());
    }

    #[test]
    fn a_wrong_secret_learns_nothing_about_the_token() {
        let expired = ServiceToken { expires_at: Some(Timestamp::UNIX_EPOCH), ..token() };
        let disabled = ServiceToken { enabled: false, ..token() };
        assert_eq!(expired.check(&secret(2), Timestamp::UNIX_EPOCH), TokenCheck::WrongSecret);
        assert_eq!(expired.check(&secret(1), Timestamp::UNIX_EPOCH), TokenCheck::Expired);
        assert_eq!(disabled.check(&secret(1), Timestamp::UNIX_EPOCH), TokenCheck::Disabled);
    }

    #[test]
    fn a_pair_is_read_from_one_place_only() {
        let (id, secret) = (ClientId::of([7; 16]).to_string(), secret(1).into_inner());
        let packed = format!(r#"{{"{ID_HEADER}":"{id}","{SECRET_HEADER}":"{secret}"}}"#);
        let half = format!(r#"{{"{ID_HEADER}":"{id}"}}"#);
        let good = Ok(Some(Presented { client_id: ClientId::of([7; 16]), secret: Secret::new(secret.clone()) }));
        type Case<'a> = (&'a [(&'a str, &'a str)], Result<Option<Presented>, PresentedError>);
        let cases: [Case<'_>; 10] = [
            (&[], Ok(None)),
            (&[(ID_HEADER, &id), (SECRET_HEADER, &secret)], good.clone()),
            (&[("authorization", &packed)], good),
            (&[("authorization", "Bearer x")], Ok(None)),
            (&[(ID_HEADER, &id)], Err(PresentedError::Incomplete)),
            (&[("authorization", &half)], Err(PresentedError::Incomplete)),
            (&[(ID_HEADER, &id), (ID_HEADER, &id), (SECRET_HEADER, &secret)], Err(PresentedError::Duplicate)),
            (&[(ID_HEADER, &id), (SECRET_HEADER, &secret), ("authorization", &packed)], Err(PresentedError::Mixed)),
            (&[(ID_HEADER, "../x"), (SECRET_HEADER, &secret)], Err(PresentedError::Malformed)),
            (&[(ID_HEADER, &id), (SECRET_HEADER, "guess")], Err(PresentedError::Malformed)),
        ];
        for (headers, expected) in cases {
            let values = |wanted: &str| {
                let wanted = wanted.to_owned();
                headers.iter().filter(move |(name, _)| *name == wanted).map(|(_, value)| value.as_bytes())
            };
            assert_eq!(read(values, Some("authorization")), expected, "{headers:?}");
        }
    }
}
