//! A Worker: its head, its immutable versions, their source, its secrets and its cron triggers.
//!
//! Source is a document apart from the version that describes it, so that a listing stays small. It does not compile
//! or run anything. Invariants: a version never changes once stored; a secret's value is only ever stored sealed.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use types::{KvNamespaceId, ScriptName, VersionId};

use super::document;
use crate::grant::Permissions;
use crate::seal::Sealed;

/// The queue of security events, the one there is, as versions name it.
pub const SECURITY_EVENTS: &str = "security-events";

/// The head of a Worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Script {
    /// The version that serves.
    pub active: VersionId,
    /// How many versions were ever uploaded.
    pub versions: u64,
    /// Free words of its owner.
    #[serde(default)]
    pub tags: Vec<String>,
}

document!(Script, Script, id ScriptName, ReadScripts / WriteScripts {});

/// What one upload consists of beside its source.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScriptVersion {
    /// Which Worker.
    pub script: ScriptName,
    /// Counts the uploads of this Worker from 1; set by the store.
    #[serde(default)]
    pub number: u64,
    /// The module that exports the handlers.
    pub main_module: String,
    /// The modules' names, kinds and sizes; set by the store.
    #[serde(default)]
    pub modules: Vec<ModuleHead>,
    /// What `env` holds.
    #[serde(default)]
    pub bindings: Vec<Binding>,
    /// Host names the script may fetch beyond the request's own origin; `*.example.com` covers subdomains.
    #[serde(default)]
    pub egress: Vec<String>,
    /// The date whose behaviour the author asked for.
    #[serde(default)]
    pub compatibility_date: Option<String>,
    /// Behaviours the author asked for by name.
    #[serde(default)]
    pub compatibility_flags: Vec<String>,
    /// Limits the author asked for; the runtime caps them.
    #[serde(default)]
    pub limits: ScriptLimits,
    /// Whether state may outlive a request.
    #[serde(default)]
    pub isolation: Isolation,
    /// The queues whose batches its `queue` handler takes, such as [`SECURITY_EVENTS`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub queues: Vec<String>,
    /// Free words stored with the upload, such as its author or message.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
}

document!(ScriptVersion, ScriptVersion, id VersionId, ReadScripts / WriteScripts {
    const MAX_COUNT: usize = 25_000;

    fn confers(&self) -> Permissions {
        let of_binding = |binding: &Binding| match binding {
            Binding::AdminApi { permissions, .. } => *permissions,
            Binding::PlainText { .. }
            | Binding::Json { .. }
            | Binding::SecretText { .. }
            | Binding::KvNamespace { .. }
            | Binding::Service { .. }
            | Binding::Ratelimit { .. } => Permissions::NONE,
        };
        self.bindings.iter().flat_map(|binding| of_binding(binding).iter()).collect()
    }

    fn parent(&self) -> Option<String> {
        Some(self.script.to_string())
    }
});

/// A module without its source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModuleHead {
    /// The name other modules import it by.
    pub name: String,
    /// How it is loaded.
    pub kind: ModuleKind,
    /// The size of its source in bytes.
    pub size: u64,
}

/// How a module is loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModuleKind {
    /// An ECMAScript module.
    EsModule,
    /// A TypeScript module, stripped of its types when loaded.
    TypeScript,
    /// A string.
    Text,
    /// A parsed value.
    Json,
    /// Bytes.
    Data,
    /// A source map, kept for stack traces.
    SourceMap,
}

/// Limits an author asks for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScriptLimits {
    /// Milliseconds of processor time per call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_ms: Option<u32>,
    /// Mebibytes of memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_mb: Option<u32>,
    /// Fetches per call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subrequests: Option<u32>,
}

/// Whether state may outlive a request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Isolation {
    /// Requests share globals, as Workers do elsewhere.
    Shared,
    /// No global outlives a request, so nothing of one person is there for the next.
    #[default]
    Request,
}

/// One entry of `env`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Binding {
    /// A string.
    PlainText {
        /// Its name in `env`.
        name: String,
        /// The string.
        text: String,
    },
    /// A value.
    Json {
        /// Its name in `env`.
        name: String,
        /// The value.
        json: Value,
    },
    /// A secret; its value is stored apart, sealed.
    SecretText {
        /// Its name in `env`.
        name: String,
    },
    /// A KV namespace.
    KvNamespace {
        /// Its name in `env`.
        name: String,
        /// Which namespace.
        namespace_id: KvNamespaceId,
    },
    /// Another Worker.
    Service {
        /// Its name in `env`.
        name: String,
        /// Which Worker.
        service: ScriptName,
    },
    /// A rate limiter.
    Ratelimit {
        /// Its name in `env`.
        name: String,
        /// Which counter family.
        namespace_id: String,
        /// What it allows.
        simple: RateLimit,
    },
    /// The admin API under a narrowed principal.
    AdminApi {
        /// Its name in `env`.
        name: String,
        /// What it may do.
        permissions: Permissions,
    },
}

impl Binding {
    /// Returns its name in `env`.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::PlainText { name, .. }
            | Self::Json { name, .. }
            | Self::SecretText { name }
            | Self::KvNamespace { name, .. }
            | Self::Service { name, .. }
            | Self::Ratelimit { name, .. }
            | Self::AdminApi { name, .. } => name,
        }
    }
}

/// What a rate limiter allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RateLimit {
    /// Calls per period.
    pub limit: u32,
    /// The period in seconds.
    pub period: u32,
}

/// The source of one version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScriptContent {
    /// Which Worker.
    pub script: ScriptName,
    /// Its modules.
    pub modules: Vec<Module>,
}

document!(ScriptContent, ScriptContent, id VersionId, ReadScripts / WriteScripts {
    const MAX_BYTES: usize = 16 * 1024 * 1024;
    const MAX_COUNT: usize = 25_000;

    fn parent(&self) -> Option<String> {
        Some(self.script.to_string())
    }
});

/// A module with its source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Module {
    /// The name other modules import it by.
    pub name: String,
    /// How it is loaded.
    pub kind: ModuleKind,
    /// Its source.
    #[serde(flatten)]
    pub source: Source,
}

/// Text stays readable in the database; anything else is base64.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// UTF-8 text.
    Text(String),
    /// Bytes in base64.
    Base64(#[serde(with = "base64_bytes")] Vec<u8>),
}

impl Source {
    /// Wraps bytes in the most readable form.
    #[must_use]
    pub fn from_bytes(bytes: Vec<u8>) -> Self {
        match String::from_utf8(bytes) {
            Ok(text) => Self::Text(text),
            Err(error) => Self::Base64(error.into_bytes()),
        }
    }

    /// Returns the bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Base64(bytes) => bytes,
        }
    }
}

mod base64_bytes {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        STANDARD.decode(String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

/// The id of a Worker's secret: `script/name`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScriptSecretId {
    /// Which Worker.
    pub script: ScriptName,
    /// Its name in `env`.
    pub name: String,
}

impl std::fmt::Display for ScriptSecretId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.script, self.name)
    }
}

impl std::str::FromStr for ScriptSecretId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (script, name) = text.split_once('/').ok_or("a script secret's id is script/name")?;
        Ok(Self { script: script.parse().map_err(|error: types::IdError| error.to_string())?, name: name.to_owned() })
    }
}

/// A Worker's secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScriptSecret {
    /// Which Worker.
    pub script: ScriptName,
    /// The value, sealed.
    pub value: Sealed,
}

document!(ScriptSecret, ScriptSecret, id ScriptSecretId, ReadScripts / WriteScripts {
    const MAX_COUNT: usize = 10_000;

    fn parent(&self) -> Option<String> {
        Some(self.script.to_string())
    }
});

/// A Worker's cron triggers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    /// When it runs.
    pub crons: Vec<Cron>,
}

/// One cron trigger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cron {
    /// Five fields, in UTC.
    pub cron: String,
    /// When it was added.
    pub created_on: Timestamp,
    /// When it was last changed.
    pub modified_on: Timestamp,
}

document!(Schedule, Schedule, id ScriptName, ReadScripts / WriteScripts {});
