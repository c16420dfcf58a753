//! Drawing from distributions by tables that are made once.
//!
//! Everything drawn follows from the state of the generator of numbers that is passed in. Invariant: drawing allocates
//! nothing and takes constant time.

use fastrand::Rng;

/// A choice among weighted places, by the alias method: one number decides.
#[derive(Debug, Clone)]
pub(crate) struct Weighted {
    /// For each place, below which share of its slot it stays the choice.
    stays: Vec<u32>,
    /// What is chosen above that.
    otherwise: Vec<u32>,
}

impl Weighted {
    /// Returns nothing when no place has weight.
    pub(crate) fn new(weights: impl IntoIterator<Item = f64>) -> Option<Self> {
        let weights: Vec<f64> = weights.into_iter().collect();
        let total: f64 = weights.iter().sum();
        if weights.is_empty() || !total.is_finite() || total <= 0.0 {
            return None;
        }
        let fair = weights.len() as f64 / total;
        let mut shares: Vec<f64> = weights.iter().map(|weight| weight * fair).collect();
        let (mut small, mut large): (Vec<usize>, Vec<usize>) =
            (0..shares.len()).partition(|place| shares[*place] < 1.0);
        let mut stays = vec![u32::MAX; shares.len()];
        let mut otherwise: Vec<u32> = (0_u32..).take(shares.len()).collect();
        while let (Some(less), Some(more)) = (small.pop(), large.last().copied()) {
            stays[less] = (shares[less] * f64::from(u32::MAX)) as u32;
            otherwise[less] = u32::try_from(more).unwrap_or(u32::MAX);
            shares[more] -= 1.0 - shares[less];
            if shares[more] < 1.0 {
                large.pop();
                small.push(more);
            }
        }
        Some(Self { stays, otherwise })
    }

    /// Draws a place.
    pub(crate) fn draw(&self, random: &mut Rng) -> usize {
        let bits = random.u64(..);
        let place = scaled(bits >> 32, self.stays.len());
        if (bits as u32) <= self.stays[place] { place } else { self.otherwise[place] as usize }
    }
}

/// Turns 32 random bits into a number below `bound`.
const fn scaled(bits: u64, bound: usize) -> usize {
    ((bits * bound as u64) >> 32) as usize
}

/// Factors around one that are spread like sizes and durations are: most near the median, some far above.
#[derive(Debug, Clone)]
pub(crate) struct Spread(Box<[u32; Self::STEPS]>);

impl Spread {
    const STEPS: usize = 1_024;
    /// The factors are in units of one part in so many.
    const UNIT_BITS: u32 = 10;
    /// No value is further from its median than this.
    const FURTHEST: f64 = 400.0;

    /// Takes the deviation of the logarithm.
    pub(crate) fn new(deviation: f64) -> Self {
        let mut factors = Box::new([0; Self::STEPS]);
        for (step, factor) in factors.iter_mut().enumerate() {
            let share = (step as f64 + 0.5) / Self::STEPS as f64;
            // The logistic distribution, scaled to the normal one: with it the quantile needs no table.
            let deviations = (share / (1.0 - share)).ln() / 1.702;
            let value = (deviation * deviations).exp().clamp(1.0 / Self::FURTHEST, Self::FURTHEST);
            *factor = ((value * f64::from(1_u32 << Self::UNIT_BITS)) as u32).max(1);
        }
        Self(factors)
    }

    /// Draws a value around `median`.
    pub(crate) fn draw(&self, median: u64, random: &mut Rng) -> u64 {
        let step = (random.u32(..) as usize) % Self::STEPS;
        (median * u64::from(self.0[step])) >> Self::UNIT_BITS
    }
}

/// Draws a number below `bound`, small ones far more often, as some documents are opened again and again.
pub(crate) fn favourite(bound: u64, random: &mut Rng) -> u64 {
    let bits = random.u64(..);
    let (first, second, third) = (bits & 0xffff, (bits >> 16) & 0xffff, (bits >> 32) & 0xffff);
    (((first * second) >> 16) * third * bound) >> 32
}

/// Says yes once in `times`.
pub(crate) fn once_in(times: u32, random: &mut Rng) -> bool {
    ((u64::from(random.u32(..)) * u64::from(times)) >> 32) == 0
}

/// Scatters a number over all 64 bits, the same way each time.
pub(crate) const fn scattered(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// A share from zero to one that follows from a number.
pub(crate) fn share(number: u64) -> f64 {
    (scattered(number) >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use fastrand::Rng;

    use super::{Spread, Weighted, favourite};

    #[test]
    fn places_are_drawn_as_often_as_they_weigh() {
        let weights = [5.0, 0.0, 1.0, 3.0, 1.0];
        let weighted = Weighted::new(weights).unwrap();
        let mut random = Rng::with_seed(1);
        let mut counts = [0_u32; 5];
        for _ in 0..100_000 {
            counts[weighted.draw(&mut random)] += 1;
        }
        for (count, weight) in counts.iter().zip(weights) {
            assert!((f64::from(*count) / 10_000.0 - weight).abs() < 0.1, "{counts:?}");
        }
        assert!(Weighted::new([0.0]).is_none() && Weighted::new([]).is_none());
    }

    #[test]
    fn spread_values_have_their_median_and_a_tail() {
        let spread = Spread::new(1.0);
        let mut random = Rng::with_seed(2);
        let mut values: Vec<u64> = (0..20_000).map(|_| spread.draw(1_000, &mut random)).collect();
        values.sort_unstable();
        assert!((930..1_070).contains(&values[10_000]), "{}", values[10_000]);
        assert!(values[19_800] > 8_000 && values[200] < 150, "{} {}", values[19_800], values[200]);
    }

    #[test]
    fn favourites_are_small_and_within_bounds() {
        let mut random = Rng::with_seed(3);
        let drawn: Vec<u64> = (0..10_000).map(|_| favourite(1_000, &mut random)).collect();
        assert!(drawn.iter().all(|number| *number < 1_000));
        assert!(drawn.iter().filter(|number| **number < 100).count() > 4_000);
        assert!(drawn.iter().any(|number| *number > 500));
    }
}
