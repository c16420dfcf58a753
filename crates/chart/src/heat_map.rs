//! A heat map: two things that take turns, such as weekday and hour, with how much there is of both.
//!
//! It is a table, coloured. Invariant: every cell holds its number, and a deeper colour always stands for more.

use maud::{Markup, html};

use crate::{Unit, frame};

/// Rows and columns of values.
#[derive(Debug, Clone)]
pub struct HeatMap<'a> {
    /// Tells it from other charts of the page: letters and digits.
    pub id: &'a str,
    /// What it shows.
    pub title: &'a str,
    /// What the values count.
    pub unit: Unit,
    /// The names of the rows.
    pub rows: Vec<String>,
    /// The names of the columns; one without a name goes on from the one before.
    pub columns: Vec<String>,
    /// The values, row by row.
    pub values: Vec<Vec<u64>>,
}

/// Depths of colour above none.
pub(crate) const DEPTHS: u64 = 7;

/// The rows and columns of a week by the hour: Monday to Sunday, midnight to midnight.
#[must_use]
pub fn week() -> (Vec<String>, Vec<String>) {
    let days = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
    (days.map(str::to_owned).to_vec(), (0..24).map(|hour| format!("{hour:02}")).collect())
}

impl HeatMap<'_> {
    /// Draws it.
    #[must_use]
    pub fn draw(&self) -> Markup {
        let largest = self.values.iter().flatten().copied().max().unwrap_or(0);
        if largest == 0 {
            return frame::nothing("heat", self.title);
        }
        let body = html! {
            table {
                thead { tr { td {} @for column in &self.columns { th { (column) } } } }
                tbody { @for (name, values) in self.rows.iter().zip(&self.values) { (self.row(name, values, largest)) } }
            }
        };
        frame::figure("heat", self.title, &ramp(self.unit, largest), &body)
    }

    fn row(&self, name: &str, values: &[u64], largest: u64) -> Markup {
        html! {
            tr {
                th { (name) }
                @for (column, value) in self.columns.iter().zip(values) {
                    td class={ "h" (depth(*value, largest)) } {
                        label { (frame::place(self.id, &html! { (name) " " (column) ": " (self.unit.write(*value)) })) }
                    }
                }
            }
        }
    }
}

/// How deep the colour of a value is: none only for zero, the deepest for the largest.
fn depth(value: u64, largest: u64) -> u64 {
    let depth = (u128::from(value) * u128::from(DEPTHS)).div_ceil(u128::from(largest.max(1)));
    u64::try_from(depth).unwrap_or(DEPTHS).min(DEPTHS)
}

/// The legend of depths.
pub(crate) fn ramp(unit: Unit, largest: u64) -> Markup {
    html! {
        p.ramp {
            "0"
            span aria-hidden="true" { @for depth in 0..=DEPTHS { i class={ "h" (depth) } {} } }
            (unit.short(largest))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{DEPTHS, HeatMap, depth, week};
    use crate::Unit;

    #[test]
    fn deeper_is_more_and_none_is_none() {
        assert_eq!((depth(0, 100), depth(1, 100), depth(100, 100)), (0, 1, DEPTHS));
        assert!((0..100).all(|value| depth(value, 100) <= depth(value + 1, 100)));
        assert_eq!(depth(u64::MAX, u64::MAX), DEPTHS);
    }

    #[test]
    fn a_week_has_a_cell_for_each_hour() {
        let (rows, columns) = week();
        let values = vec![vec![3; 24]; 7];
        let map = HeatMap { id: "w", title: "Week", unit: Unit::Count, rows, columns, values };
        let page = map.draw().into_string();
        assert_eq!(page.matches("<input").count(), 7 * 24);
        assert!(page.contains("Sun 23: 3"), "{page}");
        let empty = HeatMap { values: vec![vec![0; 24]; 7], ..map };
        assert!(empty.draw().into_string().contains("Nothing was recorded"));
    }
}
