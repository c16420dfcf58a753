//! The second factor that an application or a policy asks for, as their forms have it: as wider settings say, none, or one
//! of some kinds that was proved lately enough.
//!
//! Invariant: what the form does not show (models of keys, a provider's own factor) stays as it is, and a choice that
//! would ask for nothing is refused rather than read as "none".

use maud::{Markup, html};
use serde_json::{Map, Value, json};

use super::organization::FACTORS;
use crate::failure::Problem;
use crate::pages::control::{Control, Problems};
use crate::pages::fields::Fields;

const MEMBER: &str = "mfa_config";
const MODES: [(&str, &str); 3] = [("", ""), ("required", "Ask for one"), ("off", "Ask for none")];

/// A choice as it is typed or stored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Choice {
    /// One of [`MODES`]; empty follows wider settings.
    mode: String,
    kinds: Vec<String>,
    freshness: String,
}

/// Reads the choice of a stored document.
pub(super) fn stored(members: &Map<String, Value>) -> Choice {
    let all = || FACTORS.iter().map(|(word, _)| (*word).to_owned()).collect();
    let Some(config) = members.get(MEMBER).filter(|config| config.is_object()) else {
        return Choice { kinds: all(), ..Choice::default() };
    };
    let allowed = config["allowed_authenticators"].as_array();
    let off = config["mfa_disabled"] == true || allowed.is_some_and(Vec::is_empty);
    let listed = allowed.map(|allowed| allowed.iter().filter_map(Value::as_str).map(str::to_owned).collect());
    Choice {
        mode: if off { "off" } else { "required" }.to_owned(),
        kinds: listed.filter(|kinds: &Vec<String>| !kinds.is_empty()).unwrap_or_else(all),
        freshness: config["session_duration"].as_str().unwrap_or_default().to_owned(),
    }
}

/// Reads the choice of a form; `None` for a form that did not show it.
pub(super) fn typed(fields: &Fields) -> Option<Choice> {
    let mode = fields.find("mfa")?.to_owned();
    let kinds = fields.all("factor").map(str::to_owned).collect();
    Some(Choice { mode, kinds, freshness: fields.get("mfa_session_duration").to_owned() })
}

/// Writes a choice into a document.
pub(super) fn write(members: &mut Map<String, Value>, choice: &Choice, problems: &mut Vec<Problem>) {
    if choice.mode.is_empty() {
        members.remove(MEMBER);
        return;
    }
    let mut config = members.remove(MEMBER).filter(Value::is_object).unwrap_or_else(|| json!({}));
    let off = choice.mode == "off";
    config["mfa_disabled"] = if off { true.into() } else { Value::Null };
    if choice.kinds.is_empty() && !off {
        let pointer = Some(format!("/{MEMBER}/allowed_authenticators"));
        problems.push(Problem { message: "tick at least one kind, or ask for none".to_owned(), pointer });
    }
    // An empty list is how a document says "none".
    config["allowed_authenticators"] = if choice.kinds.is_empty() { Value::Null } else { json!(choice.kinds) };
    let freshness = choice.freshness.as_str();
    config["session_duration"] = if freshness.is_empty() { Value::Null } else { freshness.into() };
    members.insert(MEMBER.to_owned(), config);
}

/// Draws the choice; `wider` says what holds where none is made here.
pub(super) fn draw(choice: &Choice, wider: &str, problems: Problems<'_>) -> Markup {
    let modes = MODES.map(|(word, text)| (word, if word.is_empty() { wider } else { text }));
    let kinds = problems.at("/mfa_config/allowed_authenticators");
    html! {
        fieldset.choice {
            legend { "Second factor" }
            (Control::new("mfa", "At sign-in").problems(problems.at("/mfa_config/mfa_disabled")).select(&modes, &choice.mode))
            div.boxes role="group" aria-label="Kinds that count" {
                @for (word, name) in FACTORS { label { input type="checkbox" name="factor" value=(word) checked[choice.kinds.iter().any(|kind| kind == word)]; span { (name) } } }
            }
            @for problem in kinds { p.problem { (problem) } }
            (Control::new("mfa_session_duration", "A proof counts for").mono().hint("Such as 30m. 0m asks at every login; empty: 24h. Both hold where one is asked for here.").problems(problems.at("/mfa_config/session_duration")).input("text", &choice.freshness))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, Value, json};

    use super::{stored, typed, write};
    use crate::pages::fields::Fields;

    fn members(config: &Value) -> Map<String, Value> {
        json!({"mfa_config": config}).as_object().cloned().unwrap_or_default()
    }

    #[test]
    fn a_choice_is_written_as_it_is_shown_and_what_is_not_shown_stays() {
        for (before, form, after) in [
            (json!(null), "mfa=&factor=totp", json!(null)),
            (json!({"allowed_authenticators": ["totp"]}), "mfa=&factor=totp", json!(null)),
            (
                json!({"required_aaguids": "list"}),
                "mfa=required&factor=totp&factor=security_key&mfa_session_duration=30m",
                json!({"required_aaguids": "list", "mfa_disabled": null, "allowed_authenticators": ["totp", "security_key"],
                    "session_duration": "30m"}),
            ),
            (
                json!({"mfa_disabled": true}),
                "mfa=required&factor=biometrics&mfa_session_duration=",
                json!({"mfa_disabled": null, "allowed_authenticators": ["biometrics"], "session_duration": null}),
            ),
            (
                json!({"allowed_authenticators": ["totp"]}),
                "mfa=off&mfa_session_duration=",
                json!({"mfa_disabled": true, "allowed_authenticators": null, "session_duration": null}),
            ),
        ] {
            let (mut document, mut problems) = (members(&before), Vec::new());
            write(&mut document, &typed(&Fields::parse(form.as_bytes())).unwrap(), &mut problems);
            assert_eq!(document.get("mfa_config").cloned().unwrap_or_default(), after, "{form}");
            assert!(problems.is_empty(), "{form}");
        }
    }

    #[test]
    fn a_stored_choice_is_shown_as_it_counts() {
        let all = ["totp", "biometrics", "security_key"].map(str::to_owned);
        for (config, mode, kinds) in [
            (json!(null), "", &all[..]),
            (json!({}), "required", &all[..]),
            (json!({"allowed_authenticators": ["totp"]}), "required", &all[..1]),
            (json!({"allowed_authenticators": []}), "off", &all[..]),
            (json!({"mfa_disabled": true, "allowed_authenticators": ["totp"]}), "off", &all[..1]),
        ] {
            let choice = stored(&members(&config));
            assert_eq!((choice.mode.as_str(), choice.kinds.as_slice()), (mode, kinds), "{config}");
        }
    }

    #[test]
    fn asking_for_a_factor_of_no_kind_is_refused() {
        let (mut document, mut problems) = (Map::new(), Vec::new());
        write(&mut document, &typed(&Fields::parse(b"mfa=required")).unwrap(), &mut problems);
        assert_eq!(problems[0].pointer.as_deref(), Some("/mfa_config/allowed_authenticators"));
        assert_eq!(typed(&Fields::parse(b"factor=totp")), None, "a form that did not show the choice makes none");
    }
}
