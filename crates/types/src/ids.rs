//! Identifiers. Each is a type of its own, so one cannot be passed where another is meant.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A text that is not an identifier of the expected kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not {expected}")]
pub struct IdError {
    text: String,
    expected: &'static str,
}

impl IdError {
    fn new(text: &str, expected: &'static str) -> Self {
        // Outside input: keep errors short.
        Self { text: text.chars().take(80).collect(), expected }
    }
}

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident, $expected:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                Uuid::parse_str(text).map(Self).map_err(|_| IdError::new(text, $expected))
            }
        }
    };
}

macro_rules! hex_id {
    ($(#[$doc:meta])* $name:ident, $expected:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.simple().fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                if text.len() != 32 {
                    return Err(IdError::new(text, $expected));
                }
                Uuid::parse_str(text).map(Self).map_err(|_| IdError::new(text, $expected))
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $expected:literal, $valid:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(Box<str>);

        impl $name {
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                let valid: fn(&str) -> bool = $valid;
                if valid(text) { Ok(Self(text.into())) } else { Err(IdError::new(text, $expected)) }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

hex_id!(
    /// An account: 32 hexadecimal digits.
    AccountId,
    "an account id (32 hexadecimal digits)"
);
hex_id!(
    /// A Workers KV namespace: 32 hexadecimal digits.
    KvNamespaceId,
    "a namespace id (32 hexadecimal digits)"
);
hex_id!(
    /// An API or proxy token's public id: 32 hexadecimal digits.
    TokenId,
    "a token id (32 hexadecimal digits)"
);
uuid_id!(
    /// A list of domains that belong to a category.
    CategoryListId,
    "a category list id (a UUID)"
);
uuid_id!(
    /// A query of the log explorer that somebody saved.
    SavedQueryId,
    "a saved query id (a UUID)"
);
uuid_id!(
    /// A saved query that is asked on a schedule.
    SignalId,
    "a signal id (a UUID)"
);
uuid_id!(RuleId, "a rule id (UUID)");
uuid_id!(ListId, "a list id (UUID)");
uuid_id!(UserId, "a user id (UUID)");
uuid_id!(CertificateId, "a certificate id (UUID)");
uuid_id!(ProxyEndpointId, "a proxy endpoint id (UUID)");
uuid_id!(
    /// An application that Access publishes.
    ApplicationId,
    "an application id (UUID)"
);
uuid_id!(
    /// An access policy, reusable or of one application.
    AccessPolicyId,
    "a policy id (UUID)"
);
uuid_id!(
    /// A rule group of access policies.
    AccessGroupId,
    "a rule group id (UUID)"
);
uuid_id!(ProviderId, "an identity provider id (UUID)");
uuid_id!(
    /// A record of a person or group as a provider's directory sends it.
    DirectoryRecordId,
    "the id of a directory record (UUID)"
);
uuid_id!(ServiceTokenId, "a service token id (UUID)");
uuid_id!(CustomPageId, "a custom page id (UUID)");
uuid_id!(
    /// A person's second factor.
    FactorId,
    "an authenticator id (UUID)"
);
uuid_id!(
    /// A mail in the outbox.
    MailId,
    "a mail id (UUID)"
);
uuid_id!(
    /// A device posture rule; `integration_uid` in policies.
    PostureRuleId,
    "a device posture rule id (UUID)"
);
uuid_id!(
    /// One version of a Worker script.
    VersionId,
    "a version id (UUID)"
);
uuid_id!(
    /// One request through the gateway; time-ordered (UUID v7), also the id of its log record.
    RequestId,
    "a request id (UUID)"
);

/// The number of a push job, as the Logpush API has it: 1 to 2^53 - 1, which every client can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PushJobId(u64);

impl PushJobId {
    const EXPECTED: &'static str = "the number of a push job";

    /// Takes a number in range.
    ///
    /// # Errors
    ///
    /// When it is not.
    pub fn new(number: u64) -> Result<Self, IdError> {
        let fits = (1..1 << 53).contains(&number);
        if fits { Ok(Self(number)) } else { Err(IdError::new(&number.to_string(), Self::EXPECTED)) }
    }

    /// Returns the number.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0
    }
}

impl fmt::Display for PushJobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for PushJobId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let canonical = !text.starts_with(['+', '0']);
        let number = text.parse().ok().filter(|_| canonical).ok_or_else(|| IdError::new(text, Self::EXPECTED))?;
        Self::new(number)
    }
}

text_id!(
    /// A Worker's name: 1 to 63 of `a-z 0-9 _ -`, not starting with `-`.
    ScriptName,
    "a script name (1 to 63 of a-z, 0-9, _ and -)",
    |text| {
        (1..=63).contains(&text.len())
            && !text.starts_with('-')
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-')
    }
);
text_id!(
    /// An MCP server's id, chosen by its author: 1 to 63 of `A-Z a-z 0-9 -`, beginning and ending with a letter or digit. It
    /// holds no `_`, which ends it in the names of tools, and is not `portal`, which begins the names of the portal's own.
    McpServerId,
    "an MCP server id (1 to 63 letters, digits and -, not `portal`)",
    |text| is_label(text, b"-") && !text.eq_ignore_ascii_case("portal")
);
text_id!(
    /// An MCP portal's id, chosen by its author: 1 to 63 of `A-Z a-z 0-9 _ -`, beginning and ending with a letter or digit.
    McpPortalId,
    "an MCP portal id (1 to 63 letters, digits, _ and -)",
    |text| is_label(text, b"_-")
);
text_id!(
    /// An e-mail address as an identity, lower case. Not a full RFC 5322 parser: one `@`, both sides present, no space or
    /// control character, at most 254 bytes.
    Email,
    "an e-mail address in lower case",
    |text| {
        let Some((local, domain)) = text.rsplit_once('@') else { return false };
        text.len() <= 254
            && !local.is_empty()
            && !local.contains('@')
            && !domain.is_empty()
            && !text.chars().any(|c| c.is_whitespace() || c.is_control() || c.is_uppercase())
    }
);

/// Says whether a text is 1 to 63 letters, digits and `inner`, with a letter or digit at either end.
fn is_label(text: &str, inner: &[u8]) -> bool {
    let bytes = text.as_bytes();
    let ends = [bytes.first(), bytes.last()];
    bytes.len() <= 63
        && ends.iter().all(|end| end.is_some_and(u8::is_ascii_alphanumeric))
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || inner.contains(byte))
}

#[cfg(test)]
mod tests {
    use super::{AccountId, Email, McpPortalId, McpServerId, PushJobId, RuleId, ScriptName};

    #[test]
    fn account_id_reads_and_prints_32_hexadecimal_digits() {
        let text = "0123456789abcdef0123456789abcdef";
        assert_eq!(text.parse::<AccountId>().unwrap().to_string(), text);
        for bad in ["", "0123", "01234567-89ab-cdef-0123-456789abcdef", "zz23456789abcdef0123456789abcdef"] {
            assert!(bad.parse::<AccountId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn push_job_ids_are_numbers_that_every_client_can_hold() {
        assert_eq!("1401".parse::<PushJobId>().unwrap().to_string(), "1401");
        for bad in ["", "0", "-1", "+1", "007", "9007199254740992", "18446744073709551616", "a"] {
            assert!(bad.parse::<PushJobId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn rule_id_keeps_its_dashes() {
        let text = "01302951-49f9-47c9-a400-0297e60b6a10";
        assert_eq!(text.parse::<RuleId>().unwrap().to_string(), text);
    }

    #[test]
    fn script_names_and_addresses_are_checked_once() {
        for (name, valid) in
            [("training", true), ("a_b-1", true), ("", false), ("-x", false), ("Upper", false), ("a/b", false)]
        {
            assert_eq!(name.parse::<ScriptName>().is_ok(), valid, "{name}");
        }
        for (id, server, portal) in [
            ("jira", true, true),
            ("Google-2", true, true),
            ("a_b", false, true),
            ("portal", false, true),
            ("", false, false),
            ("-a", false, false),
            ("a-", false, false),
            ("a/b", false, false),
            (&"a".repeat(64), false, false),
        ] {
            let found = (id.parse::<McpServerId>().is_ok(), id.parse::<McpPortalId>().is_ok());
            assert_eq!(found, (server, portal), "{id}");
        }
        for (address, valid) in [("a@b.example", true), ("a", false), ("@b", false), ("a b@c", false), ("A@b", false)] {
            assert_eq!(address.parse::<Email>().is_ok(), valid, "{address}");
        }
    }
}
