//! The organisation: its name and look at sign-in, how long sessions last, second factors, signing keys.
//!
//! Invariant: a refused form keeps what was typed.

use maud::{Markup, html};
use serde_json::{Value, json};
use store::Permission;

use super::page_choice::{self, Choices};
use super::{at, head};
use crate::failure::Failure;
use crate::operations::access::{AccessView, keys, organization};
use crate::pages::control::{Control, Problems, button, csrf};
use crate::pages::fields::Fields;
use crate::pages::frame::{self, Place, refused_form};
use crate::pages::visitor::{Submission, Visitor};
use crate::pages::{Page, format, go};

pub(super) const FACTORS: [(&str, &str); 3] =
    [("totp", "Codes of an app"), ("biometrics", "The device itself"), ("security_key", "Security keys")];

/// Serves `GET /access/organization`.
pub(in crate::pages) async fn page(visitor: Visitor) -> Page {
    let body = draw(&visitor, None, Problems::NONE).await?;
    Ok(frame::page(&visitor, Place::Access, "Organisation", &body))
}

async fn draw(visitor: &Visitor, typed: Option<&Fields>, problems: Problems<'_>) -> Result<Markup, Failure> {
    let stored = organization::get(&visitor.cx).await?;
    let keys = keys::get(&visitor.cx).await?;
    let pages = Choices::load(visitor).await?;
    let may_write = visitor.may(Permission::IdentityWrite);
    let typed_days = typed.and_then(|fields| fields.find("key_rotation_interval_days"));
    let days = typed_days.map_or_else(|| keys.key_rotation_interval_days.to_string(), str::to_owned);
    let typed = typed.filter(|_| typed_days.is_none());
    Ok(html! {
        (head(visitor, "organization", &html! {}))
        (problems.summary())
        (form(visitor, (&stored, &pages), typed, problems, may_write))
        h2 { "Signing keys" }
        p {
            "Tokens for applications are signed with a key that changes every " (format::plural(u64::from(keys.key_rotation_interval_days), "day", "days")) ", next in " (format::plural(u64::try_from(keys.days_until_next_rotation).unwrap_or(0), "day", "days")) ". "
            @if let Some(at) = &keys.last_key_rotation_at { "It was last changed " (format::time(at)) "." } @else { "The first is made when it is needed." }
        }
        @if may_write {
            form.sheet method="post" action="/access/organization/keys" {
                (csrf(&visitor.csrf))
                (Control::new("key_rotation_interval_days", "Days between keys").required().hint("21 to 365.").problems(problems.at("/key_rotation_interval_days")).input("number", &days))
                div.actions { button type="submit" { "Save the interval" } }
            }
            (button("/access/organization/rotate", &visitor.csrf, "", &html! { "Change the key now" }, &[]))
        }
    })
}

fn form(
    visitor: &Visitor,
    (stored, pages): (&AccessView, &Choices),
    typed: Option<&Fields>,
    problems: Problems<'_>,
    may_write: bool,
) -> Markup {
    let of = |field: &str, pointer: &str| {
        typed.and_then(|fields| fields.find(field)).unwrap_or_else(|| at(stored, pointer)).to_owned()
    };
    let allowed = stored.0.get("mfa_config").and_then(|config| config["allowed_authenticators"].as_array());
    let chosen = |word: &str| match typed {
        Some(fields) => fields.all("factor").any(|factor| factor == word),
        None => allowed.is_some_and(|allowed| allowed.iter().any(|known| known.as_str() == Some(word))),
    };
    let required = stored.0.get("mfa_required_for_all_apps") == Some(&Value::Bool(true));
    let ours = stored.0.get("portunus").and_then(|ours| ours["log_allowed_per_mille"].as_u64()).unwrap_or_default();
    let typed_rate = typed.and_then(|fields| fields.find("log_allowed_per_mille"));
    let per_mille = typed_rate.map_or_else(|| ours.to_string(), str::to_owned);
    let page = |kind: &str, field: &str| of(field, &format!("custom_pages/{kind}"));
    let look = |member: &str| problems.at(&format!("/login_design/{member}"));
    html! {
        form.sheet method="post" action="/access/organization" {
            (csrf(&visitor.csrf))
            fieldset {
                legend { "Sign-in page" }
                div.row {
                    (Control::new("name", "Name").required().problems(problems.at("/name")).input("text", &of("name", "name")))
                    (Control::new("auth_domain", "People sign in at").required().mono().problems(problems.at("/auth_domain")).input("text", &of("auth_domain", "auth_domain")))
                }
                div.row {
                    (Control::new("header_text", "Headline").problems(look("header_text")).input("text", &of("header_text", "login_design/header_text")))
                    (Control::new("footer_text", "Below the form").problems(look("footer_text")).input("text", &of("footer_text", "login_design/footer_text")))
                }
                div.row {
                    (Control::new("background_color", "Background").mono().placeholder("#112233").problems(look("background_color")).input("text", &of("background_color", "login_design/background_color")))
                    (Control::new("text_color", "Text").mono().placeholder("#ffffff").problems(look("text_color")).input("text", &of("text_color", "login_design/text_color")))
                    (Control::new("logo_path", "Logo").mono().placeholder("https://example.com/logo.svg").problems(look("logo_path")).input("text", &of("logo_path", "login_design/logo_path")))
                }
            }
            fieldset {
                legend { "Sessions" }
                div.row {
                    (Control::new("session_duration", "A sign-in lasts").mono().hint("15m to a month.").problems(problems.at("/session_duration")).input("text", &of("session_duration", "session_duration")))
                    (Control::new("idle_timeout", "It ends when idle for").mono().hint("Empty: never.").problems(problems.at("/portunus/idle_timeout")).input("text", &of("idle_timeout", "portunus/idle_timeout")))
                }
            }
            (pages.draw("Ours", &page, problems))
            fieldset {
                legend { "Log" }
                (Control::new("log_allowed_per_mille", "Of a thousand requests that pass, record").hint("0 to 1000. Sign-ins and refusals are recorded all.").problems(problems.at("/portunus/log_allowed_per_mille")).input("number", &per_mille))
            }
            fieldset.choice {
                legend { "Second factors" }
                div.boxes { @for (word, name) in FACTORS { label { input type="checkbox" name="factor" value=(word) checked[chosen(word)]; span { (name) } } } }
                (Control::new("mfa_session_duration", "A proof counts for").mono().hint("0m asks at every login.").problems(problems.at("/mfa_config/session_duration")).input("text", &of("mfa_session_duration", "mfa_config/session_duration")))
                (Control::new("mfa_required_for_all_apps", "Ask for one at every application").problems(problems.at("/mfa_required_for_all_apps")).tick(typed.map_or(required, |fields| fields.ticked("mfa_required_for_all_apps"))))
            }
            @if may_write { div.actions { button.primary type="submit" { "Save" } } }
        }
    }
}

/// Serves `POST /access/organization`.
pub(in crate::pages) async fn save(submission: Submission) -> Page {
    let Submission { visitor, fields } = submission;
    let stored = organization::get(&visitor.cx).await?;
    match organization::put(&visitor.cx, &document(&stored, &fields)).await {
        Ok(_) => go("/access/organization?note=saved"),
        Err(failure) => {
            let body = draw(&visitor, Some(&fields), Problems::of(&failure)).await?;
            Ok(refused_form(&visitor, Place::Access, "Organisation", &failure, &body))
        }
    }
}

fn document(stored: &AccessView, fields: &Fields) -> Value {
    let text = |field: &str| fields.text(field).map_or(Value::Null, Value::from);
    let group = |name: &str| stored.0.get(name).filter(|group| group.is_object()).cloned().unwrap_or_else(|| json!({}));
    let mut design = group("login_design");
    for member in ["header_text", "footer_text", "background_color", "text_color", "logo_path"] {
        design[member] = text(member);
    }
    let mut ours = group("portunus");
    ours["idle_timeout"] = text("idle_timeout");
    ours["log_allowed_per_mille"] = fields.number("log_allowed_per_mille").unwrap_or_else(|| 0.into());
    let factors: Vec<&str> = fields.all("factor").collect();
    let mut mfa = group("mfa_config");
    mfa["session_duration"] = text("mfa_session_duration");
    mfa["allowed_authenticators"] = json!(factors);
    let mut document = json!({
        "name": fields.get("name"),
        "auth_domain": fields.get("auth_domain"),
        "session_duration": text("session_duration"),
        "login_design": design,
        "portunus": ours,
        "mfa_config": mfa,
        "mfa_required_for_all_apps": fields.ticked("mfa_required_for_all_apps"),
    });
    if page_choice::sent(fields) {
        let pages = page_choice::PLACES.map(|(kind, field, _)| (kind.to_owned(), text(field)));
        document["custom_pages"] = Value::Object(pages.into_iter().collect());
    }
    document
}

/// Serves `POST /access/organization/rotate`.
pub(in crate::pages) async fn rotate(form: Submission) -> Page {
    keys::rotate(&form.visitor.cx).await?;
    go("/access/organization?note=rotated")
}

/// Serves `POST /access/organization/keys`.
pub(in crate::pages) async fn set_interval(submission: Submission) -> Page {
    let Submission { visitor, fields } = submission;
    let days = fields.get("key_rotation_interval_days").parse();
    let wanted = days.map_err(|_| Failure::invalid("/key_rotation_interval_days", "must be 21 to 365"));
    let saved = match wanted {
        Ok(key_rotation_interval_days) => {
            keys::put(&visitor.cx, keys::Interval { key_rotation_interval_days }).await.map(drop)
        }
        Err(failure) => Err(failure),
    };
    match saved {
        Ok(()) => go("/access/organization?note=saved"),
        Err(failure) => {
            let body = draw(&visitor, Some(&fields), Problems::of(&failure)).await?;
            Ok(refused_form(&visitor, Place::Access, "Organisation", &failure, &body))
        }
    }
}
