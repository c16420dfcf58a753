//! The block page, inspection and logging.
//!
//! Two operations keep these; one form shows them. Invariant: members of the configuration that have no control here are
//! left as they are.

use maud::{Markup, html};
use serde_json::{Value, json};

use super::head;
use crate::failure::Failure;
use crate::operations::configuration;
use crate::operations::logging::{self, ByRuleType, LoggingSettings, Recorded};
use crate::pages::Page;
use crate::pages::control::{Control, Problems, csrf};
use crate::pages::frame::{self, Place, refused_form};
use crate::pages::go;
use crate::pages::record;
use crate::pages::visitor::{Submission, Visitor};

/// Switches of the configuration: field, label, hint.
const SWITCHES: [(&str, &str, &str, &str); 4] = [
    ("tls_decrypt", "/tls_decrypt/enabled", "Inspect TLS", "Without it rules see host, address and person only."),
    (
        "email_matching",
        "/extended_email_matching/enabled",
        "Match variants of e-mail addresses",
        "ann+x@example.com counts as ann@example.com for every action.",
    ),
    ("fips", "/fips/tls", "Only FIPS cipher suites", "Fewer origins and clients can be reached."),
    ("activity_log", "/activity_log/enabled", "Record activity", "What the logging settings below choose."),
];

const TEXTS: [(&str, &str, &str); 8] = [
    ("name", "Name of the organisation", "text"),
    ("header_text", "Headline", "text"),
    ("footer_text", "Footer", "text"),
    ("logo_path", "Address of a logo", "url"),
    ("mailto_address", "Address for questions", "text"),
    ("mailto_subject", "Subject of questions", "text"),
    ("background_color", "Background, #rrggbb", "text"),
    ("target_uri", "Or redirect to this page", "url"),
];

/// Serves `GET /settings/gateway`.
pub(in crate::pages) async fn page(visitor: Visitor) -> Page {
    let settings = Value::Object(configuration::get(&visitor.cx).await?.settings);
    let recorded = logging::get(&visitor.cx).await?;
    let body = draw(&visitor, &settings, &recorded, Problems::NONE);
    Ok(frame::page(&visitor, Place::Settings, "Gateway", &body))
}

fn draw(visitor: &Visitor, settings: &Value, recorded: &LoggingSettings, problems: Problems<'_>) -> Markup {
    let flag = |pointer: &str| settings.pointer(pointer).and_then(Value::as_bool);
    let may_write = visitor.may(store::Permission::GatewayWrite);
    html! {
        (head("gateway"))
        (problems.summary())
        form.sheet method="post" action="/settings/gateway" {
            (csrf(&visitor.csrf))
            (block_page(settings, problems))
            fieldset {
                legend { "Inspection" }
                div.row { @for (name, pointer, label, hint) in SWITCHES {
                    @let options = [("", "Default"), ("on", "On"), ("off", "Off")];
                    @let chosen = match flag(pointer) { None => "", Some(true) => "on", Some(false) => "off" };
                    (Control::new(name, label).hint(hint).problems(problems.at(pointer)).select(&options, chosen))
                } }
            }
            fieldset {
                legend { "Logging" }
                (Control::new("redact", "Leave out who made a request").hint("Records hold no address, name or device of a person.").tick(recorded.redact_pii))
                div.row {
                    (Control::new("log_http", "Web requests").select(&RECORDED, word(&recorded.settings_by_rule_type.http)))
                    (Control::new("log_l4", "Connections").select(&RECORDED, word(&recorded.settings_by_rule_type.l4)))
                }
            }
            div.actions { button.primary type="submit" disabled[!may_write] { "Save" } }
        }
    }
}

fn block_page(settings: &Value, problems: Problems<'_>) -> Markup {
    let text = |name: &str| settings.pointer(&format!("/block_page/{name}")).map(record::shown).unwrap_or_default();
    html! {
        fieldset {
            legend { "Block page" }
            p.hint { "Shown to people whose request is blocked, with the rule's reason below it." }
            div.row.pairs-of-fields {
                @for (name, label, kind) in TEXTS {
                    @let field = format!("block_{name}");
                    @let pointer = format!("/settings/block_page/{name}");
                    (Control::new(&field, label).problems(problems.at(&pointer)).input(kind, &text(name)))
                }
            }
        }
    }
}

const RECORDED: [(&str, &str); 3] = [("all", "All"), ("blocks", "Only what is blocked"), ("none", "None")];

const fn word(recorded: &Recorded) -> &'static str {
    match (recorded.log_all, recorded.log_blocks) {
        (true, _) => "all",
        (false, true) => "blocks",
        (false, false) => "none",
    }
}

fn recorded(word: &str) -> Recorded {
    Recorded { log_all: word == "all", log_blocks: word == "blocks" }
}

/// Serves `POST /settings/gateway`.
pub(in crate::pages) async fn save(submission: Submission) -> Page {
    let Submission { visitor, fields } = submission;
    let mut settings = json!({});
    let mut block_page = json!({});
    for (name, ..) in TEXTS {
        // Null unsets, so an emptied field goes back to the default.
        block_page[name] = fields.text(&format!("block_{name}")).map_or(Value::Null, Value::from);
    }
    if block_page["target_uri"].is_string() {
        block_page["mode"] = json!("redirect_uri");
        block_page["enabled"] = json!(true);
    } else if block_page.as_object().is_some_and(|members| members.values().any(Value::is_string)) {
        block_page["mode"] = json!("customized_block_page");
        block_page["enabled"] = json!(true);
    } else {
        block_page["mode"] = Value::Null;
        block_page["enabled"] = Value::Null;
    }
    settings["block_page"] = block_page;
    for (name, pointer, ..) in SWITCHES {
        let mut parts = pointer.trim_start_matches('/').split('/');
        if let (Some(block), Some(member)) = (parts.next(), parts.next()) {
            settings[block] = json!({member: match fields.get(name) { "on" => json!(true), "off" => json!(false), _ => Value::Null }});
        }
    }
    let before = logging::get(&visitor.cx).await?;
    let wanted = LoggingSettings {
        redact_pii: fields.ticked("redact"),
        settings_by_rule_type: ByRuleType {
            http: recorded(fields.get("log_http")),
            l4: recorded(fields.get("log_l4")),
            dns: before.settings_by_rule_type.dns.clone(),
        },
    };
    match keep(&visitor, &settings, &before, &wanted).await {
        Ok(()) => go("/settings/gateway?note=saved"),
        Err(failure) => {
            let body = draw(&visitor, &settings, &wanted, Problems::of(&failure));
            Ok(refused_form(&visitor, Place::Settings, "Gateway", &failure, &body))
        }
    }
}

async fn keep(
    visitor: &Visitor,
    settings: &Value,
    before: &LoggingSettings,
    wanted: &LoggingSettings,
) -> Result<(), Failure> {
    configuration::merge(&visitor.cx, json!({"settings": settings})).await?;
    if wanted != before {
        logging::replace(&visitor.cx, wanted.clone()).await?;
    }
    Ok(())
}
