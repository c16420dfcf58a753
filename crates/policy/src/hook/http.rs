//! The fields of web requests (reference section 1.3, and ours, marked so).
//!
//! Decides nothing: a table. Invariant: `id::X` is the index of the row that carries the name of `X`; a test holds it.

use std::sync::OnceLock;

use expr::Type;

use super::{FieldInfo, HookFields, Phase, Selector, Source, cached, shared};

/// Returns the fields of this hook.
#[must_use]
pub fn fields() -> &'static HookFields {
    static FIELDS: OnceLock<HookFields> = OnceLock::new();
    cached(&FIELDS, TABLE)
}

/// Returns the scheme that expressions of this hook are compiled against.
#[must_use]
pub fn scheme() -> &'static expr::Scheme {
    &fields().scheme
}

/// The index of each field, for code that reads or supplies one.
pub mod id {
    use expr::FieldId;

    pub const HOST: FieldId = FieldId(0);
    pub const DOMAINS: FieldId = FieldId(1);
    pub const CONTENT_CATEGORY: FieldId = FieldId(2);
    pub const SECURITY_CATEGORY: FieldId = FieldId(3);
    pub const APP_IDS: FieldId = FieldId(4);
    pub const APP_TYPE_IDS: FieldId = FieldId(5);
    pub const APP_HOSTS_IDS: FieldId = FieldId(6);
    pub const APP_SUPPORTS_IDS: FieldId = FieldId(7);
    pub const SRC_IP: FieldId = FieldId(8);
    pub const SRC_PORT: FieldId = FieldId(9);
    pub const INTERNAL_SRC_IP: FieldId = FieldId(10);
    pub const DST_IP: FieldId = FieldId(11);
    pub const DST_PORT: FieldId = FieldId(12);
    pub const SRC_CONTINENT: FieldId = FieldId(13);
    pub const SRC_COUNTRY: FieldId = FieldId(14);
    pub const DST_CONTINENT: FieldId = FieldId(15);
    pub const DST_COUNTRY: FieldId = FieldId(16);
    pub const VNET: FieldId = FieldId(17);
    pub const PROXY_ENDPOINT: FieldId = FieldId(18);
    pub const ONRAMP: FieldId = FieldId(19);
    pub const OFFRAMP: FieldId = FieldId(20);
    pub const IS_ISOLATED: FieldId = FieldId(21);
    pub const METHOD: FieldId = FieldId(22);
    pub const URI: FieldId = FieldId(23);
    pub const PATH: FieldId = FieldId(24);
    pub const QUERY: FieldId = FieldId(25);
    pub const PATH_AND_QUERY: FieldId = FieldId(26);
    pub const SCHEME: FieldId = FieldId(27);
    pub const PORT: FieldId = FieldId(28);
    pub const VERSION: FieldId = FieldId(29);
    pub const HEADERS: FieldId = FieldId(30);
    pub const HAS_BODY: FieldId = FieldId(31);
    pub const IS_MCP: FieldId = FieldId(32);
    pub const ACCESS_TARGET: FieldId = FieldId(33);
    pub const ACCESS_PRIVATE_APP: FieldId = FieldId(34);
    pub const APP_STATUSES: FieldId = FieldId(35);
    pub const APP_CONTROLS: FieldId = FieldId(36);
    pub const APP_OPERATIONS: FieldId = FieldId(37);
    pub const PKG_ECOSYSTEM: FieldId = FieldId(38);
    pub const PKG_NAMESPACE: FieldId = FieldId(39);
    pub const PKG_NAME: FieldId = FieldId(40);
    pub const PKG_VERSION: FieldId = FieldId(41);
    pub const PKG_PURL: FieldId = FieldId(42);
    pub const UPLOAD_MIME: FieldId = FieldId(43);
    pub const UPLOAD_TYPES: FieldId = FieldId(44);
    pub const UPLOAD_SIZE: FieldId = FieldId(45);
    pub const BODY_PHASE: FieldId = FieldId(46);
    pub const DLP_PROFILES: FieldId = FieldId(47);
    pub const STATUS: FieldId = FieldId(48);
    pub const RESPONSE_HEADERS: FieldId = FieldId(49);
    pub const RESPONSE_HAS_BODY: FieldId = FieldId(50);
    pub const DOWNLOAD_MIME: FieldId = FieldId(51);
    pub const DOWNLOAD_TYPES: FieldId = FieldId(52);
    pub const DOWNLOAD_SIZE: FieldId = FieldId(53);
    pub const IDENTITY_EMAIL: FieldId = FieldId(54);
    pub const IDENTITY_NAME: FieldId = FieldId(55);
    pub const IDENTITY_ID: FieldId = FieldId(56);
    pub const IDENTITY_GROUPS_ID: FieldId = FieldId(57);
    pub const IDENTITY_GROUPS_NAME: FieldId = FieldId(58);
    pub const IDENTITY_GROUPS_EMAIL: FieldId = FieldId(59);
    pub const IDENTITY_SAML: FieldId = FieldId(60);
    pub const IDENTITY_OIDC: FieldId = FieldId(61);
    pub const POSTURE_PASSED: FieldId = FieldId(62);
    pub const POSTURE_FAILED: FieldId = FieldId(63);
    pub const MCP_METHODS: FieldId = FieldId(64);
    pub const MCP_TOOLS: FieldId = FieldId(65);
    pub const MCP_CLIENT_NAME: FieldId = FieldId(66);
    pub const MCP_VERSION: FieldId = FieldId(67);
    pub const MCP_SERVER_NAME: FieldId = FieldId(68);
    pub const MCP_IS_PORTAL: FieldId = FieldId(69);
    pub const MCP_BEHIND_PORTAL: FieldId = FieldId(70);
}

/// A row about MCP messages in the request.
const fn mcp(
    name: &'static str,
    kind: Type,
    phase: Phase,
    documentation: &'static str,
    example: &'static str,
) -> FieldInfo {
    FieldInfo {
        name,
        kind,
        phase,
        source: Source::Available,
        selector: Selector::Request,
        title: "",
        documentation,
        example,
        aliases: &[],
        ours: true,
    }
}

/// One row per field, in the order of [`id`].
static TABLE: &[FieldInfo] = &[
    FieldInfo {
        name: "http.request.host",
        kind: Type::Bytes,
        phase: Phase::Connection,
        source: Source::Available,
        selector: Selector::Host,
        title: "Host",
        documentation: "The host asked for, in lower case and without a port; before decryption the name in the TLS greeting.",
        example: "http.request.host == \"www.example.com\"",
        aliases: &["http.conn.hostname"],
        ours: false,
    },
    FieldInfo {
        name: "http.request.domains",
        kind: Type::Array(&Type::Bytes),
        phase: Phase::Connection,
        source: Source::Available,
        selector: Selector::Host,
        title: "Domain",
        documentation: "The host and every parent domain of it.",
        example: "any(http.request.domains[*] == \"example.com\")",
        aliases: &["http.conn.domains"],
        ours: false,
    },
    FieldInfo {
        name: "http.request.uri.content_category",
        kind: Type::Array(&Type::Int),
        phase: Phase::Connection,
        source: Source::Available,
        selector: Selector::Category,
        title: "Content Categories",
        documentation: "The content categories of the host.",
        example: "any(http.request.uri.content_category[*] in {17 85})",
        aliases: &["http.conn.content_category"],
        ours: false,
    },
    FieldInfo {
        name: "http.request.uri.security_category",
        kind: Type::Array(&Type::Int),
        phase: Phase::Connection,
        source: Source::Available,
        selector: Selector::Category,
        title: "Security Risks",
        documentation: "The security categories of the host.",
        example: "any(http.request.uri.security_category[*] in {117 131})",
        aliases: &["http.conn.security_category"],
        ours: false,
    },
    FieldInfo {
        name: "app.ids",
        kind: Type::Array(&Type::Int),
        phase: Phase::Connection,
        source: Source::Available,
        selector: Selector::Application,
        title: "Application",
        documentation: "The applications the request belongs to.",
        example: "any(app.ids[*] in {505})",
        aliases: &[],
        ours: false,
    },
    FieldInfo {
        name: "app.type.ids",
        kind: Type::Array(&Type::Int),
        phase: Phase::Connection,
        source: Source::Available,
        selector: Selector::Application,
        title: "Application",
        documentation: "The types of the applications the request belongs to.",
        example: "any(app.type.ids[*] in {25})",
        aliases: &[],
        ours: false,
    },
    FieldInfo {
        name: "app.hosts_ids",
        kind: Type::Array(&Type::Int),
        phase: Phase::Connection,
        source: Source::Available,
        selector: Selector::ApplicationHosts,
        title: "Application",
        documentation: "The applications whose own hosts include this one.",
        example: "any(app.hosts_ids[*] in {1245})",
        aliases: &[],
        ours: false,
    },
    FieldInfo {
        name: "app.supports_ids",
        kind: Type::Array(&Type::Int),
        phase: Phase::Connection,
        source: Source::Available,
        selector: Selector::ApplicationHosts,
        title: "Application",
        documentation: "The applications whose supporting hosts include this one.",
        example: "any(app.supports_ids[*] in {1245})",
        aliases: &[],
        ours: false,
    },
    FieldInfo {
        name: "http.conn.src_ip",
        kind: Type::Ip,
        phase: Phase::Connection,
        source: Source::Available,
        selector: Selector::SourceIp,
        title: "Source IP",
        documentation: "The address the connection came from.",
        example: "http.conn.src_ip in {10.0.0.0/8}",
        aliases: &[],
        ours: false,
    },
    FieldInfo {
        name: "http.conn.src_port",
        kind: Type::Int,
        phase: Phase::Connection,
        source: Source::Available,
        selector: Selector::SourceIp,
        title: "",
        documentation: "The port the connection came from.",
        example: "http.conn.src_port >= 1024",
        aliases: &[],
        ours: true,
    },
    FieldInfo {
        name: "http.conn.internal_src_ip",
        kind: Type::Ip,
        phase: Phase::Connection,
        source: Source::Later("private network tunnels"),
        selector: Selector::SourceIp,
        title: "Source Internal IP",
        documentation: "The private address behind a tunnel.",
        example: "http.conn.internal_src_ip in {192.168.0.0/16}",
        aliases: &[],
        ours: false,
    },
    FieldInfo {
        name: "http.conn.dst_ip",
        kind: Type::Array(&Type::Ip),
        phase: Phase::Connection,
        source: Source::Available,
        selector: Selector::DestinationIp,
        title: "Destination IP",
        documentation: "The addresses of the origin, after name resolution.",
        example: "any(http.conn.dst_ip[*] in {10.0.0.0/8})",
        aliases: &[],
        ours: false,
    },
    FieldInfo {
        name: "http.conn.dst_port",
        kind: Type::Int,
        phase: Phase::Connection,
        source: Source::Available,
        selector: Selector::DestinationIp,
        title: "",
        documentation: "The port of the origin.",
        example: "http.conn.dst_port == 443",
        aliases: &[],
        ours: true,
    },
    FieldInfo {
        name: "http.src_ip.geo.continent",
        kind: Type::Bytes,
        phase: Phase::Connection,
        source: Source::Later("a geolocation database"),
        selector: Selector::SourceGeo,
        title: "Source Continent",
        documentation: "The continent of the source address.",
        example: "http.src_ip.geo.continent == \"EU\"",
        aliases: &[],
        ours: false,
    },
    FieldInfo {
        name: "http.src_ip.geo.country",
        kind: Type::Bytes,
        phase: Phase::Connection,
        source: Source::Later("a geolocation database"),
        selector: Selector::SourceGeo,
        title: "Source Country",
        documentation: "The country of the source address.",
        example: "http.src_ip.geo.country == \"DE\"",
        aliases: &[],
        ours: false,
    },
    FieldInfo {
        name: "http.dst_ip.geo.continent",
        kind: Type::Bytes,
        phase: Phase::Connection,
        source: Source::Later("a geolocation database"),
        selector: Selector::DestinationGeo,
        title: "Destination Continent",
        documentation: "The continent of the origin.",
        example: "http.dst_ip.geo.continent == \"EU\"",
        aliases: &[],
        ours: false,
    },
    FieldInfo {
        name: "http.dst_ip.geo.country",
        kind: Type::Bytes,
        phase: Phase::Connection,
        source: Source::Later("a geolocation database"),
        selector: Selector::DestinationGeo,
        title: "Destination Country",
        documentation: "The country of the origin.",
        example: "http.dst_ip.geo.country == \"RU\"",
        aliases: &[],
        ours: false,
    },
    FieldInfo {
        name: "http.conn.vnet_id",
        kind: Type::Bytes,
        phase: Phase::Connection,
        source: Source::Later("virtual networks"),
        selector: Selector::VirtualNetwork,
        title: "Virtual Network",
        documentation: "The virtual network of the destination.",
        example: "http.conn.vnet_id == \"957fc748-591a-e96s-a15d-1j90204a7923\"",
        aliases: &[],
        ours: false,
    },
    shared::PROXY_ENDPOINT,
    FieldInfo {
        name: "net.onramp.type",
        kind: Type::Bytes,
        phase: Phase::Connection,
        source: Source::Available,
        selector: Selector::Traffic,
        title: "Traffic sources",
        documentation: "How the traffic came in; `proxy_endpoint` for the explicit proxy.",
        example: "net.onramp.type == \"proxy_endpoint\"",
        aliases: &[],
        ours: false,
    },
    FieldInfo {
        name: "net.offramp.type",
        kind: Type::Bytes,
        phase: Phase::Connection,
        source: Source::Available,
        selector: Selector::Traffic,
        title: "Traffic destinations",
        documentation: "How the traffic leaves; `internet` for an ordinary origin.",
        example: "net.offramp.type == \"internet\"",
        aliases: &[],
        ours: false,
    },
    FieldInfo {
        name: "net.is_isolated",
        kind: Type::Bool,
        phase: Phase::Connection,
        source: Source::Available,
        selector: Selector::Request,
        title: "Browser Isolation",
        documentation: "Whether the request comes from a remote browser; false, since there is none.",
        example: "net.is_isolated == true",
        aliases: &[],
        ours: false,
    },
    FieldInfo {
        name: "http.request.method",
        kind: Type::Bytes,
        phase: Phase::RequestHead,
        source: Source::Available,
        selector: Selector::Method,
        title: "HTTP Method",
        documentation: "The method, as sent.",
        example: "http.request.method == \"GET\"",
        aliases: &[],
        ours: false,
    },
    FieldInfo {
        name: "http.request.uri",
        kind: Type::Bytes,
        phase: Phase::RequestHead,
        source: Source::Available,
        selector: Selector::Url,
        title: "URL",
        documentation: "The whole URL, case-sensitive; one trailing slash is ignored in comparisons.",
        example: "http.request.uri matches \"/r/gaming\"",
        aliases: &[],
        ours: false,
    },
    FieldInfo {
        name: "http.request.uri.path",
        kind: Type::Bytes,
        phase: Phase::RequestHead,
        source: Source::Available,
        selector: Selector::Url,
        title: "URL Path",
        documentation: "The path of the URL.",
        example: "http.request.uri.path == \"/foo/bar\"",
        aliases: &[],
        ours: false,
    },
    FieldInfo {
        name: "http.request.uri.query",
        kind: Type::Bytes,
        phase: Phase::RequestHead,
        source: Source::Available,
        selector: Selector::Url,
        title: "URL Query",
        documentation: "The query of the URL without its question mark.",
        example: "http.request.uri.query == \"ab%242=%2A342\"",
        aliases: &[],
        ours: false,
    },
    FieldInfo {
        name: "http.request.uri.path_and_query",
        kind: Type::Bytes,
        phase: Phase::RequestHead,
        source: Source::Available,
        selector: Selector::Url,
        title: "URL Path & Query",
        documentation: "The path and, after a question mark, the query.",
        example: "http.request.uri.path_and_query == \"/foo/bar?ab%242=%2A342\"",
        aliases: &[],
        ours: false,
    },
    FieldInfo {
        name: "http.request.scheme",
        kind: Type::Bytes,
        phase: Phase::RequestHead,
        source: Source::Available,
        selector: Selector::Request,
        title: "",
        documentation: "`http` or `https`.",
        example: "http.request.scheme == \"http\"",
        aliases: &[],
        ours: true,
    },
    FieldInfo {
        name: "http.request.port",
        kind: Type::Int,
        phase: Phase::RequestHead,
        source: Source::Available,
        selector: Selector::Request,
        title: "",
        documentation: "The port of the URL, its scheme's own if it names none.",
        example: "http.request.port in {443 8443}",
        aliases: &[],
        ours: true,
    },
    FieldInfo {
        name: "http.request.version",
        kind: Type::Bytes,
        phase: Phase::RequestHead,
        source: Source::Available,
        selector: Selector::Request,
        title: "",
        documentation: "`HTTP/1.0`, `HTTP/1.1` or `HTTP/2`.",
        example: "http.request.version == \"HTTP/2\"",
        aliases: &[],
        ours: true,
    },
    FieldInfo {
        name: "http.request.headers",
        kind: Type::Map(&Type::Array(&Type::Bytes)),
        phase: Phase::RequestHead,
        source: Source::Available,
        selector: Selector::Request,
        title: "",
        documentation: "The request headers: lower-case name to values.",
        example: "any(http.request.headers[\"content-type\"][*] contains \"json\")",
        aliases: &[],
        ours: true,
    },
    FieldInfo {
        name: "http.request.has_body",
        kind: Type::Bool,
        phase: Phase::RequestHead,
        source: Source::Available,
        selector: Selector::Request,
        title: "",
        documentation: "Whether the request has a body.",
        example: "http.request.has_body",
        aliases: &[],
        ours: true,
    },
    FieldInfo {
        name: "experimental.is_mcp",
        kind: Type::Bool,
        phase: Phase::RequestBodyHead,
        source: Source::Available,
        selector: Selector::Request,
        title: "Is MCP",
        documentation: "Whether the request speaks the Model Context Protocol, by its headers, a known server's address or the shape of its body; the body is only waited for where its head leaves it open.",
        example: "experimental.is_mcp == true",
        aliases: &[],
        ours: false,
    },
    FieldInfo {
        name: "access.target",
        kind: Type::Bool,
        phase: Phase::RequestHead,
        source: Source::Later("the access plane"),
        selector: Selector::AccessTarget,
        title: "Access Infrastructure Target",
        documentation: "Whether the destination is a protected infrastructure target.",
        example: "access.target",
        aliases: &[],
        ours: false,
    },
    FieldInfo {
        name: "access.private_app",
        kind: Type::Bool,
        phase: Phase::RequestHead,
        source: Source::Later("the access plane"),
        selector: Selector::Request,
        title: "Access Private App",
        documentation: "Whether the destination is a protected private application.",
        example: "access.private_app",
        aliases: &[],
        ours: false,
    },
    FieldInfo {
        name: "app.statuses",
        kind: Type::Array(&Type::Bytes),
        phase: Phase::Connection,
        source: Source::Available,
        selector: Selector::Application,
        title: "Application Status",
        documentation: "The approval status of the applications.",
        example: "any(app.statuses[*] == \"unapproved\")",
        aliases: &[],
        ours: false,
    },
    FieldInfo {
        name: "app_control.controls",
        kind: Type::Array(&Type::Int),
        phase: Phase::RequestHead,
        source: Source::Later("the application catalogue"),
        selector: Selector::Request,
        title: "Application Granular Controls",
        documentation: "The application operations the request performs, by control.",
        example: "any(app_control.controls[*] in {1653})",
        aliases: &[],
        ours: false,
    },
    FieldInfo {
        name: "app_control.operations",
        kind: Type::Array(&Type::Int),
        phase: Phase::RequestHead,
        source: Source::Later("the application catalogue"),
        selector: Selector::Request,
        title: "Application operations",
        documentation: "The application operations the request performs.",
        example: "any(app_control.operations[*] in {12})",
        aliases: &[],
        ours: true,
    },
    FieldInfo {
        name: "pkg.ecosystem",
        kind: Type::Bytes,
        phase: Phase::RequestHead,
        source: Source::Available,
        selector: Selector::Request,
        title: "Package ecosystem",
        documentation: "The package registry the request downloads from: npm, pypi, rubygems, cargo, go, maven, nuget.",
        example: "pkg.ecosystem == \"npm\"",
        aliases: &[],
        ours: false,
    },
    FieldInfo {
        name: "pkg.namespace",
        kind: Type::Bytes,
        phase: Phase::RequestHead,
        source: Source::Available,
        selector: Selector::Request,
        title: "Package namespace",
        documentation: "The scope, group or module path before the package name.",
        example: "pkg.namespace == \"@angular\"",
        aliases: &[],
        ours: false,
    },
    FieldInfo {
        name: "pkg.name",
        kind: Type::Bytes,
        phase: Phase::RequestHead,
        source: Source::Available,
        selector: Selector::Request,
        title: "Package name",
        documentation: "The name of the package being downloaded.",
        example: "pkg.name == \"left-pad\"",
        aliases: &[],
        ours: false,
    },
    FieldInfo {
        name: "pkg.version",
        kind: Type::Version,
        phase: Phase::RequestHead,
        source: Source::Available,
        selector: Selector::Request,
        title: "Package version",
        documentation: "The version being downloaded, compared by the rules of its ecosystem.",
        example: "pkg.version < \"1.3.0\"",
        aliases: &[],
        ours: false,
    },
    FieldInfo {
        name: "pkg.purl",
        kind: Type::Bytes,
        phase: Phase::RequestHead,
        source: Source::Available,
        selector: Selector::Request,
        title: "Package URL",
        documentation: "The package URL of what is being downloaded.",
        example: "pkg.purl == \"pkg:npm/left-pad@1.3.0\"",
        aliases: &[],
        ours: false,
    },
    FieldInfo {
        name: "http.upload.mime",
        kind: Type::Bytes,
        phase: Phase::RequestHead,
        source: Source::Available,
        selector: Selector::Request,
        title: "Upload Mime Type",
        documentation: "The media type of the request body, from its Content-Type.",
        example: "http.upload.mime == \"application/pdf\"",
        aliases: &[],
        ours: false,
    },
    FieldInfo {
        name: "http.upload.file.types",
        kind: Type::Array(&Type::Bytes),
        phase: Phase::RequestBodyHead,
        source: Source::Available,
        selector: Selector::Request,
        title: "Upload File Types",
        documentation: "The kinds of file in the request body, by signature, and the groups they belong to.",
        example: "any(http.upload.file.types[*] in {\"compressed\"})",
        aliases: &[],
        ours: false,
    },
    FieldInfo {
        name: "http.upload.file.size",
        kind: Type::Int,
        phase: Phase::RequestBodyComplete,
        source: Source::Available,
        selector: Selector::Request,
        title: "Upload File Size (MiB)",
        documentation: "The size of the request body in whole MiB, rounded down.",
        example: "http.upload.file.size < 10",
        aliases: &[],
        ours: false,
    },
    FieldInfo {
        name: "http.body_phase",
        kind: Type::Bytes,
        phase: Phase::RequestHead,
        source: Source::Available,
        selector: Selector::Request,
        title: "Body Phase",
        documentation: "Which body a rule speaks of: `upload` or `download`. A rule without it speaks of both.",
        example: "http.body_phase == \"download\"",
        aliases: &[],
        ours: false,
    },
    FieldInfo {
        name: "dlp.profiles",
        kind: Type::Array(&Type::Bytes),
        phase: Phase::RequestBodyComplete,
        source: Source::Later("data loss prevention"),
        selector: Selector::Request,
        title: "DLP Profile",
        documentation: "The data loss prevention profiles that matched.",
        example: "any(dlp.profiles[*] in {\"a0cabf16-0000-4000-8000-000000000001\"})",
        aliases: &["http.request.body.scan.dlp.profiles"],
        ours: false,
    },
    FieldInfo {
        name: "http.response.status_code",
        kind: Type::Int,
        phase: Phase::ResponseHead,
        source: Source::Available,
        selector: Selector::Response,
        title: "HTTP Response",
        documentation: "The status of the response.",
        example: "http.response.status_code == \"200\"",
        aliases: &[],
        ours: false,
    },
    FieldInfo {
        name: "http.response.headers",
        kind: Type::Map(&Type::Array(&Type::Bytes)),
        phase: Phase::ResponseHead,
        source: Source::Available,
        selector: Selector::Response,
        title: "",
        documentation: "The response headers: lower-case name to values.",
        example: "any(http.response.headers[\"server\"][*] contains \"nginx\")",
        aliases: &[],
        ours: true,
    },
    FieldInfo {
        name: "http.response.has_body",
        kind: Type::Bool,
        phase: Phase::ResponseHead,
        source: Source::Available,
        selector: Selector::Response,
        title: "",
        documentation: "Whether the response has a body.",
        example: "http.response.has_body",
        aliases: &[],
        ours: true,
    },
    FieldInfo {
        name: "http.download.mime",
        kind: Type::Bytes,
        phase: Phase::ResponseHead,
        source: Source::Available,
        selector: Selector::Response,
        title: "Download Mime Type",
        documentation: "The media type of the response body, from its Content-Type.",
        example: "http.download.mime == \"application/pdf\"",
        aliases: &[],
        ours: false,
    },
    FieldInfo {
        name: "http.download.file.types",
        kind: Type::Array(&Type::Bytes),
        phase: Phase::ResponseBodyHead,
        source: Source::Available,
        selector: Selector::Response,
        title: "Download File Types",
        documentation: "The kinds of file in the response body, by signature, and the groups they belong to.",
        example: "any(http.download.file.types[*] in {\"docx\" \"7z\"})",
        aliases: &[],
        ours: false,
    },
    FieldInfo {
        name: "http.download.file.size",
        kind: Type::Int,
        phase: Phase::ResponseBodyComplete,
        source: Source::Available,
        selector: Selector::Response,
        title: "Download File Size (MiB)",
        documentation: "The size of the response body in whole MiB, rounded down.",
        example: "http.download.file.size >= 10",
        aliases: &[],
        ours: false,
    },
    shared::IDENTITY_EMAIL,
    shared::IDENTITY_NAME,
    shared::IDENTITY_ID,
    shared::IDENTITY_GROUPS_ID,
    shared::IDENTITY_GROUPS_NAME,
    shared::IDENTITY_GROUPS_EMAIL,
    shared::IDENTITY_SAML,
    shared::GATEWAY_OIDC,
    shared::POSTURE_PASSED,
    shared::POSTURE_FAILED,
    mcp(
        "mcp.methods",
        Type::Array(&Type::Bytes),
        Phase::RequestBodyComplete,
        "The methods of the MCP messages in the request, in order; several in a batch.",
        "any(mcp.methods[*] == \"tools/call\")",
    ),
    mcp(
        "mcp.tools",
        Type::Array(&Type::Bytes),
        Phase::RequestBodyComplete,
        "The tools that the MCP messages in the request call, by the names their server gives them.",
        "any(starts_with(mcp.tools[*], \"delete_\"))",
    ),
    mcp(
        "mcp.client.name",
        Type::Bytes,
        Phase::RequestBodyComplete,
        "The name an MCP client gives itself where it says so: with `initialize`, and from 2026-07-28 with every request.",
        "mcp.client.name == \"desktop-agent\"",
    ),
    mcp(
        "mcp.protocol.version",
        Type::Bytes,
        Phase::RequestBodyComplete,
        "The version of MCP that the request names, in its header or its body.",
        "mcp.protocol.version == \"2025-11-25\"",
    ),
    mcp(
        "mcp.server.name",
        Type::Bytes,
        Phase::RequestHead,
        "The name of a known public MCP server, by its exact host.",
        "mcp.server.name == \"Stripe\"",
    ),
    mcp(
        "mcp.server.is_portal",
        Type::Bool,
        Phase::RequestHead,
        "Whether the host is that of an MCP portal of this account, compared whole.",
        "experimental.is_mcp and not mcp.server.is_portal",
    ),
    mcp(
        "mcp.server.behind_portal",
        Type::Bool,
        Phase::RequestHead,
        "Whether the host is that of an MCP server of this account, which people are to reach through a portal; compared whole.",
        "experimental.is_mcp and mcp.server.behind_portal",
    ),
];
