//! The query of the list of releases. Read by hand: of a parameter that is given twice the first counts, as Oakestra's
//! clients are used to, and an empty `name` is a name.

use std::fmt::Display;
use std::str::FromStr;

use addon_client::ReleaseStatus;
use addon_descriptor::{Version, VersionReq};
use service_kit::body::only_parameters;
use service_kit::problem::Problem;
use url::form_urlencoded;

use crate::domain::search::{Cursor, Facet, MAX_WORDS, Sort, Words};
use crate::storage::{Filter, Search};
use crate::verification::registry::platform::Platform;

/// Most releases in one answer, and how many without a `limit`.
pub(super) const MAX_LIMIT: u32 = 1000;

/// Parameters of a list.
const OF_LISTS: [&str; 11] = [
    "name",
    "status",
    "all_versions",
    "limit",
    "cursor",
    "q",
    "category",
    "keyword",
    "platform",
    "risk",
    "sort",
];
/// Parameters of the counts by facet.
const OF_FACETS: [&str; 6] = ["name", "q", "category", "keyword", "platform", "risk"];
/// Longest text that is searched for, in characters.
const MAX_TEXT: usize = 200;
/// Parameters of the releases of one addon.
const OF_NAMES: [&str; 3] = ["version", "limit", "cursor"];

/// A list's query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ListQuery {
    /// Which addons.
    pub(super) wanted: Wanted,
    /// Only this status; `None`: the newest approved release of each addon.
    pub(super) status: Option<ReleaseStatus>,
    /// In this order.
    pub(super) sort: Sort,
    /// After this place.
    pub(super) after: Option<Cursor>,
    /// At most so many.
    pub(super) limit: u32,
}

/// Which addons are looked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    /// Only this addon, folded.
    pub(super) addon: Option<String>,
    /// With all of these words.
    pub(super) words: Words,
    /// With these values, folded.
    pub(super) facets: Vec<(Facet, String)>,
}

impl Wanted {
    /// Reads the text after `?` of a call that counts.
    ///
    /// # Errors
    /// 400 that names the parameter and what it can be.
    pub(super) fn read_alone(query: &str) -> Result<Self, Problem> {
        only_parameters(query, &OF_FACETS)?;
        Self::read(query)
    }

    fn read(query: &str) -> Result<Self, Problem> {
        let given = |wanted: &str| first(query, wanted).filter(|text| !text.is_empty());
        let words = given("q").map(|text| words(&text)).transpose()?.unwrap_or_default();
        let mut facets = Vec::new();
        for facet in Facet::ALL {
            if let Some(value) = given(facet.as_str()) {
                if facet == Facet::Risk && !matches!(value.as_bytes(), [b'1'..=b'6']) {
                    return Err(bad("risk", "is a grade from 1 to 6"));
                }
                if value.chars().nth(MAX_TEXT).is_some() {
                    return Err(bad(facet.as_str(), "is longer than any that there is"));
                }
                // One platform has several notations; descriptors and images are listed under one.
                let value = if facet == Facet::Platform {
                    let platform: Result<Platform, _> = value.parse();
                    let known = platform.map_err(|_| {
                        bad("platform", "is os/architecture or os/architecture/variant, as linux/arm64")
                    });
                    known?.to_string()
                } else {
                    value.to_ascii_lowercase()
                };
                facets.push((facet, value));
            }
        }
        Ok(Self { addon: first(query, "name").map(|name| fold(&name)), words, facets })
    }

    /// As the database is asked.
    pub(super) fn search(&self) -> Search<'_> {
        Search { words: &self.words, facets: &self.facets, addon: self.addon.as_deref() }
    }

    /// Whether it takes the index of what is listed.
    fn is_search(&self) -> bool {
        !self.words.as_slice().is_empty() || !self.facets.is_empty()
    }
}

impl ListQuery {
    /// Reads the text after `?`.
    ///
    /// # Errors
    /// 400 that names the parameter and what it can be.
    pub(super) fn read(query: &str) -> Result<Self, Problem> {
        let first = |wanted: &str| first(query, wanted);
        only_parameters(query, &OF_LISTS)?;
        let all_versions = match first("all_versions").as_deref() {
            None | Some("" | "false" | "0") => false,
            Some("true" | "1") => true,
            Some(_) => return Err(bad("all_versions", "is true or false")),
        };
        let status = match first("status").as_deref() {
            None | Some("") => None,
            Some(text) => Some(ReleaseStatus::from_wire(text).ok_or_else(|| {
                let known = ReleaseStatus::ALL.map(ReleaseStatus::as_str).join(", ");
                bad("status", &format!("is one of {known}"))
            })?),
        };
        // Every version of every status but the default's is listed: there is no "newest of those that failed".
        let status = status
            .filter(|status| all_versions || *status != ReleaseStatus::Approved)
            .or_else(|| (all_versions && status.is_none()).then_some(ReleaseStatus::Approved));
        let wanted = Wanted::read(query)?;
        let asked = match first("sort").as_deref() {
            None | Some("") => None,
            Some(text) => Some(Sort::from_wire(text).ok_or_else(|| {
                bad("sort", &format!("is one of {}", Sort::ALL.map(Sort::as_str).join(", ")))
            })?),
        };
        let by_relevance = status.is_none() && !wanted.words.as_slice().is_empty();
        let sort = asked.unwrap_or(if by_relevance { Sort::Relevance } else { Sort::Oldest });
        match status {
            None => (),
            Some(ReleaseStatus::Approved) if matches!(sort, Sort::Oldest | Sort::Newest) => (),
            Some(ReleaseStatus::Approved) => {
                return Err(bad("sort", "is oldest or newest beside all_versions: the others are of addons"));
            }
            Some(_) if sort == Sort::Oldest && !wanted.is_search() => (),
            Some(_) => {
                let detail =
                    "what is approved can be searched and sorted: leave status out, or list it by name alone";
                return Err(Problem::bad_request("bad-query", detail));
            }
        }
        let after = first("cursor").filter(|text| !text.is_empty());
        let after = after.map(|text| sort.cursor(&text).ok_or_else(bad_cursor)).transpose()?;
        Ok(Self { wanted, status, sort, after, limit: limit(query)? })
    }

    /// Whether somebody without a token may ask this.
    pub(super) fn is_public(&self) -> bool {
        matches!(self.status, None | Some(ReleaseStatus::Approved))
    }

    /// Whether the answer holds until an approved release changes. Installs are counted all the time.
    pub(super) fn is_kept(&self) -> bool {
        self.is_public() && self.sort != Sort::Installs
    }

    /// Whether the list of releases alone will not do.
    pub(super) fn is_search(&self) -> bool {
        self.wanted.is_search() || self.sort != Sort::Oldest
    }

    /// Where the list goes on, in the order of publishing.
    pub(super) fn after_seq(&self) -> Option<i64> {
        match self.after {
            Some(Cursor::Seq(seq)) => Some(seq),
            _ => None,
        }
    }

    /// What to ask the database for when it is no search, of all or of one account's own: one more than the limit, to know whether there is a next part.
    pub(super) fn filter<'a>(&'a self, publisher: Option<&'a str>) -> Filter<'a> {
        let Self { wanted, status, limit, .. } = self;
        let after = self.after_seq().unwrap_or(0);
        Filter { addon: wanted.addon.as_deref(), status: *status, publisher, after, limit: *limit }
    }
}

fn words(text: &str) -> Result<Words, Problem> {
    let words = Words::of(text);
    if text.chars().nth(MAX_TEXT).is_some() || words.as_slice().len() > MAX_WORDS {
        return Err(bad("q", &format!("has at most {MAX_WORDS} words and {MAX_TEXT} characters")));
    }
    if words.as_slice().is_empty() {
        return Err(bad("q", "holds no letter and no digit to look for"));
    }
    Ok(words)
}

/// The query of the releases of one addon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NameQuery {
    /// Only the release that this range means.
    pub(super) range: Option<VersionReq>,
    /// After this version, in the order from the newest on.
    pub(super) after: Option<Version>,
    /// At most so many.
    pub(super) limit: u32,
}

impl NameQuery {
    /// Reads the text after `?`.
    ///
    /// # Errors
    /// 400 that names the parameter and what it can be.
    pub(super) fn read(query: &str) -> Result<Self, Problem> {
        only_parameters(query, &OF_NAMES)?;
        // As for a list, a parameter without a value is none.
        let range = first(query, "version").filter(|range| !range.is_empty());
        let range = range.map(|range| {
            range.parse().map_err(|fault| bad("version", &format!("is no range as ^1.2: {fault}")))
        });
        Ok(Self { range: range.transpose()?, after: cursor(query)?, limit: limit(query)? })
    }

    /// What the answer depends on, as a text: what is kept of it is found by that.
    pub(super) fn key(&self) -> String {
        let text = |value: Option<String>| value.unwrap_or_default();
        let range = text(self.range.as_ref().map(ToString::to_string));
        let after = text(self.after.as_ref().map(ToString::to_string));
        format!("version={range}&cursor={after}&limit={}", self.limit)
    }
}

/// The value of a parameter; of one that is given twice, the first.
pub(super) fn first(query: &str, wanted: &str) -> Option<String> {
    let mut pairs = form_urlencoded::parse(query.as_bytes());
    pairs.find(|(name, _)| name == wanted).map(|(_, value)| value.into_owned())
}

fn limit(query: &str) -> Result<u32, Problem> {
    match first(query, "limit").as_deref() {
        None | Some("") => Ok(MAX_LIMIT),
        Some(text) => {
            let limit = text.parse().ok().filter(|limit| (1..=MAX_LIMIT).contains(limit));
            limit.ok_or_else(|| bad("limit", "is a number from 1 to 1000"))
        }
    }
}

fn cursor<T: FromStr>(query: &str) -> Result<Option<T>, Problem> {
    let text = first(query, "cursor").filter(|text| !text.is_empty());
    text.map(|text| text.parse().map_err(|_| bad_cursor())).transpose()
}

fn bad_cursor() -> Problem {
    bad("cursor", "comes from the Link header of the last answer")
}

/// The query of the next part: the same with another cursor.
pub(super) fn next_query(query: &str, cursor: impl Display) -> String {
    let pairs = form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| name != "cursor");
    form_urlencoded::Serializer::new(String::new())
        .extend_pairs(pairs)
        .append_pair("cursor", &cursor.to_string())
        .finish()
}

/// The form in which names of addons are compared. A text that is no name of one is nobody's.
pub(super) fn fold(name: &str) -> String {
    let folded = |c: char| if matches!(c, '_' | '.' | ' ') { '-' } else { c.to_ascii_lowercase() };
    name.chars().map(folded).collect()
}

pub(super) fn bad(name: &str, what: &str) -> Problem {
    Problem::bad_request("bad-query", format!("the parameter {name} {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(query: &str) -> ListQuery {
        ListQuery::read(query).unwrap()
    }

    #[test]
    fn without_a_word_it_is_the_newest_approved_of_each() {
        let all = ListQuery {
            wanted: Wanted::default(),
            status: None,
            sort: Sort::Oldest,
            after: None,
            limit: MAX_LIMIT,
        };
        assert!(all.is_public() && all.is_kept() && !all.is_search());
        for query in [
            "",
            "status=",
            "status=approved",
            "limit=&cursor=",
            "all_versions=false",
            "&=",
            "q=&sort=&category=&risk=",
            "sort=oldest",
        ] {
            assert_eq!(read(query), all, "{query}");
        }
        assert!(all.is_public());
    }

    #[test]
    fn parameters_are_read_and_the_first_of_two_counts() {
        assert_eq!(read("name=a&name=b").wanted.addon.as_deref(), Some("a"));
        assert_eq!(read("name=My_Addon").wanted.addon.as_deref(), Some("my-addon"));
        assert_eq!(read("name=").wanted.addon.as_deref(), Some(""));
        assert_eq!(read("all_versions=true").status, Some(ReleaseStatus::Approved));
        assert_eq!(read("status=rejected").status, Some(ReleaseStatus::Rejected));
        assert_eq!((read("limit=7&cursor=9").limit, read("limit=7&cursor=9").after_seq()), (7, Some(9)));
        assert!(read("all_versions=1").is_public());
        assert!(!read("status=under_review").is_public());
    }

    #[test]
    fn a_search_is_by_relevance_unless_said_otherwise() {
        let query = read("q=MQTT+bro&category=Edge&platform=linux/arm64&risk=2&name=X");
        assert_eq!(query.wanted.words.as_slice(), ["mqtt", "bro"]);
        let facets = [(Facet::Category, "edge"), (Facet::Platform, "linux/arm64"), (Facet::Risk, "2")];
        assert_eq!(query.wanted.facets, facets.map(|(facet, value)| (facet, value.to_owned())));
        assert!(query.is_search() && query.is_kept());
        for (query, sort) in [
            ("q=mqtt", Sort::Relevance),
            ("q=mqtt&sort=oldest", Sort::Oldest),
            ("q=mqtt&all_versions=true", Sort::Oldest),
            ("category=edge", Sort::Oldest),
            ("sort=installs", Sort::Installs),
        ] {
            assert_eq!(read(query).sort, sort, "{query}");
            assert!(read(query).is_search(), "{query}");
        }
        assert!(!read("sort=installs").is_kept());
        assert_eq!(read("q=a&cursor=8.-7").after, Some(Cursor::Value(8, -7)));
    }

    #[test]
    fn bad_values_are_named() {
        for (query, name) in [
            ("limit=0", "limit"),
            ("limit=1001", "limit"),
            ("limit=x", "limit"),
            ("cursor=-1", "cursor"),
            ("q=a&cursor=-9223372036854775808.1", "cursor"),
            ("platform=arm64", "platform"),
            ("platform=linux/%00", "platform"),
            ("cursor=abc", "cursor"),
            ("status=fine", "status"),
            ("all_versions=perhaps", "all_versions"),
            ("q=--", "q"),
            ("q=a+b+c+d+e+f+g+h+i+j+k", "10 words"),
            ("risk=7", "risk"),
            ("risk=12", "risk"),
            ("sort=best", "relevance, newest"),
            ("sort=name&all_versions=1", "oldest or newest"),
            ("sort=updated&cursor=9", "cursor"),
            ("q=mqtt&status=rejected", "can be searched"),
            ("sort=newest&status=rejected", "can be searched"),
            ("categories=a", "did you mean \"category\"?"),
            ("stat=rejected", "did you mean \"status\"?"),
            ("version=1", "\"version\""),
        ] {
            let problem = ListQuery::read(query).unwrap_err();
            assert!(problem.detail().contains(name), "{query}: {problem}");
            assert_eq!(problem.status().as_u16(), 400);
        }
    }

    #[test]
    fn the_releases_of_a_name_are_read_alike() {
        let all = NameQuery { range: None, after: None, limit: MAX_LIMIT };
        for query in ["", "version=&limit=&cursor=", "&"] {
            assert_eq!(NameQuery::read(query).unwrap(), all, "{query}");
        }
        let read = |query| NameQuery::read(query).unwrap();
        assert_eq!(read("version=%5E1.2&version=2").range, Some("^1.2".parse().unwrap()));
        assert_eq!(read("cursor=1.0.0-rc.1&limit=2").after, Some("1.0.0-rc.1".parse().unwrap()));
        assert_ne!(read("limit=2").key(), read("limit=3").key());
        assert_ne!(read("cursor=1.0.0").key(), read("version=1.0.0").key());
        for (query, name) in [
            ("version=newest", "version"),
            ("cursor=1", "cursor"),
            ("limit=0", "limit"),
            ("versoin=1", "\"version\"?"),
        ] {
            let problem = NameQuery::read(query).unwrap_err();
            assert!(problem.detail().contains(name) && problem.status() == 400, "{query}: {problem}");
        }
    }

    #[test]
    fn the_next_part_keeps_the_rest_of_the_query() {
        assert_eq!(next_query("", 5), "cursor=5");
        assert_eq!(next_query("limit=2&cursor=3&name=a%20b", 9), "limit=2&name=a+b&cursor=9");
    }
}
