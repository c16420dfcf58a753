//! What a stored document is: a kind, a version, its place among its siblings, and how its text is read back.
//!
//! It does not say where documents live; the backends see only rows of text. Invariant: a document once written stays
//! readable, because its row carries the schema version it was written with and unknown fields are ignored.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::backend::Row;
use crate::error::StoreError;
use crate::grant::{Allows, Permissions, Scope};

macro_rules! kinds {
    ($($name:ident = $text:literal, $spoken:literal, $feed:literal;)*) => {
        /// Which collection a document belongs to.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Kind { $(#[doc = $spoken] $name,)* }

        impl Kind {
            /// Every kind.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// Returns the word stored in the database; it never changes.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            const fn spoken(self) -> &'static str {
                match self { $(Self::$name => $spoken,)* }
            }

            /// Says whether a change of this kind is told to the change feed.
            pub(crate) const fn is_in_feed(self) -> bool {
                match self { $(Self::$name => $feed,)* }
            }
        }
    };
}

// The last column says whether the change feed tells of it. What is read where it is used, such as sessions of the console, is not told.
kinds! {
    Account = "account", "account", true;
    Rule = "rule", "rule", true;
    List = "list", "list", true;
    Configuration = "configuration", "configuration", true;
    Logging = "logging", "logging setting", true;
    Retention = "log_retention", "retention of records", true;
    UsageDigest = "usage_digest", "digest of usage", true;
    Network = "network", "network settings", true;
    Certificate = "certificate", "certificate", true;
    ProxyEndpoint = "proxy_endpoint", "proxy endpoint", true;
    Script = "script", "script", true;
    ScriptVersion = "script_version", "script version", true;
    ScriptContent = "script_content", "script content", false;
    ScriptSecret = "script_secret", "script secret", true;
    Schedule = "schedule", "schedule", true;
    KvNamespace = "kv_namespace", "KV namespace", true;
    Token = "token", "token", true;
    User = "user", "user", true;
    ProxyToken = "proxy_token", "proxy token", true;
    Administrator = "administrator", "administrator", true;
    Session = "session", "session", false;
    SetupLink = "setup_link", "set-up link", false;
    Application = "application", "application", true;
    AccessPolicy = "access_policy", "access policy", true;
    AccessGroup = "access_group", "rule group", true;
    Provider = "identity_provider", "identity provider", true;
    DirectoryUser = "directory_user", "person of a directory", false;
    DirectoryGroup = "directory_group", "group of a directory", false;
    Organization = "organization", "organisation", true;
    ServiceToken = "service_token", "service token", true;
    ServiceTokenUse = "service_token_use", "use of a service token", false;
    ClientAuthority = "client_authority", "client certificate authority", true;
    ClientCertificateSettings = "client_certificate_settings", "client certificate setting", true;
    Tag = "tag", "tag", true;
    CustomPage = "custom_page", "custom page", true;
    AccessKeys = "access_keys", "signing keys", true;
    AccessProfile = "access_profile", "profile", true;
    Factor = "factor", "authenticator", false;
    AccessSession = "access_session", "session", true;
    AppSession = "app_session", "application session", false;
    Revocation = "revocation", "revocation", true;
    LoginState = "login_state", "login", false;
    Mail = "mail", "mail", true;
    MailServer = "mail_server", "mail server", true;
    ListenerCertificate = "listener_certificate", "certificate of the listener", true;
    AcmeAccount = "acme_account", "account at a certificate authority", false;
    Approval = "approval", "approval", true;
    OauthClient = "oauth_client", "OAuth client", false;
    OauthGrant = "oauth_grant", "OAuth grant", true;
    McpPortal = "mcp_portal", "MCP portal", true;
    McpServer = "mcp_server", "MCP server", true;
    McpCatalog = "mcp_catalog", "catalogue of an MCP server", true;
    McpCredential = "mcp_credential", "sign-in at an MCP server", true;
    CatalogReview = "catalog_review", "review of an application", true;
    CatalogEdition = "catalog_edition", "edition of the application catalogue", true;
    SavedQuery = "saved_query", "saved query", true;
    Signal = "signal", "signal", true;
    SignalState = "signal_state", "state of a signal", false;
    SignalEvent = "signal_event", "security event of a signal", false;
    PushJob = "push_job", "push job", true;
    CategoryList = "category_list", "category list", true;
    CategoryNames = "category_names", "names of a category list", false;
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.spoken())
    }
}

impl Kind {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.as_str() == text)
    }
}

/// Counts the saves of one document; a writer who names the revision it read never overwrites someone else's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Revision(pub i64);

/// The id of a document of which an account has one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Only;

impl fmt::Display for Only {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("only")
    }
}

impl FromStr for Only {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "only" { Ok(Self) } else { Err("not the id of a single document") }
    }
}

/// A document as it stands in the store.
#[derive(Debug, Clone, PartialEq)]
pub struct Stored<D: Document> {
    /// Its id within the account and kind.
    pub id: D::Id,
    /// How often it was saved; 1 after its creation.
    pub revision: Revision,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was last saved.
    pub updated_at: Timestamp,
    /// The document itself.
    pub document: D,
}

pub(crate) mod closed {
    pub trait Closed {}
}

/// A typed document. Closed: the kinds are those of this crate.
pub trait Document: closed::Closed + Serialize + DeserializeOwned + Send + Sync + Sized + 'static {
    /// The type of its id.
    type Id: fmt::Display + FromStr<Err: fmt::Display> + Clone + Send + Sync;
    /// The scope that reads it.
    type Read: Scope;
    /// The scope that changes it.
    type Write: Allows<Self::Read>;
    /// Its collection.
    const KIND: Kind;
    /// The version of its serde shape; raised when old text would be read differently.
    const SCHEMA_VERSION: u32 = 1;
    /// The largest text of one document.
    const MAX_BYTES: usize = 256 * 1024;
    /// How many an account may have.
    const MAX_COUNT: usize = 1_000;

    /// Returns the name that must be unique among its kind in the account, if there is one.
    fn unique_name(&self) -> Option<&str> {
        None
    }

    /// Returns the id of the document it belongs to.
    fn parent(&self) -> Option<String> {
        None
    }

    /// Returns its place in a listing; equal places are ordered by age, then id.
    fn position(&self) -> i64 {
        0
    }

    /// Returns what it lets someone do; nobody may store more than they hold.
    fn confers(&self) -> Permissions {
        Permissions::NONE
    }

    /// Returns the text it is found by without knowing its account, such as the hash of a credential.
    fn lookup(&self) -> Option<String> {
        None
    }
}

/// Reads a row back into its document.
pub(crate) fn read<D: Document>(row: Row) -> Result<Stored<D>, StoreError> {
    if row.schema_version > D::SCHEMA_VERSION {
        let reason = format!("schema version {} is newer than {}", row.schema_version, D::SCHEMA_VERSION);
        return Err(StoreError::unreadable(D::KIND, &row.id, reason));
    }
    let document = serde_json::from_str(&row.body).map_err(|error| StoreError::unreadable(D::KIND, &row.id, error))?;
    let id = row
        .id
        .parse()
        .map_err(|error: <D::Id as FromStr>::Err| StoreError::unreadable(D::KIND, &row.id, error.to_string()))?;
    Ok(Stored {
        id,
        revision: Revision(row.revision),
        created_at: time(D::KIND, &row.id, row.created_at)?,
        updated_at: time(D::KIND, &row.id, row.updated_at)?,
        document,
    })
}

fn time(kind: Kind, id: &str, microseconds: i64) -> Result<Timestamp, StoreError> {
    Timestamp::from_microsecond(microseconds).map_err(|error| StoreError::unreadable(kind, id, error))
}

/// Writes a document as text, within its bound.
pub(crate) fn write<D: Document>(document: &D) -> Result<String, StoreError> {
    text_of::<D>(document)
}

/// Writes what will be read as a document, within its bound.
pub(crate) fn text_of<D: Document>(document: &impl Serialize) -> Result<String, StoreError> {
    let body = serde_json::to_string(document).map_err(|_| StoreError::Invalid("the document is not JSON"))?;
    if body.len() > D::MAX_BYTES {
        return Err(StoreError::LimitExceeded { what: "a document's size in bytes", limit: D::MAX_BYTES });
    }
    Ok(body)
}
