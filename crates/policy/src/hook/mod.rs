//! The hooks a rule can sit on, and what is known about each of their fields beyond name and type: when its value
//! arrives, where it comes from, and which actions may use it.
//!
//! Invariant: every field of a hook's scheme has exactly one row here, and its index is the row's index.

pub mod access;
mod documentation;
pub mod http;
pub mod l4;
pub mod mcp;
mod shared;

use std::sync::OnceLock;

use expr::{Field, FieldId, FieldSet, Scheme, Type};

use crate::action::Action;
pub use documentation::fields_page;

/// The engine a rule belongs to: its one `filters` value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hook {
    /// Web requests.
    Http,
    /// Connections, before decryption.
    L4,
}

impl Hook {
    /// Returns the word used in `filters`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::L4 => "l4",
        }
    }

    /// Finds a hook by its word.
    #[must_use]
    pub fn named(word: &str) -> Option<Self> {
        match word {
            "http" => Some(Self::Http),
            "l4" => Some(Self::L4),
            _ => None,
        }
    }

    /// Returns the fields of this hook.
    #[must_use]
    pub fn fields(self) -> &'static HookFields {
        match self {
            Self::Http => http::fields(),
            Self::L4 => l4::fields(),
        }
    }

    /// Returns the scheme that expressions of this hook are compiled against.
    #[must_use]
    pub fn scheme(self) -> &'static Scheme {
        &self.fields().scheme
    }

    /// Returns the actions a rule of this hook may have.
    #[must_use]
    pub const fn actions(self) -> &'static [Action] {
        match self {
            Self::Http => &[
                Action::Allow,
                Action::Block,
                Action::Redirect,
                Action::Isolate,
                Action::NoIsolate,
                Action::Off,
                Action::NoScan,
                Action::Quarantine,
                Action::Worker,
                Action::Managed,
            ],
            Self::L4 => &[Action::Allow, Action::Block],
        }
    }
}

/// When the value of a field arrives, in the order of a request's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// When the connection is accepted, before decryption is possible.
    Connection,
    /// With the request line and headers.
    RequestHead,
    /// With the first bytes of the request body.
    RequestBodyHead,
    /// With the last byte of the request body; at once if its length was declared.
    RequestBodyComplete,
    /// With the status line and headers of the response.
    ResponseHead,
    /// With the first bytes of the response body.
    ResponseBodyHead,
    /// With the last byte of the response body; at once if its length was declared.
    ResponseBodyComplete,
}

impl Phase {
    /// Returns the letter the reference uses: `C`, `Q` or `S`.
    #[must_use]
    pub const fn letter(self) -> &'static str {
        match self {
            Self::Connection => "C",
            Self::RequestHead | Self::RequestBodyHead | Self::RequestBodyComplete => "Q",
            Self::ResponseHead | Self::ResponseBodyHead | Self::ResponseBodyComplete => "S",
        }
    }

    /// Describes the phase in a few words.
    #[must_use]
    pub const fn describe(self) -> &'static str {
        match self {
            Self::Connection => "connection",
            Self::RequestHead => "request head",
            Self::RequestBodyHead => "start of the request body",
            Self::RequestBodyComplete => "whole request body",
            Self::ResponseHead => "response head",
            Self::ResponseBodyHead => "start of the response body",
            Self::ResponseBodyComplete => "whole response body",
        }
    }

    /// Tells whether the value only exists once the origin has answered.
    #[must_use]
    pub const fn is_response(self) -> bool {
        matches!(self, Self::ResponseHead | Self::ResponseBodyHead | Self::ResponseBodyComplete)
    }
}

/// Where a field's values come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The gateway supplies it.
    Available,
    /// Nothing supplies it yet: the field type-checks and is never known, so a rule whose outcome hangs on it does not
    /// match, and an access policy is broken. The text says what it waits for.
    Later(&'static str),
}

/// The kinds of selector by which section 1.5 says what an action accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Selector {
    AccessTarget,
    Application,
    /// The two arrays Terraform uses for Do Not Inspect.
    ApplicationHosts,
    Category,
    DestinationGeo,
    DestinationIp,
    /// Domain and host.
    Host,
    Method,
    ProxyEndpoint,
    SourceGeo,
    SourceIp,
    Traffic,
    Url,
    VirtualNetwork,
    /// Who is asking and from what device: accepted by every action.
    Identity,
    /// Anything that needs the decrypted request and is not listed above.
    Request,
    /// Anything that needs the response.
    Response,
}

/// One row of a hook's field table.
#[derive(Debug, Clone, Copy)]
pub struct FieldInfo {
    pub name: &'static str,
    pub kind: Type,
    pub phase: Phase,
    pub source: Source,
    pub selector: Selector,
    /// The selector's name in the dashboard, empty for fields of ours.
    pub title: &'static str,
    pub documentation: &'static str,
    pub example: &'static str,
    /// Older names that are read as this one.
    pub aliases: &'static [&'static str],
    /// The field is an extension of ours.
    pub ours: bool,
}

/// A hook's fields: the scheme, and the table beside it.
#[derive(Debug)]
pub struct HookFields {
    pub scheme: Scheme,
    table: &'static [FieldInfo],
    later: FieldSet,
    by_phase: [FieldSet; 7],
}

impl HookFields {
    /// Builds the scheme from a table.
    fn new(table: &'static [FieldInfo]) -> Result<Self, expr::SchemeError> {
        let mut builder = Scheme::builder();
        let mut later = FieldSet::EMPTY;
        let mut by_phase = [FieldSet::EMPTY; 7];
        for (index, row) in (0u16..).zip(table) {
            builder = builder.field(row.name, row.kind, row.documentation, row.example);
            if row.name == "identity.saml_attributes" {
                builder = builder.entries(row.name);
            }
            if row.name == "http.request.uri" {
                builder = builder.ignore_trailing_slash(row.name);
            }
            for alias in row.aliases {
                builder = builder.alias(alias, row.name);
            }
            if matches!(row.source, Source::Later(_)) {
                later.insert(FieldId(index));
            }
            by_phase[row.phase as usize].insert(FieldId(index));
        }
        Ok(Self { scheme: builder.build()?, table, later, by_phase })
    }

    /// Returns the row of a field.
    #[must_use]
    pub fn info(&self, field: FieldId) -> &'static FieldInfo {
        &self.table[usize::from(field.0)]
    }

    /// Returns every row in the order of the fields' indices.
    #[must_use]
    pub const fn table(&self) -> &'static [FieldInfo] {
        self.table
    }

    /// Returns the fields that nothing supplies yet.
    #[must_use]
    pub const fn later(&self) -> FieldSet {
        self.later
    }

    /// Returns the fields whose values arrive with `phase`.
    #[must_use]
    pub const fn arriving(&self, phase: Phase) -> FieldSet {
        self.by_phase[phase as usize]
    }

    /// Returns the earliest phase that supplies any of `fields`.
    #[must_use]
    pub fn earliest(&self, fields: FieldSet) -> Option<Phase> {
        PHASES.into_iter().find(|phase| !self.arriving(*phase).intersection(fields).is_empty())
    }

    /// Finds a field by its name or an older name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<(FieldId, &Field)> {
        let id = self.scheme.id(name)?;
        Some((id, self.scheme.field(id)))
    }
}

/// Every phase in order.
pub const PHASES: [Phase; 7] = [
    Phase::Connection,
    Phase::RequestHead,
    Phase::RequestBodyHead,
    Phase::RequestBodyComplete,
    Phase::ResponseHead,
    Phase::ResponseBodyHead,
    Phase::ResponseBodyComplete,
];

/// Tells whether an action may use a selector (reference section 1.5), and if not, why.
///
/// # Errors
/// With the reason, fit for the rule's author.
pub fn permits(hook: Hook, action: Action, field: &FieldInfo) -> Result<(), &'static str> {
    use Selector as S;
    if hook == Hook::L4 || matches!(action, Action::Allow | Action::Block) || field.selector == S::Identity {
        return Ok(());
    }
    let shared = matches!(field.selector, S::Application | S::Category | S::Host | S::SourceGeo | S::Traffic);
    let url = matches!(field.selector, S::Method | S::Url);
    let network = matches!(
        field.selector,
        S::DestinationGeo | S::DestinationIp | S::ProxyEndpoint | S::SourceIp | S::VirtualNetwork
    );
    // The request is still held when these are known, and the reference's own advice (section 9) isolates and redirects by
    // the one that is not ours.
    let request = field.selector == S::Request && (field.ours || field.name == "experimental.is_mcp");
    match action {
        Action::Off if shared || network || field.selector == S::ApplicationHosts => Ok(()),
        Action::Off => Err("the connection is judged before it is decrypted, on host, addresses and identity alone"),
        Action::Isolate | Action::NoIsolate if shared || url || request => Ok(()),
        Action::Redirect if field.selector == S::AccessTarget => Ok(()),
        Action::Redirect | Action::NoScan | Action::Quarantine if shared || url || network || request => Ok(()),
        Action::Worker | Action::Managed if field.phase.is_response() || field.name == "http.body_phase" => {
            Err("a Worker runs before the request is sent, so the response cannot select it")
        }
        Action::Worker | Action::Managed => Ok(()),
        Action::Isolate | Action::NoIsolate | Action::Redirect | Action::NoScan | Action::Quarantine => {
            Err("the action is decided on host, method, URL, source and identity alone")
        }
        Action::On
        | Action::Allow
        | Action::Block
        | Action::Scan
        | Action::SafeSearch
        | Action::YtRestricted
        | Action::Override
        | Action::L4Override
        | Action::Egress
        | Action::Resolve
        | Action::AuditSsh => Err("the action does not belong to this kind of rule"),
    }
}

/// Builds a hook's fields once.
fn cached(cell: &'static OnceLock<HookFields>, table: &'static [FieldInfo]) -> &'static HookFields {
    // The tables are constants of this crate and a test builds each of them.
    cell.get_or_init(|| HookFields::new(table).unwrap_or_else(|error| unreachable!("{error}")))
}
