//! The query of the list of releases. Read by hand: of a parameter that is given twice the first counts, as Oakestra's
//! clients are used to, and an empty `name` is a name.

use std::fmt::Display;
use std::str::FromStr;

use addon_client::ReleaseStatus;
use addon_descriptor::{Version, VersionReq};
use service_kit::body::only_parameters;
use service_kit::problem::Problem;
use url::form_urlencoded;

use crate::storage::Filter;

/// Most releases in one answer, and how many without a `limit`.
pub(super) const MAX_LIMIT: u32 = 1000;

/// Parameters of the search, which this version does not have: ignoring them would answer something else than was asked.
const UNSUPPORTED: [&str; 5] = ["q", "category", "keyword", "platform", "sort"];

/// Parameters of a list.
const OF_LISTS: [&str; 5] = ["name", "status", "all_versions", "limit", "cursor"];
/// Parameters of the releases of one addon.
const OF_NAMES: [&str; 3] = ["version", "limit", "cursor"];

/// A list's query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ListQuery {
    /// Only this addon, folded.
    pub(super) addon: Option<String>,
    /// Only this status; `None`: the newest approved release of each addon.
    pub(super) status: Option<ReleaseStatus>,
    /// After this place.
    pub(super) after: i64,
    /// At most so many.
    pub(super) limit: u32,
}

impl ListQuery {
    /// Reads the text after `?`.
    ///
    /// # Errors
    /// 400 that names the parameter and what it can be.
    pub(super) fn read(query: &str) -> Result<Self, Problem> {
        let first = |wanted: &str| first(query, wanted);
        if let Some(name) = UNSUPPORTED.into_iter().find(|name| first(name).is_some()) {
            return Err(bad(name, "is not supported by this version; list by name, status, all_versions"));
        }
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
        let limit = limit(query)?;
        let after = cursor(query)?.unwrap_or(0);
        if after < 0 {
            return Err(bad_cursor());
        }
        Ok(Self {
            // Every version of every status but the default's is listed: there is no "newest of those that failed".
            status: status.filter(|status| all_versions || *status != ReleaseStatus::Approved).or_else(
                || {
                    let every = all_versions && status.is_none();
                    every.then_some(ReleaseStatus::Approved)
                },
            ),
            addon: first("name").map(|name| fold(&name)),
            after,
            limit,
        })
    }

    /// Whether somebody without a token may ask this.
    pub(super) fn is_public(&self) -> bool {
        matches!(self.status, None | Some(ReleaseStatus::Approved))
    }

    /// What to ask the database for, of all or of one account's own: one more than the limit, to know whether there is a next part.
    pub(super) fn filter<'a>(&'a self, publisher: Option<&'a str>) -> Filter<'a> {
        let Self { addon, status, after, limit } = self;
        Filter { addon: addon.as_deref(), status: *status, publisher, after: *after, limit: limit + 1 }
    }
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
    let folded = |c: char| if matches!(c, '_' | '.') { '-' } else { c.to_ascii_lowercase() };
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
        let all = ListQuery { addon: None, status: None, after: 0, limit: MAX_LIMIT };
        for query in ["", "status=", "status=approved", "limit=&cursor=", "all_versions=false", "&="] {
            assert_eq!(read(query), all, "{query}");
        }
        assert!(all.is_public());
    }

    #[test]
    fn parameters_are_read_and_the_first_of_two_counts() {
        assert_eq!(read("name=a&name=b").addon.as_deref(), Some("a"));
        assert_eq!(read("name=My_Addon").addon.as_deref(), Some("my-addon"));
        assert_eq!(read("name=").addon.as_deref(), Some(""));
        assert_eq!(read("all_versions=true").status, Some(ReleaseStatus::Approved));
        assert_eq!(read("status=rejected").status, Some(ReleaseStatus::Rejected));
        assert_eq!((read("limit=7&cursor=9").limit, read("limit=7&cursor=9").after), (7, 9));
        assert!(read("all_versions=1").is_public());
        assert!(!read("status=under_review").is_public());
    }

    #[test]
    fn bad_values_are_named() {
        for (query, name) in [
            ("limit=0", "limit"),
            ("limit=1001", "limit"),
            ("limit=x", "limit"),
            ("cursor=-1", "cursor"),
            ("cursor=abc", "cursor"),
            ("status=fine", "status"),
            ("all_versions=perhaps", "all_versions"),
            ("q=mqtt", "q"),
            ("sort=name", "sort"),
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
        for (query, name) in [("version=newest", "version"), ("cursor=1", "cursor"), ("limit=0", "limit"), ("versoin=1", "\"version\"?")] {
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
