//! The organisation's colours as custom properties of the style sheet.
//!
//! Decides which colour stands where; the arithmetic is [`crate::colour`]'s. Invariant: whatever was picked, text keeps a
//! contrast of at least 4.5 to what it stands on, in the light and in the dark, and nothing but colours is written.

use std::fmt::Write as _;

use crate::colour::Colour;

/// What cards are made of and what is written on them, as in the style sheet.
const LIGHT: Colour = Colour::WHITE;
pub const LIGHT_TEXT: Colour = Colour::new(0x18, 0x20, 0x2a);
pub const DARK: Colour = Colour::new(0x17, 0x1b, 0x21);
pub const DARK_TEXT: Colour = Colour::new(0xe8, 0xed, 0xf3);
/// The page behind the cards in the dark, as in the style sheet.
pub const DARK_BACK: Colour = Colour::new(0x0e, 0x11, 0x16);
/// A background brighter than this would glare in the dark.
const GLARE: f64 = 0.2;
/// How much of a glaring background stays in the dark.
const SHADE: f64 = 0.98;

/// Colours that were picked, by the organisation or by its launcher.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Palette {
    /// Behind the cards.
    pub back: Option<Colour>,
    /// Wanted for text on `back`.
    pub text: Option<Colour>,
    /// The bar across the top of the launcher.
    pub bar: Option<Colour>,
    /// Buttons and links.
    pub button: Option<Colour>,
    /// Wanted for text on buttons.
    pub button_text: Option<Colour>,
}

impl Palette {
    /// Writes the style sheet of what was picked; empty when nothing was.
    pub fn style(self) -> String {
        let mut style = String::new();
        let light = self.theme(LIGHT, LIGHT_TEXT, |back| back);
        let dark = self.theme(DARK, DARK_TEXT, dimmed);
        if !light.is_empty() {
            // Writing to a string cannot fail.
            let _ = write!(style, ":root{{{light}}}");
        }
        if !dark.is_empty() {
            let _ = write!(style, "@media(prefers-color-scheme:dark){{:root{{{dark}}}}}");
        }
        style
    }

    fn theme(self, card: Colour, text: Colour, suit: fn(Colour) -> Colour) -> String {
        let text = self.text.or(Some(text));
        let mut style = String::new();
        let mut set = |name: &str, colour: Colour| {
            let _ = write!(style, "--{name}:{colour};");
        };
        if let Some(back) = self.back.map(suit) {
            set("back", back);
            set("on-back", back.text(text));
        }
        if let Some(bar) = self.bar.or(self.back).map(suit) {
            set("bar", bar);
            set("on-bar", bar.text(text));
        }
        // An organisation that picked one colour wears it on its buttons too, unless it is a grey.
        let picked = self.button.or_else(|| self.bar.filter(|bar| bar.is_vivid()));
        if let Some(picked) = picked.or_else(|| self.back.filter(|back| back.is_vivid())) {
            // The same colour is that of links, which stand on cards.
            let act = picked.legible_on(card);
            set("act", act);
            set("on", act.text(self.button_text));
        }
        style
    }
}

fn dimmed(back: Colour) -> Colour {
    if back.luminance() > GLARE { back.mix(DARK_BACK, SHADE) } else { back }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn declared(style: &str) -> Vec<(String, Colour)> {
        let declarations = style.split(['{', '}', ';']).filter_map(|part| part.strip_prefix("--")?.split_once(':'));
        declarations.map(|(name, colour)| (name.to_owned(), colour.parse().unwrap())).collect()
    }

    #[test]
    fn text_can_be_read_in_both_themes_whatever_was_picked() {
        let picks = ["#ffffff", "#000", "#808080", "#ffff00", "#0b57d0", "#ff0066", "#777777", "#00ffcc", "#123456"];
        let picks: Vec<Option<Colour>> = picks.iter().map(|text| Some(text.parse().unwrap())).collect();
        for back in &picks {
            for other in &picks {
                let palette = Palette { back: *back, text: *other, bar: *other, button: *other, button_text: *back };
                let style = palette.style();
                let declared = declared(&style);
                let themes: Vec<_> = declared.chunks(6).collect();
                assert_eq!(themes.len(), 2, "{style}");
                for (theme, card) in themes.into_iter().zip([LIGHT, DARK]) {
                    let of = |wanted: &str| theme.iter().find(|(name, _)| name == wanted).unwrap().1;
                    let pairs = [("back", "on-back"), ("bar", "on-bar"), ("act", "on")];
                    let ratios = pairs.map(|(back, text)| of(back).contrast(of(text)));
                    assert!(ratios.iter().all(|ratio| *ratio >= 4.5), "{palette:?}: {ratios:?}");
                    assert!(of("act").contrast(card) >= 4.5, "{palette:?}");
                }
            }
        }
    }

    #[test]
    fn nothing_is_written_where_nothing_was_picked() {
        assert_eq!(Palette::default().style(), "");
    }

    #[test]
    fn a_white_page_does_not_glare_in_the_dark() {
        let style = Palette { back: Some(Colour::WHITE), ..Palette::default() }.style();
        let backs: Vec<Colour> =
            declared(&style).into_iter().filter(|(name, _)| name == "back").map(|(_, colour)| colour).collect();
        assert_eq!(backs.first(), Some(&Colour::WHITE));
        assert!(backs[1].luminance() < 0.05, "{style}");
    }
}
