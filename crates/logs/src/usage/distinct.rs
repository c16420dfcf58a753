//! Unites sketches of distinct people and devices, in the form that Apache DataSketches gives them.
//!
//! A sketch lists its coupons, which stand for one of them each, or holds registers. A report unites hundreds of thousands, so
//! their images are united as they lie, and the library is asked for the estimate of the last. Invariant: that is the
//! estimate of the library's own union of the same sketches, in whatever order they came.

use datasketches::hll::HllSketch;

use super::counter::REGISTERS;

/// How many registers there are.
const MANY: usize = 1 << REGISTERS;
/// How many coupons are listed before they become registers, as in the library.
const LISTED: usize = TABLE / 4 * 3;
const TABLE: usize = MANY / 8;
/// The version of the form, the family of sketches (HLL), and the number of registers as a power of two.
const FORM: [u8; 3] = [1, 7, REGISTERS];
/// The flag of coupons that lie side by side, and that of registers of several sketches.
const COMPACT: u8 = 8;
const UNITED: u8 = 16;
/// What a sketch is, in its eighth byte: a list, a set, registers; each of the kind that has eight bits for a register.
const LIST: u8 = 8;
const SET: u8 = 9;
const REGISTERED: u8 = 10;
/// How many bytes come before coupons in a list and in a set, and before registers; in words of four as the first byte.
const LIST_PREAMBLE: usize = 8;
const SET_PREAMBLE: usize = 12;
const PREAMBLE: usize = 40;

/// A union of sketches.
#[derive(Debug)]
pub(crate) enum Union {
    Listed(Box<Coupons>),
    Registers(Box<[u8; MANY]>),
}

impl Default for Union {
    fn default() -> Self {
        Self::Listed(Box::new(Coupons { slots: [0; TABLE], count: 0 }))
    }
}

/// Different coupons, each in the slot that its last bits say or one after it; 0 is none.
#[derive(Debug)]
pub(crate) struct Coupons {
    slots: [u32; TABLE],
    count: usize,
}

impl Coupons {
    fn add(&mut self, coupon: u32) {
        let mut slot = coupon as usize % TABLE;
        // There is always a free one.
        while self.slots[slot] != coupon {
            if self.slots[slot] == 0 {
                self.slots[slot] = coupon;
                self.count += 1;
            } else {
                slot = (slot + 1) % TABLE;
            }
        }
    }

    fn iter(&self) -> impl Iterator<Item = u32> {
        self.slots.into_iter().filter(|coupon| *coupon != 0)
    }
}

/// What an image of a sketch holds.
enum Image<'a> {
    Coupons(&'a [[u8; 4]]),
    Registers(&'a [u8; MANY]),
}

impl<'a> Image<'a> {
    fn of(bytes: &'a [u8]) -> Option<Self> {
        let words = *bytes.first()?;
        if bytes.get(1..4)? != FORM {
            return None;
        }
        let coupons = |preamble: usize, count: usize| {
            let (coupons, rest) = bytes.get(preamble..)?.as_chunks();
            (coupons.len() == count && rest.is_empty()).then_some(Self::Coupons(coupons))
        };
        match (words, *bytes.get(7)?) {
            (2, LIST) => coupons(LIST_PREAMBLE, usize::from(bytes[6])),
            (3, SET) => {
                let count = u32::from_le_bytes(*bytes.get(LIST_PREAMBLE..)?.first_chunk()?);
                coupons(SET_PREAMBLE, count as usize)
            }
            (10, REGISTERED) => bytes.get(PREAMBLE..)?.try_into().ok().map(Self::Registers),
            _ => None,
        }
    }
}

impl Union {
    /// Adds a sketch. One that cannot be read counts nobody.
    pub(crate) fn add(&mut self, sketch: &[u8]) {
        match Image::of(sketch) {
            Some(Image::Coupons(coupons)) => {
                coupons.iter().for_each(|coupon| self.coupon(u32::from_le_bytes(*coupon)));
            }
            Some(Image::Registers(others)) => raise(self.registers(), others),
            None => {}
        }
    }

    /// Adds what another holds.
    pub(crate) fn merge(&mut self, other: Self) {
        match other {
            Self::Listed(coupons) => coupons.iter().for_each(|coupon| self.coupon(coupon)),
            Self::Registers(others) => raise(self.registers(), &others),
        }
    }

    fn coupon(&mut self, coupon: u32) {
        match self {
            Self::Registers(registers) => register(registers, coupon),
            Self::Listed(_) if coupon == 0 => {}
            Self::Listed(coupons) => {
                coupons.add(coupon);
                if coupons.count > LISTED {
                    self.registers();
                }
            }
        }
    }

    /// Returns the registers, which the coupons become that were listed.
    fn registers(&mut self) -> &mut [u8; MANY] {
        if let Self::Listed(coupons) = self {
            let mut registers = Box::new([0; MANY]);
            coupons.iter().for_each(|coupon| register(&mut registers, coupon));
            *self = Self::Registers(registers);
        }
        match self {
            Self::Registers(registers) => registers,
            Self::Listed(_) => unreachable!("they have become registers"),
        }
    }

    /// Returns about how many are in it.
    pub(crate) fn estimate(&self) -> f64 {
        HllSketch::deserialize(&self.image()).map_or(0.0, |sketch| sketch.composite_estimate())
    }

    fn image(&self) -> Vec<u8> {
        let begin = |words: u8, rest: [u8; 4]| {
            let mut image = vec![words];
            image.extend(FORM);
            image.extend(rest);
            image
        };
        match self {
            Self::Listed(coupons) => {
                let mut image = begin(3, [TABLE.ilog2() as u8, COMPACT, 0, SET]);
                image.extend((coupons.count as u32).to_le_bytes());
                image.extend(coupons.iter().flat_map(u32::to_le_bytes));
                image
            }
            Self::Registers(registers) => {
                let mut image = begin(10, [0, UNITED, 0, REGISTERED]);
                // What a sketch of one stream would be estimated by; the library estimates unions by the registers.
                image.extend(0_f64.to_le_bytes());
                let of = |small: bool| {
                    let some = registers.iter().filter(|register| (**register < 32) == small);
                    some.map(|register| (-f64::from(*register)).exp2()).sum::<f64>()
                };
                image.extend(of(true).to_le_bytes());
                image.extend(of(false).to_le_bytes());
                let zeros = registers.iter().filter(|register| **register == 0).count() as u32;
                image.extend(zeros.to_le_bytes());
                image.extend([0; 4]);
                image.extend(registers.iter());
                image
            }
        }
    }
}

/// Puts a coupon into its register: its first six bits are the value, its last ones the place.
fn register(registers: &mut [u8; MANY], coupon: u32) {
    let register = &mut registers[coupon as usize % MANY];
    *register = (*register).max((coupon >> 26) as u8);
}

fn raise(registers: &mut [u8; MANY], others: &[u8; MANY]) {
    for (own, other) in registers.iter_mut().zip(others) {
        *own = (*own).max(*other);
    }
}

#[cfg(test)]
mod tests {
    use datasketches::hll::{HllSketch, HllType, HllUnion};
    use proptest::prelude::*;

    use super::{LISTED, REGISTERS, Union};

    fn sketch(first: u32, many: u32) -> HllSketch {
        let mut sketch = HllSketch::new(REGISTERS, HllType::Hll8).unwrap();
        (first..first + many).for_each(|number| sketch.update(number));
        sketch
    }

    proptest! {
        #[test]
        fn the_estimate_is_that_of_the_library(
            of in proptest::collection::vec(
                (0_u32..2_000, prop_oneof![0_u32..30, 150_u32..220, 1_000_u32..3_000]),
                1..8,
            ),
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
            let (found, expected) = (whole.estimate(), expected.composite_estimate());
            prop_assert!((found - expected).abs() <= expected * 1e-9, "{} is not {}", found, expected);
        }

        #[test]
        fn arbitrary_bytes_never_panic(
            mut bytes in proptest::collection::vec(any::<u8>(), 0..100),
            form in prop_oneof![Just([2_u8, 8]), Just([3, 9]), Just([10, 10])],
        ) {
            for (place, byte) in [form[0], 1, 7, REGISTERS].into_iter().enumerate() {
                if let Some(own) = bytes.get_mut(place) {
                    *own = byte;
                }
            }
            if let Some(mode) = bytes.get_mut(7) {
                *mode = form[1];
            }
            let mut union = Union::default();
            union.add(&bytes);
            prop_assert!(union.estimate() >= 0.0);
        }
    }

    #[test]
    fn listed_ones_become_registers_where_the_library_lets_them() {
        for many in [LISTED as u32, LISTED as u32 + 1] {
            let mut union = Union::default();
            (0..many).for_each(|number| union.add(&sketch(number, 1).serialize()));
            let expected = sketch(0, many);
            assert!((union.estimate() - expected.composite_estimate()).abs() < 1e-6, "{many}");
        }
    }

    #[test]
    fn what_is_no_sketch_counts_nobody() {
        let (many, few) = (sketch(0, 5_000).serialize(), sketch(0, 5).serialize());
        let mut union = Union::default();
        for broken in [&b""[..], b"nonsense", &many[..many.len() - 1], &few[..few.len() - 1], &few[..7]] {
            union.add(broken);
        }
        assert!(union.estimate().abs() < f64::EPSILON);
    }
}
