//! When a rule is in force: weekly schedules and expiry (reference section 2.2). The current time is an argument.
//!
//! A day that a schedule does not name is inactive. A range includes its start and excludes its end. Without a zone of
//! its own a schedule follows UTC. An expired rule is inactive whatever its schedule says.

use jiff::Timestamp;
use jiff::civil::Weekday;
use jiff::tz::{TimeZone, TimeZoneDatabase};

/// Most ranges on one day.
pub const MAX_SPLITS: usize = 6;

/// The weekday members of a schedule, Monday first.
pub const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// A weekly schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    zone: TimeZone,
    /// Monday first; minutes since midnight, ascending and disjoint.
    days: [Vec<(u16, u16)>; 7],
}

/// Why a schedule is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    #[error("`{0}` is not a range such as `08:00-12:30`")]
    Range(String),
    #[error("`{0}` ends before it begins: split it at midnight over two days")]
    Backwards(String),
    #[error("the ranges of one day must not overlap: `{0}`")]
    Overlap(String),
    #[error("a day has at most {MAX_SPLITS} ranges")]
    TooMany,
    #[error("`{0}` is not a time zone of the IANA database, such as `Europe/Berlin`")]
    Zone(String),
}

impl Schedule {
    /// Makes a schedule that is never active, in `zone` or UTC.
    ///
    /// # Errors
    /// If the zone is not in the IANA database.
    pub fn new(zone: Option<&str>) -> Result<Self, ScheduleError> {
        Ok(Self { zone: zone.map_or(Ok(TimeZone::UTC), zone_named)?, days: Default::default() })
    }

    /// Sets the ranges of one day (0 is Monday) from text such as `08:00-12:30,13:30-17:00`.
    ///
    /// # Errors
    /// If the text is not a list of disjoint ranges.
    pub fn set_day(&mut self, day: usize, text: &str) -> Result<(), ScheduleError> {
        let mut ranges = Vec::new();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let shown = || part.chars().take(40).collect::<String>();
            let (start, end) = part.split_once('-').ok_or_else(|| ScheduleError::Range(shown()))?;
            let (Some(start), Some(end)) = (minute(start.trim()), minute(end.trim())) else {
                return Err(ScheduleError::Range(shown()));
            };
            if end <= start {
                return Err(ScheduleError::Backwards(shown()));
            }
            if ranges.iter().any(|(s, e)| start < *e && *s < end) {
                return Err(ScheduleError::Overlap(shown()));
            }
            ranges.push((start, end));
            if ranges.len() > MAX_SPLITS {
                return Err(ScheduleError::TooMany);
            }
        }
        ranges.sort_unstable();
        if let Some(slot) = self.days.get_mut(day) {
            *slot = ranges;
        }
        Ok(())
    }

    /// Tells whether `now` lies in one of the ranges of its local day.
    #[must_use]
    pub fn is_active(&self, now: Timestamp) -> bool {
        let local = self.zone.to_datetime(now);
        let day = match local.weekday() {
            Weekday::Monday => 0,
            Weekday::Tuesday => 1,
            Weekday::Wednesday => 2,
            Weekday::Thursday => 3,
            Weekday::Friday => 4,
            Weekday::Saturday => 5,
            Weekday::Sunday => 6,
        };
        let minute = i32::from(local.hour()) * 60 + i32::from(local.minute());
        self.days[day].iter().any(|(start, end)| i32::from(*start) <= minute && minute < i32::from(*end))
    }

    /// Returns the zone's name.
    #[must_use]
    pub fn zone(&self) -> &str {
        self.zone.iana_name().unwrap_or("UTC")
    }
}

/// When a rule stops for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expiration {
    pub expires_at: Timestamp,
    /// Minutes that `reset_expiration` adds to the time of the call.
    pub duration_minutes: Option<u32>,
}

impl Expiration {
    /// Reads an RFC 3339 time whose offset is UTC, the only one the API takes.
    ///
    /// # Errors
    /// With a message for the author.
    pub fn parse_time(text: &str) -> Result<Timestamp, &'static str> {
        const FORM: &str = "must be an RFC 3339 time in UTC, for example `2026-12-31T18:00:00Z`";
        let utc = text.ends_with(['Z', 'z']) || text.ends_with("+00:00");
        if !utc || text.len() > 40 {
            return Err(FORM);
        }
        text.parse().map_err(|_| FORM)
    }

    /// Tells whether the rule is over at `now`.
    #[must_use]
    pub fn is_expired(&self, now: Timestamp) -> bool {
        now >= self.expires_at
    }

    /// Returns the expiry that `reset_expiration` gives at `now`, if the rule has a duration.
    #[must_use]
    pub fn reset(&self, now: Timestamp) -> Option<Timestamp> {
        let minutes = i64::from(self.duration_minutes?);
        now.checked_add(jiff::SignedDuration::from_mins(minutes)).ok()
    }
}

/// Finds a zone in the database that is compiled in, so that no file is read.
fn zone_named(name: &str) -> Result<TimeZone, ScheduleError> {
    let unknown = || ScheduleError::Zone(name.chars().take(60).collect());
    if name.len() > 60 {
        return Err(unknown());
    }
    TimeZoneDatabase::bundled().get(name).map_err(|_| unknown())
}

/// Reads `HH:MM` up to `24:00`.
fn minute(text: &str) -> Option<u16> {
    let (hour, minute) = text.split_once(':')?;
    let two_digits = |part: &str| -> Option<u16> {
        (part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit())).then(|| part.parse().ok()).flatten()
    };
    let (hour, minute) = (two_digits(hour)?, two_digits(minute)?);
    (minute < 60 && hour * 60 + minute <= 24 * 60).then_some(hour * 60 + minute)
}

#[cfg(test)]
mod tests {
    use super::{Expiration, Schedule};

    fn schedule(zone: Option<&str>, days: &[(usize, &str)]) -> Schedule {
        let mut schedule = Schedule::new(zone).unwrap();
        for (day, text) in days {
            schedule.set_day(*day, text).unwrap();
        }
        schedule
    }

    #[test]
    fn a_schedule_is_active_inside_its_ranges_in_its_own_zone() {
        // 2026-11-23 is a Monday; Berlin is one hour ahead of UTC in winter and two in summer.
        let office = schedule(Some("Europe/Berlin"), &[(0, "08:00-12:30,13:30-17:00"), (4, "22:00-24:00")]);
        for (now, active) in [
            ("2026-11-23T06:59:59Z", false),
            ("2026-11-23T07:00:00Z", true),
            ("2026-11-23T11:29:59Z", true),
            ("2026-11-23T11:30:00Z", false),
            ("2026-11-23T12:30:00Z", true),
            ("2026-11-24T08:00:00Z", false),
            ("2026-11-27T22:59:59Z", true),
            ("2026-11-27T23:00:00Z", false),
            ("2026-07-06T06:00:00Z", true),
            ("2026-07-06T05:59:00Z", false),
        ] {
            assert_eq!(office.is_active(now.parse().unwrap()), active, "{now}");
        }
        assert_eq!(office.zone(), "Europe/Berlin");
    }

    #[test]
    fn a_schedule_without_a_zone_follows_utc() {
        let sunday = schedule(None, &[(6, "00:00-24:00")]);
        assert!(sunday.is_active("2026-11-22T00:00:00Z".parse().unwrap()));
        assert!(!sunday.is_active("2026-11-23T00:00:00Z".parse().unwrap()));
    }

    #[test]
    fn malformed_schedules_are_refused_with_the_part_that_is_wrong() {
        for (text, message) in [
            ("8-12", "`8-12` is not a range such as `08:00-12:30`"),
            ("08:00", "`08:00` is not a range such as `08:00-12:30`"),
            ("08:00-24:01", "`08:00-24:01` is not a range such as `08:00-12:30`"),
            ("08:00-12:60", "`08:00-12:60` is not a range such as `08:00-12:30`"),
            ("22:00-06:00", "`22:00-06:00` ends before it begins: split it at midnight over two days"),
            ("08:00-12:00,11:00-13:00", "the ranges of one day must not overlap: `11:00-13:00`"),
            (
                "00:00-01:00,02:00-03:00,04:00-05:00,06:00-07:00,08:00-09:00,10:00-11:00,12:00-13:00",
                "a day has at most 6 ranges",
            ),
        ] {
            let error = Schedule::new(None).unwrap().set_day(0, text).unwrap_err();
            assert_eq!(error.to_string(), message);
        }
        assert!(Schedule::new(Some("Europe/Atlantis")).is_err());
    }

    #[test]
    fn expiry_takes_utc_only_and_resets_by_its_duration() {
        let at = Expiration::parse_time("2026-12-31T18:00:00Z").unwrap();
        let expiration = Expiration { expires_at: at, duration_minutes: Some(30) };
        assert!(!expiration.is_expired("2026-12-31T17:59:59Z".parse().unwrap()));
        assert!(expiration.is_expired(at));
        assert_eq!(expiration.reset(at).unwrap(), "2026-12-31T18:30:00Z".parse().unwrap());
        assert_eq!(Expiration { duration_minutes: None, ..expiration }.reset(at), None);
        for bad in ["2026-12-31T18:00:00+01:00", "2026-12-31", "tomorrow Z", ""] {
            assert!(Expiration::parse_time(bad).is_err(), "{bad}");
        }
    }
}
