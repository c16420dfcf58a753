//! Unites sketches of distinct people and devices, in the form of Apache DataSketches.
//!
//! The sketches of who is many hold registers, of which a union holds the greatest. The library works out its estimate with
//! every sketch that it takes; here they are only compared, and it is asked once, at the end. Invariant: the estimate is
//! that of the library's union of the same sketches, in whatever order they came.

use datasketches::hll::{HllSketch, HllUnion};

use super::counter::REGISTERS;

/// How many bytes stand before the registers of a sketch.
const PREAMBLE: usize = 40;
/// What a sketch of 2^11 registers begins with: ten words of preamble, version 1 of the form, family 7 (HLL).
const BEGIN: [u8; 4] = [10, 1, 7, REGISTERS];
/// Where the flags are, and the one that says that registers are of several sketches.
const FLAGS: (usize, u8) = (5, 16);
/// Where it stands what a sketch holds: registers (2), of eight bits each (2).
const MODE: (usize, u8) = (7, 2 | 2 << 2);

/// A union of sketches.
#[derive(Debug, Default)]
pub(crate) struct Union {
    /// The registers of those that have any, after the preamble of one.
    registers: Option<Box<[u8]>>,
    /// The others, whose people or devices are listed.
    few: Option<HllUnion>,
}

impl Union {
    /// Adds a sketch. One that cannot be read counts nobody.
    pub(crate) fn add(&mut self, sketch: &[u8]) {
        if !has_registers(sketch) {
            if let Ok(sketch) = HllSketch::deserialize(sketch) {
                self.add_few(&sketch);
            }
            return;
        }
        match &mut self.registers {
            Some(registers) => raise(registers, sketch),
            None if HllSketch::deserialize(sketch).is_ok() => {
                let registers = self.registers.insert(sketch.into());
                registers[FLAGS.0] |= FLAGS.1;
            }
            None => {}
        }
    }

    /// Adds what another holds.
    pub(crate) fn merge(&mut self, other: Self) {
        match (&mut self.registers, other.registers) {
            (Some(registers), Some(others)) => raise(registers, &others),
            (registers @ None, Some(others)) => *registers = Some(others),
            (_, None) => {}
        }
        match (&self.few, other.few) {
            (Some(_), Some(few)) => self.add_few(&few.to_sketch(datasketches::hll::HllType::Hll8)),
            (None, Some(few)) => self.few = Some(few),
            (_, None) => {}
        }
    }

    /// Returns about how many are in it; `None` when nothing was added.
    pub(crate) fn estimate(mut self) -> Option<f64> {
        if let Some(sketch) = self.registers.take().and_then(|registers| HllSketch::deserialize(&registers).ok()) {
            self.add_few(&sketch);
        }
        self.few.map(|union| union.composite_estimate())
    }

    fn add_few(&mut self, sketch: &HllSketch) {
        if self.few.is_none() {
            // Always: the number of registers is one there can be.
            self.few = HllUnion::new(REGISTERS).ok();
        }
        if let Some(union) = &mut self.few {
            union.update(sketch);
        }
    }
}

fn has_registers(sketch: &[u8]) -> bool {
    sketch.len() == PREAMBLE + (1 << REGISTERS) && sketch.starts_with(&BEGIN) && sketch[MODE.0] == MODE.1
}

fn raise(registers: &mut [u8], others: &[u8]) {
    for (own, other) in registers.iter_mut().zip(others).skip(PREAMBLE) {
        *own = (*own).max(*other);
    }
}

#[cfg(test)]
mod tests {
    use datasketches::hll::{HllSketch, HllType, HllUnion};
    use proptest::prelude::*;

    use super::{REGISTERS, Union, has_registers};

    fn sketch(first: u32, many: u32) -> HllSketch {
        let mut sketch = HllSketch::new(REGISTERS, HllType::Hll8).unwrap();
        (first..first + many).for_each(|number| sketch.update(number));
        sketch
    }

    proptest! {
        #[test]
        fn the_estimate_is_that_of_the_library(
            of in proptest::collection::vec((0_u32..2_000, prop_oneof![0_u32..30, 100_u32..300, 1_000_u32..3_000]), 0..8),
            cut in 0_usize..8,
        ) {
            let sketches: Vec<HllSketch> = of.iter().map(|(first, many)| sketch(*first, *many)).collect();
            let mut expected = HllUnion::new(REGISTERS).unwrap();
            sketches.iter().for_each(|sketch| expected.update(sketch));
            let mut halves = [Union::default(), Union::default()];
            for (place, sketch) in sketches.iter().enumerate() {
                halves[usize::from(place < cut)].add(&sketch.serialize());
            }
            let [mut whole, other] = halves;
            whole.merge(other);
            let found = whole.estimate();
            prop_assert_eq!(found.is_some(), !sketches.is_empty());
            let (found, expected) = (found.unwrap_or_default(), expected.composite_estimate());
            prop_assert!((found - expected).abs() <= expected * 1e-9, "{} is not {}", found, expected);
        }
    }

    #[test]
    fn what_is_no_sketch_counts_nobody() {
        let many = sketch(0, 5_000).serialize();
        assert!(has_registers(&many), "the quick way is for these");
        let mut union = Union::default();
        for broken in [&b""[..], b"nonsense", &many[..many.len() - 1]] {
            union.add(broken);
        }
        assert_eq!(union.estimate(), None);
    }
}
