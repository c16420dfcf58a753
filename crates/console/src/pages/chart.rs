//! Small charts in SVG: stacked columns and lines over the minutes of the last hour.
//!
//! Draws only, with classes for colours so that both themes fit and no inline style is needed. Invariant: every chart has
//! a text that says the same to those who do not see it.

use maud::{Markup, html};

use super::format;

/// Minutes on the axis.
pub(super) const MINUTES: usize = 60;
const WIDTH: u64 = 720;
const HEIGHT: u64 = 176;
const LEFT: u64 = 2;
/// Room for the labels, whose letters are larger on narrow screens.
const BOTTOM: u64 = 26;
const TOP: u64 = 28;

/// One series of a chart.
pub(super) struct Series {
    pub name: &'static str,
    /// Chooses the colour: `one`, `two`, `three` or `four`.
    pub class: &'static str,
    /// One value a minute, the oldest first; nothing where nothing was measured.
    pub values: Vec<Option<u64>>,
}

impl Series {
    pub(super) fn empty(name: &'static str, class: &'static str) -> Self {
        Self { name, class, values: vec![None; MINUTES] }
    }
}

fn plot_height() -> u64 {
    HEIGHT - BOTTOM - TOP
}

/// The left edge of a minute's column.
fn left_of(minute: usize) -> u64 {
    LEFT + (WIDTH - LEFT) * minute as u64 / MINUTES as u64
}

/// How high a value stands above the axis.
fn rise(value: u64, top: u64) -> u64 {
    u64::try_from(u128::from(value) * u128::from(plot_height()) / u128::from(top.max(1))).unwrap_or(0)
}

/// The next round number, so that the scale does not jump with each request.
fn ceiling(value: u64) -> u64 {
    let mut step = 1_u64;
    loop {
        for round in [1, 2, 5] {
            let bound = step.saturating_mul(round);
            if bound >= value.max(1) || bound == u64::MAX {
                return bound;
            }
        }
        step = step.saturating_mul(10);
    }
}

/// The lines of the scale and what they stand for.
fn axis(top: u64, unit: fn(u64) -> String) -> Markup {
    html! {
        @for (share, value) in [(0, 0), (1, top / 2), (2, top)] {
            @let y = HEIGHT - BOTTOM - plot_height() * share / 2;
            @if share == 0 || top > 1 || share == 2 {
                line.grid x1=(LEFT) x2=(WIDTH) y1=(y) y2=(y) {}
                @if share > 0 && top > 1 { text.tick x=(LEFT) y=(y - 5) { (unit(value)) } }
            }
        }
        @for back in [60, 45, 30, 15, 0_usize] {
            @let x = left_of(MINUTES - back);
            @let anchor = match back { 60 => "start", 0 => "end", _ => "middle" };
            text.tick x=(x) y=(HEIGHT - 4) text-anchor=(anchor) { @if back == 0 { "now" } @else { "−" (back) " min" } }
        }
    }
}

fn legend(series: &[Series], total: impl Fn(&Series) -> String) -> Markup {
    html! {
        ul.legend { @for one in series { li { span class={ "key " (one.class) } aria-hidden="true" {} (one.name) " " b { (total(one)) } } } }
    }
}

/// Columns that stand on each other, the first at the bottom.
pub(super) fn columns(title: &str, series: &[Series]) -> Markup {
    let sum = |minute: usize| series.iter().filter_map(|one| one.values.get(minute).copied().flatten()).sum::<u64>();
    let top = ceiling((0..MINUTES).map(sum).max().unwrap_or(0));
    let total = |one: &Series| format::count(one.values.iter().flatten().sum());
    let spoken: Vec<_> = series.iter().map(|one| format!("{} {}", total(one), one.name)).collect();
    html! {
        figure.chart {
            figcaption { span { (title) } (legend(series, total)) }
            svg viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } role="img" aria-label={ (title) ": " (spoken.join(", ")) } {
                (axis(top, format::count))
                @for minute in 0..MINUTES { (column(series, minute, top)) }
            }
        }
    }
}

fn column(series: &[Series], minute: usize, top: u64) -> Markup {
    let (x, width) = (left_of(minute), left_of(minute + 1) - left_of(minute) - 2);
    let mut below = 0;
    let mut parts = Vec::with_capacity(series.len());
    let mut said = Vec::new();
    for one in series {
        let Some(value) = one.values.get(minute).copied().flatten().filter(|value| *value > 0) else { continue };
        let (from, to) = (rise(below, top), rise(below + value, top).max(rise(below, top) + 1));
        below += value;
        parts.push((one.class, HEIGHT - BOTTOM - to, to - from));
        said.push(format!("{value} {}", one.name));
    }
    html! {
        @if !parts.is_empty() {
            g {
                title { (MINUTES - minute - 1) " min ago: " (said.join(", ")) }
                @for (class, y, height) in parts { rect class={ "fill " (class) } x=(x) y=(y) width=(width) height=(height) rx="1" {} }
            }
        }
    }
}

/// Lines over time; a gap where nothing was measured.
pub(super) fn lines(title: &str, series: &[Series], unit: fn(u64) -> String) -> Markup {
    let top = ceiling(series.iter().flat_map(|one| one.values.iter().flatten().copied()).max().unwrap_or(0));
    let last =
        |one: &Series| one.values.iter().rev().flatten().next().map_or_else(|| "–".to_owned(), |value| unit(*value));
    let spoken: Vec<_> = series.iter().map(|one| format!("{} {}", one.name, last(one))).collect();
    html! {
        figure.chart {
            figcaption { span { (title) } (legend(series, last)) }
            svg viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } role="img" aria-label={ (title) ", latest: " (spoken.join(", ")) } {
                (axis(top, unit))
                @for one in series {
                    @for run in runs(one, top) {
                        @if run.len() == 1 {
                            circle class={ "fill " (one.class) } cx=(run[0].0) cy=(run[0].1) r="2.5" {}
                        } @else {
                            polyline class={ "line " (one.class) } points=(points(&run)) {}
                        }
                    }
                }
            }
        }
    }
}

/// The unbroken stretches of a series, as places in the drawing.
fn runs(series: &Series, top: u64) -> Vec<Vec<(u64, u64)>> {
    let mut runs = vec![Vec::new()];
    for (minute, value) in series.values.iter().enumerate() {
        match (value, runs.last_mut()) {
            (Some(value), Some(run)) => {
                let middle = (left_of(minute) + left_of(minute + 1)) / 2;
                run.push((middle, HEIGHT - BOTTOM - rise(*value, top)));
            }
            (None, Some(run)) if !run.is_empty() => runs.push(Vec::new()),
            _ => {}
        }
    }
    runs.retain(|run| !run.is_empty());
    runs
}

fn points(run: &[(u64, u64)]) -> String {
    run.iter().map(|(x, y)| format!("{x},{y}")).collect::<Vec<_>>().join(" ")
}

/// A bar that shows a share of a whole.
pub(super) fn share(part: u64, whole: u64) -> Markup {
    let width = u64::try_from(u128::from(part) * 100 / u128::from(whole.max(1))).unwrap_or(0).clamp(1, 100);
    html! {
        svg.share viewBox="0 0 100 4" preserveAspectRatio="none" aria-hidden="true" focusable="false" {
            rect.track x="0" y="0" width="100" height="4" {}
            rect.fill.one x="0" y="0" width=(width) height="4" {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{MINUTES, Series, ceiling, columns, lines, runs};
    use crate::pages::format;

    #[test]
    fn the_scale_ends_at_a_round_number() {
        for (value, top) in [(0, 1), (1, 1), (3, 5), (5, 5), (11, 20), (999, 1_000), (u64::MAX, u64::MAX)] {
            assert_eq!(ceiling(value), top, "{value}");
        }
    }

    #[test]
    fn a_line_breaks_where_nothing_was_measured() {
        let mut series = Series::empty("p50", "one");
        for minute in [1, 2, 5, MINUTES - 1] {
            series.values[minute] = Some(10);
        }
        let lengths: Vec<_> = runs(&series, 10).iter().map(Vec::len).collect();
        assert_eq!(lengths, [2, 1, 1]);
    }

    #[test]
    fn charts_say_in_words_what_they_show() {
        let mut series = Series::empty("allowed", "one");
        series.values[59] = Some(u64::MAX);
        let drawn = columns("Requests", &[series]).into_string();
        assert!(drawn.contains("role=\"img\"") && drawn.contains("allowed"), "{drawn}");
        assert!(
            lines("Latency", &[Series::empty("p50", "one")], format::micros).into_string().contains("latest: p50 –")
        );
    }
}
