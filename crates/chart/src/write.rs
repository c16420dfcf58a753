//! How charts write numbers: exactly where there is room, shortly at an axis.
//!
//! Invariant: no value is rounded so that it could be taken for another order of magnitude.

/// What numbers count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Things.
    Count,
    /// Bytes.
    Bytes,
    /// Microseconds.
    Micros,
}

impl Unit {
    /// Writes a value where it is read.
    #[must_use]
    pub fn write(self, value: u64) -> String {
        match self {
            Self::Count => count(value),
            Self::Bytes => bytes(value),
            Self::Micros => micros(value),
        }
    }

    /// Writes a value at an axis or in a tight place.
    #[must_use]
    pub fn short(self, value: u64) -> String {
        match self {
            Self::Count => short_count(value),
            Self::Bytes => bytes(value).replace(".0 ", " "),
            Self::Micros => micros(value).replace(".0 ", " "),
        }
    }

    /// The factors between its steps: where one word for a unit ends and the next begins.
    pub(crate) const fn base(self) -> u64 {
        match self {
            Self::Bytes => 1_024,
            Self::Count | Self::Micros => 1_000,
        }
    }
}

/// Microseconds as people say them.
#[must_use]
pub fn micros(value: u64) -> String {
    const MINUTE: u64 = 60_000_000;
    match value {
        0..=999 => format!("{value} µs"),
        1_000..=9_999 => format!("{}.{} ms", value / 1_000, value % 1_000 / 100),
        10_000..=999_999 => format!("{} ms", value / 1_000),
        1_000_000..=9_999_999 => format!("{}.{} s", value / 1_000_000, value % 1_000_000 / 100_000),
        10_000_000..=119_999_999 => format!("{} s", value / 1_000_000),
        _ => format!("{} min", value / MINUTE),
    }
}

/// Bytes in binary units.
#[must_use]
pub fn bytes(value: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if value < 1_024 {
        return format!("{value} B");
    }
    let mut whole = u128::from(value) * 10 / 1_024;
    let mut unit = 0;
    while whole >= 10_240 && unit + 1 < UNITS.len() {
        whole /= 1_024;
        unit += 1;
    }
    format!("{}.{} {}", whole / 10, whole % 10, UNITS[unit])
}

/// A count with thin spaces between thousands.
#[must_use]
pub fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::with_capacity(digits.len() * 2);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

fn short_count(value: u64) -> String {
    const UNITS: [&str; 6] = ["k", "M", "G", "T", "P", "E"];
    if value < 10_000 {
        return count(value);
    }
    let mut tenths = u128::from(value) * 10 / 1_000;
    let mut unit = 0;
    while tenths >= 10_000 && unit + 1 < UNITS.len() {
        tenths /= 1_000;
        unit += 1;
    }
    let (whole, rest) = (tenths / 10, tenths % 10);
    if rest == 0 || whole >= 100 {
        format!("{whole} {}", UNITS[unit])
    } else {
        format!("{whole}.{rest} {}", UNITS[unit])
    }
}

/// How a value stands against what it was before, in percent.
#[must_use]
pub fn change(now: u64, before: u64) -> String {
    match (now, before) {
        (0, 0) => "no change".to_owned(),
        (_, 0) => "new".to_owned(),
        _ => {
            let (now, before) = (i128::from(now), i128::from(before));
            let percent = (now - before) * 100 / before;
            match percent {
                0 => "±0 %".to_owned(),
                1_000.. => format!("×{}", now / before),
                1.. => format!("+{percent} %"),
                _ => format!("\u{2212}{} %", -percent),
            }
        }
    }
}

/// A part of a whole in percent.
pub(crate) fn percent(part: u64, whole: u64) -> String {
    let tenths = u128::from(part) * 1_000 / u128::from(whole.max(1));
    match tenths {
        0 if part > 0 => "under 0.1 %".to_owned(),
        0..100 => format!("{}.{} %", tenths / 10, tenths % 10),
        _ => format!("{} %", tenths / 10),
    }
}

#[cfg(test)]
mod tests {
    use super::{Unit, bytes, change, count, micros, percent};

    #[test]
    fn values_read_well() {
        let times = [
            (0, "0 µs"),
            (999, "999 µs"),
            (1_234, "1.2 ms"),
            (45_678, "45 ms"),
            (1_500_000, "1.5 s"),
            (61_000_000, "61 s"),
            (600_000_000, "10 min"),
        ];
        for (value, text) in times {
            assert_eq!(micros(value), text);
        }
        let sizes = [(0, "0 B"), (1_023, "1023 B"), (1_536, "1.5 KiB"), (5 << 30, "5.0 GiB"), (u64::MAX, "15.9 EiB")];
        for (value, text) in sizes {
            assert_eq!(bytes(value), text);
        }
        assert_eq!(count(1_234_567), "1\u{202f}234\u{202f}567");
        assert_eq!(count(123), "123");
    }

    #[test]
    fn short_values_keep_their_order_of_magnitude() {
        for (unit, value, text) in [
            (Unit::Count, 9_999, "9\u{202f}999"),
            (Unit::Count, 10_000, "10 k"),
            (Unit::Count, 12_500, "12.5 k"),
            (Unit::Count, 999_999, "999 k"),
            (Unit::Count, 1_000_000, "1 M"),
            (Unit::Count, u64::MAX, "18.4 E"),
            (Unit::Bytes, 2_048, "2 KiB"),
            (Unit::Micros, 2_000, "2 ms"),
        ] {
            assert_eq!(unit.short(value), text);
        }
    }

    #[test]
    fn changes_are_said_as_people_say_them() {
        for (now, before, text) in [
            (0, 0, "no change"),
            (5, 0, "new"),
            (110, 100, "+10 %"),
            (90, 100, "\u{2212}10 %"),
            (0, 7, "\u{2212}100 %"),
            (100, 100, "±0 %"),
            (5_000, 100, "×50"),
            (u64::MAX, 1, "×18446744073709551615"),
        ] {
            assert_eq!(change(now, before), text, "{now} after {before}");
        }
        for (part, whole, text) in [(1, 3, "33 %"), (1, 40, "2.5 %"), (1, 100_000, "under 0.1 %"), (0, 0, "0.0 %")] {
            assert_eq!(percent(part, whole), text);
        }
    }
}
