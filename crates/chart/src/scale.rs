//! The scale of an axis: where it ends and where its lines are.
//!
//! Invariant: the end is no smaller than any value, lines lie evenly, and every one stands for a round number.

use crate::write::Unit;

/// A scale from zero.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Scale {
    /// The distance between lines.
    pub step: u64,
    /// How many lines there are above zero.
    pub lines: u64,
}

impl Scale {
    /// Lines above zero, at most.
    const MOST: u64 = 4;

    /// Chooses the roundest scale that holds `largest`.
    pub(crate) fn new(largest: u64, unit: Unit) -> Self {
        let largest = largest.max(1);
        let mut power = 1_u64;
        loop {
            for round in rounds(unit, power) {
                let lines = largest.div_ceil(round);
                if lines <= Self::MOST {
                    return Self { step: round, lines };
                }
            }
            match power.checked_mul(unit.base()) {
                Some(next) => power = next,
                None => return Self { step: largest.div_ceil(Self::MOST), lines: Self::MOST },
            }
        }
    }

    /// The end of the scale.
    pub(crate) fn top(&self) -> u64 {
        self.step.saturating_mul(self.lines)
    }

    /// The values of the lines, from the top down to zero.
    pub(crate) fn values(&self) -> impl Iterator<Item = u64> {
        (0..=self.lines).rev().map(|line| self.step.saturating_mul(line))
    }

    /// Where a value stands, of `units` from zero to the top.
    pub(crate) fn place(&self, value: u64, units: u64) -> u64 {
        let place = u128::from(value.min(self.top())) * u128::from(units) / u128::from(self.top().max(1));
        u64::try_from(place).unwrap_or(units)
    }
}

/// Round distances within one power of the unit's base.
fn rounds(unit: Unit, power: u64) -> impl Iterator<Item = u64> {
    const DECIMAL: [u64; 9] = [1, 2, 5, 10, 20, 50, 100, 200, 500];
    const BINARY: [u64; 10] = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512];
    let factors: &[u64] = if unit.base() == 1_024 { &BINARY } else { &DECIMAL };
    factors.iter().filter_map(move |factor| power.checked_mul(*factor))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Scale, Unit};

    #[test]
    fn scales_end_at_round_numbers() {
        for (largest, unit, step, lines) in [
            (0, Unit::Count, 1, 1),
            (1, Unit::Count, 1, 1),
            (3, Unit::Count, 1, 3),
            (5, Unit::Count, 2, 3),
            (17, Unit::Count, 5, 4),
            (999, Unit::Count, 500, 2),
            (1_100, Unit::Count, 500, 3),
            (3_000, Unit::Bytes, 1_024, 3),
            (3_000_000, Unit::Bytes, 1_048_576, 3),
            (45_000, Unit::Micros, 20_000, 3),
        ] {
            assert_eq!(Scale::new(largest, unit), Scale { step, lines }, "{largest}");
        }
    }

    proptest! {
        #[test]
        fn every_value_has_its_place(largest: u64, unit in 0..3_usize) {
            let unit = [Unit::Count, Unit::Bytes, Unit::Micros][unit];
            let scale = Scale::new(largest, unit);
            prop_assert!(scale.top() >= largest && (1..=4).contains(&scale.lines));
            prop_assert_eq!(scale.values().count() as u64, scale.lines + 1);
            prop_assert!(scale.place(largest, 1_000) <= 1_000);
            prop_assert_eq!(scale.place(0, 1_000), 0);
        }
    }
}
