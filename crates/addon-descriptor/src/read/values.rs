//! Single values of the document: texts, words of a closed set, booleans, numbers. Each says what it needed instead.

use std::str::FromStr;

use super::report::{At, about, shown};
use super::tree::Kind;
use crate::quantity::{Decimal, written_out};
use crate::rules;
use crate::violation::Invalid;

impl<'t> At<'t> {
    /// A string.
    pub(crate) fn text(self) -> Option<&'t str> {
        self.text_or("a string")
    }

    /// A string, in a field that takes other things too: `wanted` names them all.
    pub(crate) fn text_or(self, wanted: &str) -> Option<&'t str> {
        match &self.node.kind {
            Kind::Text(text) => Some(text),
            kind => {
                match kind {
                    Kind::Number(number) if wanted == "a string" => {
                        self.wrong_type_suggesting(wanted, format!("\"{number}\""));
                    }
                    Kind::Boolean(value) if wanted == "a string" => {
                        self.wrong_type_suggesting(wanted, format!("\"{value}\""));
                    }
                    _ => self.wrong_type(wanted),
                }
                None
            }
        }
    }

    /// A string that has a form.
    pub(crate) fn parse<T: FromStr<Err = Invalid>>(self, rule: &'static str) -> Option<T> {
        let text = self.text()?;
        match text.parse() {
            Ok(value) => Some(value),
            Err(fault) => {
                self.record(rule, about(text, fault));
                None
            }
        }
    }

    /// A string out of a closed set, told by its nearest name.
    pub(crate) fn one_of<T: Copy>(self, rule: &'static str, values: &[(&str, T)]) -> Option<T> {
        let names: Vec<String> = values.iter().map(|(name, _)| format!("`{name}`")).collect();
        let names = names.join(", ");
        let text = self.text_or(&format!("one of {names}"))?;
        if let Some((_, value)) = values.iter().find(|(name, _)| *name == text) {
            return Some(*value);
        }
        let suggestion = self.nearest(text, values.iter().map(|(name, _)| *name));
        let message = format!("`{}` is none of {names}", shown(text));
        self.record(rule, Invalid { message, suggestion });
        None
    }

    pub(crate) fn boolean(self) -> Option<bool> {
        match &self.node.kind {
            Kind::Boolean(value) => Some(*value),
            Kind::Text(text) => {
                let meant = match text.to_ascii_lowercase().as_str() {
                    "true" | "yes" | "on" | "1" => Some("true"),
                    "false" | "no" | "off" | "0" => Some("false"),
                    _ => None,
                };
                match meant {
                    Some(meant) => self.wrong_type_suggesting("`true` or `false`", meant),
                    None => self.wrong_type("`true` or `false`"),
                }
                None
            }
            kind => {
                match kind {
                    Kind::Number("1") => self.wrong_type_suggesting("`true` or `false`", "true"),
                    Kind::Number("0") => self.wrong_type_suggesting("`true` or `false`", "false"),
                    _ => self.wrong_type("`true` or `false`"),
                }
                None
            }
        }
    }

    /// A number literal as an exact decimal.
    pub(crate) fn decimal(self, literal: &str) -> Option<Decimal> {
        match literal.parse() {
            Ok(number) => Some(number),
            Err(_) => {
                let message =
                    format!("`{}` has more than the 18 digits that are kept exactly", shown(literal));
                self.fault(rules::INVALID_NUMBER, message);
                None
            }
        }
    }

    /// A whole number within the bounds; `3.0` and `1e2` are whole.
    pub(crate) fn integer(self, min: i64, max: i64) -> Option<i64> {
        let Kind::Number(literal) = &self.node.kind else {
            match &self.node.kind {
                Kind::Text(text) if text.parse::<i64>().is_ok() => {
                    self.wrong_type_suggesting("a whole number", text.as_ref());
                }
                _ => self.wrong_type("a whole number"),
            }
            return None;
        };
        match literal.parse::<Decimal>().ok().and_then(|value| value.to_integer()) {
            Some(value) if (min..=max).contains(&value) => Some(value),
            _ => {
                // A bound is another number than what was meant, and often means something else.
                let message = format!("a whole number from {min} to {max} is needed, not {}", shown(literal));
                self.fault(rules::INVALID_NUMBER, message);
                None
            }
        }
    }

    /// A string, number or boolean, written out: numbers in their shortest form.
    pub(crate) fn scalar(self) -> Option<String> {
        match &self.node.kind {
            Kind::Text(text) => Some(text.clone().into_owned()),
            Kind::Boolean(value) => Some(value.to_string()),
            Kind::Number(literal) => {
                let text = written_out(literal);
                if text.is_none() {
                    let message = format!(
                        "`{}` has more digits than are written out: a string takes any",
                        shown(literal)
                    );
                    self.fault_suggesting(rules::INVALID_NUMBER, message, format!("\"{literal}\""));
                }
                text
            }
            _ => {
                self.wrong_type("a string, a number or a boolean");
                None
            }
        }
    }
}
