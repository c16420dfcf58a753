//! The scheme, lists and facts that the tests share.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use expr::{Ecosystem, Error, Expression, FactTable, Limits, List, ListKind, Scheme, Type, Value};

const STRINGS: Type = Type::Array(&Type::Bytes);
const INTS: Type = Type::Array(&Type::Int);
const IPS: Type = Type::Array(&Type::Ip);

/// Fields under their published names, as `(name, type)`.
const FIELDS: &[(&str, Type)] = &[
    ("access.private_app", Type::Bool),
    ("app.ids", INTS),
    ("app.type.ids", INTS),
    ("app.statuses", STRINGS),
    ("bool", Type::Bool),
    ("cf.bot_management.score", Type::Int),
    ("device_posture.checks.passed", STRINGS),
    ("dlp.profiles", STRINGS),
    ("dns.authoritative_ns_ips", IPS),
    ("dns.domains", STRINGS),
    ("dns.query_rtype", Type::Bytes),
    ("dns.resolved_ip", IPS),
    ("dns.security_category", INTS),
    ("dns.src_ip", Type::Ip),
    ("experimental.is_mcp", Type::Bool),
    ("flags", Type::Array(&Type::Bool)),
    ("http.body_phase", Type::Bytes),
    ("http.conn.src_ip", Type::Ip),
    ("http.conn.dst_ip", IPS),
    ("http.conn.vnet_id", Type::Bytes),
    ("http.download.file.size", Type::Int),
    ("http.dst_ip.geo.continent", Type::Bytes),
    ("http.host", Type::Bytes),
    ("http.request.domains", STRINGS),
    ("http.request.headers", Type::Map(&STRINGS)),
    ("http.request.host", Type::Bytes),
    ("http.request.method", Type::Bytes),
    ("http.request.uri", Type::Bytes),
    ("http.request.uri.content_category", INTS),
    ("http.request.uri.path", Type::Bytes),
    ("http.request.uri.path_and_query", Type::Bytes),
    ("http.request.uri.query", Type::Bytes),
    ("http.response.status_code", Type::Int),
    ("http.upload.mime", Type::Bytes),
    ("http.user_agent", Type::Bytes),
    ("identity.email", Type::Bytes),
    ("identity.groups.email", STRINGS),
    ("identity.groups.id", STRINGS),
    ("identity.groups.name", STRINGS),
    ("identity.oidc_claims", STRINGS),
    ("identity.saml_attributes", Type::Map(&STRINGS)),
    ("ip.src", Type::Ip),
    ("labels", Type::Map(&Type::Bytes)),
    ("net.dst.ip", Type::Ip),
    ("net.dst.port", Type::Int),
    ("net.is_isolated", Type::Bool),
    ("net.onramp.type", Type::Bytes),
    ("net.protocol.detection", Type::Bytes),
    ("net.sni.domains", STRINGS),
    ("net.sni.host", Type::Bytes),
    ("pkg.name", Type::Bytes),
    ("pkg.version", Type::Version),
    ("str", Type::Bytes),
    ("t", Type::Bool),
    ("tcp.port", Type::Int),
];

pub(crate) static SCHEME: LazyLock<Scheme> = LazyLock::new(|| {
    let mut builder = Scheme::builder();
    for (name, kind) in FIELDS {
        builder = builder.field(name, *kind, "A field.", "");
    }
    builder
        .alias("http.conn.hostname", "http.request.host")
        .alias("http.request.body.scan.dlp.profiles", "dlp.profiles")
        .entries("identity.saml_attributes")
        .ignore_trailing_slash("http.request.uri")
        .build()
        .unwrap()
});

pub(crate) static LISTS: LazyLock<HashMap<String, Arc<List>>> = LazyLock::new(|| {
    let list = |kind, items: &str| Arc::new(List::new(kind, items.split(' ')).unwrap());
    HashMap::from([
        ("01302951-49f9-47c9-a400-0297e60b6a10".to_owned(), list(ListKind::Domains, "example.com blocked.test")),
        ("serials".to_owned(), list(ListKind::Strings, "A1 B2")),
        ("urls".to_owned(), list(ListKind::Urls, "example.com/a")),
        ("office.networks".to_owned(), list(ListKind::Ips, "10.0.0.0/8 2001:db8::/32")),
        ("categories".to_owned(), list(ListKind::Ints, "17 80..90")),
    ])
});

/// Compiles with the default limits.
pub(crate) fn compile(source: &str) -> Result<Expression, Error> {
    Expression::compile(&SCHEME, source, &*LISTS, &Limits::default())
}

/// Reads `field=value; field=value`: `-` is absent, arrays are separated by spaces, maps are `key:value` pairs.
pub(crate) fn facts(text: &str) -> FactTable {
    let mut facts = FactTable::new();
    for fact in text.split(';').map(str::trim).filter(|fact| !fact.is_empty()) {
        let (name, value) = fact.split_once('=').unwrap();
        let field = SCHEME.id(name).unwrap_or_else(|| panic!("no field {name}"));
        match value {
            "-" => facts.set_absent(field),
            value => facts.set(field, read(SCHEME.field(field).kind, value)),
        };
    }
    facts
}

fn read(kind: Type, text: &str) -> Value {
    match kind {
        Type::Bool => Value::Bool(text == "true"),
        Type::Int => Value::Int(text.parse().unwrap()),
        Type::Bytes => Value::from(text),
        Type::Ip => Value::Ip(text.parse().unwrap()),
        Type::Version => {
            let (ecosystem, version) = text.split_once(' ').unwrap();
            Value::Version(Ecosystem::named(ecosystem).unwrap(), version.to_owned())
        }
        Type::Array(element) => Value::Array(text.split_whitespace().map(|item| read(*element, item)).collect()),
        Type::Map(value) => {
            let mut entries: Vec<(Vec<u8>, Value)> = Vec::new();
            for pair in text.split_whitespace() {
                let (key, item) = pair.split_once(':').unwrap();
                let known = entries.iter().position(|(name, _)| name == key.as_bytes());
                match (known, value) {
                    (Some(index), Type::Array(element)) => {
                        let Value::Array(items) = &mut entries[index].1 else { panic!("{pair}") };
                        items.push(read(**element, item));
                    }
                    (_, Type::Array(element)) => {
                        entries.push((key.into(), Value::Array(vec![read(**element, item)])));
                    }
                    (_, value) => entries.push((key.into(), read(*value, item))),
                }
            }
            Value::Map(entries)
        }
    }
}
