//! When people work: offices, their time zones, their week, their holidays.
//!
//! Zones are rules, not names, so that the same seed makes the same records on a machine without a zone database.
//! Invariant: activity is never zero, as there is always a machine that updates itself.

use jiff::Timestamp;
use jiff::civil::Weekday;
use jiff::tz::TimeZone;

/// An office of the organisation.
pub(crate) struct Office {
    /// ISO 3166-1 alpha-2.
    pub country: &'static str,
    pub continent: &'static str,
    /// Which share of the people work here, in percent.
    pub share: usize,
    zone: &'static str,
    /// Months and days off, beside the weekend.
    holidays: &'static [(i8, i8)],
}

/// Where the people are; the shares add up to a hundred.
pub(crate) const OFFICES: [Office; 12] = [
    office("US", "NA", 24, "EST5EDT,M3.2.0,M11.1.0", &[(1, 1), (7, 4), (11, 26), (11, 27), (12, 25)]),
    office("US", "NA", 11, "PST8PDT,M3.2.0,M11.1.0", &[(1, 1), (7, 4), (11, 26), (11, 27), (12, 25)]),
    office("DE", "EU", 16, "CET-1CEST,M3.5.0,M10.5.0/3", &[(1, 1), (5, 1), (10, 3), (12, 24), (12, 25), (12, 26)]),
    office("GB", "EU", 11, "GMT0BST,M3.5.0/1,M10.5.0", &[(1, 1), (12, 25), (12, 26), (12, 28)]),
    office("IN", "AS", 11, "IST-5:30", &[(1, 26), (8, 15), (10, 2), (12, 25)]),
    office("PT", "EU", 7, "WET0WEST,M3.5.0/1,M10.5.0", &[(1, 1), (4, 25), (5, 1), (12, 1), (12, 8), (12, 25)]),
    office("BR", "SA", 5, "<-03>3", &[(1, 1), (4, 21), (9, 7), (11, 15), (11, 20), (12, 25)]),
    office("JP", "AS", 4, "JST-9", &[(1, 1), (1, 2), (1, 3), (2, 11), (5, 3), (11, 3), (11, 23)]),
    office("SG", "AS", 4, "<+08>-8", &[(1, 1), (5, 1), (8, 9), (12, 25)]),
    office("AU", "OC", 3, "AEST-10AEDT,M10.1.0,M4.1.0/3", &[(1, 1), (1, 26), (4, 25), (12, 25), (12, 26)]),
    office("CA", "NA", 2, "EST5EDT,M3.2.0,M11.1.0", &[(1, 1), (7, 1), (12, 25), (12, 26)]),
    office("KE", "AF", 2, "EAT-3", &[(1, 1), (6, 1), (10, 20), (12, 12), (12, 25)]),
];

/// Where they travel.
pub(crate) const ABROAD: [(&str, &str); 16] = [
    ("FR", "EU"),
    ("ES", "EU"),
    ("NL", "EU"),
    ("IT", "EU"),
    ("CH", "EU"),
    ("PL", "EU"),
    ("SE", "EU"),
    ("IE", "EU"),
    ("MX", "NA"),
    ("AE", "AS"),
    ("KR", "AS"),
    ("TR", "AS"),
    ("ZA", "AF"),
    ("NG", "AF"),
    ("AR", "SA"),
    ("NZ", "OC"),
];

/// How much of a full day's work falls into each hour of the local day, per thousand of the busiest.
const WORKDAY: [u16; 24] =
    [14, 9, 7, 6, 8, 18, 60, 210, 560, 900, 1_000, 960, 640, 700, 940, 960, 880, 690, 360, 190, 130, 100, 64, 32];
const DAY_OFF: [u16; 24] = [14, 9, 7, 6, 6, 8, 14, 26, 46, 66, 76, 78, 70, 66, 66, 64, 60, 58, 62, 70, 72, 60, 40, 24];

const fn office(
    country: &'static str,
    continent: &'static str,
    share: usize,
    zone: &'static str,
    holidays: &'static [(i8, i8)],
) -> Office {
    Office { country, continent, share, zone, holidays }
}

impl Office {
    /// Returns its zone.
    pub(crate) fn zone(&self) -> TimeZone {
        // The texts above are tested.
        TimeZone::posix(self.zone).unwrap_or(TimeZone::UTC)
    }

    /// Says how busy it is at a time, from a thousandth to one.
    pub(crate) fn activity(&self, at: Timestamp, zone: &TimeZone) -> f64 {
        let local = zone.to_datetime(at);
        let hour = usize::from(local.hour().unsigned_abs()) % 24;
        let off = matches!(local.weekday(), Weekday::Saturday | Weekday::Sunday)
            || self.holidays.contains(&(local.month(), local.day()));
        let busy = if off { DAY_OFF[hour] } else { WORKDAY[hour] };
        // Fridays end early.
        let early = !off && local.weekday() == Weekday::Friday && hour >= 15;
        f64::from(busy) / 1_000.0 * if early { 0.7 } else { 1.0 }
    }
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::OFFICES;

    #[test]
    fn every_zone_is_a_rule_and_every_share_counts() {
        for office in &OFFICES {
            assert!(TimeZone::posix(office.zone).is_ok(), "{}", office.country);
        }
        assert_eq!(OFFICES.iter().map(|office| office.share).sum::<usize>(), 100);
    }

    #[test]
    fn an_office_works_by_its_own_clock_and_rests_on_its_own_holidays() {
        let berlin = OFFICES.iter().find(|office| office.country == "DE").unwrap();
        let zone = berlin.zone();
        let at = |text: &str| berlin.activity(text.parse().unwrap(), &zone);
        // Ten in the morning in summer and in winter.
        assert!(at("2026-07-08T08:30:00Z") > 0.9 && at("2026-11-11T09:30:00Z") > 0.9);
        assert!(at("2026-11-11T02:30:00Z") < 0.05);
        assert!(at("2026-11-14T09:30:00Z") < 0.1, "a Saturday");
        assert!(at("2026-12-25T09:30:00Z") < 0.1, "a Friday that is a holiday");
    }
}
