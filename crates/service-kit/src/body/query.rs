//! What stands after `?`: read into a type, and refused where a name is not known.

use std::borrow::Cow;
use std::cell::Cell;
use std::collections::BTreeSet;

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest, web};
use serde::de::{self, DeserializeOwned, Deserializer, Visitor};

use super::MOST_FAULTS;
use crate::problem::{Finding, Problem};

/// Most characters of an unknown name that are shown.
const MOST_SHOWN: usize = 100;

/// The query, read. Of a name that is given twice the first counts. One that is not known is refused: ignored, it would
/// be answered as something else than was asked.
#[derive(Debug)]
pub struct Query<T>(pub T);

impl<T: DeserializeOwned> FromRequest for Query<T> {
    type Error = Problem;
    type Future = std::future::Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        std::future::ready(read_query(request.query_string()).map(Self))
    }
}

/// No query: a call that takes none refuses any, since what was meant by it would not happen.
#[derive(Debug)]
pub struct NoQuery;

impl FromRequest for NoQuery {
    type Error = Problem;
    type Future = std::future::Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        std::future::ready(only_parameters(request.query_string(), &[]).map(|()| Self))
    }
}

/// Refuses a query that has a parameter beside these.
///
/// # Errors
/// 400 that names it, the nearest that there is, and all that there are.
pub fn only_parameters(query: &str, known: &[&str]) -> Result<(), Problem> {
    let mut findings = Vec::new();
    let mut seen = BTreeSet::new();
    for (name, _) in url::form_urlencoded::parse(query.as_bytes()) {
        // `?a&&b` and `?` have parameters without a name, which say nothing.
        if name.is_empty() || known.contains(&name.as_ref()) || !seen.insert(name.clone()) {
            continue;
        }
        let shown: String = name.chars().take(MOST_SHOWN).filter(|c| !c.is_control()).collect();
        let suggestion = crate::nearest::nearest(&shown, known.iter().copied()).map(str::to_owned);
        let meant = suggestion.as_ref().map(|name| format!("; did you mean {name:?}?")).unwrap_or_default();
        let all = if known.is_empty() {
            "this call takes none".to_owned()
        } else {
            format!("there are {}", known.join(", "))
        };
        findings.push(Finding {
            path: String::new(),
            rule: "unknown-parameter".to_owned(),
            message: format!("the query has no parameter {shown:?} here{meant} ({all})"),
            suggestion,
            line: None,
            column: None,
        });
        if findings.len() == MOST_FAULTS {
            break;
        }
    }
    match findings.first() {
        None => Ok(()),
        Some(first) => Err(Problem::bad_request("bad-query", first.message.clone()).with_errors(findings)),
    }
}

/// The names of the fields of a struct, as serde is asked for them.
struct FieldsOf<'c>(&'c Cell<Option<&'static [&'static str]>>);

impl<'de> Deserializer<'de> for FieldsOf<'_> {
    type Error = de::value::Error;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Self::Error> {
        Err(de::Error::custom("only names are asked for"))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        self.0.set(Some(fields));
        self.deserialize_any(visitor)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

fn read_query<T: DeserializeOwned>(query: &str) -> Result<T, Problem> {
    if !query.is_empty() {
        let fields = Cell::new(None);
        _ = T::deserialize(FieldsOf(&fields));
        // Of a map every name is known.
        if let Some(fields) = fields.get() {
            only_parameters(query, fields)?;
        }
    }
    // Of one that is given twice the first counts.
    let mut seen = BTreeSet::new();
    let pairs: Vec<_> =
        url::form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| seen.insert(name.clone())).collect();
    let read = |pairs: &[(Cow<'_, str>, Cow<'_, str>)]| {
        let query = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
        web::Query::<T>::from_query(&query).map(web::Query::into_inner)
    };
    if let Ok(read) = read(&pairs) {
        return Ok(read);
    }
    // Which of them is it? One without a value that needs one is as good as left out.
    let mut kept = Vec::new();
    for pair in pairs {
        match read(std::slice::from_ref(&pair)) {
            Err(_) if pair.1.is_empty() => {}
            Err(fault) => {
                let (name, value): (&str, String) = (&pair.0, pair.1.chars().take(80).collect());
                let reason = fault.to_string();
                let reason = reason.strip_prefix("Query deserialize error: ").unwrap_or(&reason);
                let finding = Finding {
                    path: String::new(),
                    rule: "bad-parameter".to_owned(),
                    message: format!("the parameter `{name}` cannot be {value:?}: {reason}"),
                    suggestion: None,
                    line: None,
                    column: None,
                };
                return Err(Problem::bad_request("bad-query", finding.message.clone()).with_errors([finding]));
            }
            Ok(_) => kept.push(pair),
        }
    }
    read(&kept)
        .map_err(|fault| Problem::bad_request("bad-query", format!("the query cannot be read: {fault}")))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use actix_web::http::StatusCode;
    use serde::Deserialize;

    use super::*;

    #[test]
    fn of_a_name_that_is_given_twice_the_first_counts() {
        let query: BTreeMap<String, String> = read_query("name=a&name=b&x=%C3%B1").unwrap();
        assert_eq!(
            query,
            BTreeMap::from([("name".to_owned(), "a".to_owned()), ("x".to_owned(), "ñ".to_owned())])
        );

        #[derive(Debug, Deserialize)]
        struct List {
            limit: Option<u32>,
        }
        assert_eq!(read_query::<List>("limit=5&limit=x").unwrap().limit, Some(5));
        assert_eq!(read_query::<List>("").unwrap().limit, None);
        let problem = read_query::<List>("limit=many").unwrap_err();
        assert_eq!((problem.status(), problem.code()), (StatusCode::BAD_REQUEST, "bad-query"));
        assert_eq!(
            problem.errors()[0].message,
            "the parameter `limit` cannot be \"many\": invalid digit found in string"
        );
        assert_eq!(read_query::<List>("limit=").unwrap().limit, None, "nothing is as good as left out");
    }

    #[test]
    fn an_unknown_parameter_is_refused_with_the_nearest_that_there_is() {
        #[derive(Debug, Default, Deserialize)]
        #[serde(default)]
        struct List {
            #[serde(rename = "status")]
            _status: Option<String>,
            #[serde(rename = "limit")]
            _limit: Option<u32>,
        }
        let problem = read_query::<List>("stat=rejected&limit=5&foo=1&foo=2").unwrap_err();
        assert_eq!((problem.status(), problem.code()), (StatusCode::BAD_REQUEST, "bad-query"));
        let suggested: Vec<_> = problem.errors().iter().map(|fault| fault.suggestion.as_deref()).collect();
        assert_eq!(suggested, [Some("status"), None]);
        let expected =
            "the query has no parameter \"stat\" here; did you mean \"status\"? (there are status, limit)";
        assert_eq!(problem.detail(), expected);
        assert!(read_query::<List>("&status=&&=").is_ok());
        let problem = only_parameters("force=true", &[]).unwrap_err();
        assert_eq!(problem.detail(), "the query has no parameter \"force\" here (this call takes none)");
        let many: String = (0..500).map(|n| format!("&p{n}\n=1")).collect();
        assert_eq!(only_parameters(&many, &[]).unwrap_err().errors().len(), MOST_FAULTS);
    }
}
