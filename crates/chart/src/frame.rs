//! What stands around every chart: caption, legend, the numbers as a table, and what is said when there are none.
//!
//! Draws only. Invariant: a chart is a figure with a name, and its numbers can be opened as a table.

use maud::{Markup, html};

use crate::Tone;

/// Draws a figure.
pub(crate) fn figure(kind: &str, title: &str, legend: &Markup, body: &Markup) -> Markup {
    html! {
        figure class={ "chart " (kind) } {
            figcaption { span { (title) } (legend) }
            (body)
        }
    }
}

/// A figure without anything in it.
pub(crate) fn nothing(kind: &str, title: &str) -> Markup {
    figure(kind, title, &Markup::default(), &html! { p.nothing { "Nothing was recorded in this time." } })
}

/// What stands for a series in the legend.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Key {
    /// A filled area.
    Area(Tone),
    /// A line, with its dashes.
    Line(Tone),
    /// The period before.
    Before,
}

/// Names of what is drawn, each with its key and a number.
pub(crate) fn legend<'a>(entries: impl IntoIterator<Item = (&'a str, Key, String)>) -> Markup {
    html! {
        ul.legend {
            @for (name, key, number) in entries {
                li {
                    @match key {
                        Key::Area(tone) => span class={ "key " (tone.class()) } aria-hidden="true" {},
                        Key::Line(tone) => svg.key aria-hidden="true" { path class={ "line " (tone.class()) } d="M1 5h24" {} },
                        Key::Before => svg.key aria-hidden="true" { path.before d="M1 5h24" {} },
                    }
                    (name) @if !number.is_empty() { " " b { (number) } }
                }
            }
        }
    }
}

/// The numbers of a chart, for those who do not see it and those who want them exactly.
pub(crate) fn numbers<'a>(columns: &[&str], rows: impl IntoIterator<Item = (&'a str, Vec<String>)>) -> Markup {
    html! {
        details.numbers {
            summary { "Numbers" }
            div tabindex="0" {
                table {
                    thead { tr { @for column in columns { th { (column) } } } }
                    tbody {
                        @for (name, cells) in rows { tr { th { (name) } @for cell in cells { td { (cell) } } } }
                    }
                }
            }
        }
    }
}

/// A place that can be pointed at and reached with the arrow keys, with what is to be read there.
///
/// Radio buttons of one name are one stop of the tab key, and the arrows go from one to the next without a script.
pub(crate) fn place(group: &str, said: &Markup) -> Markup {
    html! { input type="radio" name=(group); span { (said) } }
}
