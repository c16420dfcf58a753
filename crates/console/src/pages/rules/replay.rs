//! Replays recorded traffic under the rule that is being written: what would change, for whom, with the records.
//!
//! The comparison is the policy engine's; this asks the operation that the API asks and draws its report. Invariant: what
//! is partial, not certain or not recorded is said to be so beside the numbers.

use maud::{Markup, html};
use policy::replay::{Example, InForce, MissingFact, Ranking, Ruling, Transition};
use serde_json::Value;

use super::trial::draft_of;
use crate::failure::Failure;
use crate::operations::replay::{self, ChangeAction, ReplayBody, ReplayView, RuleChange};
use crate::pages::control::{Control, Problems, csrf};
use crate::pages::fields::Fields;
use crate::pages::frame::{self, Place, fragment, refused_form, title};
use crate::pages::visitor::{Submission, Visitor};
use crate::pages::{Page, format, go};

/// How far back a replay may look.
const PERIODS: [(&str, &str); 5] = [
    ("1h", "The last hour"),
    ("24h", "The last day"),
    ("7d", "The last week"),
    ("30d", "The last 30 days"),
    ("90d", "The last 90 days"),
];
const USUAL: &str = "7d";
/// How long a page may take; the API and the command line have more time.
const SECONDS: u64 = 20;
/// Records that a page looks at.
const RECORDS: u64 = 500_000;

/// The part of the editor that leads here: for the draft, and for the stored rule taken out of force.
pub(super) fn panel(stored: bool) -> Markup {
    html! {
        fieldset.replay {
            legend { "Replay" }
            p.hint { "Holds the draft against the traffic of the past and says what would have been decided differently, and for whom. Nothing is saved." }
            div.row.request {
                (Control::new("period", "Period").select(&PERIODS, USUAL))
                div.actions {
                    button type="submit" formaction="/rules/replay" data-partial="#replayed" data-busy="Replaying…" { "Replay this draft" }
                    @if stored {
                        button.quiet type="submit" formaction="/rules/replay" name="without" value="1" data-partial="#replayed" data-busy="Replaying…" { "Replay without this rule" }
                    }
                }
            }
            div id="replayed" aria-live="polite" {}
        }
    }
}

/// Serves `GET /rules/replay`: what was drafted is not in the address, so there is nothing to show.
pub(in crate::pages) async fn page(_: Visitor) -> Page {
    go("/rules")
}

/// Serves `POST /rules/replay`, from the editor and from its own page.
pub(in crate::pages) async fn run(submission: Submission) -> Page {
    let Submission { visitor, fields } = submission;
    let partial = fields.ticked("partial");
    match replayed(&visitor, &fields).await {
        Ok((asked, view)) if partial => Ok(fragment(html! { (result(&view)) (again_link(&asked)) })),
        Ok((asked, view)) => {
            let body = html! { (heading(&asked)) (result(&view)) (again(&visitor, &asked)) };
            Ok(frame::page(&visitor, Place::Rules, "Replay", &body))
        }
        Err(failure) if partial => Ok(fragment(Problems::of(&failure).plain())),
        Err(failure) => {
            let body = html! { (heading(&Asked::default())) (Problems::of(&failure).plain()) };
            Ok(refused_form(&visitor, Place::Rules, "Replay", &failure, &body))
        }
    }
}

/// What was asked, so that it can be asked again.
#[derive(Default)]
struct Asked {
    draft: Value,
    period: String,
    without: bool,
}

impl Asked {
    fn rule(&self) -> Option<&str> {
        self.draft.get("id").and_then(Value::as_str)
    }
}

async fn replayed(visitor: &Visitor, fields: &Fields) -> Result<(Asked, ReplayView), Failure> {
    let period = PERIODS.iter().find(|(word, _)| *word == fields.get("period")).map_or(USUAL, |(word, _)| word);
    let draft = draft_of(visitor, fields).await?.ok_or_else(|| {
        Failure::invalid("/draft", "there is no draft to replay; open a rule, or write one, and replay it from there")
    })?;
    let asked = Asked { draft, period: period.to_owned(), without: fields.ticked("without") };
    let mut body = ReplayBody {
        since: Some(period.to_owned()),
        seconds: Some(SECONDS),
        limit: Some(RECORDS),
        ..ReplayBody::default()
    };
    match asked.rule().filter(|_| asked.without) {
        Some(rule) => body.change = Some(RuleChange { rule_id: rule.to_owned(), action: ChangeAction::Disable }),
        None => body.rule = Some(asked.draft.clone()),
    }
    let prepared = replay::prepare(&visitor.cx, body).await.map_err(about_the_draft)?;
    let view = replay::run(&visitor.cx, prepared, |_| {}).await?;
    Ok((asked, view))
}

/// Faults are the draft's, which is all that the form holds.
fn about_the_draft(mut failure: Failure) -> Failure {
    for problem in &mut failure.problems {
        if let Some(pointer) = &mut problem.pointer {
            *pointer = pointer.strip_prefix("/rule").unwrap_or(pointer).to_owned();
        }
    }
    failure
}

fn heading(asked: &Asked) -> Markup {
    let name = asked.draft.get("name").and_then(Value::as_str).filter(|name| !name.is_empty());
    let lead = match (name, asked.without) {
        (Some(name), true) => format!("The traffic of the past without the rule “{name}”. Nothing is saved."),
        (Some(name), false) => format!("The traffic of the past with your draft of “{name}”. Nothing is saved."),
        (None, _) => "The traffic of the past under a draft of the rules. Nothing is saved.".to_owned(),
    };
    html! {
        p.crumbs { a href="/rules" { "Rules" } " / Replay" }
        (title("Replay", &lead, &html! { @if let Some(rule) = asked.rule() { a.button href={ "/rules/" (rule) } { "To the stored rule" } } }))
    }
}

fn again(visitor: &Visitor, asked: &Asked) -> Markup {
    html! {
        form.sheet method="post" action="/rules/replay" {
            (csrf(&visitor.csrf))
            input type="hidden" name="draft" value=(asked.draft);
            @if asked.without { input type="hidden" name="without" value="1"; }
            (Control::new("period", "Period").select(&PERIODS, &asked.period))
            div.actions { button.primary type="submit" { "Replay again" } }
            p.hint { "Your draft is kept here. Go back in the browser to go on writing it." }
        }
    }
}

fn again_link(asked: &Asked) -> Markup {
    let period = PERIODS.iter().find(|(word, _)| *word == asked.period).map_or("", |(_, text)| text);
    html! { p.muted { (period) @if asked.without { ", without this rule" } ". Choose another period above to replay it again." } }
}

fn result(view: &ReplayView) -> Markup {
    let report = &view.report;
    let records = report.records;
    html! {
        section.result.replay id="result" {
            h2 {
                @if records.scanned == 0 { "No traffic was recorded in that period" }
                @else if records.changed == 0 && records.undecided == 0 { "Nothing would change" }
                @else if records.changed == 0 { "Nothing would change for certain" }
                @else { (format::plural(records.changed, "decision", "decisions")) " would change" }
            }
            p.muted { "From " (format::time(&view.reached)) " to " (format::time(&view.until)) " UTC." }
            @if !view.complete {
                p.notice {
                    strong { "This is a part of the period." }
                    @if view.stopped_by == Some("limit") { " The number of records reached its bound, " } @else { " Time ran out, " }
                    "so what lies before " (format::time(&view.reached)) " was not looked at. The API and " code { "portunus replay" } " have more time."
                }
            }
            dl.figures {
                div { dt { "Looked at" } dd { (format::count(records.scanned)) } }
                div { dt { "Would change" } dd { (format::count(records.changed)) } }
                div { dt { "Would not" } dd { (format::count(records.unchanged)) @if records.other_rule > 0 { small { (format::count(records.other_rule)) " by another rule" } } } }
                div { dt { "Not recorded well enough" } dd { (format::count(records.undecided)) } }
                @if records.set_aside > 0 { div { dt { "No rule is asked" } dd { (format::count(records.set_aside)) } } }
            }
            @if records.changed == 0 && records.decided_by_draft > 0 {
                p { "The draft would decide " (format::plural(records.decided_by_draft, "record", "records")) ", to the same effect as before." }
            }
            @for rule in &view.broken_rules {
                p.notice.bad { "“" (rule["name"].as_str().unwrap_or_default()) "” does not compile and took no part." }
            }
            (transitions(&report.transitions, report.transitions_exact))
            @if records.changed > 0 {
                div.rankings {
                    (ranking("Who would meet it", "person", &report.people))
                    (ranking("Where", "host", &report.hosts))
                    @if !report.applications.top.is_empty() { (ranking("Applications", "", &report.applications)) }
                }
            }
            (unknown(&report.unknown, &report.undecided_examples))
            (in_force(&report.in_force))
        }
    }
}

fn ruling(ruling: Option<&Ruling>) -> Markup {
    html! {
        @match ruling {
            None => span.muted { "not certain" },
            Some(ruling) => {
                (format::verdict(&ruling.action))
                @match (&ruling.rule_id, &ruling.rule_name) {
                    (Some(id), Some(name)) => { " by " a href={ "/rules/" (id) } { (name) } },
                    (_, Some(name)) => { " by " (name) },
                    _ => { " " span.muted { "no rule" } },
                }
            }
        }
    }
}

fn transitions(all: &[Transition], exact: bool) -> Markup {
    html! {
        @if !all.is_empty() {
            h3 { "What would change" }
            table.cards.changes {
                thead { tr { th scope="col" { "From" } th scope="col" { "To" } th scope="col" { "Records" } th scope="col" { "People" } } }
                tbody {
                    @for (place, one) in all.iter().enumerate() {
                        tr {
                            td data-label="From" { (ruling(one.from.as_ref())) }
                            td data-label="To" { (ruling(one.to.as_ref())) }
                            td data-label="Records" { (format::count(one.records)) }
                            td data-label="People" { @if !one.people_exact { "at least " } (format::count(one.people as u64)) }
                        }
                        tr.examples { td colspan="4" { details open[place == 0] { summary { "Newest examples" } (examples(&one.examples)) } } }
                    }
                }
            }
            @if !exact { p.muted { "There are more kinds of change than are told apart here." } }
        }
    }
}

fn examples(all: &[Example]) -> Markup {
    html! {
        ul.feed {
            @for one in all {
                li {
                    (format::time(&one.at))
                    span.muted { (one.person) }
                    a href={ "/activity/" (one.dataset) "/" (one.id) } { @if !one.method.is_empty() { (one.method) " " } (one.target) }
                    @if let Some(current) = &one.current { span { "then " (ruling(Some(&one.recorded))) ", today " (ruling(Some(current))) } }
                    @if !one.unknown.is_empty() { span.muted { "hangs on " @for fact in &one.unknown { code { (fact) } " " } } }
                }
            }
        }
    }
}

fn ranking(name: &str, filter: &str, ranking: &Ranking) -> Markup {
    let most = ranking.top.first().map_or(1, |one| one.records);
    let link = |value: &str| {
        let query = url::form_urlencoded::Serializer::new(String::new()).append_pair(filter, value).finish();
        format!("/activity?{query}")
    };
    html! {
        section.ranking {
            h3 { (name) " " small.muted { @if !ranking.exact { "at least " } (ranking.distinct) } }
            ol {
                @for one in &ranking.top {
                    li {
                        // What stands in parentheses is no name that could be looked for.
                        @if filter.is_empty() || one.name.starts_with('(') { span { (one.name) } } @else { a href=(link(&one.name)) title=(one.name) { (one.name) } }
                        b { (format::count(one.records)) }
                        (chart::share(one.records, most))
                    }
                }
            }
        }
    }
}

fn unknown(facts: &[MissingFact], undecided: &[Example]) -> Markup {
    html! {
        @if !facts.is_empty() {
            h3 { "What is not recorded" }
            p { "Whether these would change hangs on facts that the log does not tell. They are counted apart and not guessed." }
            dl.facts {
                @for one in facts {
                    div { dt { code { (one.fact) } } dd { (format::plural(one.records, "record", "records")) ": " (one.why) "." } }
                }
            }
            details { summary { "Newest examples" } (examples(undecided)) }
        }
    }
}

fn in_force(found: &InForce) -> Markup {
    html! {
        @if found.differs > 0 {
            h3 { "Then and today" }
            p {
                (format::plural(found.differs, "record was", "records were")) " decided otherwise at the time than the rules in force would today: they, or what they depend on, have changed since. "
                "The changes above are counted from the rules of today."
            }
            details { summary { "Newest examples" } (examples(&found.examples)) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::about_the_draft;
    use crate::failure::Failure;

    #[test]
    fn a_fault_of_the_draft_is_told_without_where_the_draft_stood() {
        let failure = about_the_draft(Failure::invalid("/rule/traffic", "unknown field"));
        assert_eq!(failure.problems[0].pointer.as_deref(), Some("/traffic"));
    }
}
