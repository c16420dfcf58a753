//! The fields of connections before decryption (reference section 2.3).
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

    pub const SNI_HOST: FieldId = FieldId(0);
    pub const SNI_DOMAINS: FieldId = FieldId(1);
    pub const CONTENT_CATEGORY: FieldId = FieldId(2);
    pub const SECURITY_CATEGORY: FieldId = FieldId(3);
    pub const APP_IDS: FieldId = FieldId(4);
    pub const APP_TYPE_IDS: FieldId = FieldId(5);
    pub const SRC_IP: FieldId = FieldId(6);
    pub const SRC_PORT: FieldId = FieldId(7);
    pub const INTERNAL_SRC_IP: FieldId = FieldId(8);
    pub const DST_IP: FieldId = FieldId(9);
    pub const DST_PORT: FieldId = FieldId(10);
    pub const SRC_CONTINENT: FieldId = FieldId(11);
    pub const SRC_COUNTRY: FieldId = FieldId(12);
    pub const DST_CONTINENT: FieldId = FieldId(13);
    pub const DST_COUNTRY: FieldId = FieldId(14);
    pub const PROTOCOL: FieldId = FieldId(15);
    pub const DETECTED: FieldId = FieldId(16);
    pub const PROXY_ENDPOINT: FieldId = FieldId(17);
    pub const ONRAMP: FieldId = FieldId(18);
    pub const OFFRAMP: FieldId = FieldId(19);
    pub const IS_ISOLATED: FieldId = FieldId(20);
    pub const VNET: FieldId = FieldId(21);
    pub const ACCESS_TARGET: FieldId = FieldId(22);
    pub const ACCESS_PRIVATE_APP: FieldId = FieldId(23);
    pub const IDENTITY_EMAIL: FieldId = FieldId(24);
    pub const IDENTITY_NAME: FieldId = FieldId(25);
    pub const IDENTITY_ID: FieldId = FieldId(26);
    pub const IDENTITY_GROUPS_ID: FieldId = FieldId(27);
    pub const IDENTITY_GROUPS_NAME: FieldId = FieldId(28);
    pub const IDENTITY_GROUPS_EMAIL: FieldId = FieldId(29);
    pub const IDENTITY_SAML: FieldId = FieldId(30);
    pub const IDENTITY_OIDC: FieldId = FieldId(31);
    pub const POSTURE_PASSED: FieldId = FieldId(32);
    pub const POSTURE_FAILED: FieldId = FieldId(33);
}

/// One row per field, in the order of [`id`].
static TABLE: &[FieldInfo] = &[
    FieldInfo {
        name: "net.sni.host",
        kind: Type::Bytes,
        phase: Phase::Connection,
        source: Source::Available,
        selector: Selector::Host,
        title: "SNI",
        documentation: "The name in the TLS greeting, or the host of the CONNECT request, in lower case.",
        example: "net.sni.host == \"www.example.com\"",
        aliases: &[],
        ours: false,
    },
    FieldInfo {
        name: "net.sni.domains",
        kind: Type::Array(&Type::Bytes),
        phase: Phase::Connection,
        source: Source::Available,
        selector: Selector::Host,
        title: "SNI Domain",
        documentation: "The name in the TLS greeting and every parent domain of it.",
        example: "any(net.sni.domains[*] == \"example.com\")",
        aliases: &[],
        ours: false,
    },
    FieldInfo {
        name: "net.fqdn.content_category",
        kind: Type::Array(&Type::Int),
        phase: Phase::Connection,
        source: Source::Available,
        selector: Selector::Category,
        title: "Content Categories",
        documentation: "The content categories of the destination.",
        example: "any(net.fqdn.content_category[*] in {17})",
        aliases: &[],
        ours: false,
    },
    FieldInfo {
        name: "net.fqdn.security_category",
        kind: Type::Array(&Type::Int),
        phase: Phase::Connection,
        source: Source::Available,
        selector: Selector::Category,
        title: "Security Categories",
        documentation: "The security categories of the destination.",
        example: "any(net.fqdn.security_category[*] in {117})",
        aliases: &[],
        ours: false,
    },
    FieldInfo {
        name: "app.ids",
        kind: Type::Array(&Type::Int),
        phase: Phase::Connection,
        source: Source::Available,
        selector: Selector::Application,
        title: "Application",
        documentation: "The applications the destination belongs to.",
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
        documentation: "The types of the applications the destination belongs to.",
        example: "any(app.type.ids[*] in {25})",
        aliases: &[],
        ours: false,
    },
    FieldInfo {
        name: "net.src.ip",
        kind: Type::Ip,
        phase: Phase::Connection,
        source: Source::Available,
        selector: Selector::SourceIp,
        title: "Source IP",
        documentation: "The address the connection came from.",
        example: "net.src.ip in {10.0.0.0/8}",
        aliases: &[],
        ours: false,
    },
    FieldInfo {
        name: "net.src.port",
        kind: Type::Int,
        phase: Phase::Connection,
        source: Source::Available,
        selector: Selector::SourceIp,
        title: "Source Port",
        documentation: "The port the connection came from.",
        example: "net.src.port >= 1024",
        aliases: &[],
        ours: false,
    },
    FieldInfo {
        name: "net.src.internal_src_ip",
        kind: Type::Ip,
        phase: Phase::Connection,
        source: Source::Later("private network tunnels"),
        selector: Selector::SourceIp,
        title: "Source Internal IP",
        documentation: "The private address behind a tunnel.",
        example: "net.src.internal_src_ip in {192.168.0.0/16}",
        aliases: &[],
        ours: false,
    },
    FieldInfo {
        name: "net.dst.ip",
        kind: Type::Array(&Type::Ip),
        phase: Phase::Connection,
        source: Source::Available,
        selector: Selector::DestinationIp,
        title: "Destination IP",
        documentation: "The addresses of the destination, after name resolution.",
        example: "net.dst.ip in {10.0.0.0/8}",
        aliases: &[],
        ours: false,
    },
    FieldInfo {
        name: "net.dst.port",
        kind: Type::Int,
        phase: Phase::Connection,
        source: Source::Available,
        selector: Selector::DestinationIp,
        title: "Destination Port",
        documentation: "The port of the destination.",
        example: "net.dst.port in {80 443}",
        aliases: &[],
        ours: false,
    },
    FieldInfo {
        name: "net.src.geo.continent",
        kind: Type::Bytes,
        phase: Phase::Connection,
        source: Source::Later("a geolocation database"),
        selector: Selector::SourceGeo,
        title: "Source Continent",
        documentation: "The continent of the source address.",
        example: "net.src.geo.continent == \"EU\"",
        aliases: &[],
        ours: false,
    },
    FieldInfo {
        name: "net.src.geo.country",
        kind: Type::Bytes,
        phase: Phase::Connection,
        source: Source::Later("a geolocation database"),
        selector: Selector::SourceGeo,
        title: "Source Country",
        documentation: "The country of the source address.",
        example: "net.src.geo.country == \"DE\"",
        aliases: &[],
        ours: false,
    },
    FieldInfo {
        name: "net.dst.geo.continent",
        kind: Type::Bytes,
        phase: Phase::Connection,
        source: Source::Later("a geolocation database"),
        selector: Selector::DestinationGeo,
        title: "Destination Continent",
        documentation: "The continent of the destination.",
        example: "net.dst.geo.continent == \"EU\"",
        aliases: &[],
        ours: false,
    },
    FieldInfo {
        name: "net.dst.geo.country",
        kind: Type::Bytes,
        phase: Phase::Connection,
        source: Source::Later("a geolocation database"),
        selector: Selector::DestinationGeo,
        title: "Destination Country",
        documentation: "The country of the destination.",
        example: "net.dst.geo.country == \"RU\"",
        aliases: &[],
        ours: false,
    },
    FieldInfo {
        name: "net.protocol",
        kind: Type::Bytes,
        phase: Phase::Connection,
        source: Source::Available,
        selector: Selector::Traffic,
        title: "Protocol",
        documentation: "The transport: `tcp`.",
        example: "net.protocol == \"tcp\"",
        aliases: &[],
        ours: false,
    },
    FieldInfo {
        name: "net.protocol.detection",
        kind: Type::Bytes,
        phase: Phase::Connection,
        source: Source::Available,
        selector: Selector::Traffic,
        title: "Detected Protocol",
        documentation: "What the first bytes are: `tls`, `http`, `ssh`; no value if they are none of these.",
        example: "net.protocol.detection == \"ssh\"",
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
        title: "Traffic source",
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
        title: "Traffic destination",
        documentation: "How the traffic leaves; `internet` for an ordinary destination.",
        example: "net.offramp.type == \"internet\"",
        aliases: &[],
        ours: false,
    },
    FieldInfo {
        name: "net.is_isolated",
        kind: Type::Bool,
        phase: Phase::Connection,
        source: Source::Available,
        selector: Selector::Traffic,
        title: "Browser Isolation",
        documentation: "Whether the connection comes from a remote browser; false, since there is none.",
        example: "net.is_isolated == true",
        aliases: &[],
        ours: false,
    },
    FieldInfo {
        name: "net.vnet_id",
        kind: Type::Bytes,
        phase: Phase::Connection,
        source: Source::Later("virtual networks"),
        selector: Selector::VirtualNetwork,
        title: "Virtual Network",
        documentation: "The virtual network of the destination.",
        example: "net.vnet_id == \"957fc748-591a-e96s-a15d-1j90204a7923\"",
        aliases: &[],
        ours: false,
    },
    FieldInfo {
        name: "access.target",
        kind: Type::Bool,
        phase: Phase::Connection,
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
        phase: Phase::Connection,
        source: Source::Later("the access plane"),
        selector: Selector::Request,
        title: "Access Private App",
        documentation: "Whether the destination is a protected private application.",
        example: "access.private_app",
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
];
