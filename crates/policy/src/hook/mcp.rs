//! The fields of rules about calls through an MCP portal: who calls, with which client, what, and with which arguments.
//!
//! Decides nothing: a table. It is not a [`super::Hook`]: no gateway rule sits here, the rules of portals and MCP servers
//! do. Invariant: `id::X` is the index of the row that carries the name of `X`; a test holds it.

use std::sync::OnceLock;

use expr::Type;

use super::{FieldInfo, HookFields, Phase, Selector, Source, cached, shared};

/// Returns the fields of this hook.
#[must_use]
pub fn fields() -> &'static HookFields {
    static FIELDS: OnceLock<HookFields> = OnceLock::new();
    cached(&FIELDS, TABLE)
}

/// Returns the scheme that expressions of rules about calls are compiled against.
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
    pub const SRC_IP: FieldId = FieldId(12);
    pub const SRC_COUNTRY: FieldId = FieldId(13);
    pub const CLIENT_NAME: FieldId = FieldId(14);
    pub const CLIENT_VERSION: FieldId = FieldId(15);
    pub const PORTAL: FieldId = FieldId(16);
    pub const SERVER: FieldId = FieldId(17);
    pub const METHOD: FieldId = FieldId(18);
    pub const TOOL_NAME: FieldId = FieldId(19);
    pub const TOOL_READ_ONLY: FieldId = FieldId(20);
    pub const TOOL_DESTRUCTIVE: FieldId = FieldId(21);
    pub const TOOL_IDEMPOTENT: FieldId = FieldId(22);
    pub const TOOL_OPEN_WORLD: FieldId = FieldId(23);
    pub const PROMPT_NAME: FieldId = FieldId(24);
    pub const RESOURCE_URI: FieldId = FieldId(25);
    pub const ARGUMENTS: FieldId = FieldId(26);
    pub const CODE_MODE: FieldId = FieldId(27);
}

/// A row about the call itself, which stands in the body of a message.
const fn row(name: &'static str, kind: Type, documentation: &'static str, example: &'static str) -> FieldInfo {
    FieldInfo {
        name,
        kind,
        phase: Phase::RequestBodyComplete,
        source: Source::Available,
        selector: Selector::Request,
        title: "",
        documentation,
        example,
        aliases: &[],
        ours: true,
    }
}

const TABLE: &[FieldInfo] = &[
    shared::IDENTITY_EMAIL,
    shared::IDENTITY_NAME,
    shared::IDENTITY_ID,
    shared::IDENTITY_GROUPS_ID,
    shared::IDENTITY_GROUPS_NAME,
    shared::IDENTITY_GROUPS_EMAIL,
    shared::IDENTITY_OIDC,
    shared::IDENTITY_LOGIN_METHODS,
    shared::IDENTITY_AMR,
    shared::IDENTITY_RISK,
    shared::POSTURE_PASSED,
    shared::SERVICE_TOKEN,
    shared::REQUEST_SRC_IP,
    shared::REQUEST_SRC_COUNTRY,
    row(
        "mcp.client.name",
        Type::Bytes,
        "The name the client gives itself; anybody may claim any name.",
        "mcp.client.name == \"desktop-agent\"",
    ),
    row(
        "mcp.client.version",
        Type::Bytes,
        "The version the client gives itself.",
        "starts_with(mcp.client.version, \"2.\")",
    ),
    row("mcp.portal.id", Type::Bytes, "The id of the portal.", "mcp.portal.id == \"staff\""),
    row(
        "mcp.server.id",
        Type::Bytes,
        "The id of the server the call is for; none for what the portal answers itself.",
        "mcp.server.id in {\"jira\" \"wiki\"}",
    ),
    row("mcp.method", Type::Bytes, "The method of the protocol.", "mcp.method == \"tools/call\""),
    row(
        "mcp.tool.name",
        Type::Bytes,
        "The tool, by the name its server gives it; neither prefix nor alias changes it.",
        "starts_with(mcp.tool.name, \"delete_\")",
    ),
    row(
        "mcp.tool.annotations.readOnlyHint",
        Type::Bool,
        "Whether the server says the tool changes nothing; false where it says nothing, as the protocol has it.",
        "mcp.tool.annotations.readOnlyHint",
    ),
    row(
        "mcp.tool.annotations.destructiveHint",
        Type::Bool,
        "Whether the server says the tool may destroy; true where it says nothing, and false for one that changes nothing.",
        "mcp.tool.annotations.destructiveHint",
    ),
    row(
        "mcp.tool.annotations.idempotentHint",
        Type::Bool,
        "Whether the server says that calling again changes nothing more; false where it says nothing.",
        "not mcp.tool.annotations.idempotentHint",
    ),
    row(
        "mcp.tool.annotations.openWorldHint",
        Type::Bool,
        "Whether the server says the tool reaches beyond it; true where it says nothing.",
        "mcp.tool.annotations.openWorldHint",
    ),
    row(
        "mcp.prompt.name",
        Type::Bytes,
        "The prompt, by the name its server gives it.",
        "mcp.prompt.name == \"review\"",
    ),
    row(
        "mcp.resource.uri",
        Type::Bytes,
        "The resource, by the URI its server gives it.",
        "starts_with(mcp.resource.uri, \"file:///\")",
    ),
    row(
        "mcp.arguments",
        Type::Map(&Type::Array(&Type::Bytes)),
        "The arguments of the tool or prompt: a path of member names to every text, number and truth value at or below it.",
        "any(mcp.arguments[\"issue.project\"][*] == \"HR\")",
    ),
    row(
        "mcp.code_mode",
        Type::Bool,
        "Whether a script of Code Mode makes the call.",
        "mcp.code_mode and not mcp.tool.annotations.readOnlyHint",
    ),
];

#[cfg(test)]
mod tests {
    use expr::{Expression, FieldId, Limits};

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
            (id::SRC_IP, "http.conn.src_ip"),
            (id::SRC_COUNTRY, "http.src_ip.geo.country"),
            (id::CLIENT_NAME, "mcp.client.name"),
            (id::CLIENT_VERSION, "mcp.client.version"),
            (id::PORTAL, "mcp.portal.id"),
            (id::SERVER, "mcp.server.id"),
            (id::METHOD, "mcp.method"),
            (id::TOOL_NAME, "mcp.tool.name"),
            (id::TOOL_READ_ONLY, "mcp.tool.annotations.readOnlyHint"),
            (id::TOOL_DESTRUCTIVE, "mcp.tool.annotations.destructiveHint"),
            (id::TOOL_IDEMPOTENT, "mcp.tool.annotations.idempotentHint"),
            (id::TOOL_OPEN_WORLD, "mcp.tool.annotations.openWorldHint"),
            (id::PROMPT_NAME, "mcp.prompt.name"),
            (id::RESOURCE_URI, "mcp.resource.uri"),
            (id::ARGUMENTS, "mcp.arguments"),
            (id::CODE_MODE, "mcp.code_mode"),
        ] {
            assert_eq!(fields().info(field).name, name);
        }
        assert_eq!(fields().table().len(), usize::from(id::CODE_MODE.0) + 1);
    }

    #[test]
    fn every_example_compiles_and_reads_its_field() {
        for (index, row) in (0u16..).zip(fields().table()) {
            let compiled = Expression::compile(scheme(), row.example, &(), &Limits::default());
            let compiled = compiled.unwrap_or_else(|error| panic!("{}: {error}", row.example));
            assert!(compiled.fields().contains(FieldId(index)), "{}", row.name);
            assert!(row.documentation.ends_with('.'), "{}", row.name);
        }
    }
}
