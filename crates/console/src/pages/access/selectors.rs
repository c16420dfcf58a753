//! Selectors as people write them, one a line: `ada@example.com`, `@example.com`, `group Staff`, `10.0.0.0/8`.
//!
//! Reads and writes text; what a selector means is the engine's. Invariant: what is written here reads back as itself,
//! and a selector without a short form is shown as its JSON.

use serde_json::{Value, json};

use crate::failure::{Failure, Problem};
use crate::operations::access::{groups, providers, service_tokens};
use crate::pages::visitor::Visitor;

/// Below every box of selectors.
pub(super) const HINT: &str = "One a line: everyone, an address, @ and a domain, group NAME, sign-in NAME, an IP range, \
     a country in two capitals, service token NAME, any service token, \
     Worker NAME, or the JSON of a selector.";

/// What may be named, by id.
#[derive(Debug, Default)]
pub(super) struct Names {
    groups: Vec<(String, String)>,
    providers: Vec<(String, String)>,
    tokens: Vec<(String, String)>,
}

impl Names {
    /// Loads what the administrator may see; the rest is shown and written as JSON.
    pub(super) async fn load(visitor: &Visitor) -> Result<Self, Failure> {
        let mut names = Self::default();
        let pairs = |views: Vec<crate::operations::access::AccessView>| {
            views.iter().map(|view| (view.text("id").to_owned(), view.text("name").to_owned())).collect()
        };
        if visitor.may(store::Permission::IdentityRead) {
            names.groups = pairs(groups::list(&visitor.cx).await?);
            names.providers = pairs(providers::list(&visitor.cx).await?);
        }
        if visitor.may(store::Permission::ServiceTokensRead) {
            names.tokens = pairs(service_tokens::list(&visitor.cx).await?);
        }
        Ok(names)
    }

    pub(super) fn providers(&self) -> &[(String, String)] {
        &self.providers
    }

    /// Writes a list of selectors, one a line.
    pub(super) fn write(&self, selectors: &Value) -> String {
        let lines = selectors.as_array().into_iter().flatten().map(|selector| self.line(selector));
        lines.collect::<Vec<_>>().join("\n")
    }

    pub(super) fn line(&self, selector: &Value) -> String {
        let text = |pointer: &str| selector.pointer(pointer).and_then(Value::as_str);
        let named = |known: &[(String, String)], pointer: &str| {
            let id = text(pointer)?;
            let name = known.iter().find(|(known, _)| known == id).map(|(_, name)| name.as_str())?;
            // Two of one name could not be told apart when read back.
            (known.iter().filter(|(_, other)| other == name).count() == 1).then(|| name.to_owned())
        };
        let short = match selector.as_object().and_then(|members| members.keys().next()).map(String::as_str) {
            Some("everyone") => Some("everyone".to_owned()),
            Some("any_valid_service_token") => Some("any service token".to_owned()),
            // How long it may take and is kept are not in the short form.
            Some("portunus_worker") if selector["portunus_worker"].as_object().is_some_and(|own| own.len() == 1) => {
                text("/portunus_worker/script").map(|script| format!("Worker {script}"))
            }
            Some("email") => text("/email/email").map(str::to_owned),
            Some("email_domain") => text("/email_domain/domain").map(|domain| format!("@{domain}")),
            Some("ip") => text("/ip/ip").map(str::to_owned),
            Some("geo") => text("/geo/country_code").map(str::to_owned),
            Some("group") => named(&self.groups, "/group/id").map(|name| format!("group {name}")),
            Some("login_method") => named(&self.providers, "/login_method/id").map(|name| format!("sign-in {name}")),
            Some("service_token") => {
                named(&self.tokens, "/service_token/token_id").map(|name| format!("service token {name}"))
            }
            _ => None,
        };
        short.unwrap_or_else(|| selector.to_string())
    }

    /// Reads a list of selectors; `pointer` is the list's, for what is wrong.
    pub(super) fn read(&self, pointer: &str, lines: &[String], problems: &mut Vec<Problem>) -> Vec<Value> {
        let mut selectors = Vec::with_capacity(lines.len());
        for line in lines {
            match self.selector(line) {
                Ok(selector) => selectors.push(selector),
                Err(message) => problems.push(Problem { message, pointer: Some(pointer.to_owned()) }),
            }
        }
        selectors
    }

    fn selector(&self, line: &str) -> Result<Value, String> {
        let id = |known: &[(String, String)], name: &str, thing: &str| {
            let mut found = known.iter().filter(|(_, other)| other == name.trim());
            match (found.next(), found.next()) {
                (Some((id, _)), None) => Ok(id.clone()),
                (Some(_), Some(_)) => Err(format!("there are two of the name \"{name}\"; write the selector as JSON")),
                (None, _) => Err(format!("there is no {thing} \"{name}\"")),
            }
        };
        if line == "everyone" {
            return Ok(json!({"everyone": {}}));
        }
        if line == "any service token" {
            return Ok(json!({"any_valid_service_token": {}}));
        }
        if let Some(name) = line.strip_prefix("group ") {
            return Ok(json!({"group": {"id": id(&self.groups, name, "group")?}}));
        }
        if let Some(name) = line.strip_prefix("sign-in ") {
            return Ok(json!({"login_method": {"id": id(&self.providers, name, "identity provider")?}}));
        }
        if let Some(name) = line.strip_prefix("service token ") {
            return Ok(json!({"service_token": {"token_id": id(&self.tokens, name, "service token")?}}));
        }
        if let Some(script) = line.strip_prefix("Worker ") {
            return Ok(json!({"portunus_worker": {"script": script.trim()}}));
        }
        if line.starts_with('{') {
            return serde_json::from_str(line).map_err(|error| format!("not JSON: {error}"));
        }
        if let Some(domain) = line.strip_prefix('@') {
            return Ok(json!({"email_domain": {"domain": domain}}));
        }
        if line.contains('@') {
            return Ok(json!({"email": {"email": line}}));
        }
        if line.len() == 2 && line.bytes().all(|b| b.is_ascii_uppercase()) {
            return Ok(json!({"geo": {"country_code": line}}));
        }
        let address = line.split('/').next().unwrap_or_default();
        if address.parse::<std::net::IpAddr>().is_ok() {
            return Ok(json!({"ip": {"ip": line}}));
        }
        Err(format!("\"{line}\" is not a selector"))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::Names;

    fn names() -> Names {
        let pair = |id: &str, name: &str| (id.to_owned(), name.to_owned());
        Names {
            groups: vec![pair("g1", "Staff"), pair("g2", "Twin"), pair("g3", "Twin")],
            providers: vec![pair("p1", "Okta")],
            tokens: vec![pair("t1", "Backup")],
        }
    }

    #[test]
    fn selectors_read_back_as_they_are_written() {
        let names = names();
        for (line, selector) in [
            ("everyone", json!({"everyone": {}})),
            ("any service token", json!({"any_valid_service_token": {}})),
            ("ada@example.com", json!({"email": {"email": "ada@example.com"}})),
            ("@example.com", json!({"email_domain": {"domain": "example.com"}})),
            ("group Staff", json!({"group": {"id": "g1"}})),
            ("sign-in Okta", json!({"login_method": {"id": "p1"}})),
            ("service token Backup", json!({"service_token": {"token_id": "t1"}})),
            ("Worker training", json!({"portunus_worker": {"script": "training"}})),
            (
                r#"{"portunus_worker":{"script":"training","ttl_s":0}}"#,
                json!({"portunus_worker": {"script": "training", "ttl_s": 0}}),
            ),
            ("10.0.0.0/8", json!({"ip": {"ip": "10.0.0.0/8"}})),
            ("DE", json!({"geo": {"country_code": "DE"}})),
            (r#"{"group":{"id":"g2"}}"#, json!({"group": {"id": "g2"}})),
            (r#"{"auth_method":{"auth_method":"mfa"}}"#, json!({"auth_method": {"auth_method": "mfa"}})),
        ] {
            assert_eq!(names.line(&selector), line);
            let mut problems = Vec::new();
            assert_eq!(names.read("/include", &[line.to_owned()], &mut problems), [selector]);
            assert!(problems.is_empty());
        }
    }

    #[test]
    fn what_is_no_selector_is_named() {
        let names = names();
        for line in ["somebody", "group Nobody", "group Twin", "{", "10.0.0"] {
            let mut problems = Vec::new();
            assert!(names.read("/include", &[line.to_owned()], &mut problems).is_empty(), "{line}");
            assert_eq!(problems[0].pointer.as_deref(), Some("/include"));
        }
    }
}
