//! The gateway's facts: each field reads the part of the exchange it is named for, and is unknown until that part is.

use std::net::IpAddr;

use expr::{Fact, Facts as _, Map, Value, ValueRef};
use policy::facts::show;
use policy::hook::http::id as http;
use policy::{
    BodyFacts, CompileOptions, ConnectionFacts, Cursor, Hook, Host, HostFacts, HttpFacts, L4Facts, McpMessages,
    McpTraffic, Person, RequestFacts, ResponseFacts, Scratch,
};
use serde_json::json;

use crate::support::{now, stored};

/// Headers the way a test holds them.
struct Headers(Vec<(Vec<u8>, Value)>);

impl Headers {
    fn of(list: &[(&str, &[&str])]) -> Self {
        Self(list.iter().map(|(name, values)| (name.as_bytes().to_vec(), Value::from(values.to_vec()))).collect())
    }
}

impl Map for Headers {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn get(&self, key: &[u8]) -> Option<ValueRef<'_>> {
        self.0.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_ref())
    }

    fn entry(&self, index: usize) -> Option<(&[u8], ValueRef<'_>)> {
        self.0.get(index).map(|(name, value)| (name.as_slice(), value.as_ref()))
    }
}

fn shown(facts: &HttpFacts<'_>, name: &str) -> serde_json::Value {
    let (id, _) = Hook::Http.fields().find(name).unwrap();
    show(name, facts.fact(id))
}

/// What the exchange of the test below reads as.
fn read_of_each_field() -> Vec<(&'static str, serde_json::Value)> {
    vec![
        ("http.request.host", json!("www.example.com")),
        ("http.request.domains", json!(["www.example.com", "example.com", "com"])),
        ("http.conn.src_ip", json!("10.0.0.9")),
        ("http.conn.src_port", json!(5000)),
        ("http.conn.dst_ip", json!(["192.0.2.1"])),
        ("http.conn.dst_port", json!(443)),
        ("proxy.endpoint", json!("abc.proxy.example")),
        ("net.onramp.type", json!("proxy_endpoint")),
        ("net.offramp.type", json!("internet")),
        ("net.is_isolated", json!(false)),
        ("identity.email", json!("a@b.example")),
        ("identity.name", json!("Ann")),
        ("identity.id", json!("p1")),
        ("identity.groups.name", json!(["finance"])),
        ("identity.groups.id", json!([])),
        ("http.request.method", json!("POST")),
        ("http.request.scheme", json!("https")),
        ("app.ids", json!([1199])),
        ("app.hosts_ids", json!([1199])),
        ("app.type.ids", json!([25])),
        ("app.supports_ids", json!([])),
        ("app.statuses", json!(["in review"])),
        ("http.request.uri.content_category", json!([184])),
        ("http.request.uri.security_category", json!([117, 131])),
        ("http.request.port", json!(443)),
        ("http.request.version", json!("HTTP/2")),
        ("http.request.uri", json!("https://www.example.com/p?q=1")),
        ("http.request.uri.path", json!("/p")),
        ("http.request.uri.query", json!("q=1")),
        ("http.request.uri.path_and_query", json!("/p?q=1")),
        ("http.request.headers", json!({"accept": ["text/html"], "mcp-protocol-version": ["2025-11-25"]})),
        ("http.request.has_body", json!(true)),
        ("experimental.is_mcp", json!(true)),
        ("mcp.methods", json!(["tools/call"])),
        ("mcp.tools", json!(["refund"])),
        ("mcp.client.name", json!("agent")),
        ("mcp.protocol.version", json!("2025-11-25")),
        ("mcp.server.name", json!("Stripe")),
        ("mcp.server.is_portal", json!(false)),
        ("mcp.server.behind_portal", json!(true)),
        ("http.upload.mime", json!("application/pdf")),
        ("http.upload.file.types", json!(["pdf", "document"])),
        ("http.upload.file.size", json!(3)),
        ("pkg.ecosystem", json!("npm")),
        ("pkg.namespace", json!(null)),
        ("pkg.name", json!("left-pad")),
        ("pkg.version", json!("1.3.0")),
        ("pkg.purl", json!("pkg:npm/left-pad@1.3.0")),
        ("http.response.status_code", json!(200)),
        ("http.response.headers", json!({"server": ["x"]})),
        ("http.response.has_body", json!(true)),
        ("http.download.mime", json!("text/html")),
        ("http.download.file.types", json!([])),
        ("http.download.file.size", json!(0)),
    ]
}

#[test]
fn each_field_reads_its_part_of_the_exchange() {
    let groups = ["finance".to_owned()];
    let addresses: [IpAddr; 1] = ["192.0.2.1".parse().unwrap()];
    let (methods, tools) = (["tools/call".to_owned()], ["refund".to_owned()]);
    let headers = Headers::of(&[("accept", &["text/html"]), ("mcp-protocol-version", &["2025-11-25"])]);
    let response_headers = Headers::of(&[("server", &["x"])]);
    let package = policy::package::recognise("registry.npmjs.org", "/left-pad/-/left-pad-1.3.0.tgz").unwrap();
    let facts = HttpFacts {
        connection: ConnectionFacts {
            host: Some(Host("www.example.com")),
            meaning: Some(HostFacts {
                app_ids: &[1199],
                app_type_ids: &[25],
                app_supports_ids: &[],
                app_statuses: &["in review"],
                content_categories: &[184],
                security_categories: &[117, 131],
            }),
            src_ip: "10.0.0.9".parse().unwrap(),
            src_port: 5000,
            dst_ips: Some(&addresses),
            dst_port: Some(443),
            proxy_endpoint: Some("abc.proxy.example"),
            detected_protocol: None,
            person: Some(Person {
                id: "p1",
                email: "a@b.example",
                name: "Ann",
                group_names: &groups,
                ..Person::default()
            }),
        },
        request: Some(RequestFacts {
            method: "POST",
            scheme: "https",
            port: 443,
            version: "HTTP/2",
            uri: "https://www.example.com/p?q=1",
            path: "/p",
            query: Some("q=1"),
            path_and_query: "/p?q=1",
            headers: &headers,
            has_body: true,
            mime: Some("application/pdf"),
            package: Some(&package),
        }),
        mcp: McpTraffic {
            is_mcp: Some(true),
            messages: Some(McpMessages {
                methods: &methods,
                tools: &tools,
                client_name: Some("agent"),
                version: Some("2025-11-25"),
            }),
            server_name: Some("Stripe"),
            is_portal: false,
            behind_portal: true,
        },
        request_body: BodyFacts { types: Some(&["pdf", "document"]), size: Some((3 << 20) + 5) },
        response: Some(ResponseFacts {
            status: 200,
            headers: &response_headers,
            has_body: true,
            mime: Some("text/html"),
        }),
        response_body: BodyFacts { types: Some(&[]), size: Some(5) },
    };
    for (name, value) in read_of_each_field() {
        assert_eq!(shown(&facts, name), value, "{name}");
    }
    // Every field with a source is known by now, but the body phase, which is asked about and not known.
    for (index, row) in (0u16..).zip(Hook::Http.fields().table()) {
        let unknown = matches!(facts.fact(expr::FieldId(index)), Fact::Unknown);
        let later = Hook::Http.fields().later().contains(expr::FieldId(index));
        assert_eq!(unknown, later || row.name == "http.body_phase", "{}", row.name);
    }
}

#[test]
fn a_part_that_has_not_arrived_is_unknown_and_a_body_that_is_not_there_is_absent() {
    let connection = ConnectionFacts {
        host: Some(Host("a.example")),
        meaning: None,
        src_ip: "10.0.0.9".parse().unwrap(),
        src_port: 1,
        dst_ips: None,
        dst_port: None,
        proxy_endpoint: None,
        detected_protocol: None,
        person: None,
    };
    let mut facts = HttpFacts::of_connection(connection);
    for field in [http::METHOD, http::UPLOAD_MIME, http::PKG_NAME, http::STATUS, http::DOWNLOAD_TYPES, http::DST_IP] {
        assert!(matches!(facts.fact(field), Fact::Unknown), "{field:?}");
    }
    for field in [http::IDENTITY_EMAIL, http::IDENTITY_GROUPS_NAME, http::PROXY_ENDPOINT] {
        assert!(matches!(facts.fact(field), Fact::Absent), "{field:?}");
    }
    let headers = Headers::of(&[]);
    facts.response = Some(ResponseFacts { status: 204, headers: &headers, has_body: false, mime: Some("text/html") });
    for field in [http::DOWNLOAD_MIME, http::DOWNLOAD_TYPES, http::DOWNLOAD_SIZE] {
        assert!(matches!(facts.fact(field), Fact::Absent), "{field:?}");
    }
    facts.response = Some(ResponseFacts { status: 200, headers: &headers, has_body: true, mime: None });
    assert!(matches!(facts.fact(http::DOWNLOAD_MIME), Fact::Absent));
    assert!(matches!(facts.fact(http::DOWNLOAD_SIZE), Fact::Unknown));

    let l4 = L4Facts(connection);
    let (detected, _) = Hook::L4.fields().find("net.protocol.detection").unwrap();
    let (sni, _) = Hook::L4.fields().find("net.sni.host").unwrap();
    assert!(matches!(l4.fact(detected), Fact::Unknown));
    assert!(matches!(l4.fact(sni), Fact::Known(ValueRef::Bytes(b"a.example"))));
}

#[test]
fn a_rule_on_claims_that_nothing_supplies_matches_nobody_and_says_so() {
    let groups = ["finance".to_owned()];
    let person = Person { id: "p1", email: "a@b.example", name: "Ann", group_names: &groups, ..Person::default() };
    for identity in [
        r#"not(any(identity.oidc_claims[*] == "department=finance"))"#,
        r#"not(any(identity.saml_attributes["department"] in {"finance"}))"#,
    ] {
        for person in [Some(person), None] {
            let connection = ConnectionFacts {
                host: Some(Host("a.example")),
                meaning: None,
                src_ip: "10.0.0.9".parse().unwrap(),
                src_port: 1,
                dst_ips: None,
                dst_port: None,
                proxy_endpoint: None,
                detected_protocol: None,
                person,
            };
            for hook in ["http", "l4"] {
                let rule = stored(1, &json!({"name": "r", "action": "block", "filters": [hook], "identity": identity}));
                let warnings = policy::check(&rule.spec, &()).unwrap();
                assert!(warnings.iter().any(|text| text.contains("is not known until")), "{hook} {warnings:?}");
                let rules = policy::compile(&[rule], &(), CompileOptions::default());
                let mut scratch = Scratch::new();
                let facts = HttpFacts::of_connection(connection);
                let verdict = if hook == "http" {
                    rules.http.finish(&facts, now(), Cursor::start(), &mut scratch)
                } else {
                    rules.l4.finish(&L4Facts(connection), now(), Cursor::start(), &mut scratch)
                };
                assert!(verdict.rule.is_none(), "{hook} {identity}");
            }
        }
    }
}
