//! The fields that several hooks have, word for word: who asks, from where, to which address, on which device.
//!
//! Decides nothing: rows for the tables of the hooks. Invariant: a field with one meaning has one row.

use expr::Type;

use super::{FieldInfo, Phase, Selector, Source};

/// What attributes and claims wait for where a person is known by a token.
const SIGN_IN: &str = "sign-in through an identity provider at the gateway";

pub(super) const PROXY_ENDPOINT: FieldInfo = FieldInfo {
    name: "proxy.endpoint",
    kind: Type::Bytes,
    phase: Phase::Connection,
    source: Source::Available,
    selector: Selector::ProxyEndpoint,
    title: "Proxy Endpoint",
    documentation: "The host name of the proxy endpoint the connection came in through.",
    example: "proxy.endpoint == \"3ele0ss56t.proxy.cloudflare-gateway.com\"",
    aliases: &[],
    ours: false,
};
pub(super) const IDENTITY_EMAIL: FieldInfo = FieldInfo {
    name: "identity.email",
    kind: Type::Bytes,
    phase: Phase::Connection,
    source: Source::Available,
    selector: Selector::Identity,
    title: "User Email",
    documentation: "The e-mail address the person signed in with, in lower case.",
    example: "identity.email == \"user@example.com\"",
    aliases: &[],
    ours: false,
};
pub(super) const IDENTITY_NAME: FieldInfo = FieldInfo {
    name: "identity.name",
    kind: Type::Bytes,
    phase: Phase::Connection,
    source: Source::Available,
    selector: Selector::Identity,
    title: "User Name",
    documentation: "The name the person signed in with.",
    example: "identity.name == \"Test User\"",
    aliases: &[],
    ours: false,
};
pub(super) const IDENTITY_ID: FieldInfo = FieldInfo {
    name: "identity.id",
    kind: Type::Bytes,
    phase: Phase::Connection,
    source: Source::Available,
    selector: Selector::Identity,
    title: "",
    documentation: "The id of the person.",
    example: "identity.id == \"5b3c1d2e-0000-4000-8000-000000000001\"",
    aliases: &[],
    ours: true,
};
pub(super) const IDENTITY_GROUPS_ID: FieldInfo = FieldInfo {
    name: "identity.groups.id",
    kind: Type::Array(&Type::Bytes),
    phase: Phase::Connection,
    source: Source::Available,
    selector: Selector::Identity,
    title: "User Group IDs",
    documentation: "The ids of the groups the person belongs to.",
    example: "any(identity.groups[*].id in {\"group_id\"})",
    aliases: &[],
    ours: false,
};
pub(super) const IDENTITY_GROUPS_NAME: FieldInfo = FieldInfo {
    name: "identity.groups.name",
    kind: Type::Array(&Type::Bytes),
    phase: Phase::Connection,
    source: Source::Available,
    selector: Selector::Identity,
    title: "User Group Names",
    documentation: "The names of the groups the person belongs to.",
    example: "any(identity.groups.name[*] in {\"finance\"})",
    aliases: &[],
    ours: false,
};
pub(super) const IDENTITY_GROUPS_EMAIL: FieldInfo = FieldInfo {
    name: "identity.groups.email",
    kind: Type::Array(&Type::Bytes),
    phase: Phase::Connection,
    source: Source::Available,
    selector: Selector::Identity,
    title: "User Group Emails",
    documentation: "The e-mail addresses of the groups the person belongs to.",
    example: "any(identity.groups.email[*] in {\"finance@example.com\"})",
    aliases: &[],
    ours: false,
};
pub(super) const IDENTITY_SAML: FieldInfo = FieldInfo {
    name: "identity.saml_attributes",
    kind: Type::Map(&Type::Array(&Type::Bytes)),
    phase: Phase::Connection,
    source: Source::Later(SIGN_IN),
    selector: Selector::Identity,
    title: "SAML Attributes",
    documentation: "The SAML attributes of the sign-in: attribute name to values; `[*]` visits `name=value` texts.",
    example: "any(identity.saml_attributes[\"http://schemas.example/department\"] in {\"Finance\"})",
    aliases: &[],
    ours: false,
};
pub(super) const IDENTITY_OIDC: FieldInfo = FieldInfo {
    name: "identity.oidc_claims",
    kind: Type::Array(&Type::Bytes),
    phase: Phase::Connection,
    source: Source::Available,
    selector: Selector::Identity,
    title: "OIDC Claims",
    documentation: "The claims of the sign-in that are kept, each as `name=value`.",
    example: "any(identity.oidc_claims[*] == \"department=engineering\")",
    aliases: &[],
    ours: false,
};
/// The claims at the gateway, whose people come with a token and not from a sign-in.
pub(super) const GATEWAY_OIDC: FieldInfo = FieldInfo { source: Source::Later(SIGN_IN), ..IDENTITY_OIDC };
pub(super) const POSTURE_PASSED: FieldInfo = FieldInfo {
    name: "device_posture.checks.passed",
    kind: Type::Array(&Type::Bytes),
    phase: Phase::Connection,
    source: Source::Later("the device client"),
    selector: Selector::Identity,
    title: "Passed Device Posture Checks",
    documentation: "The posture checks the device passed.",
    example: "any(device_posture.checks.passed[*] in {\"1308749e-fcfb-4ebc-b051-fe022b632644\"})",
    aliases: &[],
    ours: false,
};
pub(super) const POSTURE_FAILED: FieldInfo = FieldInfo {
    name: "device_posture.checks.failed",
    kind: Type::Array(&Type::Bytes),
    phase: Phase::Connection,
    source: Source::Later("the device client"),
    selector: Selector::Identity,
    title: "",
    documentation: "The posture checks the device failed.",
    example: "any(device_posture.checks.failed[*] in {\"1308749e-fcfb-4ebc-b051-fe022b632644\"})",
    aliases: &[],
    ours: false,
};
pub(super) const IDENTITY_LOGIN_METHODS: FieldInfo = FieldInfo {
    name: "identity.login_methods",
    kind: Type::Array(&Type::Bytes),
    phase: Phase::Connection,
    source: Source::Available,
    selector: Selector::Identity,
    title: "",
    documentation: "The ids of the identity providers the person passed.",
    example: "any(identity.login_methods[*] == \"aa0a4aab-672b-4bdb-bc33-a59f1130a11f\")",
    aliases: &[],
    ours: true,
};
pub(super) const IDENTITY_AMR: FieldInfo = FieldInfo {
    name: "identity.amr",
    kind: Type::Array(&Type::Bytes),
    phase: Phase::Connection,
    source: Source::Available,
    selector: Selector::Identity,
    title: "",
    documentation: "How the person proved who they are, as the provider says it (RFC 8176).",
    example: "any(identity.amr[*] == \"hwk\")",
    aliases: &[],
    ours: true,
};
pub(super) const IDENTITY_RISK: FieldInfo = FieldInfo {
    name: "identity.risk",
    kind: Type::Bytes,
    phase: Phase::Connection,
    source: Source::Later("risk scores"),
    selector: Selector::Identity,
    title: "",
    documentation: "The person's level of risk: `low`, `medium`, `high` or `unscored`.",
    example: "identity.risk in {\"low\" \"unscored\"}",
    aliases: &[],
    ours: true,
};
pub(super) const SERVICE_TOKEN: FieldInfo = FieldInfo {
    name: "access.service_token.id",
    kind: Type::Bytes,
    phase: Phase::Connection,
    source: Source::Available,
    selector: Selector::Identity,
    title: "",
    documentation: "The id of the service token that was presented.",
    example: "access.service_token.id == \"aa0a4aab-672b-4bdb-bc33-a59f1130a11f\"",
    aliases: &[],
    ours: true,
};
pub(super) const REQUEST_SRC_IP: FieldInfo = FieldInfo {
    name: "http.conn.src_ip",
    kind: Type::Ip,
    phase: Phase::Connection,
    source: Source::Available,
    selector: Selector::SourceIp,
    title: "Source IP",
    documentation: "The address the request comes from.",
    example: "http.conn.src_ip in {10.0.0.0/8}",
    aliases: &[],
    ours: false,
};
pub(super) const REQUEST_SRC_COUNTRY: FieldInfo = FieldInfo {
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
};
