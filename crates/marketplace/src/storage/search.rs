//! Searching what is listed, and counting it by facets. Words and facets are one question to the index of words, so that
//! both at once cost no more than the rarer of them.

use std::collections::HashMap;

use addon_client::FacetCount;
use futures_util::TryStreamExt as _;
use service_kit::db::Db;
use service_kit::read;
use sqlx::AssertSqlSafe;

use super::releases::{Part, Row, first_of, json, most_bytes, select_columns};
use super::{Storage, StorageError, dialect};
use crate::domain::release::Release;
use crate::domain::search::{Cursor, Facet, Sort, Words};

/// Relevance is worked out for so many of the best by stored rank.
pub const RELEVANT: u32 = 2_000;

/// Facets are counted of so many of the best by stored rank: that bounds how long it takes, however many there are.
pub const COUNTED: u32 = 10_000;

/// Most values of one facet in an answer.
const VALUES: i64 = 100;

/// Releases that are read together.
const READ_AT_ONCE: usize = 20;

/// What is looked for among the listed releases.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Search<'a> {
    /// Words that must all be there.
    pub words: &'a Words,
    /// Values that it must have, folded to lower case.
    pub facets: &'a [(Facet, String)],
    /// Only this addon, folded.
    pub addon: Option<&'a str>,
}

/// A part of what was found.
#[derive(Debug, Clone)]
pub struct Found {
    /// In the order that was asked for.
    pub releases: Vec<Release>,
    /// Where the next part begins; `None` at the end.
    pub next: Option<Cursor>,
}

/// Facets of what was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facets {
    /// How many listings were counted.
    pub counted: u64,
    /// Whether these are all.
    pub complete: bool,
    /// By facet in its order; values by their number, then by their bytes.
    pub counts: Vec<(Facet, Vec<FacetCount>)>,
}

/// A listing that may be relevant.
#[derive(sqlx::FromRow)]
struct Candidate {
    place: i64,
    seq: i64,
    addon: String,
    keywords: String,
}

impl Search<'_> {
    /// The question to the index; `None` when it would hit everything.
    fn terms(&self, db: &Db) -> Option<String> {
        let facets = self.facets.iter().map(|(facet, value)| (facet.term(value), false));
        let words = self.words.with_prefixes().map(|(word, prefix)| (word.to_owned(), prefix));
        let terms: Vec<(String, bool)> = words.chain(facets).collect();
        (!terms.is_empty()).then(|| dialect::terms(db, &terms))
    }
}

/// The parameters of a search's SQL, in the order of their numbers, for every kind of query alike: `$1` terms, `$2` the
/// addon, `$3` and `$4` the cursor's numbers, `$5` its text, `$6` the limit.
#[derive(Default)]
struct Bound {
    terms: String,
    addon: String,
    value: i64,
    among: i64,
    name: String,
    limit: i64,
}

/// Binds them all. Each query names every parameter in its last condition, so that none is left over.
macro_rules! bound {
    ($query:expr, $bound:expr) => {
        $query
            .bind(&$bound.terms)
            .bind(&$bound.addon)
            .bind($bound.value)
            .bind($bound.among)
            .bind(&$bound.name)
            .bind($bound.limit)
    };
}

/// Holds always, and names every parameter with its type.
const NAMES_ALL: &str = "(CAST($1 AS TEXT) IS NOT NULL AND CAST($2 AS TEXT) IS NOT NULL AND CAST($3 AS BIGINT) IS NOT NULL \
                         AND CAST($4 AS BIGINT) IS NOT NULL AND CAST($5 AS TEXT) IS NOT NULL AND CAST($6 AS BIGINT) IS NOT NULL)";

impl Storage {
    /// Whether the database takes words of other alphabets apart as it does those of A to Z. PostgreSQL goes by the locale of
    /// the database there, and with `C` capitals of other letters stay what they are.
    ///
    /// # Errors
    /// The database.
    pub async fn knows_letters(&self) -> Result<bool, StorageError> {
        let Db::Postgres(pool) = &self.db else { return Ok(true) };
        let sql = "SELECT words_of('ÄÖ-Привет') @> ARRAY['äö', 'привет']";
        let (knows,): (bool,) = sqlx::query_as(sql).fetch_one(pool).await?;
        Ok(knows)
    }

    /// Newest approved releases of the addons that answer a search, after a cursor of the same order.
    ///
    /// # Errors
    /// The database, or a row that makes no sense.
    pub async fn search(
        &self,
        search: &Search<'_>,
        sort: Sort,
        after: Option<&Cursor>,
        most: u32,
    ) -> Result<Found, StorageError> {
        let limit = most as usize;
        let mut found = match sort {
            Sort::Relevance => self.relevant(search, after, limit + 1).await?,
            _ => self.sorted(search, sort, after, limit + 1).await?,
        };
        let more = found.len() > limit;
        found.truncate(limit);
        // Some at a time: where their documents are long, the part ends before the others are read.
        let (mut rows, mut bytes, mut read) = (Vec::new(), 0, 0);
        for some in found.chunks(READ_AT_ONCE) {
            let mut of_some = self.rows_at(some.iter().map(|(seq, _)| *seq)).await?;
            for (seq, _) in some {
                // One that is gone by now is passed over.
                let row = of_some.remove(seq);
                bytes += row.as_ref().map_or(0, Row::bytes);
                if bytes > most_bytes(most) && !rows.is_empty() {
                    break;
                }
                rows.extend(row);
                read += 1;
            }
            if bytes > most_bytes(most) {
                break;
            }
        }
        let Part { releases, more } = Part::of(rows, more || read < found.len())?;
        let last = found.into_iter().nth(read.saturating_sub(1)).filter(|_| more);
        Ok(Found { releases, next: last.map(|(_, cursor)| cursor) })
    }

    /// Every approved release of the addons that answer a search, in the order of publishing or backwards.
    ///
    /// # Errors
    /// The database, or a row that makes no sense.
    pub async fn search_versions(
        &self,
        search: &Search<'_>,
        backwards: bool,
        after: Option<i64>,
        limit: u32,
    ) -> Result<Found, StorageError> {
        let terms = search.terms(&self.db);
        let matches = terms
            .as_ref()
            .map_or_else(String::new, |_| format!(" AND addon IN ({})", dialect::ADDONS.of(&self.db)));
        let addon = if search.addon.is_some() { " AND addon = $2" } else { "" };
        let (place, order) = if backwards { ("seq < $3", "DESC") } else { ("seq > $3", "ASC") };
        // Few addons are looked up; among many the next ones are near.
        let few = search.addon.is_some() || self.matches_few(terms.as_deref()).await?;
        let status = if few { "status || ''" } else { "status" };
        let sql = format!(
            "{} WHERE {status} = 'approved' AND {place}{addon}{matches} AND {NAMES_ALL} ORDER BY seq {order} LIMIT $6",
            select_columns!()
        );
        let bound = Bound {
            terms: terms.unwrap_or_default(),
            addon: search.addon.unwrap_or_default().to_owned(),
            value: after.unwrap_or(if backwards { i64::MAX } else { 0 }),
            limit: i64::from(limit) + 1,
            ..Bound::default()
        };
        let (rows, more) = read!(&self.db, |pool| {
            first_of(bound!(sqlx::query_as(AssertSqlSafe(sql)), bound).fetch(pool), limit).await
        })?;
        let Part { releases, more } = Part::of(rows, more)?;
        let next = releases.last().filter(|_| more).map(|last| Cursor::Seq(last.seq));
        Ok(Found { releases, next })
    }

    /// Whether not many listings answer.
    async fn matches_few(&self, terms: Option<&str>) -> Result<bool, StorageError> {
        let Some(terms) = terms else { return Ok(false) };
        let found = dialect::ADDONS.of(&self.db);
        let sql = format!("SELECT COUNT(*) FROM ({found} LIMIT {RELEVANT}) AS found");
        let (count,): (i64,) =
            read!(&self.db, |pool| sqlx::query_as(AssertSqlSafe(sql)).bind(terms).fetch_one(pool).await)?;
        Ok(count < i64::from(RELEVANT))
    }

    /// What the listings that answer a search have in common, by facet.
    ///
    /// # Errors
    /// The database.
    pub async fn facets(&self, search: &Search<'_>) -> Result<Facets, StorageError> {
        let terms = search.terms(&self.db);
        let chosen = self.first(search, terms.is_some(), "place", "place > $3", "place");
        let facets = dialect::FACETS_OF_CHOSEN.of(&self.db);
        let sql = format!(
            "WITH chosen AS MATERIALIZED ({chosen}),
             counts AS (SELECT kind, value, COUNT(*) AS number FROM {facets} GROUP BY kind, value),
             ranked AS (SELECT kind, value, number,
                 ROW_NUMBER() OVER (PARTITION BY kind ORDER BY number DESC, value) AS at FROM counts)
             SELECT kind, value, number FROM ranked WHERE at <= {VALUES}
             UNION ALL SELECT '', '', COUNT(*) FROM chosen
             ORDER BY 1, 3 DESC, 2"
        );
        let bound = Bound {
            terms: terms.unwrap_or_default(),
            addon: search.addon.unwrap_or_default().to_owned(),
            value: i64::MIN,
            limit: i64::from(COUNTED) + 1,
            ..Bound::default()
        };
        let rows: Vec<(String, String, i64)> = read!(&self.db, |pool| {
            bound!(sqlx::query_as(AssertSqlSafe(sql)), bound).fetch_all(pool).await
        })?;
        let counted =
            rows.iter().find(|(kind, ..)| kind.is_empty()).map_or(0, |(.., number)| number.unsigned_abs());
        let of = |facet: Facet| {
            let own = rows.iter().filter(|(kind, ..)| kind == facet.as_str());
            own.map(|(_, value, count)| FacetCount { value: value.clone(), count: count.unsigned_abs() })
                .collect()
        };
        Ok(Facets {
            counted,
            complete: counted <= u64::from(COUNTED),
            counts: Facet::ALL.map(|facet| (facet, of(facet))).into(),
        })
    }

    /// Places in the order of publishing with their cursors, best answers first.
    async fn relevant(
        &self,
        search: &Search<'_>,
        after: Option<&Cursor>,
        limit: usize,
    ) -> Result<Vec<(i64, Cursor)>, StorageError> {
        let terms = search.terms(&self.db);
        // Without words the stored rank is the whole order, which a cursor goes on in at its place.
        let ranked = search.words.as_slice().is_empty();
        let from = match after {
            Some(Cursor::Value(_, place)) if ranked => *place,
            _ => i64::MIN,
        };
        let columns = "place, seq, addon, keywords";
        let sql = self.first(search, terms.is_some(), columns, "place > $3", "place");
        let bound = Bound {
            terms: terms.unwrap_or_default(),
            addon: search.addon.unwrap_or_default().to_owned(),
            value: from,
            limit: if ranked { i64::try_from(limit).unwrap_or(i64::MAX) } else { i64::from(RELEVANT) },
            ..Bound::default()
        };
        let score = |listing: Candidate| {
            (-search.words.score(&listing.addon, &listing.keywords), listing.place, listing.seq)
        };
        let mut scored: Vec<(i64, i64, i64)> = read!(&self.db, |pool| {
            let listings = bound!(sqlx::query_as(AssertSqlSafe(sql)), bound).fetch(pool);
            listings.map_ok(score).try_collect().await
        })?;
        scored.sort_unstable();
        let after = after.and_then(|cursor| match cursor {
            Cursor::Value(score, place) if !ranked => Some((-score, *place)),
            _ => None,
        });
        let rest =
            scored.into_iter().filter(|(score, place, _)| after.is_none_or(|after| (*score, *place) > after));
        Ok(rest.take(limit).map(|(score, place, seq)| (seq, Cursor::Value(-score, place))).collect())
    }

    /// Places in the order of publishing with their cursors, in an order that the database has.
    async fn sorted(
        &self,
        search: &Search<'_>,
        sort: Sort,
        after: Option<&Cursor>,
        limit: usize,
    ) -> Result<Vec<(i64, Cursor)>, StorageError> {
        let (value, order, place) = match sort {
            Sort::Oldest => ("seq", "seq", "seq > $3"),
            Sort::Newest => ("seq", "seq DESC", "seq < $3"),
            Sort::Updated => {
                ("updated_at_ms", "updated_at_ms DESC, seq DESC", "(updated_at_ms, seq) < ($3, $4)")
            }
            Sort::Installs | Sort::Relevance => {
                ("installs", "installs DESC, seq DESC", "(installs, seq) < ($3, $4)")
            }
            Sort::Name => ("seq", "addon", "addon > $5"),
        };
        let (first, among) = match (sort, after) {
            (_, Some(Cursor::Seq(seq))) => (*seq, 0),
            (_, Some(Cursor::Value(value, among))) => (*value, *among),
            (Sort::Oldest, _) => (0, 0),
            _ => (i64::MAX, i64::MAX),
        };
        let terms = search.terms(&self.db);
        let columns = format!("seq, {value} AS value, addon");
        let sql = self.first(search, terms.is_some(), &columns, place, order);
        let bound = Bound {
            terms: terms.unwrap_or_default(),
            addon: search.addon.unwrap_or_default().to_owned(),
            value: first,
            among,
            name: match after {
                Some(Cursor::Name(name)) => name.clone(),
                _ => String::new(),
            },
            limit: i64::try_from(limit).unwrap_or(i64::MAX),
        };
        let rows: Vec<(i64, i64, String)> = read!(&self.db, |pool| {
            bound!(sqlx::query_as(AssertSqlSafe(sql)), bound).fetch_all(pool).await
        })?;
        let cursor = |seq, value, addon| match sort {
            Sort::Oldest | Sort::Newest => Cursor::Seq(seq),
            Sort::Updated | Sort::Installs | Sort::Relevance => Cursor::Value(value, seq),
            Sort::Name => Cursor::Name(addon),
        };
        Ok(rows.into_iter().map(|(seq, value, addon)| (seq, cursor(seq, value, addon))).collect())
    }

    /// The query for columns of the first listings in an order that answer a search, after a cursor.
    fn first(&self, search: &Search<'_>, terms: bool, columns: &str, after: &str, order: &str) -> String {
        let (from, and) = match (terms, search.addon) {
            (false, None) => ("listings".to_owned(), String::new()),
            (false, Some(_)) => ("listings".to_owned(), " AND addon = $2".to_owned()),
            (true, None) => (dialect::answering(&self.db, after, order), String::new()),
            (true, Some(_)) => {
                ("listings".to_owned(), format!(" AND addon = $2 AND {}", dialect::ANSWERS.of(&self.db)))
            }
        };
        format!("SELECT {columns} FROM {from} WHERE {after} AND {NAMES_ALL}{and} ORDER BY {order} LIMIT $6")
    }

    /// Rows by their places in the order of publishing.
    async fn rows_at(&self, seqs: impl Iterator<Item = i64>) -> Result<HashMap<i64, Row>, StorageError> {
        let sql = format!("{} WHERE seq IN ({})", select_columns!(), dialect::NUMBERS.of(&self.db));
        let seqs_json = json(&seqs.collect::<Vec<_>>());
        let rows: Vec<Row> = read!(&self.db, |pool| sqlx::query_as(AssertSqlSafe(sql))
            .bind(&seqs_json)
            .fetch_all(pool)
            .await)?;
        Ok(rows.into_iter().map(|row| (row.seq, row)).collect())
    }
}
