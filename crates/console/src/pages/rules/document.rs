//! Turns the editor's form into a rule document and keeps what the form does not show.
//!
//! It builds JSON and leaves judging it to the operation. Invariant: a member the form has no control for survives an
//! edit, unless it belongs to an action the rule no longer has.

use serde_json::{Map, Value, json};

use crate::failure::Problem;
use crate::pages::fields::Fields;

/// Members of `rule_settings` that have controls.
const MANAGED_BY_FORM: [&str; 11] = [
    "block_reason",
    "block_page",
    "notification_settings",
    "redirect",
    "add_headers",
    "set_headers",
    "delete_headers",
    "untrusted_cert",
    "worker",
    "managed",
    "quarantine",
];

pub(super) const DAYS: [(&str, &str); 7] = [
    ("mon", "Monday"),
    ("tue", "Tuesday"),
    ("wed", "Wednesday"),
    ("thu", "Thursday"),
    ("fri", "Friday"),
    ("sat", "Saturday"),
    ("sun", "Sunday"),
];

/// What a form came to: a document, and what could not be read at all.
pub(super) struct Draft {
    pub document: Map<String, Value>,
    pub problems: Vec<Problem>,
}

/// The members of `rule_settings` without controls, as text for the advanced field.
pub(super) fn other_settings(document: &Map<String, Value>) -> String {
    let mut settings = document.get("rule_settings").and_then(Value::as_object).cloned().unwrap_or_default();
    settings.retain(|name, _| !MANAGED_BY_FORM.contains(&name.as_str()));
    if settings.is_empty() { String::new() } else { serde_json::to_string_pretty(&settings).unwrap_or_default() }
}

/// Builds the document a form describes on top of the stored one.
pub(super) fn build(fields: &Fields, stored: &Map<String, Value>) -> Draft {
    let mut document = stored.clone();
    for read_only in policy::spec::READ_ONLY {
        document.remove(read_only);
    }
    let mut problems = Vec::new();
    let action = fields.get("action").to_owned();
    document.insert("name".to_owned(), Value::from(fields.get("name")));
    document.insert("action".to_owned(), Value::from(action.as_str()));
    let hook = if fields.get("hook") == "l4" { "l4" } else { "http" };
    document.insert("filters".to_owned(), json!([hook]));
    document.insert("enabled".to_owned(), Value::Bool(fields.ticked("enabled")));
    set(&mut document, "description", fields.text("description").map(Value::from));
    set(&mut document, "precedence", fields.number("precedence"));
    for member in ["traffic", "identity", "device_posture"] {
        // The author's text is kept as it was written; a text of spaces alone means always.
        let text = fields.raw(member);
        set(&mut document, member, (!text.trim().is_empty()).then(|| Value::from(text)));
    }
    let mut settings = match fields.get("settings_json") {
        "" => Map::new(),
        text => match serde_json::from_str(text) {
            Ok(Value::Object(members)) => members,
            _ => {
                let message =
                    "the other settings are not a JSON object; write { \"member\": value } or leave them empty"
                        .to_owned();
                problems.push(Problem { message, pointer: Some("/rule_settings/other".to_owned()) });
                Map::new()
            }
        },
    };
    settings.retain(|name, _| !MANAGED_BY_FORM.contains(&name.as_str()));
    action_settings(fields, &action, stored, &mut settings, &mut problems);
    set(&mut document, "rule_settings", (!settings.is_empty()).then_some(Value::Object(settings)));
    set(&mut document, "schedule", schedule(fields));
    set(&mut document, "expiration", expiration(fields));
    Draft { document, problems }
}

fn set(members: &mut Map<String, Value>, name: &str, value: Option<Value>) {
    match value {
        Some(value) => members.insert(name.to_owned(), value),
        None => members.remove(name),
    };
}

fn action_settings(
    fields: &Fields,
    action: &str,
    stored: &Map<String, Value>,
    settings: &mut Map<String, Value>,
    problems: &mut Vec<Problem>,
) {
    match action {
        "block" => block(fields, settings),
        "redirect" => {
            let mut redirect = Map::new();
            set(&mut redirect, "target_uri", Some(Value::from(fields.get("redirect_target"))));
            set(
                &mut redirect,
                "preserve_path_and_query",
                fields.ticked("redirect_preserve").then_some(Value::Bool(true)),
            );
            set(&mut redirect, "include_context", fields.ticked("redirect_context").then_some(Value::Bool(true)));
            settings.insert("redirect".to_owned(), Value::Object(redirect));
        }
        "allow" if fields.get("hook") != "l4" => allow(fields, settings, problems),
        "worker" => {
            settings.insert("worker".to_owned(), worker(fields));
        }
        "managed" => {
            let managed = managed(fields, stored);
            problems.extend(unfit(&managed));
            settings.insert("managed".to_owned(), managed);
        }
        "quarantine" => {
            let types: Vec<&str> =
                fields.get("quarantine_types").split([' ', ',', '\n']).filter(|word| !word.is_empty()).collect();
            settings.insert("quarantine".to_owned(), json!({"file_types": types}));
        }
        _ => {}
    }
}

fn block(fields: &Fields, settings: &mut Map<String, Value>) {
    set(settings, "block_reason", fields.text("block_reason").map(Value::from));
    if let Some(target) = fields.text("block_target") {
        settings.insert(
            "block_page".to_owned(),
            json!({"target_uri": target, "include_context": fields.ticked("block_context")}),
        );
    }
    if fields.ticked("notify") {
        let mut notice = Map::new();
        notice.insert("enabled".to_owned(), Value::Bool(true));
        set(&mut notice, "msg", fields.text("notify_text").map(Value::from));
        set(&mut notice, "support_url", fields.text("notify_url").map(Value::from));
        settings.insert("notification_settings".to_owned(), Value::Object(notice));
    }
}

fn allow(fields: &Fields, settings: &mut Map<String, Value>, problems: &mut Vec<Problem>) {
    for member in ["set_headers", "add_headers"] {
        let mut headers: Map<String, Value> = Map::new();
        for line in fields.lines(member) {
            let Some((name, value)) = line.split_once(':') else {
                let message = format!("\"{line}\" is not a header; write Name: value");
                problems.push(Problem { message, pointer: Some(format!("/rule_settings/{member}")) });
                continue;
            };
            let values = headers.entry(name.trim()).or_insert_with(|| json!([]));
            if let Some(values) = values.as_array_mut() {
                values.push(Value::from(value.trim()));
            }
        }
        set(settings, member, (!headers.is_empty()).then_some(Value::Object(headers)));
    }
    let deleted = fields.lines("delete_headers");
    set(settings, "delete_headers", (!deleted.is_empty()).then(|| json!(deleted)));
    set(settings, "untrusted_cert", fields.text("untrusted_cert").map(|action| json!({"action": action})));
}

fn worker(fields: &Fields) -> Value {
    let mut worker = Map::new();
    worker.insert("script".to_owned(), Value::from(fields.get("worker_script")));
    for member in ["timeout_ms", "cpu_ms", "memory_mb"] {
        set(&mut worker, member, fields.number(&format!("worker_{member}")));
    }
    set(&mut worker, "on_error", fields.text("worker_on_error").map(Value::from));
    let key: Vec<&str> =
        fields.get("worker_cache_key").split([' ', ',', '\n']).filter(|name| !name.is_empty()).collect();
    let ttl = fields.number("worker_cache_ttl");
    if !key.is_empty() || ttl.is_some() {
        worker.insert("cache".to_owned(), json!({"key": key, "ttl_s": ttl.unwrap_or(Value::from(60))}));
    }
    Value::Object(worker)
}

/// The field of a template's parameter.
pub(super) fn parameter_field(template: &str, parameter: &str) -> String {
    format!("p.{template}.{parameter}")
}

fn managed(fields: &Fields, stored: &Map<String, Value>) -> Value {
    use ::worker::templates::ParameterKind;
    let name = fields.get("template");
    let mut parameters = Map::new();
    let known = stored.get("rule_settings").and_then(|settings| settings.get("managed"));
    let known = known.filter(|managed| managed["template"] == name).and_then(|managed| managed.get("parameters"));
    for parameter in ::worker::templates::find(name).map(|template| template.parameters.as_slice()).unwrap_or_default()
    {
        let field = parameter_field(name, &parameter.name);
        let value = match parameter.kind {
            ParameterKind::Text | ParameterKind::Url => fields.text(&field).map(Value::from),
            ParameterKind::Number => fields.number(&field),
            ParameterKind::Boolean => Some(Value::Bool(fields.ticked(&field))),
            ParameterKind::List => {
                Some(fields.lines(&field)).filter(|lines| !lines.is_empty()).map(|lines| json!(lines))
            }
            // A secret is never sent back to the form, so an empty field means the one that stands.
            ParameterKind::Secret => {
                fields.text(&field).map(Value::from).or_else(|| known?.get(&parameter.name).cloned())
            }
        };
        set(&mut parameters, &parameter.name, value);
    }
    json!({"template": name, "parameters": parameters})
}

/// Holds the parameters against the template's manifest: a rule whose parameters do not fit keeps the whole configuration
/// from coming into force.
fn unfit(managed: &Value) -> Option<Problem> {
    use ::worker::templates::ParameterError;
    let template = ::worker::templates::find(managed.get("template")?.as_str()?)?;
    let given = crate::operations::managed::with_stand_ins(template, managed.get("parameters")?.as_object()?);
    let error = template.configure(&given).err()?;
    let (ParameterError::Missing(name) | ParameterError::Unknown(name) | ParameterError::Type { name, .. }) = &error;
    Some(Problem { message: error.to_string(), pointer: Some(format!("/rule_settings/managed/parameters/{name}")) })
}

fn schedule(fields: &Fields) -> Option<Value> {
    let mut days = Map::new();
    for (day, _) in DAYS {
        set(&mut days, day, fields.text(day).map(Value::from));
    }
    if days.is_empty() {
        return None;
    }
    set(&mut days, "time_zone", fields.text("time_zone").map(Value::from));
    Some(Value::Object(days))
}

fn expiration(fields: &Fields) -> Option<Value> {
    let at = fields.text("expires_at");
    let duration = fields.number("expires_after");
    if at.is_none() && duration.is_none() {
        return None;
    }
    let mut expiration = Map::new();
    // Browsers leave out the zone, and the seconds where they are zero.
    let at = at.map(|at| match at.matches(':').count() {
        1 => format!("{at}:00Z"),
        _ if at.ends_with('Z') => at,
        _ => format!("{at}Z"),
    });
    set(&mut expiration, "expires_at", at.map(Value::from));
    set(&mut expiration, "duration", duration);
    Some(Value::Object(expiration))
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, Value, json};

    use super::{build, other_settings};
    use crate::pages::fields::Fields;

    fn object(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn a_form_becomes_the_document_an_api_client_would_send() {
        for (form, expected) in [
            (
                "name=a&action=block&enabled=1&traffic=http.request.host+%3D%3D+%22x%22&block_reason=no",
                json!({"name": "a", "action": "block", "filters": ["http"], "enabled": true,
                    "traffic": "http.request.host == \"x\"", "rule_settings": {"block_reason": "no"}}),
            ),
            (
                "name=a&action=redirect&redirect_target=https%3A%2F%2Fx.example%2F&redirect_preserve=1",
                json!({"name": "a", "action": "redirect", "filters": ["http"], "enabled": false,
                    "rule_settings": {"redirect": {"target_uri": "https://x.example/", "preserve_path_and_query": true}}}),
            ),
            (
                "name=a&action=allow&set_headers=X-A%3A+1%0D%0AX-A%3A+2&mon=08%3A00-12%3A00",
                json!({"name": "a", "action": "allow", "filters": ["http"], "enabled": false, "schedule": {"mon": "08:00-12:00"},
                    "rule_settings": {"set_headers": {"X-A": ["1", "2"]}}}),
            ),
            (
                "name=a&action=worker&worker_script=w&worker_cpu_ms=5&worker_timeout_ms=soon&expires_at=2026-01-02T03%3A04",
                json!({"name": "a", "action": "worker", "filters": ["http"], "enabled": false,
                    "expiration": {"expires_at": "2026-01-02T03:04:00Z"},
                    "rule_settings": {"worker": {"script": "w", "cpu_ms": 5, "timeout_ms": "soon"}}}),
            ),
        ] {
            let draft = build(&Fields::parse(form.as_bytes()), &Map::new());
            assert_eq!(Value::Object(draft.document), expected);
            assert!(draft.problems.is_empty());
        }
    }

    #[test]
    fn what_the_form_does_not_show_survives_an_edit() {
        let stored = object(json!({
            "id": "x", "name": "old", "action": "block", "filters": ["http"],
            "rule_settings": {"payload_log": {"enabled": true}, "block_reason": "old"},
        }));
        assert_eq!(other_settings(&stored), "{\n  \"payload_log\": {\n    \"enabled\": true\n  }\n}");
        let form = "name=new&action=block&settings_json=%7B%22payload_log%22%3A%7B%22enabled%22%3Atrue%7D%7D";
        let draft = build(&Fields::parse(form.as_bytes()), &stored);
        assert_eq!(draft.document["rule_settings"], json!({"payload_log": {"enabled": true}}));
        assert_eq!(draft.document.get("id"), None);
    }

    #[test]
    fn a_secret_that_is_not_typed_again_stays() {
        let stored = object(
            json!({"rule_settings": {"managed": {"template": "risk-api", "parameters": {"token": {"secret": true}}}}}),
        );
        let form = "name=a&action=managed&template=risk-api&p.risk-api.url=https%3A%2F%2Frisk.example%2F";
        let draft = build(&Fields::parse(form.as_bytes()), &stored);
        assert_eq!(draft.document["rule_settings"]["managed"]["parameters"]["token"], json!({"secret": true}));
        assert!(draft.problems.is_empty());
        let again = build(&Fields::parse(format!("{form}&p.risk-api.token=t").as_bytes()), &stored);
        assert_eq!(again.document["rule_settings"]["managed"]["parameters"]["token"], "t");
    }

    #[test]
    fn what_cannot_be_read_or_does_not_fit_is_pointed_at() {
        for (form, expected) in [
            (
                "action=allow&set_headers=nonsense&settings_json=%5B",
                vec!["/rule_settings/other", "/rule_settings/set_headers"],
            ),
            ("action=managed&template=risk-api", vec!["/rule_settings/managed/parameters/url"]),
            ("action=managed&template=risk-api&p.risk-api.url=here", vec!["/rule_settings/managed/parameters/url"]),
            ("action=managed&template=risk-api&p.risk-api.url=https%3A%2F%2Fx.example%2F", vec![]),
        ] {
            let draft = build(&Fields::parse(form.as_bytes()), &Map::new());
            let pointers: Vec<_> = draft.problems.iter().filter_map(|problem| problem.pointer.as_deref()).collect();
            assert_eq!(pointers, expected, "{form}");
        }
    }
}
