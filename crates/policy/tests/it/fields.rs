//! The field tables: every row is well formed, and the page in the documentation is what they say.

use policy::hook::{Source, fields_page, http, l4};
use policy::{Hook, Phase};

#[test]
fn every_index_is_the_index_of_its_row() {
    for (hook, id, name) in [
        (Hook::Http, http::id::HOST, "http.request.host"),
        (Hook::Http, http::id::DOMAINS, "http.request.domains"),
        (Hook::Http, http::id::SRC_IP, "http.conn.src_ip"),
        (Hook::Http, http::id::URI, "http.request.uri"),
        (Hook::Http, http::id::HEADERS, "http.request.headers"),
        (Hook::Http, http::id::PKG_PURL, "pkg.purl"),
        (Hook::Http, http::id::BODY_PHASE, "http.body_phase"),
        (Hook::Http, http::id::DOWNLOAD_SIZE, "http.download.file.size"),
        (Hook::Http, http::id::IDENTITY_EMAIL, "identity.email"),
        (Hook::Http, http::id::POSTURE_FAILED, "device_posture.checks.failed"),
        (Hook::Http, http::id::MCP_METHODS, "mcp.methods"),
        (Hook::Http, http::id::MCP_BEHIND_PORTAL, "mcp.server.behind_portal"),
        (Hook::L4, l4::id::SNI_HOST, "net.sni.host"),
        (Hook::L4, l4::id::DETECTED, "net.protocol.detection"),
        (Hook::L4, l4::id::ACCESS_PRIVATE_APP, "access.private_app"),
        (Hook::L4, l4::id::POSTURE_FAILED, "device_posture.checks.failed"),
    ] {
        assert_eq!(hook.scheme().field(id).name, name);
        assert_eq!(hook.fields().info(id).name, name);
    }
}

#[test]
fn every_example_compiles_and_reads_its_field() {
    for hook in [Hook::Http, Hook::L4] {
        for (index, row) in hook.fields().table().iter().enumerate() {
            let expression = expr::Expression::compile(hook.scheme(), row.example, &(), &expr::Limits::default());
            let expression = expression.unwrap_or_else(|error| panic!("{}: {error}", row.name));
            let id = expr::FieldId(u16::try_from(index).unwrap());
            assert!(expression.fields().contains(id), "{}", row.name);
            assert!(row.documentation.ends_with('.'), "{}", row.name);
            assert!(row.ours || !row.title.is_empty() || row.name == "device_posture.checks.failed", "{}", row.name);
        }
    }
}

#[test]
fn the_examples_of_the_page_on_shadow_mcp_compile() {
    let page = include_str!("../../../../docs/shadow-mcp.md");
    let examples = page.split("```expr\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    for example in examples.lines() {
        let compiled = expr::Expression::compile(Hook::Http.scheme(), example, &(), &expr::Limits::default());
        assert!(compiled.is_ok(), "{example}");
    }
    assert_eq!(examples.lines().count(), 3);
}

#[test]
fn every_documented_http_selector_exists() {
    // Reference section 1.3, 3.1 and 3.2.
    let names = "access.target access.private_app app.ids app.type.ids app.hosts_ids app.supports_ids app.statuses \
         app_control.controls http.body_phase http.request.uri.content_category http.request.uri.security_category \
         http.dst_ip.geo.continent http.dst_ip.geo.country http.conn.dst_ip http.request.domains http.request.host \
         http.download.file.size http.upload.file.size http.download.file.types http.upload.file.types http.download.mime \
         http.upload.mime dlp.profiles http.request.method http.response.status_code proxy.endpoint http.src_ip.geo.continent \
         http.src_ip.geo.country http.conn.internal_src_ip http.conn.src_ip net.onramp.type net.offramp.type net.is_isolated \
         experimental.is_mcp pkg.ecosystem pkg.name pkg.version pkg.namespace pkg.purl http.request.uri http.request.uri.path \
         http.request.uri.path_and_query http.request.uri.query http.conn.vnet_id identity.email identity.name \
         identity.groups.id identity.groups.name identity.groups.email identity.saml_attributes identity.oidc_claims \
         device_posture.checks.passed device_posture.checks.failed http.conn.domains http.conn.hostname \
         http.conn.content_category http.conn.security_category";
    for name in names.split_whitespace() {
        assert!(Hook::Http.fields().find(name).is_some(), "{name}");
    }
}

#[test]
fn expressions_from_the_field_compile_under_their_hook() {
    let mut compiled = 0;
    for line in include_str!("../data/expressions.jsonl").lines() {
        let row: serde_json::Value = serde_json::from_str(line).unwrap();
        let source = row["expression"].as_str().unwrap();
        let compile = |hook: Hook| expr::Expression::compile(hook.scheme(), source, &AnyList, &expr::Limits::default());
        let (http, l4) = (compile(Hook::Http), compile(Hook::L4));
        if let (Err(http), Err(l4)) = (&http, &l4) {
            panic!("{source}\n{http}\n{l4}");
        }
        compiled += 1;
    }
    assert_eq!(compiled, 19);
}

/// Has every list, each of one host.
struct AnyList;

impl expr::Lists for AnyList {
    fn list(&self, _: &str) -> Option<std::sync::Arc<expr::List>> {
        expr::List::new(expr::ListKind::Domains, ["example.com"]).ok().map(std::sync::Arc::new)
    }
}

#[test]
fn phases_order_what_can_be_waited_for() {
    let fields = Hook::Http.fields();
    let set = [http::id::STATUS, http::id::UPLOAD_TYPES].into_iter().collect();
    assert_eq!(fields.earliest(set), Some(Phase::RequestBodyHead));
    assert_eq!(fields.earliest(expr::FieldSet::EMPTY), None);
    for row in fields.table() {
        assert_eq!(
            fields.later().contains(fields.find(row.name).unwrap().0),
            matches!(row.source, Source::Later(_)),
            "{}",
            row.name
        );
    }
}

#[test]
fn the_page_of_fields_is_what_the_tables_say() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/fields.md");
    let page = fields_page();
    let found = std::fs::read_to_string(path).unwrap_or_default();
    if found != page {
        let written = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("fields.md");
        std::fs::write(&written, &page).unwrap();
        panic!("docs/fields.md is not what the tables say; the page as it should be is {}", written.display());
    }
}
