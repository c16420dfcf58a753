//! The variables of header values (reference section 1.9), read from a request's facts.
//!
//! Invariant: a variable without a value here is `None`, never an empty guess.

use std::borrow::Cow;

use expr::{Fact, Facts, FieldId, ValueRef};

use crate::headers::{Variables, comma_joined};
use crate::hook::http::id as http;

const SAML: &str = "identity.saml_attributes.";
const OIDC: &str = "identity.oidc_claims.";

/// Variables and the fields they read; an array is written as its elements with commas between.
const FIELDS: [(&str, FieldId); 9] = [
    ("identity.email", http::IDENTITY_EMAIL),
    ("identity.name", http::IDENTITY_NAME),
    ("identity.id", http::IDENTITY_ID),
    ("identity.groups", http::IDENTITY_GROUPS_NAME),
    ("identity.groups.id", http::IDENTITY_GROUPS_ID),
    ("identity.groups.name", http::IDENTITY_GROUPS_NAME),
    ("identity.groups.email", http::IDENTITY_GROUPS_EMAIL),
    ("source.ip", http::SRC_IP),
    ("destination.ip", http::DST_IP),
];

/// Variables that have no data source yet: known by name, always empty.
const LATER: [&str; 2] = ["device.id", "device.posture"];

/// Tells whether a variable of this name exists.
pub(super) fn is_known(name: &str) -> bool {
    FIELDS.iter().any(|(known, _)| *known == name)
        || LATER.contains(&name)
        || [SAML, OIDC].iter().any(|prefix| name.strip_prefix(prefix).is_some_and(|rest| !rest.is_empty()))
}

/// Reads variables from the facts of a web request.
pub struct FactVariables<'a>(pub &'a dyn Facts);

impl Variables for FactVariables<'_> {
    fn variable(&self, name: &str) -> Option<String> {
        if let Some((_, field)) = FIELDS.iter().find(|(known, _)| *known == name) {
            return text(self.0.fact(*field));
        }
        if let Some(attribute) = name.strip_prefix(SAML) {
            let Fact::Known(ValueRef::Map(map)) = self.0.fact(http::IDENTITY_SAML) else { return None };
            return map.get(attribute.as_bytes()).and_then(|value| text(Fact::Known(value)));
        }
        let claim = name.strip_prefix(OIDC)?;
        let Fact::Known(ValueRef::Array(claims)) = self.0.fact(http::IDENTITY_OIDC) else { return None };
        let values = claims.iter().filter_map(|entry| {
            let ValueRef::Bytes(entry) = entry else { return None };
            let entry = String::from_utf8_lossy(entry).into_owned();
            entry.strip_prefix(claim)?.strip_prefix('=').map(|value| Cow::Owned(value.to_owned()))
        });
        Some(comma_joined(values)).filter(|joined| !joined.is_empty())
    }
}

fn text(fact: Fact<'_>) -> Option<String> {
    let Fact::Known(value) = fact else { return None };
    match value {
        ValueRef::Array(items) => {
            Some(comma_joined(items.iter().filter_map(|item| text(Fact::Known(item)).map(Cow::Owned))))
        }
        ValueRef::Bytes(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
        ValueRef::Ip(address) => Some(address.to_string()),
        ValueRef::Int(number) => Some(number.to_string()),
        ValueRef::Bool(value) => Some(value.to_string()),
        ValueRef::Version(version) => Some(version.text.to_owned()),
        ValueRef::Map(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::FactVariables;
    use crate::facts::FactsDocument;
    use crate::headers::Variables as _;
    use crate::hook::Hook;

    #[test]
    fn variables_read_the_facts_they_are_named_for() {
        let facts = FactsDocument::parse(
            Hook::Http,
            &json!({
                "identity.email": "a@b.example",
                "identity.groups.name": ["finance", "all staff"],
                "identity.saml_attributes": {"dept": ["Sales", "East"]},
                "identity.oidc_claims": ["team=red", "team=blue", "teams=x"],
                "http.conn.src_ip": "192.0.2.7",
                "identity.name": null,
            }),
        )
        .unwrap();
        for (name, value) in [
            ("identity.email", Some("a@b.example")),
            ("identity.groups", Some("finance,all staff")),
            ("identity.saml_attributes.dept", Some("Sales,East")),
            ("identity.oidc_claims.team", Some("red,blue")),
            ("source.ip", Some("192.0.2.7")),
            ("identity.name", None),
            ("device.id", None),
            ("identity.saml_attributes.none", None),
            ("nonsense", None),
        ] {
            assert_eq!(FactVariables(&facts).variable(name).as_deref(), value, "{name}");
        }
    }
}
