//! The palette: legible on its background, and told apart whatever one's eyes can tell apart.
//!
//! Colour blindness is simulated by the matrices of Machado, Oliveira and Fernandes (2009) at full severity; distances
//! are those of OKLab (Ottosson, 2020), in which 0.02 can just be seen side by side.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

use portunus_chart::{STYLE, Tone};

type Colour = [f64; 3];

const EYES: [(&str, [Colour; 3]); 4] = [
    ("usual", [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]),
    (
        "deuteranopia",
        [[0.367_322, 0.860_646, -0.227_968], [0.280_085, 0.672_501, 0.047_413], [-0.011_820, 0.042_940, 0.968_881]],
    ),
    (
        "protanopia",
        [[0.152_286, 1.052_583, -0.204_868], [0.114_503, 0.786_281, 0.099_216], [-0.003_882, -0.048_116, 1.051_998]],
    ),
    (
        "tritanopia",
        [[1.255_528, -0.076_749, -0.178_779], [-0.078_411, 0.930_809, 0.147_602], [0.004_733, 0.691_367, 0.303_900]],
    ),
];
/// What lies behind charts in the console, in the light and in the dark.
const SURFACES: [&str; 2] = ["#ffffff", "#1a1d20"];

/// Linear light of a colour.
fn linear(hex: &str) -> Colour {
    let channel = |at: usize| {
        let value = f64::from(u8::from_str_radix(&hex[at..at + 2], 16).unwrap()) / 255.0;
        if value <= 0.040_45 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
    };
    [channel(1), channel(3), channel(5)]
}

fn seen(colour: Colour, eyes: &[Colour; 3]) -> Colour {
    eyes.map(|row| row.iter().zip(colour).map(|(share, light)| share * light).sum::<f64>().clamp(0.0, 1.0))
}

fn oklab([red, green, blue]: Colour) -> Colour {
    let long = (0.412_221_470_8 * red + 0.536_332_536_3 * green + 0.051_445_992_9 * blue).cbrt();
    let medium = (0.211_903_498_2 * red + 0.680_699_545_1 * green + 0.107_396_956_6 * blue).cbrt();
    let short = (0.088_302_461_9 * red + 0.281_718_837_6 * green + 0.629_978_700_5 * blue).cbrt();
    [
        0.210_454_255_3 * long + 0.793_617_785_0 * medium - 0.004_072_046_8 * short,
        1.977_998_495_1 * long - 2.428_592_205_0 * medium + 0.450_593_709_9 * short,
        0.025_904_037_1 * long + 0.782_771_766_2 * medium - 0.808_675_766_0 * short,
    ]
}

fn distance(a: Colour, b: Colour) -> f64 {
    oklab(a).iter().zip(oklab(b)).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt()
}

/// Contrast as WCAG 2.2 defines it.
fn contrast(a: Colour, b: Colour) -> f64 {
    let luminance = |[red, green, blue]: Colour| 0.2126 * red + 0.7152 * green + 0.0722 * blue;
    let (a, b) = (luminance(a), luminance(b));
    (a.max(b) + 0.05) / (a.min(b) + 0.05)
}

/// The colours of the stylesheet in one theme.
fn colours(theme: usize) -> Vec<(Tone, Colour)> {
    let names = ["one", "two", "three", "four", "five", "six"];
    let read = |name: &str| {
        let (_, rest) = STYLE.split_once(&format!("--{name}: light-dark(")).unwrap_or_else(|| panic!("no --{name}"));
        let (pair, _) = rest.split_once(')').unwrap();
        linear(pair.split(", ").nth(theme).unwrap())
    };
    Tone::ALL.into_iter().zip(names.map(read)).collect()
}

#[test]
fn every_colour_stands_out_from_its_background() {
    for (theme, surface) in SURFACES.iter().enumerate() {
        for (tone, colour) in colours(theme) {
            let contrast = contrast(colour, linear(surface));
            // WCAG 2.2, 1.4.11: graphical objects.
            assert!(contrast >= 3.0, "{tone:?} on {surface}: {contrast:.2}");
        }
    }
}

#[test]
fn no_two_colours_look_alike_to_anybody() {
    for theme in 0..SURFACES.len() {
        let colours = colours(theme);
        for (eyes, matrix) in &EYES {
            for (place, (tone, colour)) in colours.iter().enumerate() {
                for (other, another) in &colours[place + 1..] {
                    let distance = distance(seen(*colour, matrix), seen(*another, matrix));
                    assert!(distance >= 0.1, "{tone:?} and {other:?} with {eyes} in theme {theme}: {distance:.3}");
                }
            }
        }
    }
}
