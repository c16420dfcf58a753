//! Everything a request needs to be decided: one immutable value, built off the hot path and swapped whole.
//!
//! Plain data; `server` builds it from the store, part by part: a part whose documents did not change is shared with the
//! snapshot before. Invariant: a request sees one snapshot from its first stage to its
//! record, so rules, people and certificates in it belong together.

use std::collections::HashMap;
use std::sync::Arc;

use types::{AccountId, RuleId};

use crate::bypass::BypassList;
use crate::identity::{Directory, Endpoint};
use crate::mcp::McpPlaces;
use crate::page::Look;

/// One revision of an account's configuration.
pub struct Snapshot {
    pub account: AccountId,
    pub revision: u64,
    pub http: Arc<policy::ruleset::HttpRuleset>,
    pub l4: Arc<policy::ruleset::L4Ruleset>,
    /// The script of each rule whose action is `worker` or `managed`, with the rule's own CPU and memory limits; for a
    /// managed rule the template's modules, with `env.parameters` bound to the rule's parameters. Rules that ask for the
    /// same script and limits share one value; limits that differ need a key version that differs.
    pub workers: Arc<HashMap<RuleId, Arc<worker::Script>>>,
    pub people: Arc<Directory>,
    pub proxy_endpoints: Arc<[Endpoint]>,
    pub settings: Settings,
    /// What hosts mean: their applications, the account's word on those, their categories.
    pub classifier: Arc<catalog::Classifier>,
    /// Hosts that are never inspected; starts as [`crate::default_entries`].
    pub bypass: Arc<BypassList>,
    /// Where the account's own MCP portals and servers are.
    pub mcp: Arc<McpPlaces>,
    /// Signs leaf certificates with the account's authority.
    pub minter: Arc<net::Minter>,
    /// Resolves, guards, dials and pools; its guard carries the allow list, its trust the extra roots. Reuse the same
    /// value in the next snapshot unless these changed, so that connections survive.
    pub upstream: net::upstream::Pool,
    /// The resolver inside `upstream`, for rules that read the destination address before the origin is dialled.
    pub resolver: Arc<dyn net::resolve::Resolve>,
}

/// The account settings that bear on web traffic (reference section 5.6).
#[derive(Debug, Clone)]
pub struct Settings {
    /// `tls_decrypt.enabled`; off means that TLS is passed through and recorded.
    pub tls_decrypt: bool,
    pub block_page: BlockPage,
    pub logging: Logging,
    /// Every request needs a credential or a proxy endpoint, loopback included.
    pub require_identity: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            tls_decrypt: true,
            block_page: BlockPage::default(),
            logging: Logging::default(),
            require_identity: false,
        }
    }
}

/// What a blocked person sees.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BlockPage {
    /// Mode `redirect_uri`: answered with 307.
    pub redirect: Option<BlockRedirect>,
    pub look: Look,
}

/// Where blocked people are sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockRedirect {
    pub target: policy::redirect::Target,
    pub include_context: bool,
}

/// What of the traffic is recorded (reference section 5.8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Logging {
    /// Leaves source address, e-mail, user id, device id, URL, referer and user agent out of records.
    pub redact_pii: bool,
    pub http: LogSwitches,
    pub l4: LogSwitches,
}

/// Both off records nothing; `log_all` records everything, whatever `log_blocks` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogSwitches {
    pub log_all: bool,
    pub log_blocks: bool,
}

impl Default for Logging {
    fn default() -> Self {
        let all = LogSwitches { log_all: true, log_blocks: true };
        Self { redact_pii: false, http: all, l4: all }
    }
}
