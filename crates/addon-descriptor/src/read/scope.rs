//! What the whole document declares, as far as reading a service needs it.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use super::report::{At, shown};
use crate::parameters::{ParameterKind, Token, references, tokens};
use crate::rules;
use crate::violation::Invalid;

/// The declared parameters, and which of them are used.
#[derive(Default)]
pub(crate) struct Scope {
    /// `None`: declared, but unreadable.
    parameters: BTreeMap<String, Option<ParameterKind>>,
    /// Whether every name among the declarations could be read.
    is_complete: bool,
    used: RefCell<BTreeSet<String>>,
}

impl Scope {
    pub(crate) fn new(parameters: BTreeMap<String, Option<ParameterKind>>, is_complete: bool) -> Self {
        Self { parameters, is_complete, used: RefCell::default() }
    }

    /// Whether `${}` means anything in this document.
    pub(crate) fn declares_parameters(&self) -> bool {
        !self.parameters.is_empty() || !self.is_complete
    }

    pub(crate) fn is_used(&self, name: &str) -> bool {
        self.used.borrow().contains(name)
    }

    /// The type of a parameter that must be declared; the inner `None` is one that is unreadable.
    pub(crate) fn resolve(&self, at: At<'_>, name: &str) -> Option<Option<&ParameterKind>> {
        self.used.borrow_mut().insert(name.to_owned());
        if let Some(kind) = self.parameters.get(name) {
            return Some(kind.as_ref());
        }
        // What could not be read, and was reported, may be this one.
        if !self.is_complete {
            return Some(None);
        }
        let message = format!("no parameter `{}` is declared", shown(name));
        let suggestion = at.nearest(name, self.parameters.keys().map(String::as_str));
        at.record(rules::UNKNOWN_PARAMETER, Invalid { message, suggestion });
        None
    }

    /// The text as values will be put into it, with an `x` for that of each declared parameter.
    pub(crate) fn shape(&self, text: &str) -> String {
        let part = |token| match token {
            Token::Text(text) => text.to_owned(),
            Token::Reference(name) if self.parameters.contains_key(name) => "x".to_owned(),
            Token::Reference(name) => format!("${{{name}}}"),
        };
        tokens(text).map(part).collect()
    }

    /// Notes the references in a text in which they are replaced. One that nobody declares stays as it is.
    pub(crate) fn note(&self, at: At<'_>, text: &str) {
        if !self.declares_parameters() {
            return;
        }
        for name in references(text) {
            if self.parameters.contains_key(name) {
                self.used.borrow_mut().insert(name.to_owned());
            } else if let Some(near) = at.nearest(name, self.parameters.keys().map(String::as_str)) {
                let message = format!("`${{{name}}}` is no declared parameter and stays as it is");
                at.warn(rules::UNKNOWN_REFERENCE, message, Some(format!("${{{near}}}")));
            }
        }
    }
}
