//! Colours an organisation picks, and what can be read on them (WCAG 2.2, relative luminance and contrast ratio).
//!
//! Decides which text stands on a colour and how far a colour must move to be read; where colours are used is the
//! pages'. Invariant: text chosen here has a contrast of at least 4.5 whatever was picked, and what is written into a
//! style sheet is `#` and six hexadecimal digits.

use std::fmt;
use std::str::FromStr;

/// The contrast that text needs (WCAG 2.2, 1.4.3).
pub const TEXT_CONTRAST: f64 = 4.5;
/// Steps from a colour to black or white.
const STEPS: u32 = 64;
/// Distance between the strongest and the weakest channel from which on a colour is more than a grey.
const VIVID: u8 = 48;

/// An sRGB colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Colour {
    pub red: u8,
    pub green: u8,
    pub blue: u8,
}

/// A text that is no colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be a colour such as `#1a2b3c`")]
pub struct ColourError;

impl Colour {
    pub const BLACK: Self = Self::new(0, 0, 0);
    pub const WHITE: Self = Self::new(255, 255, 255);

    #[must_use]
    pub const fn new(red: u8, green: u8, blue: u8) -> Self {
        Self { red, green, blue }
    }

    fn channels(self) -> [u8; 3] {
        [self.red, self.green, self.blue]
    }

    /// Returns the relative luminance, 0 to 1.
    #[must_use]
    pub fn luminance(self) -> f64 {
        let [red, green, blue] = self.channels().map(|channel| {
            let share = f64::from(channel) / 255.0;
            if share <= 0.04045 { share / 12.92 } else { ((share + 0.055) / 1.055).powf(2.4) }
        });
        0.2126f64.mul_add(red, 0.7152f64.mul_add(green, 0.0722 * blue))
    }

    /// Returns the contrast ratio of two colours, 1 to 21.
    #[must_use]
    pub fn contrast(self, other: Self) -> f64 {
        let (one, two) = (self.luminance(), other.luminance());
        (one.max(two) + 0.05) / (one.min(two) + 0.05)
    }

    /// Mixes in `share` of another colour, 0 to 1.
    #[must_use]
    pub fn mix(self, other: Self, share: f64) -> Self {
        let share = share.clamp(0.0, 1.0);
        let [red, green, blue] = [0, 1, 2].map(|index| {
            let (from, to) = (f64::from(self.channels()[index]), f64::from(other.channels()[index]));
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "between two bytes, and floats become integers with saturation"
            )]
            let mixed = (to - from).mul_add(share, from).round() as u8;
            mixed
        });
        Self { red, green, blue }
    }

    /// Returns the colour of text on this one: what is wanted if it can be read, else black or white.
    #[must_use]
    pub fn text(self, wanted: Option<Self>) -> Self {
        if let Some(wanted) = wanted.filter(|wanted| self.contrast(*wanted) >= TEXT_CONTRAST) {
            return wanted;
        }
        // One of the two always reaches the square root of 21, which is 4.58.
        if self.contrast(Self::WHITE) >= self.contrast(Self::BLACK) { Self::WHITE } else { Self::BLACK }
    }

    /// Moves this colour towards black or white, as little as it takes to be read as text on `surface`.
    #[must_use]
    pub fn legible_on(self, surface: Self) -> Self {
        let towards = surface.text(None);
        let shades = (0..STEPS).map(|step| self.mix(towards, f64::from(step) / f64::from(STEPS)));
        shades.into_iter().find(|shade| shade.contrast(surface) >= TEXT_CONTRAST).unwrap_or(towards)
    }

    /// Tells whether it is a colour rather than a grey, so that buttons can wear it.
    #[must_use]
    pub fn is_vivid(self) -> bool {
        let channels = self.channels();
        let most = channels.iter().max().copied().unwrap_or_default();
        most - channels.iter().min().copied().unwrap_or_default() >= VIVID
    }
}

impl FromStr for Colour {
    type Err = ColourError;

    /// Reads `#rgb` or `#rrggbb`.
    fn from_str(text: &str) -> Result<Self, ColourError> {
        let digits = text.strip_prefix('#').ok_or(ColourError)?;
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(ColourError);
        }
        let number = u32::from_str_radix(digits, 16).map_err(|_| ColourError)?;
        let byte = |shift: u32| u8::try_from(number >> shift & 0xff).unwrap_or_default();
        let nibble = |shift: u32| u8::try_from(number >> shift & 0xf).unwrap_or_default() * 17;
        match digits.len() {
            3 => Ok(Self::new(nibble(8), nibble(4), nibble(0))),
            6 => Ok(Self::new(byte(16), byte(8), byte(0))),
            _ => Err(ColourError),
        }
    }
}

impl fmt::Display for Colour {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "#{:02x}{:02x}{:02x}", self.red, self.green, self.blue)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Colour, TEXT_CONTRAST};

    #[test]
    fn a_colour_is_three_or_six_hexadecimal_digits() {
        for (text, expected) in [
            ("#fff", Some("#ffffff")),
            ("#1A2b3C", Some("#1a2b3c")),
            ("#0f8", Some("#00ff88")),
            ("fff", None),
            ("#", None),
            ("#ffff", None),
            ("#+12345", None),
            ("#12345g", None),
            ("#fff;}body{", None),
            ("red", None),
            ("", None),
        ] {
            assert_eq!(text.parse::<Colour>().ok().map(|colour| colour.to_string()).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn contrast_is_that_of_wcag() {
        for (one, two, ratio) in
            [("#000", "#fff", 21.0), ("#777", "#fff", 4.48), ("#767676", "#fff", 4.54), ("#f00", "#fff", 4.0)]
        {
            let found = one.parse::<Colour>().unwrap().contrast(two.parse().unwrap());
            assert!((found - ratio).abs() < 0.01, "{one} on {two}: {found}");
        }
    }

    fn colour() -> impl Strategy<Value = Colour> {
        any::<[u8; 3]>().prop_map(|[red, green, blue]| Colour::new(red, green, blue))
    }

    proptest! {
        #[test]
        fn text_can_be_read_on_whatever_was_picked(back in colour(), wanted in proptest::option::of(colour())) {
            prop_assert!(back.contrast(back.text(wanted)) >= TEXT_CONTRAST);
        }

        #[test]
        fn a_colour_is_moved_until_it_can_be_read(picked in colour(), surface in colour()) {
            prop_assert!(picked.legible_on(surface).contrast(surface) >= TEXT_CONTRAST);
        }

        #[test]
        fn a_colour_reads_as_it_is_written(picked in colour()) {
            prop_assert_eq!(picked.to_string().parse(), Ok(picked));
        }
    }
}
