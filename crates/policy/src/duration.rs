//! Durations as the v4 API writes them: Go's text form, `300s`, `1h30m`, `24h0m0s`.
//! Keeps the author's text beside the value. Invariant: the value is never negative and always fits `Duration`.

use std::str::FromStr;
use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A duration and the text it was written as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GoDuration {
    text: String,
    value: Duration,
}

/// A text that is not a duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a duration: write a number and a unit, for example `300s` or `1h30m`")]
pub struct DurationError;

/// Units and their length in nanoseconds; longer names first, so that `ms` is not read as `m`.
const UNITS: [(&str, u128); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

impl GoDuration {
    /// Reads Go's duration syntax: an optional `+`, then numbers with an optional fraction, each with its unit.
    ///
    /// # Errors
    /// If the text is anything else, is negative, or is longer than about 290 years (Go's own limit).
    pub fn parse(text: &str) -> Result<Self, DurationError> {
        let rest = text.strip_prefix('+').unwrap_or(text);
        let nanoseconds = if rest == "0" { 0 } else { nanoseconds(rest).ok_or(DurationError)? };
        let value = u64::try_from(nanoseconds).ok().filter(|n| i64::try_from(*n).is_ok()).ok_or(DurationError)?;
        Ok(Self { text: text.to_owned(), value: Duration::from_nanos(value) })
    }

    /// Returns the author's text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Returns the duration.
    #[must_use]
    pub const fn value(&self) -> Duration {
        self.value
    }

    /// Prints Go's canonical form, `24h0m0s`, which is how stock tools expect a duration back.
    #[must_use]
    pub fn canonical(&self) -> String {
        canonical(self.value)
    }
}

/// Prints Go's canonical form of a duration.
#[must_use]
pub fn canonical(value: Duration) -> String {
    let (seconds, nanoseconds) = (value.as_secs(), value.subsec_nanos());
    if seconds == 0 {
        return match nanoseconds {
            0 => "0s".to_owned(),
            1..1_000 => format!("{nanoseconds}ns"),
            1_000..1_000_000 => format!("{}µs", decimal(nanoseconds / 1_000, nanoseconds % 1_000, 3)),
            _ => format!("{}ms", decimal(nanoseconds / 1_000_000, nanoseconds % 1_000_000, 6)),
        };
    }
    let (hours, minutes, rest) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    let rest = decimal(u32::try_from(rest).unwrap_or(0), nanoseconds, 9);
    match (hours, minutes) {
        (0, 0) => format!("{rest}s"),
        (0, _) => format!("{minutes}m{rest}s"),
        _ => format!("{hours}h{minutes}m{rest}s"),
    }
}

/// Prints a number with a fraction of `digits` digits, without trailing zeros.
fn decimal(whole: u32, fraction: u32, digits: usize) -> String {
    if fraction == 0 {
        return whole.to_string();
    }
    let text = format!("{whole}.{fraction:0digits$}");
    text.trim_end_matches('0').to_owned()
}

fn nanoseconds(mut rest: &str) -> Option<u128> {
    let mut total: u128 = 0;
    if rest.is_empty() || rest.len() > 64 {
        return None;
    }
    while !rest.is_empty() {
        let whole_length = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (whole, after) = rest.split_at(whole_length);
        let (fraction, after) = match after.strip_prefix('.') {
            Some(after) => after.split_at(after.bytes().take_while(u8::is_ascii_digit).count()),
            None => ("", after),
        };
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let (unit, scale) = UNITS.iter().find(|(unit, _)| {
            after
                .strip_prefix(unit)
                .is_some_and(|next| next.is_empty() || next.starts_with(|c: char| c.is_ascii_digit() || c == '.'))
        })?;
        let whole: u128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        total = total.checked_add(whole.checked_mul(*scale)?)?;
        if !fraction.is_empty() {
            // A digit below a nanosecond changes nothing; eighteen digits keep the product small.
            let kept = &fraction[..fraction.len().min(18)];
            let digits: u128 = kept.parse().ok()?;
            total = total
                .checked_add(digits.checked_mul(*scale)? / 10u128.checked_pow(u32::try_from(kept.len()).ok()?)?)?;
        }
        rest = &after[unit.len()..];
    }
    Some(total)
}

/// A length of time as the v4 API writes it, Go's text form: `24h`, `15m`. Keeps the author's spelling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lifetime(GoDuration);

impl Lifetime {
    /// Returns the length.
    #[must_use]
    pub const fn value(&self) -> Duration {
        self.0.value()
    }

    /// Returns the author's text.
    #[must_use]
    pub fn text(&self) -> &str {
        self.0.text()
    }

    /// Makes the canonical spelling of a length.
    #[must_use]
    pub fn of(value: Duration) -> Self {
        let text = canonical(value);
        // Go's limit of 290 years is far above every bound of ours; a longer value becomes zero, which ends at once.
        Self(GoDuration::parse(&text).unwrap_or_else(|_| zero()))
    }

    /// Checks that the length lies between two bounds, both included.
    ///
    /// # Errors
    /// With the bounds.
    pub fn within(&self, least: Duration, most: Duration) -> Result<Duration, String> {
        let value = self.value();
        if (least..=most).contains(&value) {
            return Ok(value);
        }
        let [least, most] = [least, most].map(canonical);
        Err(format!("`{}` is not between {least} and {most}", self.text()))
    }
}

fn zero() -> GoDuration {
    GoDuration::parse("0s").unwrap_or_else(|error| unreachable!("{error}"))
}

impl FromStr for Lifetime {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        GoDuration::parse(text).map(Self)
    }
}

impl Serialize for Lifetime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.text())
    }
}

impl<'de> Deserialize<'de> for Lifetime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{GoDuration, Lifetime, canonical};

    #[test]
    fn durations_read_as_go_reads_them() {
        for (text, milliseconds, printed) in [
            ("300s", 300_000, "5m0s"),
            ("24h", 86_400_000, "24h0m0s"),
            ("24h0m0s", 86_400_000, "24h0m0s"),
            ("1h30m", 5_400_000, "1h30m0s"),
            ("1.5h", 5_400_000, "1h30m0s"),
            ("250ms", 250, "250ms"),
            ("1.5s", 1_500, "1.5s"),
            ("0", 0, "0s"),
            ("+5m", 300_000, "5m0s"),
            (".5s", 500, "500ms"),
            ("1m0.25s", 60_250, "1m0.25s"),
        ] {
            let duration = GoDuration::parse(text).unwrap();
            assert_eq!(duration.value(), Duration::from_millis(milliseconds), "{text}");
            assert_eq!(duration.text(), text);
            assert_eq!(duration.canonical(), printed, "{text}");
        }
        assert_eq!(canonical(Duration::from_nanos(1_500)), "1.5µs");
    }

    #[test]
    fn other_texts_are_not_durations() {
        for text in ["", "300", "s", "-5m", "5 m", "5x", "1h30", ".s", "99999999999999h", "5mm", "1e3s", "१s"] {
            assert!(GoDuration::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn lifetimes_keep_their_spelling() {
        let lifetime: Lifetime = "24h".parse().unwrap();
        assert_eq!((lifetime.text(), lifetime.value().as_secs()), ("24h", 86_400));
        assert_eq!(Lifetime::of(std::time::Duration::from_secs(900)).text(), "15m0s");
    }
}
