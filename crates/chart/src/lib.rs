//! Charts as markup: time series, bars, treemaps, heat maps, a world map.
//!
//! A function of numbers: it reads no clock and decides nothing about what is shown. Charts need no script and no
//! inline style; their colours are classes of [`STYLE`], which goes into the page's stylesheet and takes the page's
//! custom properties `--surface`, `--text`, `--muted`, `--line` and `--accent`. Invariant: whatever a chart shows can be
//! read without seeing it, told apart without its colours, and reached with the keyboard.

mod bars;
mod frame;
mod heat_map;
mod scale;
mod series;
mod slots;
mod treemap;
mod world_map;
mod write;

pub use bars::{Bar, Bars, share};
pub use heat_map::{HeatMap, week};
pub use series::{Form, Series, TimeSeries};
pub use slots::{Clock, Fold, Step};
pub use treemap::{Leaf, Treemap};
pub use world_map::{WorldMap, country};
pub use write::{Unit, bytes, change, count, micros};

/// The stylesheet of every chart.
pub const STYLE: &str = include_str!("../assets/chart.css");

/// What something is coloured as. Each can be told from every other with any of the usual kinds of colour blindness.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Tone {
    /// The first thing of several; the accent of the page.
    One,
    /// What deserves attention, such as what was blocked.
    Two,
    /// Another thing.
    Three,
    /// What is as it should be, such as what was allowed.
    Four,
    /// Another thing.
    Five,
    /// Another thing.
    Six,
}

impl Tone {
    /// Every tone, in the order in which series take them.
    pub const ALL: [Self; 6] = [Self::One, Self::Two, Self::Three, Self::Four, Self::Five, Self::Six];

    /// The tone of the series at a place; they begin again after the last.
    #[must_use]
    pub const fn of(place: usize) -> Self {
        Self::ALL[place % Self::ALL.len()]
    }

    /// Its class.
    pub(crate) const fn class(self) -> &'static str {
        match self {
            Self::One => "one",
            Self::Two => "two",
            Self::Three => "three",
            Self::Four => "four",
            Self::Five => "five",
            Self::Six => "six",
        }
    }
}
