//! What parameters are set to.

use std::borrow::Cow;
use std::collections::BTreeMap;

use secrecy::SecretString;

use crate::names::ParameterName;

/// What one parameter is set to. Shown for debugging, a secret is hidden.
#[derive(Debug, Clone)]
pub enum Value {
    /// Of a string, an enum or a path; a number as its exact decimal text.
    Text(String),
    /// Of an integer or a port.
    Integer(i64),
    /// Of a boolean.
    Boolean(bool),
    /// Of a secret.
    Secret(SecretString),
}

impl Value {
    /// The text that is put in; of a secret none.
    pub fn text(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Text(text) => Some(text.into()),
            Self::Integer(number) => Some(number.to_string().into()),
            Self::Boolean(value) => Some(value.to_string().into()),
            Self::Secret(_) => None,
        }
    }

    /// The value as it may be given again; of a secret none.
    pub fn to_json(&self) -> Option<serde_json::Value> {
        match self {
            Self::Text(text) => Some(text.as_str().into()),
            Self::Integer(number) => Some((*number).into()),
            Self::Boolean(value) => Some((*value).into()),
            Self::Secret(_) => None,
        }
    }

    /// What [`to_json`](Self::to_json) was taken of; `None` of what is the value of no parameter.
    pub fn from_json(json: serde_json::Value) -> Option<Self> {
        match json {
            serde_json::Value::String(text) => Some(Self::Text(text)),
            serde_json::Value::Number(number) => number.as_i64().map(Self::Integer),
            serde_json::Value::Bool(value) => Some(Self::Boolean(value)),
            _ => None,
        }
    }
}

/// Where a value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// An operator gave it, now or before.
    Given,
    /// It is the default, and follows that when another release has another one.
    Default,
    /// It was made at random, now or before.
    Generated,
}

/// What the parameters of an installation are set to, by name. One that is not here has no value: in its place stands
/// nothing.
#[derive(Debug, Clone, Default)]
pub struct Values(BTreeMap<ParameterName, (Value, Origin)>);

impl Values {
    /// What a parameter is set to.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name).map(|(value, _)| value)
    }

    /// The value of a secret.
    pub fn secret(&self, name: &str) -> Option<&SecretString> {
        match self.get(name) {
            Some(Value::Secret(secret)) => Some(secret),
            _ => None,
        }
    }

    /// Where a value comes from.
    pub fn origin(&self, name: &str) -> Option<Origin> {
        self.0.get(name).map(|(_, origin)| *origin)
    }

    /// Sets a parameter, as when values that were kept are put together again. [`check`](super::check()) tells whether
    /// they still fit.
    pub fn insert(&mut self, name: ParameterName, value: Value, origin: Origin) {
        self.0.insert(name, (value, origin));
    }

    /// Every value with where it comes from, in order of the names.
    pub fn iter(&self) -> impl Iterator<Item = (&ParameterName, &Value, Origin)> {
        self.0.iter().map(|(name, (value, origin))| (name, value, *origin))
    }
}
