//! A colour for each transport and dashes for its variants, the same in every chart, table and
//! terminal.
//!
//! Based on Okabe and Ito's colour-blind-safe set, each hue darkened for a light page and lightened
//! for a dark page to a contrast of at least 4.5 to 1. No information is in the colour alone.

use crate::variant::{Extra, Transport, Variant};

/// One hue for light and dark pages: red, green, blue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Colour {
    pub light: (u8, u8, u8),
    pub dark: (u8, u8, u8),
}

const fn colour(light: u32, dark: u32) -> Colour {
    const fn rgb(hex: u32) -> (u8, u8, u8) {
        ((hex >> 16) as u8, (hex >> 8) as u8, hex as u8)
    }
    Colour { light: rgb(light), dark: rgb(dark) }
}

/// Vermillion, blue, bluish green, reddish purple, orange, sky blue, yellow, grey.
pub const PALETTE: [Colour; 8] = [
    colour(0xb84d00, 0xff8a4c),
    colour(0x0068a8, 0x5cb3f0),
    colour(0x00775a, 0x2fc79a),
    colour(0xa83f7c, 0xeb9cc8),
    colour(0x8f6200, 0xf0b43c),
    colour(0x1f7a9c, 0x8fd6ff),
    colour(0x746a00, 0xe6dc5a),
    colour(0x5c5c5c, 0xb8b8b8),
];

/// The colour of the variant's transport.
pub fn of(variant: impl Into<Variant>) -> Colour {
    PALETTE[index(variant.into().transport)]
}

/// The CSS class that sets the colour of the variant's transport as `--color`.
pub fn class(variant: impl Into<Variant>) -> String {
    format!("transport-{}", index(variant.into().transport))
}

/// The `stroke-dasharray` of the variant's lines: a dash of its own length for each extra. `None`
/// for a plain transport, whose lines are solid.
pub fn dashes(variant: Variant) -> Option<String> {
    let dash = |extra| match extra {
        Extra::Conditional => "2 3",
        Extra::Adaptive => "7 3",
        Extra::Gzip => "12 3",
        Extra::H2 => "20 3",
        Extra::NewConnection => "4 6",
        Extra::Tls => "9 6",
        Extra::Resumed => "14 6",
    };
    let dashes: Vec<&str> = variant.extras().iter().map(dash).collect();
    (!dashes.is_empty()).then(|| dashes.join(" "))
}

/// The CSS rules for [`class`], for light and dark pages.
pub fn css() -> String {
    let rules = |pick: fn(&Colour) -> (u8, u8, u8)| -> String {
        let rule = |(index, colour): (usize, &Colour)| {
            let (r, g, b) = pick(colour);
            format!(".transport-{index}{{--color:rgb({r},{g},{b})}}")
        };
        PALETTE.iter().enumerate().map(rule).collect()
    };
    format!(
        "{}@media screen and (prefers-color-scheme:dark){{{}}}",
        rules(|colour| colour.light),
        rules(|colour| colour.dark)
    )
}

fn index(transport: Transport) -> usize {
    let position = Transport::ALL.iter().position(|known| *known == transport);
    position.expect("ALL names every transport") % PALETTE.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Relative luminance of WCAG 2.
    fn luminance((r, g, b): (u8, u8, u8)) -> f64 {
        let linear = |channel: u8| {
            let c = f64::from(channel) / 255.0;
            if c <= 0.04045 { c / 12.92 } else { ((c + 0.055) / 1.055).powf(2.4) }
        };
        0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b)
    }

    fn contrast(a: (u8, u8, u8), b: (u8, u8, u8)) -> f64 {
        let (a, b) = (luminance(a), luminance(b));
        (a.max(b) + 0.05) / (a.min(b) + 0.05)
    }

    #[test]
    fn every_colour_is_legible_on_its_page() {
        for colour in PALETTE {
            assert!(contrast(colour.light, (255, 255, 255)) >= 4.5, "{colour:?}");
            assert!(contrast(colour.dark, (0x14, 0x17, 0x1b)) >= 4.5, "{colour:?}");
        }
    }
}
