//! The fields an expression may name, beside the editor.
//!
//! Drawn from the policy engine's own tables, so it cannot drift from them. Invariant: a field nothing supplies yet says so.

use maud::{Markup, html};
use policy::Hook;
use policy::hook::Source;

/// The panel; the script narrows it and inserts what is chosen.
pub(super) fn panel() -> Markup {
    html! {
        aside.reference aria-label="Fields" {
            h2 { "Fields" }
            label.finder { span { "Find a field" } input type="search" data-filter data-narrows="#fields" placeholder="host, group, method…" autocomplete="off"; }
            div id="fields" {
                @for (hook, name) in [(Hook::Http, "Web requests"), (Hook::L4, "Connections")] {
                    details open[hook == Hook::Http] {
                        summary { (name) small { (hook.fields().table().len()) } }
                        ul { @for info in hook.fields().table() { (field(info)) } }
                    }
                }
            }
            details {
                summary { "Operators and functions" }
                dl.facts {
                    @for (what, example) in OPERATORS { div { dt { (what) } dd { code { (example) } } } }
                }
            }
        }
    }
}

const OPERATORS: [(&str, &str); 9] = [
    ("Equal, not equal", "http.request.method != \"GET\""),
    ("One of", "http.request.host in {\"a.example\" \"b.example\"}"),
    ("Any of a list", "any(identity.groups.name[*] == \"finance\")"),
    ("In a stored list", "any(http.request.domains[*] in $LIST-ID)"),
    ("Contains", "http.request.uri.path contains \"/upload\""),
    ("Regular expression", "http.request.uri matches \"/r/[a-z]+\""),
    ("Ranges", "http.conn.src_ip in {10.0.0.0/8}"),
    ("And, or, not", "not (a and b) or c"),
    ("Lower case", "lower(http.request.uri.path) == \"/a\""),
];

fn field(info: &policy::hook::FieldInfo) -> Markup {
    html! {
        li {
            div { button.name type="button" data-insert=(info.name) { code { (info.name) } } " " span.muted { (info.kind.to_string()) } @if info.ours { " " span.badge.plain { "ours" } } }
            p { @if !info.title.is_empty() { b { (info.title) } ". " } (info.documentation) }
            p.muted {
                @match info.source {
                    Source::Available => { "Known from the " (info.phase.describe()) "." },
                    Source::Later(what) => { span.badge.plain { "comes later" } " Waits for " (what) "; a rule that hangs on it does not match." },
                }
            }
            code.example { (info.example) }
        }
    }
}
