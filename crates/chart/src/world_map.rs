//! A map of the world, each country coloured by how much there is of it.
//!
//! Shapes are compiled in (`cargo xtask world` makes them). Countries too small to be seen are dots. Invariant: every
//! country of ISO 3166-1 can be shown; what has another code is counted and said, not lost.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use maud::{Markup, PreEscaped, html};

use crate::heat_map::{DEPTHS, ramp};
use crate::write::percent;
use crate::{Unit, frame};

/// Values by country.
#[derive(Debug, Clone)]
pub struct WorldMap<'a> {
    /// What it shows.
    pub title: &'a str,
    /// What the values count.
    pub unit: Unit,
    /// ISO 3166-1 alpha-2 codes with their values.
    pub values: Vec<(String, u64)>,
}

struct Country {
    code: &'static str,
    name: &'static str,
    x: &'static str,
    y: &'static str,
    path: &'static str,
}

static COUNTRIES: LazyLock<Vec<Country>> = LazyLock::new(|| {
    let lines = include_str!("../data/world.tsv").lines().filter(|line| !line.starts_with('#'));
    let countries = lines.filter_map(|line| {
        let mut fields = line.split('\t');
        let [code, name, x, y, path] = std::array::from_fn(|_| fields.next());
        Some(Country { code: code?, name: name?, x: x?, y: y?, path: path? })
    });
    countries.collect()
});

/// The English name of a country, by its ISO 3166-1 alpha-2 code.
#[must_use]
pub fn country(code: &str) -> Option<&'static str> {
    COUNTRIES.binary_search_by(|country| country.code.cmp(code)).ok().map(|place| COUNTRIES[place].name)
}

/// What the map shows, in its units: the north of Greenland to the south of Chile.
const VIEW: &str = "0 0 1000 452";

impl WorldMap<'_> {
    /// Draws it.
    #[must_use]
    pub fn draw(&self) -> Markup {
        let mut values: BTreeMap<&str, u64> = BTreeMap::new();
        for (code, value) in &self.values {
            let sum = values.entry(code.as_str()).or_default();
            *sum = sum.saturating_add(*value);
        }
        let total = values.values().fold(0_u64, |sum, value| sum.saturating_add(*value));
        if total == 0 {
            return frame::nothing("world", self.title);
        }
        let largest = values.values().copied().max().unwrap_or(0);
        let valued = |country: &&Country| values.get(country.code).is_some_and(|value| *value > 0);
        let rest: String = COUNTRIES.iter().filter(|country| !valued(country)).map(|country| country.path).collect();
        let mut shown: Vec<(&Country, u64)> =
            COUNTRIES.iter().filter(valued).map(|country| (country, values[country.code])).collect();
        // The tab key goes from the most to the least.
        shown.sort_by_key(|(_, value)| std::cmp::Reverse(*value));
        let elsewhere = total - shown.iter().map(|(_, value)| value).sum::<u64>();
        let others = (elsewhere > 0).then_some(("elsewhere or not known", elsewhere));
        let rows = shown.iter().map(|(country, value)| (country.name, *value)).chain(others);
        let rows = rows.map(|(name, value)| (name, vec![self.unit.write(value), percent(value, total)]));
        let body = html! {
            svg viewBox=(VIEW) role="group" aria-label=(self.title) {
                path.land d=(PreEscaped(rest)) {}
                @for (country, value) in &shown { (self.shape(country, *value, largest, total)) }
            }
            (frame::numbers(&["Country", "Value", "Share"], rows))
        };
        frame::figure("world", self.title, &ramp(self.unit, largest), &body)
    }

    fn shape(&self, country: &Country, value: u64, largest: u64, total: u64) -> Markup {
        let said = format!("{}: {}, {}", country.name, self.unit.write(value), percent(value, total));
        html! {
            g tabindex="0" role="img" class={ "h" (depth(value, largest)) } {
                title { (said) }
                @if country.path.is_empty() {
                    circle cx=(country.x) cy=(country.y) r="5" {}
                } @else {
                    path d=(PreEscaped(country.path)) {}
                }
                text.said { (said) }
            }
        }
    }
}

/// How deep the colour is. Countries differ by orders of magnitude, so depths stand for powers.
fn depth(value: u64, largest: u64) -> u64 {
    let share = ((value as f64).ln_1p() / (largest.max(1) as f64).ln_1p()).clamp(0.0, 1.0);
    ((share * DEPTHS as f64).ceil() as u64).clamp(1, DEPTHS)
}

#[cfg(test)]
mod tests {
    use super::{COUNTRIES, DEPTHS, WorldMap, country, depth};
    use crate::Unit;

    fn drawn(values: &[(&str, u64)]) -> String {
        let values = values.iter().map(|(code, value)| ((*code).to_owned(), *value)).collect();
        WorldMap { title: "Requests", unit: Unit::Count, values }.draw().into_string()
    }

    #[test]
    fn the_world_is_whole_small_and_sorted() {
        assert!(COUNTRIES.len() > 240, "{}", COUNTRIES.len());
        assert!(COUNTRIES.is_sorted_by(|a, b| a.code < b.code));
        assert!(include_str!("../data/world.tsv").len() < 40_000);
        let numbers = |country: &super::Country| country.x.parse::<i16>().is_ok() && country.y.parse::<i16>().is_ok();
        assert!(COUNTRIES.iter().all(numbers));
        let letters =
            |country: &super::Country| country.path.chars().all(|c| c.is_ascii_digit() || " -Mlz".contains(c));
        assert!(COUNTRIES.iter().all(letters));
        assert_eq!((country("DE"), country("SG"), country("ZZ")), (Some("Germany"), Some("Singapore"), None));
    }

    #[test]
    fn countries_are_shapes_or_dots_and_the_rest_is_said() {
        let page = drawn(&[("DE", 900), ("SG", 60), ("ZZ", 40)]);
        assert!(page.contains("Germany: 900, 90 %") && page.contains("<circle"), "{page}");
        assert!(page.contains("elsewhere or not known"), "{page}");
        assert!(drawn(&[("DE", 0)]).contains("Nothing was recorded"));
    }

    #[test]
    fn a_map_with_every_country_is_not_large() {
        let all: Vec<(&str, u64)> = COUNTRIES.iter().map(|country| (country.code, 7)).collect();
        let (least, most) = (drawn(&[("DE", 1)]).len(), drawn(&all).len());
        assert!(least < 30_000 && most < 110_000, "{least} to {most} bytes");
    }

    #[test]
    fn depths_go_by_orders_of_magnitude() {
        assert_eq!((depth(1, 1), depth(1, 1_000_000), depth(1_000_000, 1_000_000)), (DEPTHS, 1, DEPTHS));
        assert!(depth(1_000, 1_000_000) > 2);
    }
}
