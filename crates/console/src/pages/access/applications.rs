//! Applications: the list, the form that publishes one, and one with its policies in order.
//!
//! Invariant: a refused form keeps what was typed; members that the forms do not show keep their value.

use axum::extract::Path;
use maud::{Markup, html};
use serde_json::{Map, Value, json};
use store::Permission;
use types::ApplicationId;

use super::factors;
use super::page_choice::{self, Choices};
use super::policies;
use super::selectors::{HINT, Names};
use super::{at, head};
use crate::failure::{Failure, Problem};
use crate::operations::access::{AccessView, applications, organization};
use crate::pages::control::{Control, Problems, button, csrf};
use crate::pages::fields::Fields;
use crate::pages::frame::{self, Place, confirm, empty, refused_form, title};
use crate::pages::visitor::{Submission, Visitor};
use crate::pages::{Page, format, go, id};

/// Serves `GET /access`.
pub(in crate::pages) async fn page(visitor: Visitor) -> Page {
    let all = applications::list(&visitor.cx).await?;
    let may_write = visitor.may(Permission::AccessWrite);
    let publish = html! { @if may_write { a.button.primary href="/access/new" { "Publish an application" } } };
    let body = html! {
        (head(&visitor, "applications", &publish))
        @if all.is_empty() { (empty("Nothing is published yet.", &html! { "Name a host, where its requests go and who may enter; people sign in at its address within a second." })) }
        @else {
            label.finder { span { "Find" } input type="search" data-filter data-narrows="#applications" autocomplete="off"; }
            table.cards id="applications" {
                thead { tr { th scope="col" { "Application" } th scope="col" { "Address" } th scope="col" { "Requests go to" } th scope="col" { "Policies" } th scope="col" { "Changed" } } }
                tbody { @for app in &all { (row(app)) } }
            }
        }
    };
    Ok(frame::page(&visitor, Place::Access, "Applications", &body))
}

fn row(app: &AccessView) -> Markup {
    let policies = app.0.get("policies").and_then(Value::as_array);
    html! {
        tr {
            td data-label="Application" { a.strong href={ "/access/apps/" (app.text("id")) } { (app.text("name")) } " " span.badge.plain { (kind(app)) } }
            td data-label="Address" { @if let Some(domain) = domain(app) { code { (domain) } } }
            td data-label="Requests go to" { code { (at(app, "portunus/origin/url")) } }
            td data-label="Policies" {
                @match policies {
                    Some(policies) if policies.is_empty() => { span.badge.bad { "nobody may enter" } }
                    Some(policies) => { (format::count(policies.len() as u64)) }
                    None => { span.muted { "a link needs none" } }
                }
            }
            td data-label="Changed" { (format::day(app.text("updated_at"))) }
        }
    }
}

fn kind(app: &AccessView) -> &'static str {
    match app.text("type") {
        "bookmark" => "link",
        "app_launcher" => "launcher",
        "mcp" => "MCP server",
        "mcp_portal" => "MCP portal",
        _ => "web",
    }
}

pub(super) fn domain(app: &AccessView) -> Option<&str> {
    let first = app.0.get("destinations").and_then(|all| all.pointer("/0/uri")).and_then(Value::as_str);
    Some(app.text("domain")).filter(|domain| !domain.is_empty()).or(first)
}

/// Serves `GET /access/new`, with `?type=` for what is no web application.
pub(in crate::pages) async fn new_page(visitor: Visitor) -> Page {
    let names = Names::load(&visitor).await?;
    let base = base(&visitor).await;
    let kind = Kind::named(visitor.query.get("type"));
    let body = wizard(&visitor, &names, &base, (kind, &Fields::default()), Problems::NONE);
    Ok(frame::page(&visitor, Place::Access, kind.title(), &body))
}

/// What the wizard makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Web,
    Link,
    Launcher,
}

impl Kind {
    const ALL: [Self; 3] = [Self::Web, Self::Link, Self::Launcher];

    /// Reads the `type` of an application; without one it is a web application.
    fn named(word: &str) -> Self {
        Self::ALL.into_iter().find(|kind| kind.word() == word).unwrap_or(Self::Web)
    }

    const fn word(self) -> &'static str {
        match self {
            Self::Web => "self_hosted",
            Self::Link => "bookmark",
            Self::Launcher => "app_launcher",
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Web => "Web application",
            Self::Link => "Link",
            Self::Launcher => "Launcher",
        }
    }

    const fn title(self) -> &'static str {
        match self {
            Self::Web => "Publish an application",
            Self::Link => "Add a link",
            Self::Launcher => "Open the launcher",
        }
    }

    const fn lead(self) -> &'static str {
        match self {
            Self::Web => {
                "What it is called, where its requests go and who may enter. Everything else can be changed later."
            }
            Self::Link => "A tile of the launcher that leads elsewhere. Nothing stands in front of where it leads.",
            Self::Launcher => {
                "The page at the sign-in host with a tile for everything that somebody may enter. There is one."
            }
        }
    }

    const fn verb(self) -> &'static str {
        match self {
            Self::Web => "Publish",
            Self::Link => "Add",
            Self::Launcher => "Open",
        }
    }
}

/// The domain that addresses of applications are suggested in: the one people sign in at.
async fn base(visitor: &Visitor) -> String {
    const DEFAULT: &str = "localhost";
    if !visitor.may(Permission::IdentityRead) {
        return DEFAULT.to_owned();
    }
    let domain = organization::get(&visitor.cx).await.map(|stored| stored.text("auth_domain").to_owned());
    domain.ok().and_then(|host| Some(host.split_once('.')?.1.to_owned())).unwrap_or_else(|| DEFAULT.to_owned())
}

/// The address that is suggested for a name: its letters and digits as one label.
fn suggestion(name: &str, base: &str) -> String {
    let mut label = String::new();
    for letter in name.to_lowercase().chars() {
        match letter {
            'a'..='z' | '0'..='9' => label.push(letter),
            _ if !label.is_empty() && !label.ends_with('-') => label.push('-'),
            _ => {}
        }
    }
    let label = label.trim_end_matches('-');
    let label: String = label.chars().take(63).collect();
    format!("{}.{base}", if label.is_empty() { "app" } else { label.trim_end_matches('-') })
}

fn wizard(
    visitor: &Visitor,
    names: &Names,
    base: &str,
    (kind, fields): (Kind, &Fields),
    problems: Problems<'_>,
) -> Markup {
    html! {
        p.crumbs { a href="/access" { "Access" } " / New" }
        (title(kind.title(), kind.lead(), &html! {}))
        nav.tabs aria-label="What to make" {
            @for other in Kind::ALL {
                a href={ "/access/new?type=" (other.word()) } aria-current=[(other == kind).then_some("page")] { (other.name()) }
            }
        }
        (problems.summary())
        form.sheet method="post" action="/access" {
            (csrf(&visitor.csrf))
            input type="hidden" name="type" value=(kind.word());
            @match kind {
                Kind::Web => {
                    (Control::new("name", "Name").required().placeholder("Wiki").problems(problems.at("/name")).input("text", fields.get("name")))
                    (where_it_is(base, fields, problems))
                    (who_may_enter(visitor, names, fields, problems))
                }
                Kind::Link => {
                    (Control::new("name", "Name").required().placeholder("Holiday calendar").problems(problems.at("/name")).input("text", fields.get("name")))
                    div.row {
                        (Control::new("domain", "Leads to").required().mono().placeholder("https://calendar.example.com/team").problems(problems.at("/domain")).input("text", fields.get("domain")))
                        (Control::new("logo_url", "Picture").mono().placeholder("https://example.com/calendar.svg").hint("Empty: the first letter of the name.").problems(problems.at("/logo_url")).input("text", fields.get("logo_url")))
                    }
                }
                Kind::Launcher => {
                    (Control::new("name", "Name").required().problems(problems.at("/name")).input("text", fields.find("name").unwrap_or("Launcher")))
                    (who_may_enter(visitor, names, fields, problems))
                }
            }
            div.actions { button.primary type="submit" { (kind.verb()) } a.button.quiet href="/access" { "Cancel" } }
        }
    }
}

fn where_it_is(base: &str, fields: &Fields, problems: Problems<'_>) -> Markup {
    let example = suggestion("Wiki", base);
    let hint = format!("The host people open. Empty: the name below {base}, such as {example}.");
    html! {
        div.row {
            (Control::new("origin", "Requests go to").required().mono().placeholder("http://10.0.0.5:8080").hint("http, https or unix:/path; requests keep their own path.").problems(problems.at("/portunus/origin")).input("text", fields.get("origin")))
            (Control::new("domain", "Address").mono().placeholder(&example).hint(&hint).problems(problems.at("/domain")).input("text", fields.get("domain")))
        }
    }
}

fn who_may_enter(visitor: &Visitor, names: &Names, fields: &Fields, problems: Problems<'_>) -> Markup {
    let colleagues = visitor.email.split_once('@').map(|(_, domain)| format!("@{domain}")).unwrap_or_default();
    let include = fields.find("include").unwrap_or(&colleagues);
    html! {
        (Control::new("include", "Who may enter").required().mono().placeholder("@example.com").hint(HINT).problems(problems.at("/policies")).area(3, include))
        (sign_in_boxes(names, &|id| fields.all("provider").any(|chosen| chosen == id)))
    }
}

fn sign_in_boxes(names: &Names, chosen: &dyn Fn(&str) -> bool) -> Markup {
    html! {
        @if names.providers().is_empty() {
            p.hint { "There is no identity provider yet; " a href="/access/providers" { "add one" } " so that people can sign in." }
        } @else {
            fieldset.choice {
                legend { "Sign in with" }
                div.boxes { @for (id, name) in names.providers() { label { input type="checkbox" name="provider" value=(id) checked[chosen(id)]; span { (name) } } } }
                p.hint { "None ticked means any of them." }
            }
        }
    }
}

/// Serves `POST /access`.
pub(in crate::pages) async fn create(submission: Submission) -> Page {
    let Submission { visitor, fields } = submission;
    let kind = Kind::named(fields.get("type"));
    let names = Names::load(&visitor).await?;
    let base = base(&visitor).await;
    let mut problems = Vec::new();
    let document = document(kind, &names, &base, &fields, &mut problems);
    let made = if problems.is_empty() {
        applications::create(&visitor.cx, &document).await
    } else {
        Err(Failure::invalid_many(problems))
    };
    match (made, kind) {
        (Ok(app), Kind::Web) => go(&format!("/access/apps/{}/published", app.text("id"))),
        (Ok(app), Kind::Link | Kind::Launcher) => go(&format!("/access/apps/{}?note=created", app.text("id"))),
        (Err(failure), _) => {
            let body = wizard(&visitor, &names, &base, (kind, &fields), Problems::of(&failure));
            Ok(refused_form(&visitor, Place::Access, kind.title(), &failure, &body))
        }
    }
}

/// The document of what the wizard makes.
fn document(kind: Kind, names: &Names, base: &str, fields: &Fields, problems: &mut Vec<Problem>) -> Value {
    let mut document = json!({"type": kind.word(), "name": fields.get("name")});
    if kind == Kind::Link {
        document["domain"] = fields.get("domain").into();
        document["logo_url"] = fields.text("logo_url").map_or(Value::Null, Value::from);
        return document;
    }
    let include = names.read("/policies", &fields.lines("include"), problems);
    if include.is_empty() && problems.is_empty() {
        problems.push(Problem { message: "say who may enter".to_owned(), pointer: Some("/policies".to_owned()) });
    }
    document["allowed_idps"] = fields.all("provider").collect();
    document["policies"] = json!([{"name": "Who may enter", "decision": "allow", "include": include}]);
    if kind == Kind::Web {
        document["domain"] = fields.text("domain").unwrap_or_else(|| suggestion(fields.get("name"), base)).into();
        document["portunus"] = json!({"origin": {"url": fields.get("origin")}});
    }
    document
}

/// Serves `GET /access/apps/{id}`.
pub(in crate::pages) async fn app_page(visitor: Visitor, Path(app): Path<String>) -> Page {
    let app = applications::get(&visitor.cx, id(&app, "application")?).await?;
    let names = Names::load(&visitor).await?;
    let body = draw(&visitor, &names, &app, None, Problems::NONE).await?;
    Ok(frame::page(&visitor, Place::Access, app.text("name"), &body))
}

async fn draw(
    visitor: &Visitor,
    names: &Names,
    app: &AccessView,
    typed: Option<&Fields>,
    problems: Problems<'_>,
) -> Result<Markup, Failure> {
    let path = format!("/access/apps/{}", app.text("id"));
    let may_write = visitor.may(Permission::AccessWrite);
    let web = app.text("type") == "self_hosted";
    let pages = Choices::load(visitor).await?;
    let actions = html! {
        @if may_write {
            @if web { (button(&format!("{path}/revoke"), &visitor.csrf, "quiet", &html! { "End every session" }, &[])) }
            a.button.quiet href={ (path) "/delete" } { "Delete" }
        }
        @if web { a.button href={ (path) "/published" } { "Open and check" } }
    };
    Ok(html! {
        p.crumbs { a href="/access" { "Access" } " / " (app.text("name")) }
        (title(app.text("name"), domain(app).unwrap_or_default(), &actions))
        (problems.summary())
        @if app.0.contains_key("policies") { (policies::section(visitor, names, app).await?) }
        @if may_write { (settings(visitor, (names, &pages), app, &path, typed, problems)) }
        @if web {
            section {
                h2 { "For whoever writes the application" }
                p { "Every request carries a signed token in " code { "Cf-Access-Jwt-Assertion" } ". Its audience is:" }
                pre.code data-copy { (app.text("aud")) }
            }
        }
    })
}

fn settings(
    visitor: &Visitor,
    (names, pages): (&Names, &Choices),
    app: &AccessView,
    path: &str,
    typed: Option<&Fields>,
    problems: Problems<'_>,
) -> Markup {
    let of = |field: &str, stored: &str| typed.and_then(|fields| fields.find(field)).unwrap_or(stored).to_owned();
    // What stands for a portal or a server is made with that, not here.
    let kind = kind_of(app);
    let portal = app.text("type") == "mcp_portal";
    let address = if kind == Some(Kind::Link) { "Leads to" } else { "Address" };
    let session_duration = html! {
        (Control::new("session_duration", "A session lasts").mono().hint("Such as 24h or 30m.").problems(problems.at("/session_duration")).input("text", &of("session_duration", app.text("session_duration"))))
    };
    let allowed = app.0.get("allowed_idps").and_then(Value::as_array);
    let chosen = |id: &str| match typed {
        Some(fields) => fields.all("provider").any(|chosen| chosen == id),
        None => allowed.is_some_and(|allowed| allowed.iter().any(|known| known.as_str() == Some(id))),
    };
    let factor = typed.and_then(factors::typed).unwrap_or_else(|| factors::stored(&app.0));
    let page = |kind: &str, field: &str| of(field, &pages.first(app.0.get("custom_pages"), kind));
    let ticked = |field: &str, stored: bool| typed.map_or(stored, |fields| fields.ticked(field));
    let flag = |name: &str| app.0.get(name).and_then(Value::as_bool).unwrap_or(false);
    let markdown = app.0.get("portunus").and_then(|ours| ours["markdown"].as_bool()).unwrap_or(false);
    html! {
        h2 { "Settings" }
        form.sheet method="post" action=(path) {
            (csrf(&visitor.csrf))
            div.row {
                (Control::new("name", "Name").required().problems(problems.at("/name")).input("text", &of("name", app.text("name"))))
                // The launcher stands at the sign-in host.
                @if matches!(kind, Some(Kind::Web | Kind::Link)) { (Control::new("domain", address).mono().problems(problems.at("/domain")).input("text", &of("domain", domain(app).unwrap_or_default()))) }
                @if kind == Some(Kind::Link) { (Control::new("logo_url", "Picture").mono().problems(problems.at("/logo_url")).input("text", &of("logo_url", app.text("logo_url")))) }
            }
            @if portal {
                (session_duration)
                (sign_in_boxes(names, &chosen))
                (agents(app, typed, problems))
            }
            @if kind == Some(Kind::Launcher) {
                (Control::new("session_duration", "A session lasts").mono().hint("Such as 24h or 30m.").problems(problems.at("/session_duration")).input("text", &of("session_duration", app.text("session_duration"))))
                (sign_in_boxes(names, &chosen))
            }
            @if kind == Some(Kind::Web) {
                div.row {
                    (Control::new("origin", "Requests go to").mono().problems(problems.at("/portunus/origin")).input("text", &of("origin", at(app, "portunus/origin/url"))))
                    (session_duration)
                }
                (sign_in_boxes(names, &chosen))
                (factors::draw(&factor, "As the organisation says", problems))
                (agents(app, typed, problems))
                (Control::new("markdown", "Markdown for agents").hint("Turns HTML into Markdown for clients that ask for text/markdown.").tick(ticked("markdown", markdown)))
            }
            @if kind != Some(Kind::Link) { (pages.draw("As the organisation has it", &page, problems)) }
            @if app.0.contains_key("app_launcher_visible") {
                (Control::new("app_launcher_visible", "Show it in the launcher").tick(ticked("app_launcher_visible", flag("app_launcher_visible"))))
            }
            div.actions { button.primary type="submit" { "Save" } }
        }
    }
}

/// Returns the kind of an application that is made here; `None` for one that stands for an MCP portal or server.
fn kind_of(app: &AccessView) -> Option<Kind> {
    (!stands_for_mcp(app)).then(|| Kind::named(app.text("type")))
}

/// Says whether an application has its address from the MCP portal or server it stands for.
fn stands_for_mcp(app: &AccessView) -> bool {
    matches!(app.text("type"), "mcp" | "mcp_portal")
}

/// Whether agents may get tokens here, and where their clients may be sent to with a code.
fn agents(app: &AccessView, typed: Option<&Fields>, problems: Problems<'_>) -> Markup {
    let config = app.0.get("oauth_configuration").filter(|config| !config.is_null());
    let on = config.is_some_and(|config| config["enabled"].as_bool().unwrap_or(true));
    let stored = config.and_then(|config| config["dynamic_client_registration"]["allowed_uris"].as_array());
    let stored: Vec<&str> = stored.into_iter().flatten().filter_map(Value::as_str).collect();
    let typed_uris = typed.and_then(|fields| fields.find("redirect_uris")).map(str::to_owned);
    let uris = typed_uris.unwrap_or_else(|| stored.join("\n"));
    let found = problems.at("/oauth_configuration");
    html! {
        (Control::new("oauth", "Agents may act for people").hint("Managed OAuth: an agent registers, the person signs in and consents, and the agent holds a token for this application alone.").tick(typed.map_or(on, |fields| fields.ticked("oauth"))))
        (Control::new("redirect_uris", "Where agents may be called back").mono().hint("One address on each line, such as https://claude.ai/api/mcp/auth_callback; the last part may be *. Programs on the person's own machine are allowed with it.").problems(found).area(3, &uris))
    }
}

/// Writes the switch for agents; what the form does not show stays as it is.
fn set_agents(members: &mut Map<String, Value>, fields: &Fields) {
    let stored = members.get("oauth_configuration").is_some_and(|config| !config.is_null());
    let on = fields.ticked("oauth");
    if !on && !stored {
        return;
    }
    if !stored {
        let registration = json!({"enabled": true, "allow_any_on_localhost": true, "allow_any_on_loopback": true});
        members.insert("oauth_configuration".to_owned(), json!({"dynamic_client_registration": registration}));
    }
    let config = &mut members["oauth_configuration"];
    config["enabled"] = on.into();
    let uris = fields.text("redirect_uris").unwrap_or_default();
    let uris: Vec<&str> = uris.lines().map(str::trim).filter(|uri| !uri.is_empty()).collect();
    config["dynamic_client_registration"]["allowed_uris"] = json!(uris);
}

/// Serves `POST /access/apps/{id}`.
pub(in crate::pages) async fn save(Path(app): Path<String>, submission: Submission) -> Page {
    let Submission { visitor, fields } = submission;
    let app: ApplicationId = id(&app, "application")?;
    let stored = applications::get(&visitor.cx, app).await?;
    let mut problems = Vec::new();
    let document = Value::Object(changed(&stored, &fields, &mut problems));
    let saved = if problems.is_empty() {
        applications::replace(&visitor.cx, app, &document).await
    } else {
        Err(Failure::invalid_many(problems))
    };
    match saved {
        Ok(_) => go(&format!("/access/apps/{app}?note=saved")),
        Err(failure) => {
            let names = Names::load(&visitor).await?;
            let body = draw(&visitor, &names, &stored, Some(&fields), Problems::of(&failure)).await?;
            Ok(refused_form(&visitor, Place::Access, stored.text("name"), &failure, &body))
        }
    }
}

fn changed(stored: &AccessView, fields: &Fields, problems: &mut Vec<Problem>) -> Map<String, Value> {
    let kind = kind_of(stored);
    let mut members = stored.0.clone();
    // What is not sent stays as it is.
    members.remove("policies");
    members.insert("name".to_owned(), fields.get("name").into());
    // A destination that was written in the longer form goes on being the first of its list.
    let longer = members.get("destinations").is_some_and(|all| all.pointer("/0/uri").is_some());
    // The address of a portal or server is changed where that is.
    let elsewhere = stands_for_mcp(stored);
    if !elsewhere && longer && stored.text("domain").is_empty() {
        members["destinations"][0]["uri"] = fields.get("domain").into();
    } else if !elsewhere && kind != Some(Kind::Launcher) {
        members.insert("domain".to_owned(), fields.get("domain").into());
    }
    if members.contains_key("app_launcher_visible") {
        members.insert("app_launcher_visible".to_owned(), fields.ticked("app_launcher_visible").into());
    }
    if kind == Some(Kind::Link) {
        members.insert("logo_url".to_owned(), fields.text("logo_url").map_or(Value::Null, Value::from));
        return members;
    }
    let portal = stored.text("type") == "mcp_portal";
    if portal || kind.is_some() {
        members.insert("session_duration".to_owned(), fields.get("session_duration").into());
        members.insert("allowed_idps".to_owned(), fields.all("provider").collect());
    }
    if page_choice::sent(fields) {
        members.insert("custom_pages".to_owned(), page_choice::typed(fields));
    }
    if portal {
        set_agents(&mut members, fields);
    }
    if kind == Some(Kind::Web) {
        let ours = members.entry("portunus").or_insert_with(|| json!({}));
        ours["markdown"] = fields.ticked("markdown").into();
        match fields.text("origin") {
            Some(url) => ours["origin"]["url"] = url.into(),
            // Nobody has said yet where requests go, or they no longer go anywhere.
            None => ours["origin"] = Value::Null,
        }
        set_agents(&mut members, fields);
        if let Some(choice) = factors::typed(fields) {
            factors::write(&mut members, &choice, problems);
        }
    }
    members
}

/// Serves `POST /access/apps/{id}/revoke`.
pub(in crate::pages) async fn revoke(Path(app): Path<String>, form: Submission) -> Page {
    let app: ApplicationId = id(&app, "application")?;
    applications::revoke_tokens(&form.visitor.cx, app).await?;
    go(&format!("/access/apps/{app}?note=ended"))
}

/// Serves `GET /access/apps/{id}/delete`.
pub(in crate::pages) async fn confirm_delete(visitor: Visitor, Path(app): Path<String>) -> Page {
    let app = applications::get(&visitor.cx, id(&app, "application")?).await?;
    let path = format!("/access/apps/{}", app.text("id"));
    let text = html! { p { strong { (app.text("name")) } " and the policies that are its alone go; its address answers nothing from then on." } };
    let act = format!("{path}/delete");
    Ok(confirm(&visitor, Place::Access, "Delete this application?", &text, (&act, "Delete the application"), &path))
}

/// Serves `POST /access/apps/{id}/delete`.
pub(in crate::pages) async fn delete(Path(app): Path<String>, form: Submission) -> Page {
    applications::delete(&form.visitor.cx, id(&app, "application")?).await?;
    go("/access?note=deleted")
}

#[cfg(test)]
mod tests {
    use super::suggestion;

    #[test]
    fn an_address_is_suggested_from_the_name() {
        for (name, address) in [
            ("Wiki", "wiki.example.com"),
            ("Team Wiki (internal)", "team-wiki-internal.example.com"),
            ("Büro", "b-ro.example.com"),
            ("--", "app.example.com"),
            ("", "app.example.com"),
        ] {
            assert_eq!(suggestion(name, "example.com"), address, "{name}");
        }
        assert!(suggestion(&"x".repeat(200), "example.com").len() < 80);
    }
}
