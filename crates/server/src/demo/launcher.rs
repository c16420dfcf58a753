//! The demo's launcher: the wiki and two links, each with tags and a logo, under the colours of the demo company.
//!
//! Ordinary content like the rest of the demo. Invariant: settings of the organisation that somebody changed stay as they
//! are.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use identity::organization::DEFAULT_AUTH_DOMAIN;
use serde_json::{Value, json};
use store::{AccessPolicy, Application, Only, Organization, Principal, Store, Tag, WriteAccess, WriteIdentity};
use types::{AccessPolicyId, AccountId, ApplicationId};
use uuid::Uuid;

use super::sites::{FINANCE, LEARNING};
use super::{Credential, DemoError};

const LAUNCHER: ApplicationId = ApplicationId(Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0021));
const PEOPLE: AccessPolicyId = AccessPolicyId(Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0022));
const FINANCE_LINK: ApplicationId = ApplicationId(Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0023));
const LEARNING_LINK: ApplicationId = ApplicationId(Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0024));

/// What people filter by.
const TAGS: [&str; 3] = ["Everyday", "Money", "Learning"];
const COLOUR: &str = "#0f5c5c";

/// An open book, a stack of coins, and a mortarboard: paths in a square of 24.
const BOOK: &str = "M4 5.5c3-1 5.5-.7 8 1 2.5-1.7 5-2 8-1V18c-3-1-5.5-.7-8 1-2.5-1.7-5-2-8-1z M12 6.5V19";
const COINS: &str = "M4 7c0-3.5 16-3.5 16 0s-16 3.5-16 0v10c0 3.5 16 3.5 16 0V7 M4 12c0 3.5 16 3.5 16 0";
const CAP: &str = "M2.5 9.5 12 5l9.5 4.5L12 14z M6.5 11.5V16c2 2.3 9 2.3 11 0v-4.5 M21.5 9.5V15";

/// Draws a logo of one colour.
fn logo(colour: &str, path: &str) -> String {
    let drawing = format!(
        "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 48 48'><rect width='48' height='48' rx='11' \
         fill='{colour}'/><path transform='translate(9 9) scale(1.25)' d='{path}' fill='none' stroke='#fff' \
         stroke-width='1.7' stroke-linecap='round' stroke-linejoin='round'/></svg>"
    );
    format!("data:image/svg+xml;base64,{}", STANDARD.encode(drawing))
}

/// What the wiki adds to its own document to have a tile like the others.
pub(super) fn dress(wiki: &mut Value) {
    wiki["tags"] = json!(["Everyday"]);
    wiki["logo_url"] = logo(COLOUR, BOOK).into();
}

/// Writes what is missing.
///
/// # Errors
/// The store does not answer.
pub async fn load(store: &Store, principal: &Principal, account: AccountId) -> Result<(), DemoError> {
    let identity = principal.authorize::<WriteIdentity>(account)?;
    if store.organization().get(&identity, &Only).await?.is_none() {
        let body = json!({
            "name": "Acme", "auth_domain": DEFAULT_AUTH_DOMAIN,
            "login_design": { "background_color": COLOUR, "footer_text": "Acme help desk: extension 4357" },
        });
        store.organization().put(&identity, Only, Organization { body }).await?;
    }
    let grant = principal.authorize::<WriteAccess>(account)?;
    for tag in TAGS {
        let Ok(name) = tag.parse() else { continue };
        store.tags().put(&grant, name, Tag {}).await?;
    }
    let policy = json!({
        "name": "Whoever works at Acme", "decision": "allow",
        "include": [{ "email_domain": { "domain": "acme.test" } }],
    });
    let policy = AccessPolicy { name: "Whoever works at Acme".into(), application: Some(LAUNCHER), body: policy };
    store.access_policies().put(&grant, PEOPLE, policy).await?;
    let documents = [
        (
            LAUNCHER,
            json!({
                "type": "app_launcher", "name": "Acme launcher", "policies": [{ "id": PEOPLE, "precedence": 1 }],
                "bg_color": "#eef4f3", "header_bg_color": COLOUR,
                "landing_page_design": {
                    "title": "Welcome to Acme", "message": "The wiki, the books and the courses, behind one door.",
                    "button_color": COLOUR,
                },
                "footer_links": [{ "name": "Compliance training", "url": format!("https://{LEARNING}/compliance") }],
            }),
        ),
        (
            FINANCE_LINK,
            json!({
                "type": "bookmark", "name": "Acme Finance", "domain": format!("https://{FINANCE}/"),
                "tags": ["Money"], "logo_url": logo("#8a4b08", COINS),
            }),
        ),
        (
            LEARNING_LINK,
            json!({
                "type": "bookmark", "name": "Acme Learning", "domain": format!("https://{LEARNING}/"),
                "tags": ["Learning", "Everyday"], "logo_url": logo("#5b3fa8", CAP),
            }),
        ),
    ];
    for (id, body) in documents {
        if store.applications().get(&grant, &id).await?.is_some() {
            continue;
        }
        let name = body["name"].as_str().unwrap_or_default().to_owned();
        let aud = format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
        store.applications().put(&grant, id, Application { name, aud, body }).await?;
    }
    Ok(())
}

/// The command a newcomer pastes, with what to expect.
#[must_use]
pub fn commands(port: u16, authority: &str, people: &[Credential]) -> Vec<(String, String)> {
    let Some(ana) = people.first() else { return Vec::new() };
    let host = DEFAULT_AUTH_DOMAIN;
    let expectation = format!(
        "The launcher welcomes a stranger; in the same browser {} finds the wiki and two links in it, with search and tags",
        ana.person.email
    );
    let command = format!(
        "curl -s --cacert {authority} --resolve {host}:{port}:127.0.0.1 -H 'Accept: text/html' https://{host}:{port}/"
    );
    vec![(expectation, command)]
}
