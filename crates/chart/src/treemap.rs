//! A treemap: parts of a whole as areas, the large ones with their names.
//!
//! Areas are laid out in shares of the figure, so letters keep their size however wide it is. Invariant: tiles cover the
//! whole without overlapping, each in proportion to its value.

use maud::{Markup, html};

use crate::frame::Key;
use crate::write::percent;
use crate::{Tone, Unit, frame};

/// One part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf {
    /// Its name.
    pub name: String,
    /// Where it leads.
    pub link: Option<String>,
    /// How large it is.
    pub value: u64,
    /// Which of [`Treemap::groups`] it belongs to.
    pub group: usize,
}

/// Parts of a whole.
#[derive(Debug, Clone)]
pub struct Treemap<'a> {
    /// What it shows.
    pub title: &'a str,
    /// What the values count.
    pub unit: Unit,
    /// What colours stand for.
    pub groups: Vec<(&'a str, Tone)>,
    /// The parts.
    pub leaves: Vec<Leaf>,
}

/// A place in the figure, in shares of its width and height.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Place {
    x: f64,
    y: f64,
    width: f64,
    height: f64,
}

/// Tiles, at most; the others become one.
const MOST: usize = 40;
/// How much wider than high the figure is taken to be.
const WIDE: f64 = 2.4;
/// The widths of the figure for which names are chosen, in pixels; its height; what a letter takes, and what is left free.
const NARROW: f64 = 310.0;
const ROOMY: f64 = 440.0;
const HIGH: f64 = 300.0;
const LETTER: f64 = 7.7;
const FREE: f64 = 12.0;

impl Treemap<'_> {
    /// Draws it.
    #[must_use]
    pub fn draw(&self) -> Markup {
        let leaves = self.largest();
        let total = leaves.iter().fold(0_u64, |sum, leaf| sum.saturating_add(leaf.value));
        if total == 0 {
            return frame::nothing("treemap", self.title);
        }
        let places = squarified(&leaves.iter().map(|leaf| leaf.value as f64).collect::<Vec<_>>());
        let sum = |group: usize| {
            let values = leaves.iter().filter(|leaf| leaf.group == group).map(|leaf| leaf.value);
            self.unit.short(values.fold(0, u64::saturating_add))
        };
        let used = self.groups.iter().enumerate().filter(|(group, _)| leaves.iter().any(|leaf| leaf.group == *group));
        let legend = frame::legend(used.map(|(group, (name, tone))| (*name, Key::Area(*tone), sum(group))));
        let rows = leaves.iter().map(|leaf| {
            let group = self.groups.get(leaf.group).map_or("", |(name, _)| name).to_owned();
            (leaf.name.as_str(), vec![self.unit.write(leaf.value), percent(leaf.value, total), group])
        });
        let body = html! {
            svg.tiles role="group" aria-label=(self.title) {
                @for (leaf, place) in leaves.iter().zip(&places) { (self.tile(leaf, place, total)) }
            }
            (frame::numbers(&["Name", "Value", "Share", "Group"], rows))
        };
        frame::figure("treemap", self.title, &legend, &body)
    }

    /// The largest leaves in order, the rest as one.
    fn largest(&self) -> Vec<Leaf> {
        let mut leaves: Vec<Leaf> = self.leaves.iter().filter(|leaf| leaf.value > 0).cloned().collect();
        leaves.sort_by(|a, b| b.value.cmp(&a.value).then_with(|| a.name.cmp(&b.name)));
        if leaves.len() > MOST {
            let others = leaves.split_off(MOST - 1);
            let value = others.iter().fold(0_u64, |sum, leaf| sum.saturating_add(leaf.value));
            let name = format!("{} others", others.len());
            leaves.push(Leaf { name, link: None, value, group: usize::MAX });
        }
        leaves
    }

    fn tile(&self, leaf: &Leaf, place: &Place, total: u64) -> Markup {
        let tone = self.groups.get(leaf.group).map_or("rest", |(_, tone)| tone.class());
        let said = format!("{}: {}, {}", leaf.name, self.unit.write(leaf.value), percent(leaf.value, total));
        let high = place.height * HIGH;
        let narrow = label(&leaf.name, place.width * NARROW, high);
        // Where there is room for no more at any width, one label does for both.
        let roomy = label(&leaf.name, place.width * ROOMY, high).filter(|roomy| narrow.as_ref() != Some(roomy));
        let value = self.unit.short(leaf.value);
        let second = |width: f64| high >= 42.0 && label(&value, place.width * width, high).as_ref() == Some(&value);
        let share = |value: f64| format!("{:.1}%", value * 100.0).replace(".0%", "%");
        let drawn = html! {
            title { (said) }
            svg x=(share(place.x)) y=(share(place.y)) width=(share(place.width)) height=(share(place.height)) {
                rect class={ "fill " (tone) } width="100%" height="100%" {}
                @if let Some(text) = &narrow { text.narrow[roomy.is_some()] x="7" y="18" { (text) } }
                @if let Some(text) = &roomy { text.roomy x="7" y="18" { (text) } }
                @if second(ROOMY) { text.small.roomy[!second(NARROW)] x="7" y="35" { (value) } }
            }
            text.said { (said) }
        };
        html! {
            @match &leaf.link {
                Some(link) => a.tile href=(link) { (drawn) },
                None => g.tile tabindex="0" role="img" { (drawn) },
            }
        }
    }
}

/// As much of a name as fits into a tile of some width and height, in pixels.
fn label(name: &str, width: f64, height: f64) -> Option<String> {
    /// Less than this says nothing.
    const LEAST: usize = 4;
    let letters = ((width - FREE) / LETTER).max(0.0) as usize;
    let all = name.chars().count();
    if height < 24.0 || (letters < LEAST && letters < all) {
        None
    } else if all <= letters {
        Some(name.to_owned())
    } else {
        Some(name.chars().take(letters - 1).chain(['…']).collect())
    }
}

/// Lays out values, largest first, so that tiles are nearly square (Bruls, Huizing and van Wijk, 2000).
fn squarified(values: &[f64]) -> Vec<Place> {
    let total: f64 = values.iter().sum();
    let mut places = Vec::with_capacity(values.len());
    let mut free = Place { x: 0.0, y: 0.0, width: WIDE, height: 1.0 };
    let mut rest = values;
    let mut left = total;
    while !rest.is_empty() {
        let area = free.width * free.height / left.max(f64::MIN_POSITIVE);
        let side = free.width.min(free.height);
        let mut count = 1;
        while count < rest.len() && worst(&rest[..=count], side, area) <= worst(&rest[..count], side, area) {
            count += 1;
        }
        let (row, others) = rest.split_at(count);
        let sum: f64 = row.iter().sum();
        let depth = if others.is_empty() { free.width.max(free.height) } else { sum * area / side };
        let mut along = 0.0;
        for value in row {
            let length = side * value / sum;
            places.push(if free.width >= free.height {
                Place { x: free.x, y: free.y + along, width: depth, height: length }
            } else {
                Place { x: free.x + along, y: free.y, width: length, height: depth }
            });
            along += length;
        }
        if free.width >= free.height {
            free = Place { x: free.x + depth, width: (free.width - depth).max(0.0), ..free };
        } else {
            free = Place { y: free.y + depth, height: (free.height - depth).max(0.0), ..free };
        }
        left -= sum;
        rest = others;
    }
    places.iter().map(|place| Place { x: place.x / WIDE, width: place.width / WIDE, ..*place }).collect()
}

/// How far the least square tile of a row is from a square.
fn worst(row: &[f64], side: f64, area: f64) -> f64 {
    let sum: f64 = row.iter().sum::<f64>() * area;
    let depth = sum / side;
    let ratios = row.iter().map(|value| {
        let length = value * area / depth;
        (length / depth).max(depth / length)
    });
    ratios.fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Leaf, MOST, Place, Treemap, squarified};
    use crate::{Tone, Unit};

    fn leaf(name: &str, value: u64) -> Leaf {
        Leaf { name: name.to_owned(), link: None, value, group: 0 }
    }

    fn drawn(leaves: Vec<Leaf>) -> String {
        let groups = vec![("approved", Tone::One)];
        Treemap { title: "Volume", unit: Unit::Bytes, groups, leaves }.draw().into_string()
    }

    #[test]
    fn one_part_is_the_whole_and_none_is_nothing() {
        assert!(drawn(vec![leaf("A", 5)]).contains(r#"width="100%" height="100%""#));
        assert!(drawn(vec![leaf("A", 0)]).contains("Nothing was recorded"));
    }

    #[test]
    fn many_small_parts_become_one() {
        let page = drawn((0..100).map(|number| leaf(&format!("n{number}"), 1_000 - number)).collect());
        assert!(page.contains("61 others"), "{page}");
        assert_eq!(page.matches("class=\"tile\"").count(), MOST);
    }

    proptest! {
        #[test]
        fn tiles_cover_the_whole_in_proportion(mut values in proptest::collection::vec(1_u32..1_000_000, 1..40)) {
            values.sort_unstable_by(|a, b| b.cmp(a));
            let values: Vec<f64> = values.into_iter().map(f64::from).collect();
            let total: f64 = values.iter().sum();
            let places = squarified(&values);
            prop_assert_eq!(places.len(), values.len());
            for (place, value) in places.iter().zip(&values) {
                prop_assert!((place.width * place.height - value / total).abs() < 1e-6, "{:?} {}", place, value);
                prop_assert!(place.x > -1e-9 && place.x + place.width < 1.0 + 1e-6);
                prop_assert!(place.y > -1e-9 && place.y + place.height < 1.0 + 1e-6);
            }
            let overlap = |a: &Place, b: &Place| {
                let width = (a.x + a.width).min(b.x + b.width) - a.x.max(b.x);
                let height = (a.y + a.height).min(b.y + b.height) - a.y.max(b.y);
                width > 1e-6 && height > 1e-6
            };
            for (at, place) in places.iter().enumerate() {
                prop_assert!(!places[at + 1..].iter().any(|other| overlap(place, other)));
            }
        }
    }
}
