//! The five versions of the protocol, their two eras, and what each of them has.
//!
//! Decides which version a session speaks and what a version allows; the header checks of the stateless era are in
//! [`headers`], what its results carry in [`stateless`]. Invariant: a session never speaks a version its client did not
//! offer or that Portunus does not know, and nothing is sent that the version does not have.

pub mod headers;
pub mod input;
pub mod stateless;
pub mod tasks;

use std::fmt;
use std::str::FromStr;

/// A published version. They are ordered by date.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    V2024_11_05,
    V2025_03_26,
    V2025_06_18,
    V2025_11_25,
    V2026_07_28,
}

/// How client and server stay together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Era {
    /// `initialize` begins a session; either side may ask the other.
    Sessions,
    /// Every request stands alone and says everything about its client.
    Stateless,
}

/// Something that versions have or have not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Feature {
    /// One address for everything; before it, events came from one address and messages went to another.
    StreamableHttp,
    /// Several messages in one body.
    Batching,
    /// `annotations` of tools.
    ToolAnnotations,
    AudioContent,
    /// `structuredContent` of results and `outputSchema` of tools.
    StructuredContent,
    ResourceLinks,
    /// `MCP-Protocol-Version` on every request after the first.
    VersionHeader,
    /// A server asks a person to fill in a form.
    Elicitation,
    /// A server sends a person to a page.
    UrlElicitation,
    Icons,
    /// `tools` in `sampling/createMessage`.
    SamplingTools,
    /// `params.task`, `tasks/get`, `tasks/result`, `tasks/list`, `tasks/cancel`.
    Tasks,
    /// Tasks as the extension `io.modelcontextprotocol/tasks`.
    TasksExtension,
    Ping,
    /// `logging/setLevel`; afterwards each request names its level.
    SetLevel,
    /// `resources/subscribe`; afterwards `subscriptions/listen`.
    ResourceSubscribe,
    SubscriptionsListen,
    /// Requests from the server to the client.
    ServerRequests,
    /// Results that ask for input and are tried again with it.
    MultiRoundTrip,
    Discover,
    /// `ttlMs` and `cacheScope`.
    CacheHints,
    /// Events have ids, and a stream that broke off goes on after the last one seen.
    Resumption,
}

impl Version {
    /// Every version, oldest first.
    pub const ALL: [Self; 5] =
        [Self::V2024_11_05, Self::V2025_03_26, Self::V2025_06_18, Self::V2025_11_25, Self::V2026_07_28];
    /// The newest version that has sessions.
    pub const LATEST_WITH_SESSIONS: Self = Self::V2025_11_25;
    /// What a request without `MCP-Protocol-Version` is taken to speak.
    pub const WITHOUT_HEADER: Self = Self::V2025_03_26;

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V2024_11_05 => "2024-11-05",
            Self::V2025_03_26 => "2025-03-26",
            Self::V2025_06_18 => "2025-06-18",
            Self::V2025_11_25 => "2025-11-25",
            Self::V2026_07_28 => "2026-07-28",
        }
    }

    #[must_use]
    pub fn era(self) -> Era {
        if self >= Self::V2026_07_28 { Era::Stateless } else { Era::Sessions }
    }

    #[must_use]
    pub fn has(self, feature: Feature) -> bool {
        let (first, last) = feature.span();
        (first..=last).contains(&self)
    }

    /// Answers `initialize`: the version asked for when it has sessions, else the newest that does.
    ///
    /// A client that cannot speak the answer hangs up, as the specification says.
    #[must_use]
    pub fn negotiate(requested: &str) -> Self {
        match requested.parse::<Self>() {
            Ok(version) if version.era() == Era::Sessions => version,
            Ok(_) | Err(UnknownVersion) => Self::LATEST_WITH_SESSIONS,
        }
    }

    /// Reads `MCP-Protocol-Version` of a request in a session, which may only name what was negotiated.
    ///
    /// # Errors
    /// When it names something else; the answer is HTTP 400.
    pub fn of_session(header: Option<&str>, negotiated: Self) -> Result<Self, UnknownVersion> {
        match header {
            // Versions before 2025-06-18 have no such header, and clients of later ones were seen to leave it out.
            None => Ok(negotiated),
            Some(text) => {
                let named: Self = text.parse()?;
                if named == negotiated { Ok(named) } else { Err(UnknownVersion) }
            }
        }
    }

    /// Returns the code for a resource that does not exist.
    #[must_use]
    pub fn resource_not_found(self) -> crate::message::ErrorCode {
        match self.era() {
            Era::Sessions => crate::message::ErrorCode::ResourceNotFound,
            Era::Stateless => crate::message::ErrorCode::InvalidParams,
        }
    }
}

impl Feature {
    /// Returns the first and the last version that has it.
    const fn span(self) -> (Version, Version) {
        use Version::{V2024_11_05, V2025_03_26, V2025_06_18, V2025_11_25, V2026_07_28};
        match self {
            Self::StreamableHttp | Self::ToolAnnotations | Self::AudioContent => (V2025_03_26, V2026_07_28),
            Self::Batching => (V2025_03_26, V2025_03_26),
            Self::StructuredContent | Self::ResourceLinks | Self::VersionHeader | Self::Elicitation => {
                (V2025_06_18, V2026_07_28)
            }
            Self::UrlElicitation | Self::Icons | Self::SamplingTools => (V2025_11_25, V2026_07_28),
            Self::Tasks => (V2025_11_25, V2025_11_25),
            Self::Ping | Self::SetLevel | Self::ResourceSubscribe | Self::ServerRequests => (V2024_11_05, V2025_11_25),
            Self::Resumption => (V2025_03_26, V2025_11_25),
            Self::TasksExtension
            | Self::SubscriptionsListen
            | Self::MultiRoundTrip
            | Self::Discover
            | Self::CacheHints => (V2026_07_28, V2026_07_28),
        }
    }
}

/// A version Portunus does not speak, or not here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this protocol version is not supported")]
pub struct UnknownVersion;

impl FromStr for Version {
    type Err = UnknownVersion;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|version| version.as_str() == text).ok_or(UnknownVersion)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How much a log message matters; ordered, least first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LogLevel {
    Debug,
    Info,
    Notice,
    Warning,
    Error,
    Critical,
    Alert,
    Emergency,
}

impl LogLevel {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Notice => "notice",
            Self::Warning => "warning",
            Self::Error => "error",
            Self::Critical => "critical",
            Self::Alert => "alert",
            Self::Emergency => "emergency",
        }
    }

    /// Reads the name of a level; `None` for any other text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "debug" => Self::Debug,
            "info" => Self::Info,
            "notice" => Self::Notice,
            "warning" => Self::Warning,
            "error" => Self::Error,
            "critical" => Self::Critical,
            "alert" => Self::Alert,
            "emergency" => Self::Emergency,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn initialize_is_answered_with_the_version_asked_for_or_the_newest_with_sessions() {
        for (requested, answered) in [
            ("2024-11-05", "2024-11-05"),
            ("2025-03-26", "2025-03-26"),
            ("2025-06-18", "2025-06-18"),
            ("2025-11-25", "2025-11-25"),
            ("2026-07-28", "2025-11-25"),
            ("2099-01-01", "2025-11-25"),
            ("", "2025-11-25"),
        ] {
            assert_eq!(Version::negotiate(requested).as_str(), answered, "{requested}");
        }
    }

    #[test]
    fn each_version_has_what_its_specification_says() {
        let table = [
            (Feature::StreamableHttp, "-1111"),
            (Feature::Batching, "-1---"),
            (Feature::ToolAnnotations, "-1111"),
            (Feature::AudioContent, "-1111"),
            (Feature::StructuredContent, "--111"),
            (Feature::ResourceLinks, "--111"),
            (Feature::VersionHeader, "--111"),
            (Feature::Elicitation, "--111"),
            (Feature::UrlElicitation, "---11"),
            (Feature::Icons, "---11"),
            (Feature::SamplingTools, "---11"),
            (Feature::Tasks, "---1-"),
            (Feature::TasksExtension, "----1"),
            (Feature::Ping, "1111-"),
            (Feature::SetLevel, "1111-"),
            (Feature::ResourceSubscribe, "1111-"),
            (Feature::SubscriptionsListen, "----1"),
            (Feature::ServerRequests, "1111-"),
            (Feature::MultiRoundTrip, "----1"),
            (Feature::Discover, "----1"),
            (Feature::CacheHints, "----1"),
            (Feature::Resumption, "-111-"),
        ];
        for (feature, expected) in table {
            let found: String = Version::ALL.iter().map(|v| if v.has(feature) { '1' } else { '-' }).collect();
            assert_eq!(found, expected, "{feature:?}");
        }
    }

    #[test]
    fn a_session_keeps_to_the_version_it_began_with() {
        let negotiated = Version::V2025_06_18;
        assert_eq!(Version::of_session(None, negotiated), Ok(negotiated));
        assert_eq!(Version::of_session(Some("2025-06-18"), negotiated), Ok(negotiated));
        for other in ["2025-11-25", "2026-07-28", "nonsense", ""] {
            assert_eq!(Version::of_session(Some(other), negotiated), Err(UnknownVersion), "{other}");
        }
    }

    #[test]
    fn levels_are_ordered_by_weight() {
        let names = ["debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"];
        let levels: Vec<_> = names.iter().map(|name| LogLevel::parse(name).unwrap()).collect();
        assert!(levels.is_sorted());
        assert!(levels.iter().zip(names).all(|(level, name)| level.as_str() == name));
        assert_eq!(LogLevel::parse("verbose"), None);
    }
}
