//! Values over time: lines, stacked areas and columns, with what was there before for comparison.
//!
//! The drawing is stretched to the width it gets; everything with letters is text beside it. Invariant: a gap in the
//! values is a gap in the drawing, never a zero.

use std::fmt::Write as _;

use maud::{Markup, html};

use crate::frame::Key;
use crate::scale::Scale;
use crate::slots::{Clock, Fold, Slots};
use crate::write::change;
use crate::{Tone, Unit, frame};

/// One series.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Series {
    /// Its name.
    pub name: String,
    /// Its colour.
    pub tone: Tone,
    /// One value a step, the oldest first; nothing where nothing was measured.
    pub values: Vec<Option<u64>>,
}

/// How series are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Each by itself.
    Lines,
    /// On each other.
    Areas,
    /// On each other, each slot for itself.
    Columns,
}

/// Values over time.
#[derive(Debug, Clone)]
pub struct TimeSeries<'a> {
    /// Tells it from other charts of the page: letters and digits.
    pub id: &'a str,
    /// What it shows.
    pub title: &'a str,
    /// When its values are.
    pub clock: Clock,
    /// What they count.
    pub unit: Unit,
    /// How they fold where there are more than can be drawn.
    pub fold: Fold,
    /// How they are drawn.
    pub form: Form,
    /// The values; on each other, the first is at the bottom.
    pub series: Vec<Series>,
    /// The sum of the period before, or its only line, step by step.
    pub before: Option<Vec<Option<u64>>>,
}

/// Units of the drawing, upwards, and of each slot across.
const HEIGHT: u64 = 1_000;
const ACROSS: u64 = 10;

/// A series with a value for each slot.
struct Folded<'a> {
    name: &'a str,
    tone: Tone,
    values: Vec<Option<u64>>,
}

impl TimeSeries<'_> {
    /// Draws it.
    #[must_use]
    pub fn draw(&self) -> Markup {
        let steps = self.series.iter().map(|series| series.values.len()).max().unwrap_or(0);
        let slots = self.clock.slots(steps);
        let folded: Vec<Folded<'_>> = self.series.iter().map(|series| self.folded(series, &slots)).collect();
        let before = self.before.as_ref().map(|values| slots.fold(values, self.fold));
        if folded.iter().all(|series| series.values.iter().flatten().next().is_none()) {
            return frame::nothing("series", self.title);
        }
        let scale = Scale::new(self.largest(&folded, before.as_deref()), self.unit);
        let body = html! {
            (self.plot(&slots, &folded, before.as_deref(), &scale))
            (self.numbers(&slots, &folded, before.as_deref()))
        };
        frame::figure("series", self.title, &self.legend(&folded, before.as_deref()), &body)
    }

    fn folded<'a>(&self, series: &'a Series, slots: &Slots) -> Folded<'a> {
        Folded { name: &series.name, tone: series.tone, values: slots.fold(&series.values, self.fold) }
    }

    fn largest(&self, folded: &[Folded<'_>], before: Option<&[Option<u64>]>) -> u64 {
        let slots = folded.iter().map(|series| series.values.len()).max().unwrap_or(0);
        let of_slot = |slot: usize| {
            let values = folded.iter().filter_map(|series| series.values.get(slot).copied().flatten());
            if self.form == Form::Lines { values.max().unwrap_or(0) } else { values.fold(0, u64::saturating_add) }
        };
        let before = before.into_iter().flatten().flatten().copied();
        (0..slots).map(of_slot).chain(before).max().unwrap_or(0)
    }

    /// What stands for a whole series: its sum, or its newest value where values do not add up.
    fn summed(&self, values: &[Option<u64>]) -> Option<u64> {
        match self.fold {
            Fold::Sum => Some(values.iter().flatten().fold(0, |sum, value| sum.saturating_add(*value))),
            Fold::Largest => values.iter().rev().flatten().next().copied(),
        }
    }

    fn legend(&self, folded: &[Folded<'_>], before: Option<&[Option<u64>]>) -> Markup {
        let key = if self.form == Form::Lines { Key::Line } else { Key::Area };
        let number =
            |values: &[Option<u64>]| self.summed(values).map_or_else(|| "–".to_owned(), |sum| self.unit.short(sum));
        let entries = folded.iter().map(|series| (series.name, key(series.tone), number(&series.values)));
        let compared = before.map(|values| {
            let now = folded.iter().filter_map(|series| self.summed(&series.values)).fold(0, u64::saturating_add);
            ("before", Key::Before, self.summed(values).map(|then| change(now, then)).unwrap_or_default())
        });
        frame::legend(entries.chain(compared))
    }

    fn plot(&self, slots: &Slots, folded: &[Folded<'_>], before: Option<&[Option<u64>]>, scale: &Scale) -> Markup {
        let width = slots.slots.len() as u64 * ACROSS;
        let names = slots.names();
        html! {
            div.plot {
                ol.scale aria-hidden="true" { @for value in scale.values() { li { (self.unit.short(value)) } } }
                div.canvas {
                    svg viewBox={ "0 0 " (width) " " (HEIGHT) } preserveAspectRatio="none" role="img" {
                        title { (self.title) }
                        desc { (self.summary(slots, folded)) }
                        path.grid d=(grid(scale, width)) {}
                        @if self.form == Form::Lines { (lines(folded, scale)) }
                        @if self.form == Form::Areas { (areas(folded, scale)) }
                        @if self.form == Form::Columns { (columns(folded, scale)) }
                        @if let Some(before) = before { path.before d=(line(before, scale)) {} }
                    }
                    div.slots role="radiogroup" aria-label={ (self.title) ", by time" } {
                        @for (slot, name) in names.iter().enumerate() {
                            label data-at=[name.as_deref()] {
                                (frame::place(self.id, &self.said(slots, slot, folded, before)))
                            }
                        }
                    }
                }
            }
            @if let Some(zone) = slots.zone() { p.zone { "Times in " (zone) } }
        }
    }

    /// What is read at a slot.
    fn said(&self, slots: &Slots, slot: usize, folded: &[Folded<'_>], before: Option<&[Option<u64>]>) -> Markup {
        html! {
            (slots.name(&slots.slots[slot]))
            @for series in folded.iter().rev() {
                @if let Some(value) = series.values[slot] { br; (series.name) " " (self.unit.write(value)) }
            }
            @if let Some(value) = before.and_then(|before| before.get(slot).copied().flatten()) {
                br; "before " (self.unit.write(value))
            }
        }
    }

    /// The chart in a sentence.
    fn summary(&self, slots: &Slots, folded: &[Folded<'_>]) -> String {
        let mut text = String::new();
        if let (Some(first), Some(last)) = (slots.slots.first(), slots.slots.last()) {
            let _ = write!(text, "{} to {}", slots.name(first), slots.name(last));
        }
        for series in folded {
            let Some(sum) = self.summed(&series.values) else { continue };
            let _ = write!(text, "; {} {}", series.name, self.unit.write(sum));
            let highest = series.values.iter().enumerate().max_by_key(|(place, value)| (**value, usize::MAX - place));
            if let Some((place, Some(value))) = highest {
                let _ = write!(text, ", the most {} at {}", self.unit.write(*value), slots.name(&slots.slots[place]));
            }
        }
        text
    }

    fn numbers(&self, slots: &Slots, folded: &[Folded<'_>], before: Option<&[Option<u64>]>) -> Markup {
        let mut columns = vec!["Time"];
        columns.extend(folded.iter().map(|series| series.name));
        columns.extend(before.map(|_| "before"));
        let names: Vec<String> = slots.slots.iter().map(|slot| slots.name(slot)).collect();
        let text = |value: Option<u64>| value.map_or_else(|| "–".to_owned(), |value| self.unit.write(value));
        let rows = names.iter().enumerate().map(|(slot, name)| {
            let mut cells: Vec<String> = folded.iter().map(|series| text(series.values[slot])).collect();
            cells.extend(before.map(|before| text(before.get(slot).copied().flatten())));
            (name.as_str(), cells)
        });
        frame::numbers(&columns, rows)
    }
}

fn grid(scale: &Scale, width: u64) -> String {
    let mut path = String::new();
    for value in scale.values() {
        let _ = write!(path, "M0 {}h{width}", HEIGHT - scale.place(value, HEIGHT));
    }
    path
}

fn lines(folded: &[Folded<'_>], scale: &Scale) -> Markup {
    html! {
        @for series in folded {
            path class={ "line " (series.tone.class()) } d=(line(&series.values, scale)) {}
            @let dots = dots(&series.values, scale);
            @if !dots.is_empty() { path class={ "line dot " (series.tone.class()) } d=(dots) {} }
        }
    }
}

/// Where a value stands in the drawing.
fn point(slot: usize, value: u64, scale: &Scale) -> (u64, u64) {
    (slot as u64 * ACROSS + ACROSS / 2, HEIGHT - scale.place(value, HEIGHT))
}

/// The line through values, with gaps.
fn line(values: &[Option<u64>], scale: &Scale) -> String {
    let mut path = String::new();
    let mut open = false;
    for (slot, value) in values.iter().enumerate() {
        if let Some(value) = value {
            let (x, y) = point(slot, *value, scale);
            let _ = write!(path, "{}{x} {y}", if open { 'L' } else { 'M' });
        }
        open = value.is_some();
    }
    path
}

/// Values without neighbours, as dots, which lines of no length are with round ends.
fn dots(values: &[Option<u64>], scale: &Scale) -> String {
    let mut path = String::new();
    for (slot, value) in values.iter().enumerate() {
        let neighbours = [slot.checked_sub(1), Some(slot + 1)];
        let alone = neighbours.into_iter().flatten().all(|at| values.get(at).copied().flatten().is_none());
        if let Some(value) = value.filter(|_| alone) {
            let (x, y) = point(slot, value, scale);
            let _ = write!(path, "M{x} {y}h0");
        }
    }
    path
}

/// Where a layer begins and ends in each slot, in units of the drawing.
fn layers(folded: &[Folded<'_>], scale: &Scale) -> Vec<Vec<(u64, u64)>> {
    let slots = folded.iter().map(|series| series.values.len()).max().unwrap_or(0);
    let mut below = vec![0_u64; slots];
    let layers = folded.iter().map(|series| {
        let layer = series.values.iter().zip(&mut below).map(|(value, below)| {
            let from = scale.place(*below, HEIGHT);
            *below = below.saturating_add(value.unwrap_or(0));
            (from, scale.place(*below, HEIGHT))
        });
        layer.collect()
    });
    layers.collect()
}

fn areas(folded: &[Folded<'_>], scale: &Scale) -> Markup {
    let layers = layers(folded, scale);
    html! {
        @for (series, layer) in folded.iter().zip(&layers) {
            path class={ "fill " (series.tone.class()) } d=(area(layer)) {}
        }
        // Edges between layers, so that they can be told apart without their colours.
        @for layer in layers.iter().rev().skip(1) { path.edge d=(edge(layer)) {} }
    }
}

fn area(layer: &[(u64, u64)]) -> String {
    let mut path = String::new();
    let last = (layer.len() as u64 * ACROSS).saturating_sub(ACROSS / 2);
    let at = |slot: usize| slot as u64 * ACROSS + ACROSS / 2;
    for (slot, (_, to)) in layer.iter().enumerate() {
        let (command, x) = if slot == 0 { ('M', 0) } else { ('L', at(slot)) };
        let _ = write!(path, "{command}{x} {}", HEIGHT - to);
        if slot == 0 {
            let _ = write!(path, "H{}", at(0));
        }
    }
    if let Some((from, _)) = layer.last() {
        let _ = write!(path, "H{}V{}H{last}", last + ACROSS / 2, HEIGHT - from);
    }
    for (slot, (from, _)) in layer.iter().enumerate().rev() {
        let _ = write!(path, "L{} {}", at(slot), HEIGHT - from);
    }
    path.push_str("H0z");
    path
}

fn edge(layer: &[(u64, u64)]) -> String {
    let mut path = String::new();
    for (slot, (_, to)) in layer.iter().enumerate() {
        let x = slot as u64 * ACROSS + ACROSS / 2;
        let _ = write!(path, "{}{x} {}", if slot == 0 { 'M' } else { 'L' }, HEIGHT - to);
    }
    path
}

fn columns(folded: &[Folded<'_>], scale: &Scale) -> Markup {
    let layers = layers(folded, scale);
    html! {
        @for (series, layer) in folded.iter().zip(&layers) {
            path class={ "fill " (series.tone.class()) } d=(boxes(&series.values, layer)) {}
        }
    }
}

/// A box in each slot; a value above zero shows, however small it is.
fn boxes(values: &[Option<u64>], layer: &[(u64, u64)]) -> String {
    /// Room between two columns.
    const GAP: u64 = 2;
    const LEAST: u64 = 8;
    let mut path = String::new();
    for (slot, ((from, to), value)) in layer.iter().zip(values).enumerate() {
        if value.is_none_or(|value| value == 0) {
            continue;
        }
        let height = (to - from).max(LEAST);
        let (x, width) = (slot as u64 * ACROSS + GAP / 2, ACROSS - GAP);
        let _ = write!(path, "M{x} {}h{width}v-{height}h-{width}z", HEIGHT - from);
    }
    path
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::{Form, Series, TimeSeries, dots, line};
    use crate::scale::Scale;
    use crate::{Clock, Fold, Step, Tone, Unit};

    fn chart(form: Form, series: Vec<Series>) -> TimeSeries<'static> {
        let clock = Clock { start: "2026-11-01T00:00:00Z".parse().unwrap(), step: Step::Day, zone: TimeZone::UTC };
        TimeSeries { id: "a", title: "Requests", clock, unit: Unit::Count, fold: Fold::Sum, form, series, before: None }
    }

    fn series(values: &[Option<u64>]) -> Series {
        Series { name: "<allowed>".to_owned(), tone: Tone::One, values: values.to_vec() }
    }

    #[test]
    fn a_line_breaks_where_nothing_was_measured_and_a_value_alone_is_a_dot() {
        let values = [Some(1), Some(2), None, Some(3), None, Some(4), Some(0)];
        let scale = Scale::new(4, Unit::Count);
        assert_eq!(line(&values, &scale), "M5 750L15 500M35 250M55 0L65 1000");
        assert_eq!(dots(&values, &scale), "M35 250h0");
    }

    #[test]
    fn charts_say_in_words_what_they_show() {
        let drawn = chart(Form::Columns, vec![series(&[Some(3), None, Some(9)])]).draw().into_string();
        assert!(drawn.contains("&lt;allowed&gt; 12, the most 9 at Tue 3 Nov 2026"), "{drawn}");
        assert!(!drawn.contains("<allowed>"));
        // Sunday, without a number on Monday.
        assert_eq!(drawn.matches("type=\"radio\"").count(), 3);
        assert!(drawn.contains("<th>Mon 2 Nov 2026</th><td>–</td>"), "{drawn}");
    }

    #[test]
    fn what_was_before_is_drawn_and_compared() {
        let before = Some(vec![Some(10), Some(10), Some(20)]);
        let chart = TimeSeries { before, ..chart(Form::Lines, vec![series(&[Some(20), Some(20), Some(20)])]) };
        let drawn = chart.draw().into_string();
        assert!(drawn.contains("+50 %") && drawn.contains("path class=\"before\""), "{drawn}");
    }

    #[test]
    fn values_beyond_all_bounds_nothing_and_different_lengths_can_be_drawn() {
        for form in [Form::Lines, Form::Areas, Form::Columns] {
            for values in [vec![], vec![None; 4], vec![Some(u64::MAX); 3], vec![Some(0); 2], vec![Some(1); 3_000]] {
                let several = vec![series(&values), series(&[Some(u64::MAX)])];
                for series in [vec![series(&values)], several, Vec::new()] {
                    let drawn = chart(form, series).draw().into_string();
                    assert!(drawn.contains("<figcaption>"));
                }
            }
        }
    }
}
