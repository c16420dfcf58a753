//! The settings of each action, shown by the stylesheet when the action is chosen.
//!
//! Draws the document's values. Invariant: every group says in its attribute which action it belongs to, so that the form
//! works without a script.

use maud::{Markup, html};
use serde_json::{Map, Value};
use worker::templates::{Parameter, ParameterKind, Template};

use super::document::{other_settings, parameter_field};
use crate::pages::control::{Control, Problems};
use crate::pages::record;

/// Reads one member of `rule_settings`.
struct Settings<'a>(Option<&'a Value>);

impl Settings<'_> {
    fn text(&self, pointer: &str) -> String {
        self.0.and_then(|settings| settings.pointer(pointer)).map(record::shown).unwrap_or_default()
    }

    fn flag(&self, pointer: &str) -> bool {
        self.0.and_then(|settings| settings.pointer(pointer)).and_then(Value::as_bool).unwrap_or(false)
    }

    fn lines(&self, pointer: &str) -> String {
        let items = self.0.and_then(|settings| settings.pointer(pointer)).and_then(Value::as_array);
        items.into_iter().flatten().map(record::shown).collect::<Vec<_>>().join("\n")
    }

    /// Headers as lines of `Name: value`.
    fn headers(&self, pointer: &str) -> String {
        let members = self.0.and_then(|settings| settings.pointer(pointer)).and_then(Value::as_object);
        let mut lines = Vec::new();
        for (name, values) in members.into_iter().flatten() {
            let one = std::slice::from_ref(values);
            let values = values.as_array().map_or(one, Vec::as_slice);
            lines.extend(values.iter().map(|value| format!("{name}: {}", record::shown(value))));
        }
        lines.join("\n")
    }
}

/// Every action's group.
pub(super) fn sections(document: &Map<String, Value>, workers: &[String], problems: Problems<'_>) -> Markup {
    let settings = Settings(document.get("rule_settings"));
    let group = |actions: &str, name: &str, body: &Markup| {
        html! { fieldset.when data-action=(actions) { legend { (name) } (body) } }
    };
    let other = other_settings(document);
    html! {
        (group("block", "Block page", &block(&settings, problems)))
        (group("redirect", "Redirect", &redirect(&settings, problems)))
        (group("allow", "Headers and certificates", &allow(&settings, problems)))
        (group("worker", "Worker", &worker(&settings, workers, problems)))
        (group("managed", "Managed action", &managed(&settings, problems)))
        (group("quarantine", "Quarantine", &Control::new("quarantine_types", "File types").hint("Separated by spaces: exe pdf doc docm docx rtf ppt pptx xls xlsm xlsx zip rar").problems(problems.at("/rule_settings/quarantine")).input("text", &settings.lines("/quarantine/file_types").replace('\n', " "))))
        details.fold open[!other.is_empty() || !problems.at("/rule_settings/other").is_empty()] {
            summary { "Other settings" }
            (Control::new("settings_json", "Members of rule_settings without a control, as JSON").mono().problems(problems.at("/rule_settings/other")).area(3, &other))
        }
    }
}

fn block(settings: &Settings<'_>, problems: Problems<'_>) -> Markup {
    html! {
        (Control::new("block_reason", "Reason shown to the person").problems(problems.at("/rule_settings/block_reason")).input("text", &settings.text("/block_reason")))
        (Control::new("block_target", "Show this page instead").hint("An address to redirect to, in place of the block page.").problems(problems.at("/rule_settings/block_page")).input("text", &settings.text("/block_page/target_uri")))
        (Control::new("block_context", "Tell that page about the request").tick(settings.flag("/block_page/include_context")))
        (Control::new("notify", "Ask for a notice on the device").hint("Without effect until there is a device client.").tick(settings.flag("/notification_settings/enabled")))
        div.row {
            (Control::new("notify_text", "Its text").problems(problems.at("/rule_settings/notification_settings/msg")).input("text", &settings.text("/notification_settings/msg")))
            (Control::new("notify_url", "Its help page").problems(problems.at("/rule_settings/notification_settings/support_url")).input("text", &settings.text("/notification_settings/support_url")))
        }
    }
}

fn redirect(settings: &Settings<'_>, problems: Problems<'_>) -> Markup {
    html! {
        (Control::new("redirect_target", "Target address").placeholder("https://…").problems(problems.at("/rule_settings/redirect")).input("text", &settings.text("/redirect/target_uri")))
        (Control::new("redirect_preserve", "Append the path and query that were asked for").tick(settings.flag("/redirect/preserve_path_and_query")))
        (Control::new("redirect_context", "Append what is known about the request").hint("As cf_user_email, cf_site_uri and so on.").tick(settings.flag("/redirect/include_context")))
    }
}

fn allow(settings: &Settings<'_>, problems: Problems<'_>) -> Markup {
    let untrusted = [
        ("", "As the account does"),
        ("error", "Show a page that explains"),
        ("block", "Block"),
        ("pass_through", "Pass through"),
    ];
    html! {
        (Control::new("set_headers", "Set request headers").hint("One a line, Name: value. Variables such as @{identity.email} are filled in.").mono().problems(problems.at("/rule_settings/set_headers")).area(2, &settings.headers("/set_headers")))
        (Control::new("add_headers", "Add request headers").mono().problems(problems.at("/rule_settings/add_headers")).area(2, &settings.headers("/add_headers")))
        (Control::new("delete_headers", "Remove request headers").hint("One name a line.").mono().problems(problems.at("/rule_settings/delete_headers")).area(2, &settings.lines("/delete_headers")))
        (Control::new("untrusted_cert", "When the origin's certificate is not trusted").problems(problems.at("/rule_settings/untrusted_cert")).select(&untrusted, &settings.text("/untrusted_cert/action")))
    }
}

fn worker(settings: &Settings<'_>, workers: &[String], problems: Problems<'_>) -> Markup {
    let chosen = settings.text("/worker/script");
    let mut names: Vec<&str> = workers.iter().map(String::as_str).collect();
    if !names.contains(&chosen.as_str()) {
        names.insert(0, &chosen);
    }
    let options: Vec<(&str, &str)> =
        names.into_iter().map(|name| (name, if name.is_empty() { "Choose…" } else { name })).collect();
    let on_error = [
        ("", "Block (default)"),
        ("block", "Block"),
        ("continue", "Go on with the rules after it"),
        ("allow", "Allow"),
    ];
    let number = |name: &'static str, label: &'static str, placeholder: &'static str, pointer: &str| {
        Control::new(name, label)
            .placeholder(placeholder)
            .problems(problems.at(&format!("/rule_settings{pointer}")))
            .input("text", &settings.text(pointer))
    };
    html! {
        div.row {
            (Control::new("worker_script", "Which Worker").problems(problems.at("/rule_settings/worker/script")).select(&options, &chosen))
            (Control::new("worker_on_error", "When it fails").problems(problems.at("/rule_settings/worker/on_error")).select(&on_error, &settings.text("/worker/on_error")))
        }
        div.row {
            (number("worker_timeout_ms", "Time limit, ms", "1000", "/worker/timeout_ms"))
            (number("worker_cpu_ms", "CPU limit, ms", "50", "/worker/cpu_ms"))
            (number("worker_memory_mb", "Memory limit, MiB", "32", "/worker/memory_mb"))
        }
        div.row {
            (Control::new("worker_cache_key", "Reuse its answer for equal").hint("Fields, separated by spaces: identity.email http.request.host").mono().problems(problems.at("/rule_settings/worker/cache/key")).input("text", &settings.lines("/worker/cache/key").replace('\n', " ")))
            (number("worker_cache_ttl", "For how long, seconds", "never", "/worker/cache/ttl_s"))
        }
        @if workers.is_empty() { p.hint { "There is no Worker yet. " a href="/workers/new" { "Write one" } "." } }
    }
}

fn managed(settings: &Settings<'_>, problems: Problems<'_>) -> Markup {
    let chosen = settings.text("/managed/template");
    html! {
        fieldset.choice {
            legend { "Which" }
            div.chips {
                @for template in worker::templates::all() {
                    label.chip { input type="radio" name="template" value=(template.name) checked[template.name == chosen]; span { (template.title) } }
                }
            }
            @for problem in problems.at("/rule_settings/managed/template") { p.problem { (problem) } }
        }
        @for template in worker::templates::all() { (parameters(template, settings, template.name == chosen, problems)) }
    }
}

fn parameters(template: &Template, settings: &Settings<'_>, chosen: bool, problems: Problems<'_>) -> Markup {
    html! {
        div.when data-template=(template.name) {
            p.hint { (template.description) }
            @for one in &template.parameters { (parameter(template, one, settings, chosen, problems)) }
        }
    }
}

fn parameter(
    template: &Template,
    one: &Parameter,
    settings: &Settings<'_>,
    chosen: bool,
    problems: Problems<'_>,
) -> Markup {
    let pointer = format!("/managed/parameters/{}", one.name);
    let stored = chosen.then(|| settings.0?.pointer(&pointer)).flatten();
    let value = stored.or(one.default.as_ref());
    let shown = value.map(record::shown).unwrap_or_default();
    let name = parameter_field(&template.name, &one.name);
    let title = if one.required { format!("{} (required)", one.title) } else { one.title.clone() };
    let found = if chosen { problems.at(&format!("/rule_settings{pointer}")) } else { Vec::new() };
    let control = Control::new(&name, &title).hint(&one.description).problems(found);
    match one.kind {
        ParameterKind::Boolean => control.tick(value.and_then(Value::as_bool).unwrap_or(false)),
        ParameterKind::List => {
            let lines: Vec<_> = value.and_then(Value::as_array).into_iter().flatten().map(record::shown).collect();
            control.area(3, &lines.join("\n"))
        }
        ParameterKind::Secret => {
            let text = if stored.is_some() { "Set; leave empty to keep it" } else { "" };
            control.placeholder(text).autocomplete("new-password").input("password", "")
        }
        ParameterKind::Text | ParameterKind::Number | ParameterKind::Url => control.input("text", &shown),
    }
}
