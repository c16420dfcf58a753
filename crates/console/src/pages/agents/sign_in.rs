//! The fields of how Portunus signs in at a server with an address: nothing, a token or headers, or OAuth.
//!
//! Invariants: a credential is never on a page, and an empty box leaves the one that is stored; settings of an OAuth client
//! are sent only where they change, because a change signs everybody out.

use maud::{Markup, html};
use mcp::document::credentials::{AuthConfig, AuthMode, TokenAuthMethod};
use mcp::document::server::{AuthType, ServerDocument};
use serde_json::{Map, Value, json};

use crate::pages::control::{Control, Problems};
use crate::pages::fields::Fields;

/// What a server wants, with what it is called.
pub(super) const KINDS: [(AuthType, &str); 3] = [
    (AuthType::Unauthenticated, "Nothing"),
    (AuthType::Bearer, "A token or headers"),
    (AuthType::Oauth, "OAuth: people sign in themselves"),
];
/// How Portunus becomes a client, with what each says.
const MODES: [(&str, &str, &str); 3] = [
    (
        "",
        "By its own document, else registered",
        "Portunus shows the authorization server the portal's own document where that is taken, and registers itself otherwise.",
    ),
    (
        "dcr",
        "Always registered",
        "For portals that the authorization server cannot reach: Portunus registers itself there.",
    ),
    ("manual", "By hand", "You registered a client, and say here what the authorization server gave you."),
];
const METHODS: [(&str, &str); 4] = [
    ("", "Basic with a secret, none without"),
    (TokenAuthMethod::Basic.as_str(), "Basic: in a header"),
    (TokenAuthMethod::Post.as_str(), "Post: in the form"),
    (TokenAuthMethod::None.as_str(), "None: a public client"),
];
/// The addresses of an OAuth client, with what they are called; those that must be there first.
const ADDRESSES: [(&str, &str); 5] = [
    ("authorization_endpoint", "Authorization endpoint"),
    ("token_endpoint", "Token endpoint"),
    ("revocation_endpoint", "Revocation endpoint"),
    ("issuer", "Issuer"),
    ("resource", "Resource"),
];

/// Puts what was typed into a document: what signs in at a server of a kind, over the settings that stand.
pub(super) fn write(fields: &Fields, kind: AuthType, standing: Option<&AuthConfig>, document: &mut Map<String, Value>) {
    match kind {
        AuthType::Unauthenticated => {}
        AuthType::Bearer => {
            if let Some(credentials) = fields.text("auth_credentials") {
                document.insert("auth_credentials".to_owned(), credentials.into());
            }
        }
        AuthType::Oauth => {
            let typed = settings(fields);
            if !stands(&typed, standing) {
                // As a text, because a member that is `null` would clear itself.
                document.insert("auth_credentials".to_owned(), typed.to_string().into());
            }
            if fields.get("auth_mode") == "manual"
                && let Some(secret) = fields.text("client_secret")
            {
                document.insert("client_secret".to_owned(), secret.into());
            }
        }
    }
}

/// The settings of the OAuth client that was typed.
fn settings(fields: &Fields) -> Value {
    match fields.get("auth_mode") {
        "" => json!({"auth_mode": null}),
        "manual" => {
            let text = |name: &str| (name.to_owned(), Value::from(fields.get(name)));
            let said = |name: &&str| !fields.get(name).is_empty();
            let mut config: Map<String, Value> = ADDRESSES[..2].iter().map(|(name, _)| text(name)).collect();
            config.extend(ADDRESSES[2..].iter().map(|(name, _)| *name).filter(said).map(text));
            let mut registration = Map::from_iter([text("client_id")]);
            registration.extend(["scope", "token_endpoint_auth_method"].into_iter().filter(said).map(text));
            registration.insert("redirect_uris".to_owned(), fields.lines("redirect_uris").into());
            json!({"auth_mode": "manual", "config": config, "registration_info": registration})
        }
        mode => json!({"auth_mode": mode}),
    }
}

/// Tells whether settings are those that stand already.
fn stands(typed: &Value, standing: Option<&AuthConfig>) -> bool {
    let standing = standing.cloned().unwrap_or_default();
    let Ok(mut typed) = serde_json::from_value::<AuthConfig>(typed.clone()) else { return false };
    if typed.auth_mode != Some(AuthMode::Manual) {
        return typed.auth_mode == standing.auth_mode;
    }
    let mut standing = standing;
    for config in [&mut typed, &mut standing] {
        config.config.get_or_insert_default();
        config.registration_info.get_or_insert_default();
    }
    typed == standing
}

/// Draws the fields of every kind, of which the form shows those of the chosen one.
pub(super) fn choices(fields: &Fields, problems: Problems<'_>) -> Markup {
    let chosen = AuthType::named(fields.get("auth_type")).unwrap_or(AuthType::Unauthenticated);
    html! {
        fieldset.choice {
            legend { "It wants" }
            div.chips {
                @for (kind, name) in KINDS {
                    label.chip { input type="radio" name="auth_type" value=(kind.as_str()) checked[kind == chosen]; span { (name) } }
                }
            }
            @for problem in problems.at("/auth_type") { p.problem { (problem) } }
        }
        div.when data-auth_type="bearer" { (credentials(problems, "A token is sent as Authorization: Bearer. Headers: {\"headers\": {\"X-Api-Key\": \"…\"}}.")) }
        div.when data-auth_type="oauth" { (client(None, Some(fields), problems)) }
    }
}

/// Draws the fields of a server that stands.
pub(super) fn controls(document: &ServerDocument, typed: Option<&Fields>, problems: Problems<'_>) -> Markup {
    html! {
        @match document.auth_type {
            Some(AuthType::Bearer) => { (credentials(problems, "Empty: the one that is stored stays.")) }
            Some(AuthType::Oauth) => {
                (client(document.auth_config.as_ref(), typed, problems))
                p.hint { "A change of how Portunus is its client ends every sign-in at the server." }
            }
            Some(AuthType::Unauthenticated) | None => {}
        }
    }
}

fn credentials(problems: Problems<'_>, hint: &str) -> Markup {
    let found = problems.at("/auth_credentials");
    Control::new("auth_credentials", "Token, or headers as JSON")
        .mono()
        .hint(hint)
        .autocomplete("new-password")
        .problems(found)
        .input("password", "")
}

fn client(standing: Option<&AuthConfig>, typed: Option<&Fields>, problems: Problems<'_>) -> Markup {
    let standing = standing.cloned().unwrap_or_default();
    let stored = json!({
        "auth_mode": standing.auth_mode, "config": standing.config, "registration_info": standing.registration_info,
    });
    let value = |group: &str, name: &str| {
        let stored = if group.is_empty() { &stored[name] } else { &stored[group][name] };
        let typed = typed.and_then(|fields| fields.find(name));
        typed.unwrap_or_else(|| stored.as_str().unwrap_or_default()).to_owned()
    };
    let mode = value("", "auth_mode");
    let redirects = standing.registration_info.as_ref().map(|one| one.redirect_uris.join("\n")).unwrap_or_default();
    let redirects = typed.and_then(|fields| fields.find("redirect_uris")).map_or(redirects, str::to_owned);
    let known = standing.auth_mode == Some(AuthMode::Manual);
    let at = |member: &str| problems.at(&format!("/auth_credentials/{member}"));
    html! {
        fieldset.choice {
            legend { "Portunus is its client" }
            div.chips {
                @for (word, name, _) in MODES {
                    label.chip { input type="radio" name="auth_mode" value=(word) checked[word == mode]; span { (name) } }
                }
            }
            @for (word, _, says) in MODES { p.hint.when data-auth_mode=(if word.is_empty() { "none" } else { word }) { (says) } }
            @for problem in problems.exactly("/auth_credentials") { p.problem { (problem) } }
            @for problem in at("auth_mode") { p.problem { (problem) } }
        }
        div.when data-auth_mode="manual" {
            div.row {
                @for (name, label) in &ADDRESSES[..2] { (Control::new(name, label).mono().problems(at(&format!("config/{name}"))).input("text", &value("config", name))) }
            }
            div.row {
                (Control::new("client_id", "Client id").mono().problems(at("registration_info/client_id")).input("text", &value("registration_info", "client_id")))
                (Control::new("client_secret", "Client secret").mono().autocomplete("new-password").hint(if known { "Empty: the one that is stored stays." } else { "Empty for a public client. Sealed, never shown again." }).problems(problems.at("/client_secret")).input("password", ""))
                (Control::new("token_endpoint_auth_method", "It proves itself").problems(at("registration_info/token_endpoint_auth_method")).select(&METHODS, &value("registration_info", "token_endpoint_auth_method")))
            }
            div.row {
                @for (name, label) in &ADDRESSES[2..] { (Control::new(name, label).mono().problems(at(&format!("config/{name}"))).input("text", &value("config", name))) }
            }
            div.row {
                (Control::new("scope", "Scope").mono().hint("Words with spaces between them. Empty: what the server asks for.").problems(at("registration_info/scope")).input("text", &value("registration_info", "scope")))
                (Control::new("redirect_uris", "Redirect addresses").mono().hint("As they were registered, one on each line.").problems(at("registration_info/redirect_uris")).area(2, &redirects))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use mcp::document::credentials::AuthConfig;
    use mcp::document::server::AuthType;
    use serde_json::{Map, Value, json};

    use super::write;
    use crate::pages::fields::Fields;

    fn written(form: &str, standing: Option<&Value>) -> Map<String, Value> {
        let standing: Option<AuthConfig> = standing.map(|value| serde_json::from_value(value.clone()).unwrap());
        let mut document = Map::new();
        write(&Fields::parse(form.as_bytes()), AuthType::Oauth, standing.as_ref(), &mut document);
        document
    }

    #[test]
    fn settings_that_stand_are_not_sent_again() {
        let manual = "auth_mode=manual&authorization_endpoint=https://as.example/a&token_endpoint=https://as.example/t&client_id=portunus&scope=&issuer=&token_endpoint_auth_method=&redirect_uris=";
        let stored = json!({"auth_mode": "manual", "config": {"authorization_endpoint": "https://as.example/a", "token_endpoint": "https://as.example/t"}, "registration_info": {"client_id": "portunus"}});
        assert_eq!(written(manual, Some(&stored)), Map::new());
        assert_eq!(written("auth_mode=", None), Map::new());
        assert_eq!(written("auth_mode=dcr", Some(&json!({"auth_mode": "dcr"}))), Map::new());
        // Each of them is a change from another.
        for (form, standing) in [(manual, None), ("auth_mode=dcr", Some(&stored)), ("auth_mode=", Some(&stored))] {
            assert!(written(form, standing).contains_key("auth_credentials"), "{form}");
        }
        let other = manual.replace("scope=", "scope=mail");
        let sent = written(&other, Some(&stored))["auth_credentials"].clone();
        let sent: Value = serde_json::from_str(sent.as_str().unwrap()).unwrap();
        assert_eq!(sent["registration_info"], json!({"client_id": "portunus", "redirect_uris": [], "scope": "mail"}));
        assert_eq!(
            written(&format!("{manual}&client_secret=hush"), Some(&stored)),
            Map::from_iter([("client_secret".to_owned(), "hush".into())])
        );
    }
}
