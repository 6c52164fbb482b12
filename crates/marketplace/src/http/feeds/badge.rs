//! Badges: small pictures for a project's page that say what an addon's newest version is, or how it stands. Pure: texts to
//! SVG that loads nothing, needs no style sheet, and looks the same with whatever font it is shown in.

use addon_descriptor::Version;
use serde_json::Value;

use super::atom::escape;
use crate::domain::addon::identity;
use crate::storage::Standing;

/// What a badge is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shown {
    /// The newest version.
    Version,
    /// Whether it can be installed.
    Status,
    /// How many installations were reported.
    Installs,
}

impl Shown {
    pub(super) const ALL: [Self; 3] = [Self::Version, Self::Status, Self::Installs];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Version => "version",
            Self::Status => "status",
            Self::Installs => "installs",
        }
    }

    pub(super) fn from_wire(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|shown| shown.as_str() == text)
    }
}

/// The two halves of a badge.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Badge {
    label: String,
    message: String,
    color: Color,
}

/// Backgrounds on which white text can be read: a contrast of at least 4.5 (WCAG 2.1, 1.4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Color {
    Good,
    Plain,
    Attention,
    Bad,
    Unknown,
}

impl Color {
    fn hex(self) -> &'static str {
        match self {
            Self::Good => "#2a7f2a",
            Self::Plain => "#0b6bb2",
            Self::Attention => "#a35a00",
            Self::Bad => "#b3261e",
            Self::Unknown => "#6b6b6b",
        }
    }
}

/// Longest text of a half, in characters.
const LONGEST: usize = 48;

/// Background of the left half.
const LABEL: &str = "#444c56";

/// The badge of an addon, written as it was asked for; `installs` is the number of its installations.
pub(super) fn badge(addon: &str, shown: Shown, standing: &Standing, installs: u64) -> Badge {
    let (name, message, color) = match standing {
        Standing::None => (None, "not listed".to_owned(), Color::Unknown),
        Standing::Withdrawn => (None, "withdrawn".to_owned(), Color::Bad),
        Standing::Listed(release) => {
            let name = release.wire.object().get("name").and_then(Value::as_str).map(str::to_owned);
            let (message, color) = match shown {
                Shown::Version => version(&release.version),
                Shown::Status if release.image_missing_since.is_some() => {
                    ("image missing".to_owned(), Color::Attention)
                }
                Shown::Status => ("approved".to_owned(), Color::Good),
                Shown::Installs => (rounded(installs), Color::Plain),
            };
            (name, message, color)
        }
    };
    let name = name.unwrap_or_else(|| addon.to_owned());
    let label = match shown {
        Shown::Installs => format!("{name} installs"),
        Shown::Version | Shown::Status => name,
    };
    Badge { label: short(&label), message: short(&message), color }
}

/// A text that fits a badge.
fn short(text: &str) -> String {
    let shown: String = text.chars().take(LONGEST).collect();
    if shown.len() < text.len() { format!("{shown}…") } else { shown }
}

fn version(version: &Version) -> (String, Color) {
    let color = if version.pre.is_empty() { Color::Plain } else { Color::Attention };
    (format!("v{}", identity(version)), color)
}

/// A number in at most four characters and a half: `999`, `1.2k`, `35k`, `1.2M`.
fn rounded(number: u64) -> String {
    let (unit, sign) = match number {
        0..=999 => return number.to_string(),
        1_000..=999_999 => (1_000, 'k'),
        1_000_000..=999_999_999 => (1_000_000, 'M'),
        _ => (1_000_000_000, 'G'),
    };
    let (whole, tenth) = (number / unit, number % unit * 10 / unit);
    if whole < 10 { format!("{whole}.{tenth}{sign}") } else { format!("{whole}{sign}") }
}

impl Badge {
    /// As SVG.
    pub(super) fn svg(&self) -> String {
        let (label, message) = (escape(&self.label), escape(&self.message));
        let (left_text, right_text) = (width(&self.label), width(&self.message));
        let (left, right) = (left_text + 12, right_text + 12);
        let all = left + right;
        // The length of a text is said, so that every font fills its half and no more.
        let text = |x: u32, length: u32, content: &str| {
            format!(
                "<text x=\"{x}\" y=\"14\" textLength=\"{length}\" lengthAdjust=\"spacingAndGlyphs\">{content}</text>"
            )
        };
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{all}\" height=\"20\" viewBox=\"0 0 {all} 20\" role=\"img\" aria-label=\"{label}: {message}\">\n\
             <title>{label}: {message}</title>\n\
             <clipPath id=\"r\"><rect width=\"{all}\" height=\"20\" rx=\"3\"/></clipPath>\n\
             <g clip-path=\"url(#r)\"><rect width=\"{left}\" height=\"20\" fill=\"{LABEL}\"/>\
             <rect x=\"{left}\" width=\"{right}\" height=\"20\" fill=\"{color}\"/></g>\n\
             <g fill=\"#fff\" font-family=\"Verdana,DejaVu Sans,Geneva,sans-serif\" font-size=\"11\">{first}{second}</g>\n\
             </svg>\n",
            color = self.color.hex(),
            first = text(6, left_text, &label),
            second = text(left + 6, right_text, &message),
        )
    }
}

/// Width of a text in the usual font of badges, in pixels, about.
fn width(text: &str) -> u32 {
    let tenths: u32 = text
        .chars()
        .map(|c| match c {
            'i' | 'j' | 'l' | 'I' | '.' | ',' | ':' | '\'' | '|' | '!' => 32,
            'f' | 't' | 'r' | ' ' | '-' | '(' | ')' => 46,
            'm' | 'w' | 'M' | 'W' | '@' | '%' => 104,
            'A'..='Z' | '_' => 78,
            _ => 70,
        })
        .sum();
    tenths.div_ceil(10).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1.0k"),
            (9_999, "9.9k"),
            (35_499, "35k"),
            (999_999, "999k"),
            (1_200_000, "1.2M"),
            (u64::MAX, "18446744073G"),
        ] {
            assert_eq!(rounded(number), text);
        }
    }

    #[test]
    fn versions_have_their_color() {
        assert_eq!(version(&"1.2.3+build.5".parse().unwrap()), ("v1.2.3".to_owned(), Color::Plain));
        assert_eq!(version(&"2.0.0-rc.1".parse().unwrap()), ("v2.0.0-rc.1".to_owned(), Color::Attention));
    }

    #[test]
    fn what_is_not_listed_is_said_whatever_is_asked() {
        for shown in Shown::ALL {
            let badge = badge("probe", shown, &Standing::None, 0);
            assert_eq!((badge.message.as_str(), badge.color), ("not listed", Color::Unknown));
        }
        assert_eq!(badge("probe", Shown::Version, &Standing::Withdrawn, 0).message, "withdrawn");
        let long = badge(&"x".repeat(1_000), Shown::Version, &Standing::None, 0);
        assert_eq!(long.label, format!("{}…", "x".repeat(LONGEST)));
    }

    #[test]
    fn texts_are_escaped_and_the_picture_says_what_it_shows() {
        let badge = Badge { label: "a<b>&\"".to_owned(), message: "x'y".to_owned(), color: Color::Good };
        let svg = badge.svg();
        assert!(svg.contains("<title>a&lt;b&gt;&amp;&quot;: x&#39;y</title>"), "{svg}");
        assert!(svg.contains("aria-label=\"a&lt;b&gt;&amp;&quot;: x&#39;y\""), "{svg}");
        assert!(!svg.contains("<b>") && !svg.contains("style") && !svg.contains("<script"), "{svg}");
        // Nothing is loaded: the one address is the name of the language.
        assert_eq!(svg.matches("://").count(), 1);
        assert!(svg.contains("xmlns=\"http://www.w3.org/2000/svg\""));
    }

    #[test]
    fn white_can_be_read_on_every_color() {
        let channel = |hex: &str| {
            let value = f64::from(u8::from_str_radix(hex, 16).unwrap()) / 255.0;
            if value <= 0.040_45 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
        };
        let colors = [Color::Good, Color::Plain, Color::Attention, Color::Bad, Color::Unknown];
        for hex in colors.map(Color::hex).into_iter().chain([LABEL]) {
            let luminance =
                0.2126 * channel(&hex[1..3]) + 0.7152 * channel(&hex[3..5]) + 0.0722 * channel(&hex[5..7]);
            assert!(1.05 / (luminance + 0.05) >= 4.5, "{hex}");
        }
    }
}
