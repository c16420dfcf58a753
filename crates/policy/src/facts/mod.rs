//! What the gateway knows about a connection, a request and a response, in the shape it already holds it.
//!
//! Plain structs of borrowed values; a part that is `None` is not known yet. Computes the parent domains of a host on
//! demand and allocates nothing. Invariant: a field without a data source is unknown, never absent.

mod document;
pub mod email;
mod header;
pub mod mcp;

use std::net::IpAddr;

use expr::{Array, ArrayRef, Fact, Facts, FieldId, Map, MapRef, ValueRef};

pub(crate) use document::mask;
pub use document::{FactsDocument, show, show_map};
pub use header::HeaderFacts;

use crate::hook::{http::id as http, l4::id as l4};
use crate::package::Package;

/// A host name in lower case, without a port and without a trailing dot. As an array: itself and every parent domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Host<'a>(pub &'a str);

impl<'a> Host<'a> {
    /// Returns the name itself, then each parent; an address has no parents.
    pub fn domains(self) -> impl Iterator<Item = &'a str> {
        let mut rest = Some(self.0).filter(|host| !host.is_empty());
        let parents = !self.is_address();
        std::iter::from_fn(move || {
            let this = rest?;
            rest = this.split_once('.').map(|(_, parent)| parent).filter(|parent| parents && !parent.is_empty());
            Some(this)
        })
    }

    /// Tells whether this is an IP address: its last label is a number, which no top-level domain is
    /// (RFC 3696 section 2), or it holds a colon.
    #[must_use]
    pub fn is_address(self) -> bool {
        let bytes = self.0.as_bytes();
        match bytes.last() {
            Some(last) if last.is_ascii_digit() => bytes.contains(&b':') || is_number(self.0.rsplit('.').next()),
            Some(_) => bytes.contains(&b':'),
            None => false,
        }
    }
}

fn is_number(label: Option<&str>) -> bool {
    label.is_some_and(|label| label.bytes().all(|b| b.is_ascii_digit()))
}

impl Array for Host<'_> {
    fn len(&self) -> usize {
        self.domains().count()
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn get(&self, index: usize) -> Option<ValueRef<'_>> {
        self.domains().nth(index).map(ValueRef::from)
    }
}

/// Who is asking, when somebody signed in.
#[derive(Debug, Clone, Copy, Default)]
pub struct Person<'a> {
    pub id: &'a str,
    /// Lower case.
    pub email: &'a str,
    pub name: &'a str,
    pub group_ids: &'a [String],
    pub group_names: &'a [String],
    pub group_emails: &'a [String],
}

/// What the catalogue of applications and lists of categories say about a host.
#[derive(Debug, Clone, Copy, Default)]
pub struct HostFacts<'a> {
    /// Numbers of the applications that the host is.
    pub app_ids: &'a [i64],
    pub app_type_ids: &'a [i64],
    /// Numbers of the applications that the host only supports.
    pub app_supports_ids: &'a [i64],
    /// `approved`, `unapproved`, `in review` or `unreviewed`, one for each application that the host is.
    pub app_statuses: &'a [&'a str],
    pub content_categories: &'a [i64],
    pub security_categories: &'a [i64],
}

/// What is known when a connection was accepted and its destination named.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionFacts<'a> {
    /// From the TLS greeting, the CONNECT request or the URL.
    pub host: Option<Host<'a>>,
    /// `None`: nobody looked the host up.
    pub meaning: Option<HostFacts<'a>>,
    pub src_ip: IpAddr,
    pub src_port: u16,
    /// `None`: not resolved yet.
    pub dst_ips: Option<&'a [IpAddr]>,
    pub dst_port: Option<u16>,
    /// Host name of the proxy endpoint, if the connection came in through one.
    pub proxy_endpoint: Option<&'a str>,
    /// `None`: not looked at yet; `Some(None)`: nothing that is recognised.
    pub detected_protocol: Option<Option<&'a str>>,
    /// `None`: nobody signed in.
    pub person: Option<Person<'a>>,
}

/// What is known with the request head.
#[derive(Clone, Copy)]
pub struct RequestFacts<'a> {
    pub method: &'a str,
    /// `http` or `https`.
    pub scheme: &'a str,
    pub port: u16,
    /// `HTTP/1.0`, `HTTP/1.1` or `HTTP/2`.
    pub version: &'a str,
    /// The whole URL, without the scheme's own port.
    pub uri: &'a str,
    pub path: &'a str,
    pub query: Option<&'a str>,
    pub path_and_query: &'a str,
    /// Lower-case name to an array of byte strings.
    pub headers: &'a dyn Map,
    pub has_body: bool,
    /// The media type of the body in lower case, without parameters.
    pub mime: Option<&'a str>,
    /// What [`crate::package::recognise`] made of the URL; it need only be asked if a rule uses `pkg.*`.
    pub package: Option<&'a Package>,
}

/// What is known about a body; each part may be known before the other.
#[derive(Debug, Clone, Copy, Default)]
pub struct BodyFacts<'a> {
    /// File types and their groups, from [`crate::files`]; `None`: the first bytes have not been read.
    pub types: Option<&'a [&'a str]>,
    /// Bytes, from the declared length or counted to the end.
    pub size: Option<u64>,
}

/// What is known with the response head.
#[derive(Clone, Copy)]
pub struct ResponseFacts<'a> {
    pub status: u16,
    /// Lower-case name to an array of byte strings.
    pub headers: &'a dyn Map,
    pub has_body: bool,
    /// The media type of the body in lower case, without parameters.
    pub mime: Option<&'a str>,
}

/// What is known of MCP in a request, from the engine that looks for it.
#[derive(Debug, Clone, Copy, Default)]
pub struct McpTraffic<'a> {
    /// `None`: hangs on the start of the body.
    pub is_mcp: Option<bool>,
    /// `None`: hangs on the body. Of a request that is none there are no messages.
    pub messages: Option<McpMessages<'a>>,
    /// Of a known public server, by its host.
    pub server_name: Option<&'a str>,
    pub is_portal: bool,
    pub behind_portal: bool,
}

/// What MCP messages in a request say.
#[derive(Debug, Clone, Copy, Default)]
pub struct McpMessages<'a> {
    pub methods: &'a [String],
    pub tools: &'a [String],
    pub client_name: Option<&'a str>,
    pub version: Option<&'a str>,
}

/// Everything known about one web request so far.
#[derive(Clone, Copy)]
pub struct HttpFacts<'a> {
    pub connection: ConnectionFacts<'a>,
    pub request: Option<RequestFacts<'a>>,
    pub mcp: McpTraffic<'a>,
    pub request_body: BodyFacts<'a>,
    pub response: Option<ResponseFacts<'a>>,
    pub response_body: BodyFacts<'a>,
}

impl<'a> HttpFacts<'a> {
    /// Starts with what is known about the connection alone.
    #[must_use]
    pub fn of_connection(connection: ConnectionFacts<'a>) -> Self {
        Self {
            connection,
            request: None,
            mcp: McpTraffic::default(),
            request_body: BodyFacts::default(),
            response: None,
            response_body: BodyFacts::default(),
        }
    }

    fn request_fact(&self, field: FieldId) -> Fact<'_> {
        let Some(request) = &self.request else { return Fact::Unknown };
        match field {
            http::METHOD => text(request.method),
            http::URI => text(request.uri),
            http::PATH => text(request.path),
            http::QUERY => optional(request.query),
            http::PATH_AND_QUERY => text(request.path_and_query),
            http::SCHEME => text(request.scheme),
            http::PORT => int(request.port),
            http::VERSION => text(request.version),
            http::HEADERS => Fact::Known(ValueRef::Map(MapRef::Custom(request.headers))),
            http::HAS_BODY => bool(request.has_body),
            http::IS_MCP => self.mcp.is_mcp.map_or(Fact::Unknown, bool),
            http::MCP_SERVER_NAME => optional(self.mcp.server_name),
            http::MCP_IS_PORTAL => bool(self.mcp.is_portal),
            http::MCP_BEHIND_PORTAL => bool(self.mcp.behind_portal),
            http::MCP_METHODS | http::MCP_TOOLS | http::MCP_CLIENT_NAME | http::MCP_VERSION => {
                mcp_fact(&self.mcp, field)
            }
            http::UPLOAD_MIME => optional(request.mime.filter(|_| request.has_body)),
            http::UPLOAD_TYPES => body_types(request.has_body, &self.request_body),
            http::UPLOAD_SIZE => body_size(request.has_body, &self.request_body),
            _ => request.package.map_or(Fact::Absent, |package| package_fact(package, field)),
        }
    }

    fn response_fact(&self, field: FieldId) -> Fact<'_> {
        let Some(response) = &self.response else { return Fact::Unknown };
        match field {
            http::STATUS => int(response.status),
            http::RESPONSE_HEADERS => Fact::Known(ValueRef::Map(MapRef::Custom(response.headers))),
            http::RESPONSE_HAS_BODY => bool(response.has_body),
            http::DOWNLOAD_MIME => optional(response.mime.filter(|_| response.has_body)),
            http::DOWNLOAD_TYPES => body_types(response.has_body, &self.response_body),
            http::DOWNLOAD_SIZE => body_size(response.has_body, &self.response_body),
            _ => Fact::Unknown,
        }
    }
}

impl Facts for HttpFacts<'_> {
    fn fact(&self, field: FieldId) -> Fact<'_> {
        let connection = &self.connection;
        match field {
            http::HOST => host_fact(connection),
            http::DOMAINS => domains_fact(connection),
            http::APP_IDS | http::APP_HOSTS_IDS => meaning(connection, |host| ints(host.app_ids)),
            http::APP_TYPE_IDS => meaning(connection, |host| ints(host.app_type_ids)),
            http::APP_SUPPORTS_IDS => meaning(connection, |host| ints(host.app_supports_ids)),
            http::APP_STATUSES => meaning(connection, |host| words(host.app_statuses)),
            http::CONTENT_CATEGORY => meaning(connection, |host| ints(host.content_categories)),
            http::SECURITY_CATEGORY => meaning(connection, |host| ints(host.security_categories)),
            http::SRC_IP => Fact::Known(ValueRef::Ip(connection.src_ip)),
            http::SRC_PORT => int(connection.src_port),
            http::DST_IP => addresses(connection.dst_ips),
            http::DST_PORT => connection.dst_port.map_or(Fact::Unknown, int),
            http::PROXY_ENDPOINT => optional(connection.proxy_endpoint),
            http::ONRAMP => text("proxy_endpoint"),
            http::OFFRAMP => text("internet"),
            http::IS_ISOLATED => bool(false),
            http::IDENTITY_EMAIL => person(connection, |person| text(person.email)),
            http::IDENTITY_NAME => person(connection, |person| text(person.name)),
            http::IDENTITY_ID => person(connection, |person| text(person.id)),
            http::IDENTITY_GROUPS_ID => person(connection, |person| strings(person.group_ids)),
            http::IDENTITY_GROUPS_NAME => person(connection, |person| strings(person.group_names)),
            http::IDENTITY_GROUPS_EMAIL => person(connection, |person| strings(person.group_emails)),
            http::METHOD
            | http::URI
            | http::PATH
            | http::QUERY
            | http::PATH_AND_QUERY
            | http::SCHEME
            | http::PORT
            | http::VERSION
            | http::HEADERS
            | http::HAS_BODY
            | http::IS_MCP
            | http::MCP_METHODS
            | http::MCP_TOOLS
            | http::MCP_CLIENT_NAME
            | http::MCP_VERSION
            | http::MCP_SERVER_NAME
            | http::MCP_IS_PORTAL
            | http::MCP_BEHIND_PORTAL
            | http::PKG_ECOSYSTEM
            | http::PKG_NAMESPACE
            | http::PKG_NAME
            | http::PKG_VERSION
            | http::PKG_PURL
            | http::UPLOAD_MIME
            | http::UPLOAD_TYPES
            | http::UPLOAD_SIZE => self.request_fact(field),
            // The body phase is not a fact: evaluation asks the rule's question once for each body.
            _ => self.response_fact(field),
        }
    }
}

/// The facts of a connection, under the names of the `l4` hook.
#[derive(Debug, Clone, Copy)]
pub struct L4Facts<'a>(pub ConnectionFacts<'a>);

impl Facts for L4Facts<'_> {
    fn fact(&self, field: FieldId) -> Fact<'_> {
        let connection = &self.0;
        match field {
            l4::SNI_HOST => host_fact(connection),
            l4::SNI_DOMAINS => domains_fact(connection),
            l4::APP_IDS => meaning(connection, |host| ints(host.app_ids)),
            l4::APP_TYPE_IDS => meaning(connection, |host| ints(host.app_type_ids)),
            l4::CONTENT_CATEGORY => meaning(connection, |host| ints(host.content_categories)),
            l4::SECURITY_CATEGORY => meaning(connection, |host| ints(host.security_categories)),
            l4::SRC_IP => Fact::Known(ValueRef::Ip(connection.src_ip)),
            l4::SRC_PORT => int(connection.src_port),
            l4::DST_IP => addresses(connection.dst_ips),
            l4::DST_PORT => connection.dst_port.map_or(Fact::Unknown, int),
            l4::PROTOCOL => text("tcp"),
            l4::DETECTED => connection.detected_protocol.map_or(Fact::Unknown, optional),
            l4::PROXY_ENDPOINT => optional(connection.proxy_endpoint),
            l4::ONRAMP => text("proxy_endpoint"),
            l4::OFFRAMP => text("internet"),
            l4::IS_ISOLATED => bool(false),
            l4::IDENTITY_EMAIL => person(connection, |person| text(person.email)),
            l4::IDENTITY_NAME => person(connection, |person| text(person.name)),
            l4::IDENTITY_ID => person(connection, |person| text(person.id)),
            l4::IDENTITY_GROUPS_ID => person(connection, |person| strings(person.group_ids)),
            l4::IDENTITY_GROUPS_NAME => person(connection, |person| strings(person.group_names)),
            l4::IDENTITY_GROUPS_EMAIL => person(connection, |person| strings(person.group_emails)),
            _ => Fact::Unknown,
        }
    }
}

/// Facts with the value of one field replaced.
pub(crate) struct Overlay<'a> {
    pub(crate) base: &'a dyn Facts,
    pub(crate) field: FieldId,
    pub(crate) value: &'a [u8],
}

impl Facts for Overlay<'_> {
    fn fact(&self, field: FieldId) -> Fact<'_> {
        if field == self.field { Fact::Known(ValueRef::Bytes(self.value)) } else { self.base.fact(field) }
    }
}

fn host_fact<'f>(connection: &'f ConnectionFacts<'_>) -> Fact<'f> {
    optional(connection.host.map(|host| host.0))
}

fn domains_fact<'f>(connection: &'f ConnectionFacts<'_>) -> Fact<'f> {
    connection.host.as_ref().map_or(Fact::Absent, |host| Fact::Known(ValueRef::Array(ArrayRef::Custom(host))))
}

fn meaning<'a>(connection: &ConnectionFacts<'a>, read: impl FnOnce(HostFacts<'a>) -> Fact<'a>) -> Fact<'a> {
    connection.meaning.map_or(Fact::Unknown, read)
}

fn ints(items: &[i64]) -> Fact<'_> {
    Fact::Known(ValueRef::Array(ArrayRef::Ints(items)))
}

fn words<'f>(items: &'f [&'f str]) -> Fact<'f> {
    Fact::Known(ValueRef::Array(ArrayRef::Strs(items)))
}

fn person<'a>(connection: &ConnectionFacts<'a>, read: impl FnOnce(Person<'a>) -> Fact<'a>) -> Fact<'a> {
    connection.person.map_or(Fact::Absent, read)
}

fn mcp_fact<'f>(mcp: &'f McpTraffic<'_>, field: FieldId) -> Fact<'f> {
    if mcp.is_mcp == Some(false) {
        return Fact::Absent;
    }
    let Some(messages) = &mcp.messages else { return Fact::Unknown };
    match field {
        http::MCP_METHODS => strings(messages.methods),
        http::MCP_TOOLS => strings(messages.tools),
        http::MCP_CLIENT_NAME => optional(messages.client_name),
        _ => optional(messages.version),
    }
}

pub(crate) fn package_fact(package: &Package, field: FieldId) -> Fact<'_> {
    match field {
        http::PKG_ECOSYSTEM => text(package.ecosystem_word()),
        http::PKG_NAMESPACE => optional(package.namespace.as_deref()),
        http::PKG_NAME => text(&package.name),
        http::PKG_VERSION => package.version.as_deref().map_or(Fact::Absent, |version| {
            Fact::Known(ValueRef::Version(expr::Version { ecosystem: package.ecosystem, text: version }))
        }),
        _ => text(&package.purl),
    }
}

fn body_types<'f>(has_body: bool, body: &'f BodyFacts<'_>) -> Fact<'f> {
    match body.types {
        _ if !has_body => Fact::Absent,
        Some(types) => Fact::Known(ValueRef::Array(ArrayRef::Strs(types))),
        None => Fact::Unknown,
    }
}

fn body_size<'f>(has_body: bool, body: &BodyFacts<'_>) -> Fact<'f> {
    match body.size {
        _ if !has_body => Fact::Absent,
        Some(bytes) => Fact::Known(ValueRef::Int(i64::try_from(bytes >> 20).unwrap_or(i64::MAX))),
        None => Fact::Unknown,
    }
}

fn text(text: &str) -> Fact<'_> {
    Fact::Known(ValueRef::from(text))
}

fn optional(value: Option<&str>) -> Fact<'_> {
    value.map_or(Fact::Absent, text)
}

fn int<'f>(value: u16) -> Fact<'f> {
    Fact::Known(ValueRef::Int(i64::from(value)))
}

const fn bool<'f>(value: bool) -> Fact<'f> {
    Fact::Known(ValueRef::Bool(value))
}

fn strings(items: &[String]) -> Fact<'_> {
    Fact::Known(ValueRef::Array(ArrayRef::Strings(items)))
}

fn addresses(items: Option<&[IpAddr]>) -> Fact<'_> {
    items.map_or(Fact::Unknown, |items| Fact::Known(ValueRef::Array(ArrayRef::Ips(items))))
}

#[cfg(test)]
mod tests {
    use super::Host;

    #[test]
    fn a_host_is_followed_by_every_parent_and_an_address_by_none() {
        for (host, domains) in [
            ("a.b.example.com", "a.b.example.com b.example.com example.com com"),
            ("localhost", "localhost"),
            ("10.0.0.1", "10.0.0.1"),
            ("2001:db8::1", "2001:db8::1"),
            ("a..b", "a..b .b b"),
            ("", ""),
        ] {
            let found: Vec<&str> = Host(host).domains().collect();
            assert_eq!(found.join(" "), domains, "{host}");
        }
    }
}
