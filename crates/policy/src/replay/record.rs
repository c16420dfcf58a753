//! What a record of the log tells about the facts that rules read: known with a value, known to have none, or lost.
//!
//! Reads the fields of `gateway_http` and `gateway_network` by their Logpush names; an absent field that records always
//! carry is the empty value, and what no record carries is unknown. Nothing is looked up or guessed. Invariant: a fact is
//! known here only if the gateway saw the same one.

use std::cell::OnceCell;
use std::net::IpAddr;

use expr::{ArrayRef, Fact, Facts, FieldId, FieldSet, Map as FieldMap, MapRef, ValueRef};
use jiff::Timestamp;
use serde_json::{Map, Value};

use super::mcp::McpRecord;
use crate::facts::{Host, HostFacts};
use crate::hook::{Hook, Phase, http::id as http, l4::id as l4};
use crate::package::{Package, recognise};

/// The fields of one record.
pub type Row = Map<String, Value>;

pub(super) fn text<'r>(row: &'r Row, name: &str) -> Option<&'r str> {
    row.get(name).and_then(Value::as_str).filter(|text| !text.is_empty())
}

pub(super) fn number(row: &Row, name: &str) -> Option<i64> {
    row.get(name).and_then(Value::as_i64).filter(|number| *number != 0)
}

pub(super) fn texts<'r>(row: &'r Row, name: &str) -> Vec<&'r str> {
    let items = row.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    items.iter().filter_map(Value::as_str).collect()
}

/// Who asked, as far as the record tells.
#[derive(Debug, Clone)]
pub(super) enum Who<'r> {
    /// The account's settings keep personal data out of records.
    Withheld,
    Nobody,
    Somebody {
        email: Option<&'r str>,
        id: Option<&'r str>,
        /// `None`: records of this kind do not carry them, or did not when this one was written.
        groups: Option<Vec<&'r str>>,
    },
}

/// Says what hosts mean today: which applications they are, and in which categories.
///
/// The question is what rules would do from now on, so what the host meant at the time is not asked.
pub trait Meanings: Send + Sync {
    /// Returns what a host means, in lower case and without a port.
    fn meaning(&self, host: &str) -> HostFacts<'_>;
}

/// What a record tells about the connection a request came over, or that is itself recorded.
#[derive(Clone)]
pub(super) struct Connection<'r> {
    pub(super) host: Option<Host<'r>>,
    source: Option<IpAddr>,
    source_port: Option<i64>,
    /// Known where the client named an address; of a name, records keep only the one address that was reached.
    destination: Option<[IpAddr; 1]>,
    port: Option<i64>,
    endpoint: Option<&'r str>,
    meanings: Option<&'r dyn Meanings>,
    meaning: Option<HostFacts<'r>>,
    pub(super) who: Who<'r>,
}

impl<'r> Connection<'r> {
    fn read(
        row: &'r Row,
        host: Option<&'r str>,
        meanings: Option<&'r dyn Meanings>,
        groups: impl FnOnce() -> Option<Vec<&'r str>>,
    ) -> Self {
        let source = text(row, "SourceIP");
        let who = match (text(row, "Email"), text(row, "UserID")) {
            // A client always has an address, so a record without one had its personal data taken out.
            _ if source.is_none() => Who::Withheld,
            (None, None) => Who::Nobody,
            (email, id) => Who::Somebody { email, id, groups: groups() },
        };
        Self {
            host: host.map(Host),
            source: source.and_then(|source| source.parse().ok()),
            source_port: number(row, "SourcePort"),
            destination: host.and_then(|host| host.parse().ok()).map(|address: IpAddr| [address]),
            port: number(row, "DestinationPort"),
            endpoint: text(row, "ProxyEndpoint"),
            meanings,
            meaning: host.zip(meanings).map(|(host, meanings)| meanings.meaning(host)),
            who,
        }
    }

    /// The same connection under another name.
    pub(super) fn named(&self, host: &'r str) -> Self {
        Self {
            host: Some(Host(host)),
            destination: host.parse().ok().map(|address| [address]),
            meaning: self.meanings.map(|meanings| meanings.meaning(host)),
            ..self.clone()
        }
    }

    fn host_fact(&self) -> Fact<'_> {
        self.host.map_or(Fact::Unknown, |host| known_text(host.0))
    }

    fn domains_fact(&self) -> Fact<'_> {
        self.host.as_ref().map_or(Fact::Unknown, |host| Fact::Known(ValueRef::Array(ArrayRef::Custom(host))))
    }

    fn source_fact(&self) -> Fact<'_> {
        self.source.map_or(Fact::Unknown, |source| Fact::Known(ValueRef::Ip(source)))
    }

    fn destination_fact(&self) -> Fact<'_> {
        self.destination.as_ref().map_or(Fact::Unknown, |found| Fact::Known(ValueRef::Array(ArrayRef::Ips(found))))
    }

    /// The facts that follow from what the host means.
    fn numbers(&self, read: impl FnOnce(HostFacts<'r>) -> &'r [i64]) -> Fact<'_> {
        self.meaning.map_or(Fact::Unknown, |meaning| Fact::Known(ValueRef::Array(ArrayRef::Ints(read(meaning)))))
    }

    fn statuses(&self) -> Fact<'_> {
        self.meaning.map_or(Fact::Unknown, |meaning| Fact::Known(ValueRef::Array(ArrayRef::Strs(meaning.app_statuses))))
    }

    fn email(&self) -> Fact<'_> {
        match self.who {
            Who::Withheld => Fact::Unknown,
            Who::Nobody => Fact::Absent,
            Who::Somebody { email, .. } => lost_or(email),
        }
    }

    fn person_id(&self) -> Fact<'_> {
        match self.who {
            Who::Withheld => Fact::Unknown,
            Who::Nobody => Fact::Absent,
            Who::Somebody { id, .. } => lost_or(id),
        }
    }

    /// No record carries it.
    fn person_name(&self) -> Fact<'_> {
        if matches!(self.who, Who::Nobody) { Fact::Absent } else { Fact::Unknown }
    }

    fn groups(&self, names: bool) -> Fact<'_> {
        match &self.who {
            Who::Withheld => Fact::Unknown,
            Who::Nobody => Fact::Absent,
            // Only names are recorded; of somebody without groups everything about them is known.
            Who::Somebody { groups: Some(groups), .. } if names || groups.is_empty() => {
                Fact::Known(ValueRef::Array(ArrayRef::Strs(groups)))
            }
            Who::Somebody { .. } => Fact::Unknown,
        }
    }
}

pub(super) fn known_text(text: &str) -> Fact<'_> {
    Fact::Known(ValueRef::from(text))
}

pub(super) const fn known_bool<'f>(value: bool) -> Fact<'f> {
    Fact::Known(ValueRef::Bool(value))
}

fn lost_or(value: Option<&str>) -> Fact<'_> {
    value.map_or(Fact::Unknown, known_text)
}

fn lost_or_number<'f>(value: Option<i64>) -> Fact<'f> {
    value.map_or(Fact::Unknown, |value| Fact::Known(ValueRef::Int(value)))
}

/// A URL as rules read its parts: cut where the gateway cuts it, never normalised.
#[derive(Debug, Clone, Copy)]
struct Url<'r> {
    whole: &'r str,
    scheme: &'r str,
    path_and_query: &'r str,
}

impl<'r> Url<'r> {
    fn cut(whole: &'r str) -> Option<Self> {
        let (scheme, rest) = whole.split_once("://")?;
        let path_and_query = rest.find('/').and_then(|at| rest.get(at..))?;
        Some(Self { whole, scheme, path_and_query })
    }

    fn path(self) -> &'r str {
        self.path_and_query.split_once('?').map_or(self.path_and_query, |(path, _)| path)
    }

    fn query(self) -> Option<&'r str> {
        self.path_and_query.split_once('?').map(|(_, query)| query)
    }
}

/// What the origin answered, where the record shows that it was the origin.
#[derive(Debug, Clone, Copy)]
struct Response<'r> {
    status: i64,
    has_body: Option<bool>,
    mime: Option<&'r str>,
}

/// The two request headers that records keep.
#[derive(Debug, Clone)]
pub(super) struct RecordedHeaders<'r>([(&'static str, Vec<&'r str>); 2]);

impl RecordedHeaders<'_> {
    const NAMES: [&'static str; 2] = ["referer", "user-agent"];

    /// Tells whether a record tells all there is to know about a header.
    pub(super) fn covers(name: &[u8]) -> bool {
        Self::NAMES.iter().any(|known| known.as_bytes().eq_ignore_ascii_case(name))
    }
}

impl FieldMap for RecordedHeaders<'_> {
    fn len(&self) -> usize {
        self.0.iter().filter(|(_, values)| !values.is_empty()).count()
    }

    fn get(&self, key: &[u8]) -> Option<ValueRef<'_>> {
        let (_, values) = self.0.iter().find(|(name, _)| name.as_bytes().eq_ignore_ascii_case(key))?;
        (!values.is_empty()).then_some(ValueRef::Array(ArrayRef::Strs(values)))
    }

    fn entry(&self, index: usize) -> Option<(&[u8], ValueRef<'_>)> {
        let (name, values) = self.0.iter().filter(|(_, values)| !values.is_empty()).nth(index)?;
        Some((name.as_bytes(), ValueRef::Array(ArrayRef::Strs(values))))
    }
}

/// Facts with the recorded headers as if they were all, for rules that read no others.
pub(super) struct WithHeaders<'a> {
    pub(super) base: &'a dyn Facts,
    pub(super) headers: &'a RecordedHeaders<'a>,
}

impl Facts for WithHeaders<'_> {
    fn fact(&self, field: FieldId) -> Fact<'_> {
        match field {
            http::HEADERS => Fact::Known(ValueRef::Map(MapRef::Custom(self.headers))),
            _ => self.base.fact(field),
        }
    }
}

/// What a Worker made of the request at the time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Opinion<'r> {
    /// The name its process goes by.
    pub(super) script: &'r str,
    pub(super) outcome: &'r str,
}

/// What was decided at the time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Decided<'r> {
    pub(super) action: &'r str,
    pub(super) rule: Option<&'r str>,
    pub(super) rule_name: Option<&'r str>,
    /// Something failed after the decision, and the action may speak of that.
    pub(super) failed: bool,
}

/// A web request, as its record tells of it.
pub struct WebRecord<'r> {
    pub(super) at: Timestamp,
    pub(super) connection: Connection<'r>,
    pub(super) decided: Decided<'r>,
    pub(super) opinion: Option<Opinion<'r>>,
    /// It came over TLS that was opened.
    pub(super) secure: bool,
    pub(super) headers: Option<RecordedHeaders<'r>>,
    pub(super) row: &'r Row,
    method: Option<&'r str>,
    version: Option<&'r str>,
    url: Option<Url<'r>>,
    has_body: Option<bool>,
    /// The type of the body; `None` where records did not carry it yet.
    mime: Option<Option<&'r str>>,
    response: Option<Response<'r>>,
    package: OnceCell<Option<Package>>,
    mcp: McpRecord<'r>,
    withheld: FieldSet,
}

/// Why a record is not compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SetAside {
    /// No rule was asked: a sign-in failed, the request was malformed or went round, the address is guarded.
    RefusedByPlatform,
    /// It records the end of a connection, whose beginning has a record of its own.
    EndOfConnection,
    /// It is not a record of a decision, or was damaged.
    Unreadable,
}

impl SetAside {
    /// Returns the word in reports.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::RefusedByPlatform => "refused_by_platform",
            Self::EndOfConnection => "end_of_connection",
            Self::Unreadable => "unreadable",
        }
    }
}

/// What says that a record lost its longest texts.
const SHORTENED: &str = "record shortened";

impl<'r> WebRecord<'r> {
    /// Reads a row of `gateway_http`.
    ///
    /// # Errors
    /// Why it is not compared.
    pub fn read(row: &'r Row, meanings: Option<&'r dyn Meanings>) -> Result<Self, SetAside> {
        let at = text(row, "Datetime").and_then(|at| at.parse().ok()).ok_or(SetAside::Unreadable)?;
        let decided = decided(row).ok_or(SetAside::Unreadable)?;
        let method = text(row, "HTTPMethod");
        if method == Some("CONNECT") || (decided.action == "block" && decided.rule.is_none() && decided.failed) {
            return Err(SetAside::RefusedByPlatform);
        }
        let host = text(row, "HTTPHost").ok_or(SetAside::Unreadable)?;
        let connection = Connection::read(row, Some(host), meanings, || Some(texts(row, "GroupNames")));
        let cut = texts(row, "Warnings").contains(&SHORTENED);
        let personal = matches!(connection.who, Who::Withheld);
        let body = text(row, "RequestBody");
        let method_has_no_answer_body = method == Some("HEAD");
        let opinion = text(row, "WorkerScript")
            .zip(text(row, "WorkerOutcome"))
            .map(|(script, outcome)| Opinion { script, outcome });
        let changed = opinion.is_some_and(|opinion| opinion.outcome == "request");
        let response = (decided.action == "allow" && !decided.failed && !changed).then(|| {
            let status = number(row, "HTTPStatusCode")?;
            let empty = method_has_no_answer_body || status < 200 || matches!(status, 204 | 304);
            let has_body = if empty { Some(false) } else { number(row, "ResponseBytes").map(|_| true) };
            Some(Response { status, has_body, mime: text(row, "ContentType") })
        });
        Ok(Self {
            at,
            decided,
            opinion,
            secure: text(row, "JA4").is_some() || text(row, "TLSVersion").is_some(),
            headers: (!personal && !cut).then(|| headers(row)).flatten(),
            row,
            method,
            version: text(row, "HTTPVersion"),
            url: text(row, "URL").filter(|_| !cut).and_then(Url::cut),
            has_body: match body {
                Some(word) => Some(word == "some"),
                // An older record: what was sent on shows that there was one.
                None => number(row, "RequestBytes").map(|_| true),
            },
            mime: body.map(|_| text(row, "RequestContentType")),
            response: response.flatten(),
            package: OnceCell::new(),
            mcp: McpRecord::read(row),
            withheld: FieldSet::EMPTY,
            connection,
        })
    }

    /// Counts more fields as lost.
    pub fn withhold(&mut self, fields: FieldSet) {
        self.withheld = self.withheld.union(fields);
        if fields.contains(http::HEADERS) {
            self.headers = None;
        }
    }

    pub(super) const fn withheld(&self) -> FieldSet {
        self.withheld
    }

    fn package_fact(&self, field: FieldId) -> Fact<'_> {
        let Some((host, url)) = self.connection.host.zip(self.url) else { return Fact::Unknown };
        let package = self.package.get_or_init(|| recognise(host.0, url.path()));
        package.as_ref().map_or(Fact::Absent, |package| crate::facts::package_fact(package, field))
    }

    fn url_fact(&self, read: impl FnOnce(Url<'r>) -> Fact<'r>) -> Fact<'r> {
        self.url.map_or(Fact::Unknown, read)
    }

    fn response_fact(&self, field: FieldId) -> Fact<'_> {
        let Some(response) = self.response else { return Fact::Unknown };
        match (field, response.has_body) {
            (http::STATUS, _) => Fact::Known(ValueRef::Int(response.status)),
            (http::RESPONSE_HAS_BODY, Some(has)) => known_bool(has),
            (http::DOWNLOAD_MIME | http::DOWNLOAD_TYPES | http::DOWNLOAD_SIZE, Some(false)) => Fact::Absent,
            (http::DOWNLOAD_MIME, Some(true)) => response.mime.map_or(Fact::Absent, known_text),
            _ => Fact::Unknown,
        }
    }

    fn scheme(&self) -> Fact<'_> {
        match self.url {
            Some(url) => known_text(url.scheme),
            // Only https is asked for inside TLS.
            None if self.secure => known_text("https"),
            None => Fact::Unknown,
        }
    }
}

fn decided(row: &Row) -> Option<Decided<'_>> {
    Some(Decided {
        action: text(row, "Action")?,
        rule: text(row, "PolicyID"),
        rule_name: text(row, "PolicyName"),
        failed: text(row, "Error").is_some()
            || text(row, "UntrustedCertificateAction").is_some_and(|word| word == "block"),
    })
}

fn headers(row: &Row) -> Option<RecordedHeaders<'_>> {
    let values = |name: &str| -> Option<Vec<&str>> {
        match text(row, name) {
            // Bytes that are no text were replaced when it was written.
            Some(value) if value.contains('\u{fffd}') => None,
            Some(value) => Some(vec![value]),
            None => Some(Vec::new()),
        }
    };
    let [referer, agent] = RecordedHeaders::NAMES;
    Some(RecordedHeaders([(referer, values("Referer")?), (agent, values("UserAgent")?)]))
}

impl Connection<'_> {
    /// Returns what web rules may ask of a connection; `None` for a field of something else.
    fn web_fact(&self, field: FieldId) -> Option<Fact<'_>> {
        Some(match field {
            http::HOST => self.host_fact(),
            http::DOMAINS => self.domains_fact(),
            http::APP_IDS | http::APP_HOSTS_IDS => self.numbers(|host| host.app_ids),
            http::APP_TYPE_IDS => self.numbers(|host| host.app_type_ids),
            http::APP_SUPPORTS_IDS => self.numbers(|host| host.app_supports_ids),
            http::APP_STATUSES => self.statuses(),
            http::CONTENT_CATEGORY => self.numbers(|host| host.content_categories),
            http::SECURITY_CATEGORY => self.numbers(|host| host.security_categories),
            http::SRC_IP => self.source_fact(),
            http::SRC_PORT => lost_or_number(self.source_port),
            http::DST_IP => self.destination_fact(),
            http::DST_PORT => lost_or_number(self.port),
            http::PROXY_ENDPOINT => self.endpoint.map_or(Fact::Absent, known_text),
            http::ONRAMP => known_text("proxy_endpoint"),
            http::OFFRAMP => known_text("internet"),
            http::IS_ISOLATED => known_bool(false),
            http::IDENTITY_EMAIL => self.email(),
            http::IDENTITY_ID => self.person_id(),
            http::IDENTITY_GROUPS_NAME => self.groups(true),
            http::IDENTITY_GROUPS_ID | http::IDENTITY_GROUPS_EMAIL => self.groups(false),
            http::IDENTITY_NAME => self.person_name(),
            _ => return None,
        })
    }
}

impl Facts for WebRecord<'_> {
    fn fact(&self, field: FieldId) -> Fact<'_> {
        if self.withheld.contains(field) {
            return Fact::Unknown;
        }
        if let Some(fact) = self.connection.web_fact(field) {
            return fact;
        }
        match field {
            http::PORT => lost_or_number(self.connection.port),
            http::METHOD => lost_or(self.method),
            http::VERSION => lost_or(self.version),
            http::SCHEME => self.scheme(),
            http::URI => self.url_fact(|url| known_text(url.whole)),
            http::PATH => self.url_fact(|url| known_text(url.path())),
            http::QUERY => self.url_fact(|url| url.query().map_or(Fact::Absent, known_text)),
            http::PATH_AND_QUERY => self.url_fact(|url| known_text(url.path_and_query)),
            http::HAS_BODY => self.has_body.map_or(Fact::Unknown, known_bool),
            http::UPLOAD_MIME | http::UPLOAD_TYPES | http::UPLOAD_SIZE if self.has_body == Some(false) => Fact::Absent,
            http::UPLOAD_MIME if self.has_body.is_some() => {
                self.mime.map_or(Fact::Unknown, |mime| mime.map_or(Fact::Absent, known_text))
            }
            http::IS_MCP
            | http::MCP_METHODS
            | http::MCP_TOOLS
            | http::MCP_CLIENT_NAME
            | http::MCP_VERSION
            | http::MCP_SERVER_NAME
            | http::MCP_IS_PORTAL
            | http::MCP_BEHIND_PORTAL => self.mcp.fact(field),
            http::PKG_ECOSYSTEM | http::PKG_NAMESPACE | http::PKG_NAME | http::PKG_VERSION | http::PKG_PURL => {
                self.package_fact(field)
            }
            _ => self.response_fact(field),
        }
    }
}

/// A request before its response came.
pub(super) struct BeforeResponse<'a, 'r>(pub(super) &'a WebRecord<'r>);

impl Facts for BeforeResponse<'_, '_> {
    fn fact(&self, field: FieldId) -> Fact<'_> {
        if response_fields().contains(field) { Fact::Unknown } else { self.0.fact(field) }
    }
}

/// The fields that only a response settles.
pub(super) fn response_fields() -> FieldSet {
    [Phase::ResponseHead, Phase::ResponseBodyHead, Phase::ResponseBodyComplete]
        .into_iter()
        .fold(FieldSet::EMPTY, |set, phase| set.union(Hook::Http.fields().arriving(phase)))
}

/// The facts of web rules that are known of a connection.
pub(super) struct OfConnection<'a, 'r> {
    pub(super) connection: &'a Connection<'r>,
    pub(super) withheld: FieldSet,
}

impl Facts for OfConnection<'_, '_> {
    fn fact(&self, field: FieldId) -> Fact<'_> {
        if self.withheld.contains(field) {
            return Fact::Unknown;
        }
        self.connection.web_fact(field).unwrap_or(Fact::Unknown)
    }
}

/// The facts of network rules.
pub(super) struct OfNetwork<'a, 'r> {
    pub(super) connection: &'a Connection<'r>,
    /// What the first bytes were; `None`: nothing that is recognised.
    pub(super) detected: Option<&'static str>,
}

impl Facts for OfNetwork<'_, '_> {
    fn fact(&self, field: FieldId) -> Fact<'_> {
        let connection = self.connection;
        match field {
            l4::SNI_HOST => connection.host_fact(),
            l4::SNI_DOMAINS => connection.domains_fact(),
            l4::APP_IDS => connection.numbers(|host| host.app_ids),
            l4::APP_TYPE_IDS => connection.numbers(|host| host.app_type_ids),
            l4::CONTENT_CATEGORY => connection.numbers(|host| host.content_categories),
            l4::SECURITY_CATEGORY => connection.numbers(|host| host.security_categories),
            l4::SRC_IP => connection.source_fact(),
            l4::SRC_PORT => lost_or_number(connection.source_port),
            l4::DST_IP => connection.destination_fact(),
            l4::DST_PORT => lost_or_number(connection.port),
            l4::PROTOCOL => known_text("tcp"),
            l4::DETECTED => self.detected.map_or(Fact::Absent, known_text),
            l4::PROXY_ENDPOINT => connection.endpoint.map_or(Fact::Absent, known_text),
            l4::ONRAMP => known_text("proxy_endpoint"),
            l4::OFFRAMP => known_text("internet"),
            l4::IS_ISOLATED => known_bool(false),
            l4::IDENTITY_EMAIL => connection.email(),
            l4::IDENTITY_ID => connection.person_id(),
            l4::IDENTITY_NAME => connection.person_name(),
            l4::IDENTITY_GROUPS_NAME => connection.groups(true),
            l4::IDENTITY_GROUPS_ID | l4::IDENTITY_GROUPS_EMAIL => connection.groups(false),
            _ => Fact::Unknown,
        }
    }
}

/// A connection that was not read, or not let through, as its record tells of it.
pub struct ConnectionRecord<'r> {
    pub(super) at: Timestamp,
    pub(super) connection: Connection<'r>,
    pub(super) decided: Decided<'r>,
    /// It began like TLS.
    pub(super) secure: bool,
    pub(super) server_name: Option<&'r str>,
    pub(super) row: &'r Row,
}

impl<'r> ConnectionRecord<'r> {
    /// Reads a row of `gateway_network`.
    ///
    /// # Errors
    /// Why it is not compared.
    pub fn read(row: &'r Row, meanings: Option<&'r dyn Meanings>) -> Result<Self, SetAside> {
        let at = text(row, "Datetime").and_then(|at| at.parse().ok()).ok_or(SetAside::Unreadable)?;
        let decided = decided(row).ok_or(SetAside::Unreadable)?;
        let host = text(row, "DestinationHost").ok_or(SetAside::Unreadable)?;
        let secure = text(row, "DetectedProtocol").is_some_and(|protocol| protocol == "tls");
        let closed = text(row, "ConnectionCloseReason").unwrap_or_default();
        // What a rule ended later was let through before, and what a protocol change opened has the record of its request.
        if closed == "PROXY_CONN_REFUSED" || text(row, "DetectedProtocol").is_some_and(|protocol| protocol == "http") {
            return Err(SetAside::EndOfConnection);
        }
        let refused = decided.action == "block" && decided.rule.is_none();
        // Of TLS without a rule, what refuses is a fault: no certificate, a guarded address, bytes that are no TLS.
        if refused && (decided.failed || closed == "CLIENT_TLS_ERROR") {
            return Err(SetAside::RefusedByPlatform);
        }
        // Older records do not carry the groups, and nothing tells them from those of somebody without any.
        let groups = || row.contains_key("GroupNames").then(|| texts(row, "GroupNames"));
        Ok(Self {
            at,
            connection: Connection::read(row, Some(host), meanings, groups),
            decided,
            secure,
            server_name: text(row, "SNI"),
            row,
        })
    }
}

/// Says why a record does not tell a fact.
#[must_use]
pub fn why_unknown(hook: Hook, field: FieldId) -> &'static str {
    if hook == Hook::L4 {
        return match field {
            l4::DST_IP => "of the addresses a name led to, only the one that was reached is recorded",
            l4::IDENTITY_NAME | l4::IDENTITY_GROUPS_ID | l4::IDENTITY_GROUPS_EMAIL => {
                "of a person, records keep the e-mail address, the id and the names of groups"
            }
            _ => PERSONAL,
        };
    }
    match field {
        http::DST_IP => "of the addresses a name led to, only the one that was reached is recorded",
        http::HEADERS => "of the request headers, only Referer and User-Agent are recorded",
        http::IS_MCP
        | http::MCP_METHODS
        | http::MCP_TOOLS
        | http::MCP_CLIENT_NAME
        | http::MCP_VERSION
        | http::MCP_SERVER_NAME
        | http::MCP_IS_PORTAL
        | http::MCP_BEHIND_PORTAL => {
            "the record does not tell it, or tells it from more or less than a rule would have been told"
        }
        http::HAS_BODY => "older records show a request body only if some of it was sent on",
        http::UPLOAD_MIME | http::UPLOAD_TYPES | http::UPLOAD_SIZE => "request bodies are not recorded",
        http::DOWNLOAD_TYPES | http::DOWNLOAD_SIZE => "response bodies are not recorded",
        http::RESPONSE_HEADERS => "of the response headers, only the type of the content is recorded",
        http::STATUS | http::RESPONSE_HAS_BODY | http::DOWNLOAD_MIME => {
            "the origin's answer is not recorded where the request did not reach it, or where nothing of a body came"
        }
        http::IDENTITY_NAME | http::IDENTITY_GROUPS_ID | http::IDENTITY_GROUPS_EMAIL => {
            "of a person, records keep the e-mail address, the id and the names of groups"
        }
        _ => PERSONAL,
    }
}

const PERSONAL: &str =
    "this record does not carry it: the account's settings keep personal data out of records, or it was too long";
