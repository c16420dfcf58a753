//! The fields of access policies: who asks, from where, on what device, for what.
//!
//! Decides nothing: a table. It is not a [`super::Hook`]: no gateway rule sits here, an access policy does. Invariant:
//! `id::X` is the index of the row that carries the name of `X`; a test holds it.

use std::sync::OnceLock;

use expr::Type;

use super::{FieldInfo, HookFields, Phase, Selector, Source, cached, shared};

/// Returns the fields of this hook.
#[must_use]
pub fn fields() -> &'static HookFields {
    static FIELDS: OnceLock<HookFields> = OnceLock::new();
    cached(&FIELDS, TABLE)
}

/// Returns the scheme that expressions of access policies are compiled against.
#[must_use]
pub fn scheme() -> &'static expr::Scheme {
    &fields().scheme
}

/// The index of each field, for code that reads or supplies one.
pub mod id {
    use expr::FieldId;

    pub const IDENTITY_EMAIL: FieldId = FieldId(0);
    pub const IDENTITY_NAME: FieldId = FieldId(1);
    pub const IDENTITY_ID: FieldId = FieldId(2);
    pub const IDENTITY_GROUPS_ID: FieldId = FieldId(3);
    pub const IDENTITY_GROUPS_NAME: FieldId = FieldId(4);
    pub const IDENTITY_GROUPS_EMAIL: FieldId = FieldId(5);
    pub const IDENTITY_OIDC: FieldId = FieldId(6);
    pub const IDENTITY_LOGIN_METHODS: FieldId = FieldId(7);
    pub const IDENTITY_AMR: FieldId = FieldId(8);
    pub const RISK: FieldId = FieldId(9);
    pub const POSTURE_PASSED: FieldId = FieldId(10);
    pub const SERVICE_TOKEN: FieldId = FieldId(11);
    pub const COMMON_NAME: FieldId = FieldId(12);
    pub const APP_ID: FieldId = FieldId(13);
    pub const APP_NAME: FieldId = FieldId(14);
    pub const SRC_IP: FieldId = FieldId(15);
    pub const SRC_COUNTRY: FieldId = FieldId(16);
    pub const HOST: FieldId = FieldId(17);
    pub const METHOD: FieldId = FieldId(18);
    pub const PATH: FieldId = FieldId(19);
    pub const QUERY: FieldId = FieldId(20);
    pub const HEADERS: FieldId = FieldId(21);
    pub const CERTIFICATE_SERIAL: FieldId = FieldId(22);
    pub const CERTIFICATE_ISSUER: FieldId = FieldId(23);
    pub const CERTIFICATE_FINGERPRINT: FieldId = FieldId(24);
}

const TABLE: &[FieldInfo] = &[
    shared::IDENTITY_EMAIL,
    shared::IDENTITY_NAME,
    shared::IDENTITY_ID,
    shared::IDENTITY_GROUPS_ID,
    shared::IDENTITY_GROUPS_NAME,
    shared::IDENTITY_GROUPS_EMAIL,
    shared::IDENTITY_OIDC,
    FieldInfo {
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
    },
    FieldInfo {
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
    },
    FieldInfo {
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
    },
    shared::POSTURE_PASSED,
    FieldInfo {
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
    },
    FieldInfo {
        name: "access.certificate.common_name",
        kind: Type::Bytes,
        phase: Phase::Connection,
        source: Source::Available,
        selector: Selector::Identity,
        title: "",
        documentation: "The common name of the client certificate.",
        example: "access.certificate.common_name == \"laptop-7\"",
        aliases: &[],
        ours: true,
    },
    FieldInfo {
        name: "access.app.id",
        kind: Type::Bytes,
        phase: Phase::RequestHead,
        source: Source::Available,
        selector: Selector::Request,
        title: "",
        documentation: "The id of the application.",
        example: "access.app.id == \"aa0a4aab-672b-4bdb-bc33-a59f1130a11f\"",
        aliases: &[],
        ours: true,
    },
    FieldInfo {
        name: "access.app.name",
        kind: Type::Bytes,
        phase: Phase::RequestHead,
        source: Source::Available,
        selector: Selector::Request,
        title: "",
        documentation: "The name of the application.",
        example: "access.app.name == \"Wiki\"",
        aliases: &[],
        ours: true,
    },
    FieldInfo {
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
        name: "http.request.host",
        kind: Type::Bytes,
        phase: Phase::RequestHead,
        source: Source::Available,
        selector: Selector::Host,
        title: "Host",
        documentation: "The host of the request, in lower case.",
        example: "http.request.host == \"wiki.example.com\"",
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
        documentation: "The method of the request.",
        example: "http.request.method == \"GET\"",
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
        documentation: "The path of the request.",
        example: "starts_with(http.request.uri.path, \"/admin\")",
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
        documentation: "The query of the request, without the question mark.",
        example: "http.request.uri.query contains \"export=1\"",
        aliases: &[],
        ours: false,
    },
    FieldInfo {
        name: "http.request.headers",
        kind: Type::Map(&Type::Array(&Type::Bytes)),
        phase: Phase::RequestHead,
        source: Source::Available,
        selector: Selector::Request,
        title: "",
        documentation: "The headers of the request: lower-case name to values.",
        example: "any(http.request.headers[\"user-agent\"][*] contains \"curl\")",
        aliases: &[],
        ours: true,
    },
    FieldInfo {
        name: "access.certificate.serial",
        kind: Type::Bytes,
        phase: Phase::Connection,
        source: Source::Available,
        selector: Selector::Identity,
        title: "",
        documentation: "The serial number of the client certificate, in upper-case hexadecimal.",
        example: "access.certificate.serial == \"0ABC\"",
        aliases: &[],
        ours: true,
    },
    FieldInfo {
        name: "access.certificate.issuer",
        kind: Type::Bytes,
        phase: Phase::Connection,
        source: Source::Available,
        selector: Selector::Identity,
        title: "",
        documentation: "The distinguished name of the client certificate's issuer.",
        example: "access.certificate.issuer == \"CN=Devices\"",
        aliases: &[],
        ours: true,
    },
    FieldInfo {
        name: "access.certificate.fingerprint",
        kind: Type::Bytes,
        phase: Phase::Connection,
        source: Source::Available,
        selector: Selector::Identity,
        title: "",
        documentation: "The SHA-256 of the client certificate, in lower-case hexadecimal.",
        example: "access.certificate.fingerprint in {\"5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03\"}",
        aliases: &[],
        ours: true,
    },
];

#[cfg(test)]
mod tests {
    use expr::{Expression, Limits};

    use super::{fields, id, scheme};

    #[test]
    fn every_index_names_its_field() {
        for (field, name) in [
            (id::IDENTITY_EMAIL, "identity.email"),
            (id::IDENTITY_NAME, "identity.name"),
            (id::IDENTITY_ID, "identity.id"),
            (id::IDENTITY_GROUPS_ID, "identity.groups.id"),
            (id::IDENTITY_GROUPS_NAME, "identity.groups.name"),
            (id::IDENTITY_GROUPS_EMAIL, "identity.groups.email"),
            (id::IDENTITY_OIDC, "identity.oidc_claims"),
            (id::IDENTITY_LOGIN_METHODS, "identity.login_methods"),
            (id::IDENTITY_AMR, "identity.amr"),
            (id::RISK, "identity.risk"),
            (id::POSTURE_PASSED, "device_posture.checks.passed"),
            (id::SERVICE_TOKEN, "access.service_token.id"),
            (id::COMMON_NAME, "access.certificate.common_name"),
            (id::APP_ID, "access.app.id"),
            (id::APP_NAME, "access.app.name"),
            (id::SRC_IP, "http.conn.src_ip"),
            (id::SRC_COUNTRY, "http.src_ip.geo.country"),
            (id::HOST, "http.request.host"),
            (id::METHOD, "http.request.method"),
            (id::PATH, "http.request.uri.path"),
            (id::QUERY, "http.request.uri.query"),
            (id::HEADERS, "http.request.headers"),
            (id::CERTIFICATE_SERIAL, "access.certificate.serial"),
            (id::CERTIFICATE_ISSUER, "access.certificate.issuer"),
            (id::CERTIFICATE_FINGERPRINT, "access.certificate.fingerprint"),
        ] {
            assert_eq!(fields().info(field).name, name);
        }
        assert_eq!(fields().table().len(), usize::from(id::CERTIFICATE_FINGERPRINT.0) + 1);
    }

    #[test]
    fn every_example_compiles() {
        for row in fields().table() {
            let compiled = Expression::compile(scheme(), row.example, &(), &Limits::default());
            assert!(compiled.is_ok(), "{}: {:?}", row.example, compiled.err());
        }
    }
}
