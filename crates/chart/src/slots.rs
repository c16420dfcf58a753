//! Time on an axis: equal steps, folded into as many slots as can be told apart, with names in a time zone.
//!
//! Slots begin where a clock on the wall would have them: at full hours, at midnight, on Mondays. Invariant: every step
//! falls into exactly one slot, slots keep the order of time, and there are at most [`MOST`].

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// Slots of one chart.
pub(crate) const MOST: usize = 90;

/// The time that one value stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// A minute.
    Minute,
    /// An hour.
    Hour,
    /// A day of 24 hours.
    Day,
}

impl Step {
    fn length(self) -> SignedDuration {
        SignedDuration::from_secs(match self {
            Self::Minute => 60,
            Self::Hour => 3_600,
            Self::Day => 86_400,
        })
    }

    /// How many of it make a slot, from the least.
    const fn widths(self) -> &'static [i64] {
        match self {
            Self::Minute => &[1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 1_440],
            // Between a quarter and the whole of a day, days and nights would only make teeth.
            Self::Hour => &[1, 2, 3, 4, 6, 24, 168],
            Self::Day => &[1, 7, 28, 91, 364],
        }
    }

    const fn minutes(self) -> i64 {
        match self {
            Self::Minute => 1,
            Self::Hour => 60,
            Self::Day => 1_440,
        }
    }
}

/// How values of several steps become the value of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fold {
    /// They add up, as counts and bytes do.
    Sum,
    /// The largest stands for them, as with latencies.
    Largest,
}

/// Where a chart begins and how it tells the time.
#[derive(Debug, Clone)]
pub struct Clock {
    /// The beginning of the first step.
    pub start: Timestamp,
    /// The length of each.
    pub step: Step,
    /// Whose midnight counts.
    pub zone: TimeZone,
}

/// One slot of the axis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Slot {
    /// Its first step and the one after its last.
    pub steps: std::ops::Range<usize>,
    /// When it begins, in the chart's zone.
    pub begins: DateTime,
}

/// The axis of a chart.
#[derive(Debug, Clone)]
pub(crate) struct Slots {
    pub slots: Vec<Slot>,
    /// The length of a slot in minutes.
    minutes: i64,
    zone: String,
}

impl Clock {
    /// Divides so many steps into slots.
    pub(crate) fn slots(&self, steps: usize) -> Slots {
        let widths = self.step.widths();
        let fits = |width: &&i64| steps as u64 / width.unsigned_abs() + 2 <= MOST as u64;
        let width = if steps <= MOST { 1 } else { *widths.iter().find(fits).unwrap_or(&widths[widths.len() - 1]) };
        let minutes = self.step.minutes() * width;
        let mut slots: Vec<Slot> = Vec::new();
        let mut last = None;
        for step in 0..steps {
            let at = self.start.checked_add(self.step.length() * i32::try_from(step).unwrap_or(i32::MAX));
            let local = self.zone.to_datetime(at.unwrap_or(Timestamp::MAX));
            let key = boundary(local, minutes);
            match slots.last_mut() {
                // Where each step is its own slot, an hour that comes twice is two.
                Some(slot) if width > 1 && last == Some(key) => slot.steps.end = step + 1,
                _ => slots.push(Slot { steps: step..step + 1, begins: local }),
            }
            last = Some(key);
        }
        while slots.len() > MOST {
            slots = slots.chunks(2).map(joined).collect();
        }
        let zone = self.zone.to_offset_info(self.start).abbreviation().to_owned();
        Slots { slots, minutes, zone }
    }
}

/// Neighbours as one.
fn joined(slots: &[Slot]) -> Slot {
    let end = slots.last().map_or(0, |slot| slot.steps.end);
    Slot { steps: slots[0].steps.start..end, begins: slots[0].begins }
}

/// A number that is the same for times between two full periods of so many minutes: full hours, midnights, Mondays.
fn boundary(local: DateTime, minutes: i64) -> i64 {
    let since = TimeZone::UTC.to_timestamp(local).map_or(0, |at| at.as_second().div_euclid(60));
    // The epoch was a Thursday; weeks begin on Mondays.
    let shift = if minutes >= 7 * 1_440 { 3 * 1_440 } else { 0 };
    (since + shift).div_euclid(minutes.max(1))
}

/// A distance between names on the axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Period {
    Minutes(i64),
    Months(i64),
}

const DAY: i64 = 1_440;
/// From the closest.
const PERIODS: [Period; 21] = [
    Period::Minutes(1),
    Period::Minutes(5),
    Period::Minutes(10),
    Period::Minutes(15),
    Period::Minutes(30),
    Period::Minutes(60),
    Period::Minutes(2 * 60),
    Period::Minutes(3 * 60),
    Period::Minutes(6 * 60),
    Period::Minutes(12 * 60),
    Period::Minutes(DAY),
    Period::Minutes(2 * DAY),
    Period::Minutes(7 * DAY),
    Period::Minutes(14 * DAY),
    Period::Months(1),
    Period::Months(3),
    Period::Months(6),
    Period::Months(12),
    Period::Months(5 * 12),
    Period::Months(20 * 12),
    Period::Months(100 * 12),
];

impl Period {
    /// A number that changes where a period ends and the next begins.
    fn of(self, local: DateTime) -> i64 {
        match self {
            Self::Minutes(minutes) => boundary(local, minutes),
            Self::Months(months) => (i64::from(local.year()) * 12 + i64::from(local.month()) - 1).div_euclid(months),
        }
    }
}

/// Names on one axis, at most.
const NAMES: usize = 6;

impl Slots {
    /// The value of each slot; nothing where none of its steps has one.
    pub(crate) fn fold(&self, values: &[Option<u64>], fold: Fold) -> Vec<Option<u64>> {
        let folded = self.slots.iter().map(|slot| {
            let of_slot = values.get(slot.steps.start..slot.steps.end.min(values.len())).unwrap_or_default();
            of_slot.iter().flatten().copied().reduce(|a, b| match fold {
                Fold::Sum => a.saturating_add(b),
                Fold::Largest => a.max(b),
            })
        });
        folded.collect()
    }

    /// The whole name of a slot.
    pub(crate) fn name(&self, slot: &Slot) -> String {
        let pattern = match self.minutes {
            0..1_440 => "%-d %b, %H:%M",
            1_440 => "%a %-d %b %Y",
            _ => "from %-d %b %Y",
        };
        slot.begins.strftime(pattern).to_string()
    }

    /// The name of the zone, where hours are shown.
    pub(crate) fn zone(&self) -> Option<&str> {
        (self.minutes < 1_440).then_some(self.zone.as_str())
    }

    /// The names along the axis, one for each slot, most of them nothing.
    pub(crate) fn names(&self) -> Vec<Option<String>> {
        let count = |period: Period| (0..self.slots.len()).filter(|at| self.begins(*at, period)).count();
        let at_least_a_slot = |period: &Period| !matches!(period, Period::Minutes(minutes) if *minutes < self.minutes);
        let period = PERIODS.into_iter().filter(at_least_a_slot).find(|period| count(*period) <= NAMES);
        let period = period.unwrap_or(PERIODS[PERIODS.len() - 1]);
        let mut names: Vec<Option<String>> =
            (0..self.slots.len()).map(|at| self.begins(at, period).then(|| self.name_at(at, period))).collect();
        // What has no full period in it has its beginning at least.
        if let Some(first) = names.first_mut()
            && self.slots.iter().enumerate().all(|(at, _)| !self.begins(at, period))
        {
            *first = Some(self.name_at(0, period));
        }
        names
    }

    /// Says whether a new period begins with a slot.
    fn begins(&self, at: usize, period: Period) -> bool {
        let slot = &self.slots[at];
        let before = match at.checked_sub(1) {
            Some(before) => Some(self.slots[before].begins),
            None => slot.begins.checked_sub(SignedDuration::from_secs(1)).ok(),
        };
        before.is_some_and(|before| period.of(before) != period.of(slot.begins))
    }

    fn name_at(&self, at: usize, period: Period) -> String {
        let begins = self.slots[at].begins;
        let midnight = (begins.hour(), begins.minute()) == (0, 0);
        let pattern = match period {
            Period::Months(12..) => "%Y",
            Period::Months(_) if begins.month() == 1 => "%b %Y",
            Period::Months(_) => "%b",
            Period::Minutes(..DAY) if !midnight => "%H:%M",
            Period::Minutes(_) => "%-d %b",
        };
        begins.strftime(pattern).to_string()
    }
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;
    use proptest::prelude::*;

    use super::{Clock, Fold, MOST, Step};

    fn clock(start: &str, step: Step) -> Clock {
        Clock { start: start.parse().unwrap(), step, zone: TimeZone::UTC }
    }

    fn names(clock: &Clock, steps: usize) -> Vec<String> {
        clock.slots(steps).names().into_iter().flatten().collect()
    }

    #[test]
    fn an_axis_is_named_at_round_times() {
        for (start, step, steps, expected) in [
            ("2026-11-27T13:07:00Z", Step::Minute, 60, "13:10 13:20 13:30 13:40 13:50 14:00"),
            ("2026-11-27T05:00:00Z", Step::Hour, 24, "06:00 12:00 18:00 28 Nov"),
            ("2026-11-01T00:00:00Z", Step::Day, 30, "2 Nov 9 Nov 16 Nov 23 Nov 30 Nov"),
            ("2026-09-01T00:00:00Z", Step::Day, 90, "7 Sep 21 Sep 5 Oct 19 Oct 2 Nov 16 Nov"),
            ("2025-12-15T00:00:00Z", Step::Day, 364, "Jan 2026 Apr Jul Oct"),
            ("2026-11-27T13:07:00Z", Step::Minute, 1, "13:07"),
        ] {
            let named = names(&clock(start, step), steps).join(" ");
            assert_eq!(named, expected, "{start}");
        }
    }

    #[test]
    fn ninety_days_of_hours_become_days_of_the_zone() {
        let berlin = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        let clock = Clock { start: "2026-09-30T22:00:00Z".parse().unwrap(), step: Step::Hour, zone: berlin };
        let slots = clock.slots(60 * 24 + 1);
        assert_eq!(slots.slots.len(), 60);
        // The day on which summer time ends has 25 hours.
        let lengths: Vec<usize> = slots.slots.iter().map(|slot| slot.steps.len()).collect();
        assert_eq!(lengths.iter().filter(|length| **length == 25).count(), 1);
        assert_eq!(slots.name(&slots.slots[0]), "Thu 1 Oct 2026");
        assert_eq!(slots.zone(), None);
    }

    #[test]
    fn values_add_up_or_the_largest_stands() {
        let slots = clock("2026-11-01T00:00:00Z", Step::Hour).slots(180);
        let values: Vec<Option<u64>> = (0..180).map(|hour| (hour % 6 != 0).then_some(hour)).collect();
        assert_eq!(slots.slots.len(), 60);
        assert_eq!(slots.fold(&values, Fold::Sum)[1], Some(4 + 5 + 3));
        assert_eq!(slots.fold(&values, Fold::Largest)[1], Some(5));
        assert_eq!(slots.fold(&[None; 180], Fold::Sum), vec![None; 60]);
    }

    proptest! {
        #[test]
        fn every_step_has_one_slot(start in 0_i64..4_000_000_000, steps in 0_usize..6_000, step in 0..3_usize) {
            let step = [Step::Minute, Step::Hour, Step::Day][step];
            let zone = TimeZone::posix("EST5EDT,M3.2.0,M11.1.0").unwrap();
            let clock = Clock { start: jiff::Timestamp::from_second(start).unwrap(), step, zone };
            let slots = clock.slots(steps);
            prop_assert!(slots.slots.len() <= MOST);
            let mut next = 0;
            for slot in &slots.slots {
                prop_assert_eq!(slot.steps.start, next);
                prop_assert!(slot.steps.end > next);
                next = slot.steps.end;
            }
            prop_assert_eq!(next, steps);
            prop_assert!(slots.names().iter().flatten().count() <= 6);
        }
    }
}
