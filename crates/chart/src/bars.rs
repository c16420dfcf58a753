//! Bars beside names: a ranking, with its parts and with what was there before.
//!
//! The drawing is stretched to the width it gets; names and numbers are text. Invariant: bars keep the order they are
//! given in, and the longest fills its place.

use maud::{Markup, html};

use crate::frame::Key;
use crate::write::{change, percent};
use crate::{Tone, Unit, frame};

/// One bar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bar {
    /// What it stands for.
    pub name: String,
    /// Where its name leads.
    pub link: Option<String>,
    /// Its parts, in the order of [`Bars::parts`].
    pub values: Vec<u64>,
    /// What it was in the period before.
    pub before: Option<u64>,
}

/// A ranking.
#[derive(Debug, Clone)]
pub struct Bars<'a> {
    /// What it shows.
    pub title: &'a str,
    /// What the values count.
    pub unit: Unit,
    /// The parts each bar has, with their colours.
    pub parts: Vec<(&'a str, Tone)>,
    /// The bars, the first on top.
    pub bars: Vec<Bar>,
}

/// Units of a bar's drawing across and upwards.
const WIDTH: u64 = 1_000;
const HEIGHT: u64 = 10;

impl Bar {
    fn total(&self) -> u64 {
        self.values.iter().fold(0, |sum, value| sum.saturating_add(*value))
    }
}

impl Bars<'_> {
    /// Draws it.
    #[must_use]
    pub fn draw(&self) -> Markup {
        if self.bars.is_empty() {
            return frame::nothing("bars", self.title);
        }
        let longest = self.bars.iter().map(|bar| bar.total().max(bar.before.unwrap_or(0))).max().unwrap_or(0);
        let several = self.parts.len() > 1;
        let compared = self.bars.iter().any(|bar| bar.before.is_some());
        let sum = |place: usize| {
            let values = self.bars.iter().filter_map(|bar| bar.values.get(place));
            self.unit.short(values.fold(0, |sum, value| sum.saturating_add(*value)))
        };
        let parts = self.parts.iter().enumerate().filter(|_| several);
        let parts = parts.map(|(place, (name, tone))| (*name, Key::Area(*tone), sum(place)));
        let legend = frame::legend(parts.chain(compared.then(|| ("before", Key::Before, String::new()))));
        let body = html! {
            ol.ranked { @for bar in &self.bars { (self.row(bar, longest)) } }
            @if several { (self.numbers()) }
        };
        frame::figure("bars", self.title, &legend, &body)
    }

    fn row(&self, bar: &Bar, longest: u64) -> Markup {
        let total = bar.total();
        html! {
            li {
                @match &bar.link {
                    Some(link) => a href=(link) title=(bar.name) { (bar.name) },
                    None => span tabindex="0" title=(bar.name) { (bar.name) },
                }
                svg viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } preserveAspectRatio="none" aria-hidden="true" focusable="false" {
                    title { (self.said(bar)) }
                    (self.drawn(bar, longest))
                }
                b { (self.unit.write(total)) }
                @if let Some(before) = bar.before { small { (change(total, before)) } }
            }
        }
    }

    fn drawn(&self, bar: &Bar, longest: u64) -> Markup {
        let mut through = 0_u64;
        let mut boxes = Vec::with_capacity(bar.values.len());
        for (value, (_, tone)) in bar.values.iter().zip(&self.parts) {
            let from = across(through, longest);
            through = through.saturating_add(*value);
            let width = across(through, longest) - from;
            if *value > 0 {
                // However small, it is there.
                boxes.push((tone.class(), from, width.max(4)));
            }
        }
        html! {
            @for (class, from, width) in boxes {
                rect class={ "fill " (class) } x=(from) width=(width) height=(HEIGHT) {}
            }
            @if let Some(before) = bar.before { path.before d={ "M" (across(before, longest)) " 0v" (HEIGHT) } {} }
        }
    }

    fn said(&self, bar: &Bar) -> String {
        let parts =
            bar.values.iter().zip(&self.parts).map(|(value, (name, _))| format!("{name} {}", self.unit.write(*value)));
        let before = bar.before.map(|before| format!("before {}", self.unit.write(before)));
        format!("{}: {}", bar.name, parts.chain(before).collect::<Vec<_>>().join(", "))
    }

    fn numbers(&self) -> Markup {
        let mut columns = vec!["Name"];
        columns.extend(self.parts.iter().map(|(name, _)| *name));
        columns.push("all");
        let rows = self.bars.iter().map(|bar| {
            let values = bar.values.iter().copied().chain([bar.total()]);
            (bar.name.as_str(), values.map(|value| self.unit.write(value)).collect())
        });
        frame::numbers(&columns, rows)
    }
}

fn across(value: u64, longest: u64) -> u64 {
    let place = u128::from(value) * u128::from(WIDTH) / u128::from(longest.max(1));
    u64::try_from(place).unwrap_or(WIDTH).min(WIDTH)
}

/// A small bar that shows a share of a whole, for use in lists and tables; what it says stands beside it.
#[must_use]
pub fn share(part: u64, whole: u64) -> Markup {
    let width = across(part.min(whole), whole).max(10);
    html! {
        svg.share viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } preserveAspectRatio="none" aria-hidden="true" focusable="false" {
            title { (percent(part, whole)) }
            rect.track width=(WIDTH) height=(HEIGHT) {}
            rect.fill.one width=(width) height=(HEIGHT) {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Bar, Bars};
    use crate::{Tone, Unit};

    fn bar(name: &str, values: &[u64], before: Option<u64>) -> Bar {
        Bar { name: name.to_owned(), link: None, values: values.to_vec(), before }
    }

    fn drawn(bars: Vec<Bar>) -> String {
        let parts = vec![("allowed", Tone::Four), ("blocked", Tone::Two)];
        Bars { title: "Applications", unit: Unit::Count, parts, bars }.draw().into_string()
    }

    #[test]
    fn the_longest_fills_its_place_and_parts_lie_side_by_side() {
        let page = drawn(vec![bar("A", &[60, 40], Some(50)), bar("B", &[10, 0], None)]);
        assert!(page.contains(r#"x="0" width="600""#) && page.contains(r#"x="600" width="400""#), "{page}");
        assert!(page.contains("M500 0v10") && page.contains("+100 %"), "{page}");
        assert!(page.contains("A: allowed 60, blocked 40, before 50"), "{page}");
    }

    #[test]
    fn values_beyond_all_bounds_and_none_at_all_can_be_drawn() {
        assert!(drawn(Vec::new()).contains("Nothing was recorded"));
        let page = drawn(vec![bar("<b>", &[u64::MAX, u64::MAX], Some(u64::MAX)), bar("none", &[0, 0], Some(0))]);
        assert!(page.contains("&lt;b&gt;") && !page.contains("<b>:"), "{page}");
        assert!(page.contains("no change"), "{page}");
    }
}
