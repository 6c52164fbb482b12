//! What somebody looks for, and how well a listing answers it. Pure: which listings are looked at is the database's part.

use std::fmt;
use std::str::FromStr;

/// Most words of one search.
pub const MAX_WORDS: usize = 10;

/// The words of a search, in lower case: every one has to be there, the last one may be the beginning of a word.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Words(Vec<String>);

/// What listings can be filtered by and are counted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Facet {
    /// A category of the descriptor.
    Category,
    /// A keyword of the descriptor.
    Keyword,
    /// A platform that all images have, as `linux/arm64`.
    Platform,
    /// The grade of the rights, 1 to 6.
    Risk,
}

/// The order of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sort {
    /// In the order of publishing.
    Oldest,
    /// The same backwards.
    Newest,
    /// What was approved last first.
    Updated,
    /// By the addon's name.
    Name,
    /// What answers the search best first; without words, by rank.
    Relevance,
    /// What was installed most first.
    Installs,
}

/// Where a list went on from: what the last entry was sorted by, and what told it from its equals. It stays valid when that
/// entry is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cursor {
    /// After a place in the order of publishing.
    Seq(i64),
    /// After a value, and a number among equals.
    Value(i64, i64),
    /// After a name.
    Name(String),
}

impl Words {
    /// The words of a text: what stands between characters that are neither letters nor digits.
    pub fn of(text: &str) -> Self {
        let mut words: Vec<String> = Vec::new();
        for word in parts(text) {
            // The last one counts when a word is there twice: it is the one that may be incomplete.
            let word = word.to_lowercase();
            words.retain(|known| *known != word);
            words.push(word);
        }
        Self(words)
    }

    /// In the order in which they were written.
    pub fn as_slice(&self) -> &[String] {
        &self.0
    }

    /// Each with whether the beginning of a word will do. One letter is a whole word: half of everything begins with it.
    pub fn with_prefixes(&self) -> impl Iterator<Item = (&str, bool)> {
        let last = self.0.len().saturating_sub(1);
        let may = move |(at, word): (usize, &'_ String)| at == last && word.chars().nth(1).is_some();
        self.0.iter().enumerate().map(move |(at, word)| (word.as_str(), may((at, word))))
    }

    /// How well an addon of this name, folded, with this title and these keywords answers: more is better. What has the words
    /// in its description alone has 0.
    pub fn score(&self, addon: &str, keywords: &str) -> i64 {
        let Self(words) = self;
        if words.is_empty() {
            return 0;
        }
        let names: Vec<&str> = addon.split('-').collect();
        let keywords = keywords.to_lowercase();
        let keywords: Vec<&str> = parts(&keywords).collect();
        let mut score = 0;
        for word in words {
            let word = word.as_str();
            score += if names.contains(&word) {
                8
            } else if names.iter().any(|name| name.starts_with(word)) {
                5
            } else if keywords.contains(&word) {
                4
            } else {
                i64::from(keywords.iter().any(|keyword| keyword.starts_with(word))) * 2
            };
        }
        let whole = words.join("-");
        if addon == whole {
            score += 64;
        } else if addon.starts_with(&whole) {
            score += 16;
        }
        score
    }
}

/// What stands between characters that are neither letters nor digits.
fn parts(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty())
}

impl Facet {
    /// In the order of answers.
    pub const ALL: [Self; 4] = [Self::Category, Self::Keyword, Self::Platform, Self::Risk];

    /// As it is stored, and named in queries.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Category => "category",
            Self::Keyword => "keyword",
            Self::Platform => "platform",
            Self::Risk => "risk",
        }
    }

    /// The word that stands for a value in the index: no text has it, since it begins with a character of private use.
    pub fn term(self, value: &str) -> String {
        let kind = &self.as_str()[..1];
        let hex: String = value.bytes().map(|byte| format!("{byte:02x}")).collect();
        format!("\u{e000}{kind}{hex}")
    }
}

impl Sort {
    /// In the order of the documentation.
    pub const ALL: [Self; 6] =
        [Self::Relevance, Self::Newest, Self::Oldest, Self::Updated, Self::Name, Self::Installs];

    /// As it is named in queries.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Oldest => "oldest",
            Self::Newest => "newest",
            Self::Updated => "updated",
            Self::Name => "name",
            Self::Relevance => "relevance",
            Self::Installs => "installs",
        }
    }

    /// The order of this name.
    pub fn from_wire(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|sort| sort.as_str() == text)
    }

    /// Reads a cursor of a list in this order.
    pub fn cursor(self, text: &str) -> Option<Cursor> {
        let number = |text: &str| i64::from_str(text).ok();
        match self {
            Self::Oldest | Self::Newest => number(text).filter(|seq| *seq >= 0).map(Cursor::Seq),
            Self::Name => {
                let is_name = |text: &&str| {
                    !text.is_empty() && text.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-')
                };
                Some(text).filter(is_name).map(|name| Cursor::Name(name.to_owned()))
            }
            Self::Updated | Self::Relevance | Self::Installs => {
                let (value, among) = text.split_once('.')?;
                let value = number(value).filter(|value| *value >= 0)?;
                Some(Cursor::Value(value, number(among)?))
            }
        }
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Seq(seq) => write!(f, "{seq}"),
            Self::Value(value, among) => write!(f, "{value}.{among}"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_what_stands_between() {
        for (text, words) in [
            ("mqtt", &["mqtt"][..]),
            ("  MQTT-Broker, \"fast\"* OR (", &["mqtt", "broker", "fast", "or"]),
            ("mqtt broker mqtt", &["broker", "mqtt"]),
            ("Mañana 3d", &["mañana", "3d"]),
            ("-'\"*:()&|!\u{e000}", &[]),
        ] {
            assert_eq!(Words::of(text).as_slice(), words, "{text}");
        }
    }

    #[test]
    fn the_last_word_may_be_a_beginning_but_not_one_letter() {
        let of = |text| {
            Words::of(text).with_prefixes().map(|(word, may)| (word.to_owned(), may)).collect::<Vec<_>>()
        };
        assert_eq!(of("mqtt br"), [("mqtt".to_owned(), false), ("br".to_owned(), true)]);
        assert_eq!(of("b"), [("b".to_owned(), false)]);
        assert_eq!(of(""), []);
    }

    #[test]
    fn names_count_more_than_keywords_than_descriptions() {
        let mqtt = Words::of("mqtt");
        let scores = [
            mqtt.score("mqtt", ""),
            mqtt.score("mqtt-broker", ""),
            mqtt.score("fast-mqtt", ""),
            mqtt.score("sensors", "MQTT"),
            mqtt.score("sensors", "mqtt5"),
            mqtt.score("sensors", ""),
        ];
        assert!(scores.windows(2).all(|pair| pair[0] > pair[1]), "{scores:?}");
        let two = Words::of("mqtt bro");
        assert!(two.score("mqtt-broker", "") > two.score("mqtt", "broker"));
        assert_eq!(Words::default().score("a", "b"), 0);
    }

    #[test]
    fn cursors_come_back_as_they_went() {
        for (sort, text) in [
            (Sort::Oldest, "5"),
            (Sort::Newest, "5"),
            (Sort::Updated, "1000.5"),
            (Sort::Installs, "0.5"),
            (Sort::Relevance, "12.-500"),
            (Sort::Name, "mqtt-broker"),
        ] {
            assert_eq!(sort.cursor(text).expect(text).to_string(), text);
            assert_eq!(Sort::from_wire(sort.as_str()), Some(sort));
        }
        for (sort, text) in [
            (Sort::Oldest, "-1"),
            (Sort::Oldest, "1.2"),
            (Sort::Updated, "1"),
            (Sort::Relevance, "-9223372036854775808.1"),
            (Sort::Installs, "-1.1"),
            (Sort::Name, "a b"),
            (Sort::Name, ""),
        ] {
            assert_eq!(sort.cursor(text), None, "{sort:?} {text}");
        }
    }

    #[test]
    fn terms_of_facets_are_no_words() {
        let term = Facet::Platform.term("linux/arm64");
        assert_eq!(term, "\u{e000}p6c696e75782f61726d3634");
        assert_eq!(Words::of(&term).as_slice(), ["p6c696e75782f61726d3634"]);
    }
}
