//! Draws the changes of a server's tools and prompts: tabs, a finder, the rows, and the form around them.

use maud::{Markup, PreEscaped, html};
use mcp::detector::spelled;
use mcp::pinning::KindWord;
use store::Permission;

use super::change::{Change, Typed};
use super::{Opened, ROWS, Which, at};
use crate::failure::Failure;
use crate::operations::mcp::overrides::{Changeable, ChangedState};
use crate::pages::control::{Problems, csrf};
use crate::pages::format;
use crate::pages::frame::{empty, title};
use crate::pages::visitor::Visitor;

/// Characters of a description that stand in a row.
const SAID: usize = 240;
const TABS: [(KindWord, &str); 4] = [
    (KindWord::Tool, "Tools"),
    (KindWord::Prompt, "Prompts"),
    (KindWord::Resource, "Resources"),
    (KindWord::ResourceTemplate, "Resource templates"),
];

/// What was typed and refused.
pub(super) type Refused<'a> = Option<(&'a [Typed], &'a Failure)>;

/// Draws the page, with what was typed where that was refused.
pub(super) fn page(visitor: &Visitor, opened: &Opened, which: &Which, refused: Refused<'_>) -> Markup {
    let problems = refused.map_or(Problems::NONE, |(_, failure)| Problems::of(failure));
    let path = opened.path();
    let server = format!("/agents/servers/{}", opened.server);
    html! {
        @match &opened.portal {
            Some(portal) => {
                p.crumbs { a href="/agents" { "Agents" } " / " a href={ "/agents/portals/" (portal.id) } { (portal.document.name) } " / " (opened.name) }
                (title(&format!("{} behind {}", opened.name, portal.document.name), "What this portal shows of the server. A change here comes before what is changed for every portal.", &html! {
                    a.button.quiet href={ (server) "/overrides" } { "Change it for every portal" }
                }))
            }
            None => {
                p.crumbs { a href="/agents" { "Agents" } " / " a href=(server) { (opened.name) } " / Tools and prompts" }
                (title(&format!("Tools and prompts of {}", opened.name), "What every portal shows of the server, unless it says otherwise itself.", &html! {}))
            }
        }
        @if let Some((_, failure)) = refused { (summary(failure)) }
        nav.tabs aria-label="What is shown" {
            @for (kind, name) in TABS {
                @let count = opened.all.iter().filter(|one| one.kind == kind).count();
                a href={ (path) "?kind=" (kind.as_str()) } aria-current=[(kind == which.kind).then_some("page")] { (name) " " span.muted { (count) } }
            }
        }
        form.finder method="get" action=(path) role="search" {
            input type="hidden" name="kind" value=(which.kind.as_str());
            label for="q" { "Names that hold" }
            input type="search" id="q" name="q" value=(which.part) autocomplete="off" autocapitalize="off" spellcheck="false";
            button type="submit" { "Search" }
        }
        @if opened.list(which.kind).is_some() { (changes(visitor, opened, which, refused, problems)) } @else { (resources(opened, which)) }
        (pages(opened, which))
    }
}

/// Every problem, with the name that it is about.
fn summary(failure: &Failure) -> Markup {
    let about = |pointer: &str| {
        let name = pointer.strip_prefix('/').and_then(|rest| rest.split('/').next()).unwrap_or_default();
        name.replace("~1", "/").replace("~0", "~")
    };
    html! {
        div.notice.bad role="alert" tabindex="-1" {
            strong { "Not saved." }
            ul { @for problem in &failure.problems {
                li { @if let Some(pointer) = &problem.pointer { code { (spelled(&about(pointer))) } " " } (problem.message) }
            } }
        }
    }
}

fn pages(opened: &Opened, which: &Which) -> Markup {
    let (path, count) = (opened.path(), which.all(opened).len());
    html! {
        @if count > ROWS {
            nav.pages aria-label="Pages" {
                @if which.page > 1 { a.button href={ (path) "?" (which.query(which.page - 1)) } { "Before" } }
                @if count > which.page.saturating_mul(ROWS) { a.button href={ (path) "?" (which.query(which.page + 1)) } { "Next" } }
                span.muted { "Page " (which.page) " of " (count.div_ceil(ROWS)) }
            }
        }
    }
}

fn nothing(which: &Which) -> Markup {
    html! {
        @if which.part.is_empty() { (empty("The server offers none.", &html! { "Ask it for what it offers on its page." })) }
        @else { (empty("No name holds this.", &html! {})) }
    }
}

fn changes(visitor: &Visitor, opened: &Opened, which: &Which, refused: Refused<'_>, problems: Problems<'_>) -> Markup {
    // What was refused is drawn as it was sent, whatever the server offers by then.
    let rows: Vec<&Changeable> = match refused {
        Some((typed, _)) => {
            let find = |row: &Typed| opened.all.iter().find(|one| one.kind == which.kind && one.name == row.name);
            typed.iter().filter(|row| !row.new).filter_map(find).collect()
        }
        None => which.shown(opened),
    };
    let typed = |name: &str| refused.and_then(|(typed, _)| typed.iter().find(|row| !row.new && row.name == name));
    let count = which.all(opened).len();
    let may_write = visitor.may(Permission::AccessWrite);
    html! {
        @if rows.is_empty() { (nothing(which)) }
        @if !may_write { (table(&rows, |_, one| cells(one, opened))) }
        @else {
            form.changes method="post" action=(opened.path()) {
                (csrf(&visitor.csrf))
                input type="hidden" name="kind" value=(which.kind.as_str());
                input type="hidden" name="q" value=(which.part);
                input type="hidden" name="page" value=(which.page);
                @if !rows.is_empty() { (table(&rows, |index, one| controls(index, one, opened, typed(&one.name), problems))) }
                (another(refused, problems))
                div.actions.sticky {
                    button.primary type="submit" { "Save" }
                    @if count > 1 {
                        @let all = if which.part.is_empty() { format!("all {count}") } else { format!("the {count} found") };
                        @for (word, verb) in [("show", "Show"), ("hide", "Hide")] { button type="submit" name="all" value=(word) { (verb) " " (all) } }
                        button.quiet type="submit" name="all" value="usual" { "Leave " (all) " as usual" }
                    }
                }
            }
        }
    }
}

fn table(rows: &[&Changeable], cells: impl Fn(usize, &Changeable) -> Markup) -> Markup {
    html! {
        table.cards.overrides {
            thead { tr { th scope="col" { "Name" } th scope="col" { "Seen" } th scope="col" { "Called" } th scope="col" { "Says" } } }
            tbody { @for (index, one) in rows.iter().enumerate() { tr.off[one.state != ChangedState::Shown] { (cells(index, one)) } } }
        }
    }
}

/// What a definition is and how it stands.
fn name(one: &Changeable, opened: &Opened) -> Markup {
    let (tone, words) = match one.state {
        ChangedState::Shown => ("calm", "shown"),
        ChangedState::Hidden => ("plain", "hidden"),
        ChangedState::Held => ("bad", "waits for approval"),
        ChangedState::Shadowed => ("bad", "another has its name"),
        ChangedState::Absent => ("plain", "not offered"),
    };
    let said: String = one.description.chars().take(SAID).collect();
    let more = if said.len() < one.description.len() { "…" } else { "" };
    html! {
        code.strong { (spelled(&one.name)) } " "
        @if one.state == ChangedState::Held { a.badge.bad href={ "/agents/servers/" (opened.server) "/definitions?state=waiting" } { (words) } }
        @else { span class={ "badge " (tone) } { (words) } }
        @if !said.is_empty() { div.said.muted { (spelled(&said)) (more) } }
    }
}

/// The row of somebody who may only look.
fn cells(one: &Changeable, opened: &Opened) -> Markup {
    let own = Change::of(&one.own);
    html! {
        td data-label="Name" { (name(one, opened)) }
        td data-label="Seen" { (own.enabled.map_or_else(|| usual(one), |on| word(on).to_owned())) }
        td data-label="Called" { code { (one.exposed) } }
        td data-label="Says" { (own.description.unwrap_or_else(|| "what the server says".to_owned())) }
    }
}

const fn word(on: bool) -> &'static str {
    if on { "Shown" } else { "Hidden" }
}

/// What holds where nothing is changed here.
fn usual(one: &Changeable) -> String {
    match one.beneath.enabled {
        Some(on) => format!("As for every portal: {}", word(on).to_lowercase()),
        None if one.usual => "As usual: shown".to_owned(),
        None => "As usual: hidden, for it may write".to_owned(),
    }
}

fn controls(index: usize, one: &Changeable, opened: &Opened, typed: Option<&Typed>, problems: Problems<'_>) -> Markup {
    let stands = Change::of(&one.own);
    let change = typed.map_or(&stands, |row| &row.change);
    let label = |what: &str| format!("{what}: {}", one.name);
    let found = |member: &str| problems.at(&at(&one.name, member));
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let beneath = Change::of(&one.beneath);
    html! {
        td data-label="Name" {
            input type="hidden" name={ "name." (index) } value=(one.name);
            input type="hidden" name={ "was." (index) } value=(stands.word());
            (name(one, opened))
            @for problem in found("name") { p.problem { (problem) } }
        }
        td data-label="Seen" {
            (seen(&index.to_string(), &label("Seen"), change.enabled, &usual(one)))
            @for problem in found("enabled") { p.problem { (problem) } }
        }
        td data-label="Called" {
            input.mono type="text" name={ "alias." (index) } value=(text(&change.alias)) placeholder=(beneath.alias.as_deref().unwrap_or(&one.name)) aria-label=(label("Called")) aria-invalid=[(!found("alias").is_empty()).then_some("true")] autocomplete="off" autocapitalize="off" spellcheck="false";
            @for problem in found("alias") { p.problem { (problem) } }
            p.hint { "Clients know it as " code { (spelled(&one.exposed)) } }
        }
        td data-label="Says" { (says(&index.to_string(), &label("Says"), &text(&change.description), beneath.description.as_deref(), &found("description"))) }
    }
}

fn seen(index: &str, label: &str, chosen: Option<bool>, usual: &str) -> Markup {
    html! {
        select name={ "enabled." (index) } aria-label=(label) {
            option value="" selected[chosen.is_none()] { (usual) }
            @for on in [true, false] { option value=(if on { "true" } else { "false" }) selected[chosen == Some(on)] { (word(on)) } }
        }
    }
}

fn says(index: &str, label: &str, text: &str, beneath: Option<&str>, found: &[&str]) -> Markup {
    html! {
        textarea name={ "description." (index) } rows="2" placeholder=(beneath.unwrap_or("What the server says")) aria-label=(label) aria-invalid=[(!found.is_empty()).then_some("true")] {
            // A first line break would be swallowed by the parser.
            (PreEscaped("\n")) (text)
        }
        @for problem in found { p.problem { (problem) } }
    }
}

/// The row for what the server does not offer yet.
fn another(refused: Refused<'_>, problems: Problems<'_>) -> Markup {
    let typed = refused.and_then(|(typed, _)| typed.iter().find(|row| row.new));
    let row = typed.map(|row| (row.name.as_str(), row.change.clone())).unwrap_or_default();
    let touched = typed.is_some_and(Typed::is_changed);
    let found = |member: &str| if touched { problems.at(&at(row.0, member)) } else { Vec::new() };
    html! {
        details.fold open[touched] {
            summary { "Something the server does not offer yet" }
            table.cards.overrides {
                thead { tr { th scope="col" { "Name" } th scope="col" { "Seen" } th scope="col" { "Called" } th scope="col" { "Says" } } }
                tbody { tr {
                    td data-label="Name" {
                        input.mono type="text" name="name.new" value=(row.0) aria-label="Name at the server" autocomplete="off" autocapitalize="off" spellcheck="false";
                        @for problem in found("name") { p.problem { (problem) } }
                    }
                    td data-label="Seen" { (seen("new", "Seen: the new name", row.1.enabled, "As usual")) @for problem in found("enabled") { p.problem { (problem) } } }
                    td data-label="Called" {
                        input.mono type="text" name="alias.new" value=(row.1.alias.as_deref().unwrap_or_default()) aria-label="Called: the new name" autocomplete="off" autocapitalize="off" spellcheck="false";
                        @for problem in found("alias") { p.problem { (problem) } }
                    }
                    td data-label="Says" { (says("new", "Says: the new name", row.1.description.as_deref().unwrap_or_default(), None, &found("description"))) }
                } }
            }
        }
    }
}

/// Resources are not changed one by one: the API has no such list.
fn resources(opened: &Opened, which: &Which) -> Markup {
    let owner = match &opened.portal {
        Some(portal) => format!("/agents/portals/{}", portal.id),
        None => format!("/agents/servers/{}", opened.server),
    };
    let rows = which.shown(opened);
    html! {
        p.hint { "Resources are hidden by " a href={ (owner) "/rules/new" } { "a rule" } " that asks for " code { "mcp.resource.uri" } ", such as " code { "starts_with(mcp.resource.uri, \"file:///\")" } ". Names and descriptions of resources do not change." }
        @if rows.is_empty() { (nothing(which)) } @else {
            table.cards {
                thead { tr { th scope="col" { "Name" } th scope="col" { "Clients know it as" } } }
                tbody { @for one in rows { tr.off[one.state != ChangedState::Shown] {
                    td data-label="Name" { (name(one, opened)) }
                    td data-label="Known as" { code { (spelled(&one.exposed)) } }
                } } }
            }
            p.muted { (format::plural(which.all(opened).len() as u64, "of this kind", "of this kind")) }
        }
    }
}
