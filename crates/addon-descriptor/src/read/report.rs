//! Where in the document the reader stands, and what it found wrong there.
//!
//! An [`At`] is a value of the tree with its path; it is cheap to copy and hands faults to the one [`Report`]. Paths are
//! written out only for a fault, so that reading stays linear. What single values are read as is in `values`.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};

use super::tree::{Kind, Member, Node, Positions};
use crate::fields::{Presence, Table};
use crate::opposites::are_opposite;
use crate::rules;
use crate::violation::{Invalid, Violation};

/// Violations that are listed, and warnings; a document with more is beyond help by a list.
const MAX_FINDINGS: usize = 1000;
/// Searches for a nearest name in one document: each costs, and nobody reads more suggestions.
const MAX_SEARCHES: usize = 200;
/// Longest text that is shown in a message, in characters.
const MAX_SHOWN: usize = 80;
/// Longest suggestion, in bytes: nobody reads more, and the message says what is needed.
const MAX_SUGGESTION: usize = 16 * 1024;
/// Bytes of all paths together from which on one stops above a key too long to be shown: a few long keys can stand in the
/// path of every finding.
const MAX_PATHS: usize = 1024 * 1024;

/// Collects what is found.
#[derive(Default)]
pub(crate) struct Report<'t> {
    paths: RefCell<Vec<Segment<'t>>>,
    violations: RefCell<Vec<Finding>>,
    warnings: RefCell<Vec<Finding>>,
    searches: Cell<usize>,
    path_bytes: Cell<usize>,
}

/// One step of a path, and where the path before it stands.
struct Segment<'t> {
    parent: Option<usize>,
    step: Step<'t>,
}

enum Step<'t> {
    Key(&'t str),
    Index(usize),
}

struct Finding {
    offset: usize,
    violation: Violation,
}

impl<'t> Report<'t> {
    /// The whole document.
    pub(crate) fn root(&'t self, node: &'t Node<'t>) -> At<'t> {
        At { node, offset: node.offset, path: None, report: self }
    }

    pub(crate) fn has_violations(&self) -> bool {
        !self.violations.borrow().is_empty()
    }

    /// Violations and warnings in the order of the text.
    pub(crate) fn finish(&self, text: &str) -> (Vec<Violation>, Vec<Violation>) {
        (in_order(self.take_violations(text.len()), text), in_order(self.warnings.take(), text))
    }

    /// Violations of what stands in no text, as they were found.
    pub(crate) fn finish_without_text(&self) -> Vec<Violation> {
        self.take_violations(0).into_iter().map(|finding| finding.violation).collect()
    }

    fn take_violations(&self, end: usize) -> Vec<Finding> {
        let mut violations = self.violations.take();
        if violations.len() >= MAX_FINDINGS {
            violations.push(Finding {
                offset: end,
                violation: Violation {
                    path: String::new(),
                    rule: rules::TOO_MANY_VIOLATIONS,
                    message: format!("only {MAX_FINDINGS} violations are listed"),
                    suggestion: None,
                    line: 0,
                    column: 0,
                },
            });
        }
        violations
    }

    fn extend(&self, parent: Option<usize>, step: Step<'t>) -> Option<usize> {
        let mut paths = self.paths.borrow_mut();
        paths.push(Segment { parent, step });
        Some(paths.len() - 1)
    }

    /// The JSON Pointer of a path. It always points at something: past [`MAX_PATHS`], at what a long key stands in.
    fn pointer(&self, path: Option<usize>, missing: Option<&str>) -> String {
        let paths = self.paths.borrow();
        let mut steps = Vec::new();
        let mut next = path;
        while let Some(index) = next {
            steps.push(&paths[index].step);
            next = paths[index].parent;
        }
        let may_be_long = self.path_bytes.get() < MAX_PATHS;
        let mut pointer = String::new();
        let mut is_whole = true;
        for step in steps.into_iter().rev() {
            match step {
                Step::Index(index) => pointer.push_str(&format!("/{index}")),
                Step::Key(key) if may_be_long || key.len() <= MAX_SHOWN => {
                    pointer.push_str(&format!("/{}", escaped(key)));
                }
                Step::Key(_) => {
                    is_whole = false;
                    break;
                }
            }
        }
        if let Some(key) = missing.filter(|_| is_whole) {
            pointer.push_str(&format!("/{}", escaped(key)));
        }
        self.path_bytes.set(self.path_bytes.get() + pointer.len());
        pointer
    }

    /// Whether another search for a nearest name is worth its time.
    fn may_search(&self) -> bool {
        let searches = self.searches.get();
        self.searches.set(searches + 1);
        searches < MAX_SEARCHES
    }
}

fn in_order(mut findings: Vec<Finding>, text: &str) -> Vec<Violation> {
    findings.sort_by_key(|finding| finding.offset);
    // What a text is made of was checked first; what a field says of the same text is then only a consequence.
    let mut spoiled = None;
    findings.retain(|finding| {
        let is_of_text = matches!(
            finding.violation.rule,
            rules::FORBIDDEN_CHARACTER | rules::LINE_FEED | rules::TEXT_TOO_LONG
        );
        let is_consequence = spoiled == Some(finding.offset);
        if is_of_text {
            spoiled = Some(finding.offset);
        }
        !is_consequence
    });
    let mut positions = Positions::new(text);
    findings
        .into_iter()
        .map(|Finding { offset, violation }| {
            let (line, column) = positions.resolve(offset);
            Violation { line, column, ..violation }
        })
        .collect()
}

fn escaped(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

/// The text as messages show it: cut when it is long.
pub(crate) fn shown(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(MAX_SHOWN) {
        None => Cow::Borrowed(text),
        Some((end, _)) => Cow::Owned(format!("{}…", &text[..end])),
    }
}

/// A value of the document and where it stands.
#[derive(Clone, Copy)]
pub(crate) struct At<'t> {
    pub(crate) node: &'t Node<'t>,
    /// What findings are placed at, in bytes: the start of the value, or of its key.
    offset: usize,
    path: Option<usize>,
    report: &'t Report<'t>,
}

impl<'t> At<'t> {
    /// Records a violation.
    pub(crate) fn fault(self, rule: &'static str, message: impl Into<String>) {
        self.record(rule, Invalid::new(message));
    }

    /// Records a violation that says what to write instead.
    pub(crate) fn fault_suggesting(
        self,
        rule: &'static str,
        message: impl Into<String>,
        suggestion: impl Into<String>,
    ) {
        self.record(rule, Invalid::new(message).suggest(suggestion));
    }

    /// Records a violation.
    pub(crate) fn record(self, rule: &'static str, fault: Invalid) {
        self.push(&self.report.violations, None, rule, fault);
    }

    /// Records a warning.
    pub(crate) fn warn(self, rule: &'static str, message: impl Into<String>, suggestion: Option<String>) {
        let fault = Invalid { message: message.into(), suggestion };
        self.push(&self.report.warnings, None, rule, fault);
    }

    /// Records a violation of a member that is not there.
    pub(crate) fn fault_missing(self, key: &str, rule: &'static str, message: impl Into<String>) {
        self.record_missing(key, rule, Invalid::new(message));
    }

    /// Records a violation of a member that is not there.
    pub(crate) fn record_missing(self, key: &str, rule: &'static str, fault: Invalid) {
        self.push(&self.report.violations, Some(key), rule, fault);
    }

    /// Records a warning about a member that is not there.
    pub(crate) fn warn_missing(self, key: &str, rule: &'static str, message: impl Into<String>) {
        self.push(&self.report.warnings, Some(key), rule, Invalid::new(message));
    }

    fn push(self, to: &RefCell<Vec<Finding>>, missing: Option<&str>, rule: &'static str, fault: Invalid) {
        let mut findings = to.borrow_mut();
        if findings.len() < MAX_FINDINGS {
            let path = self.report.pointer(self.path, missing);
            let Invalid { message, suggestion } = fault;
            let suggestion = suggestion.filter(|text| text.len() <= MAX_SUGGESTION);
            let violation = Violation { path, rule, message, suggestion, line: 0, column: 0 };
            findings.push(Finding { offset: self.offset, violation });
        }
    }

    /// Every value of a list, nothing said about their number.
    pub(crate) fn all_items(self) -> impl Iterator<Item = At<'t>> {
        let nodes = match &self.node.kind {
            Kind::List(nodes) => nodes.as_slice(),
            _ => &[],
        };
        nodes.iter().enumerate().map(move |(index, node)| At {
            node,
            offset: node.offset,
            path: self.report.extend(self.path, Step::Index(index)),
            report: self.report,
        })
    }

    /// The entry of that key: the member of a map, the `K=V` of a list, else the value itself.
    pub(crate) fn entry(self, key: &str) -> At<'t> {
        let is_of_key = |text: &str| text.strip_prefix(key).is_some_and(|rest| rest.starts_with('='));
        match &self.node.kind {
            Kind::Object(_) => self.member(key),
            Kind::List(_) => {
                self.all_items().find(|item| matches!(&item.node.kind, Kind::Text(text) if is_of_key(text)))
            }
            _ => None,
        }
        .unwrap_or(self)
    }

    /// The member of that key, if this is an object that has one.
    pub(crate) fn member(self, key: &str) -> Option<At<'t>> {
        let Kind::Object(members) = &self.node.kind else { return None };
        members.iter().find(|member| member.key == key).map(|member| self.at_member(member))
    }

    /// The value of a member.
    pub(crate) fn at_member(self, member: &'t Member<'t>) -> At<'t> {
        let path = self.report.extend(self.path, Step::Key(&member.key));
        At { node: &member.value, offset: member.value.offset, path, report: self.report }
    }

    /// The value of a member, for findings about what its key says.
    pub(crate) fn at_key(self, member: &'t Member<'t>) -> At<'t> {
        At { offset: member.offset, ..self.at_member(member) }
    }

    /// Records a violation of a key, at the key.
    pub(crate) fn fault_key(self, member: &'t Member<'t>, rule: &'static str, fault: Invalid) {
        self.at_key(member).record(rule, fault);
    }

    /// Records a violation of the key of an entry: at the key of a map, at the whole `K=V` of a list.
    pub(crate) fn record_entry(self, key: &str, rule: &'static str, fault: Invalid) {
        match &self.node.kind {
            Kind::Object(members) => match members.iter().find(|member| member.key == key) {
                Some(member) => self.fault_key(member, rule, fault),
                None => self.record(rule, fault),
            },
            _ => self.entry(key).record(rule, fault),
        }
    }

    fn warn_key(self, member: &'t Member<'t>, rule: &'static str, message: String) {
        self.at_key(member).warn(rule, message, None);
    }

    /// Records that the value is of another type than `wanted`.
    pub(crate) fn wrong_type(self, wanted: &str) {
        self.fault(rules::WRONG_TYPE, format!("{wanted} is needed, not {}", self.node.kind.describe()));
    }

    /// The same with what to write instead.
    pub(crate) fn wrong_type_suggesting(self, wanted: &str, suggestion: impl Into<String>) {
        self.fault_suggesting(
            rules::WRONG_TYPE,
            format!("{wanted} is needed, not {}", self.node.kind.describe()),
            suggestion,
        );
    }

    /// The name among `known` that is nearest to `text`, if one is near.
    pub(crate) fn nearest<'k>(self, text: &str, known: impl IntoIterator<Item = &'k str>) -> Option<String> {
        if text.len() > MAX_SHOWN || !self.report.may_search() {
            return None;
        }
        let folded = text.to_ascii_lowercase();
        known
            .into_iter()
            .filter(|name| !are_opposite(text, name))
            .filter_map(|name| Some((distance(&folded, &name.to_ascii_lowercase())?, name)))
            .min_by_key(|(distance, _)| *distance)
            .map(|(_, name)| name.to_owned())
    }

    /// The values of a list of at most `limit`; `wanted` names what the field takes.
    pub(crate) fn items(self, limit: usize, wanted: &str) -> Vec<At<'t>> {
        match &self.node.kind {
            Kind::List(nodes) => {
                if nodes.len() > limit {
                    self.fault(
                        rules::TOO_MANY_ENTRIES,
                        format!("at most {limit} entries, not {}", nodes.len()),
                    );
                }
                self.all_items().take(limit).collect()
            }
            // With a comma in it, it may have been meant as several.
            Kind::Text(text) if !text.is_empty() && text.len() <= MAX_SHOWN && !text.contains(',') => {
                self.wrong_type_suggesting(wanted, format!("[{}]", serde_json::json!(text)));
                Vec::new()
            }
            _ => {
                self.wrong_type(wanted);
                Vec::new()
            }
        }
    }

    /// The same of a list of objects, which a text alone is none of.
    pub(crate) fn objects(self, limit: usize, wanted: &str) -> Vec<At<'t>> {
        if let Kind::Text(_) = &self.node.kind {
            self.wrong_type(wanted);
            return Vec::new();
        }
        self.items(limit, wanted)
    }

    /// The members of a map of at most `limit`; repeated keys are reported and left out. `wanted` names what the field
    /// takes.
    pub(crate) fn members(self, limit: usize, wanted: &str) -> Vec<(&'t Member<'t>, At<'t>)> {
        let Kind::Object(members) = &self.node.kind else {
            self.wrong_type(wanted);
            return Vec::new();
        };
        if members.len() > limit {
            self.fault(rules::TOO_MANY_ENTRIES, format!("at most {limit} entries, not {}", members.len()));
        }
        let mut seen = HashSet::new();
        let mut found = Vec::new();
        for member in members.iter().take(limit) {
            if seen.insert(member.key.as_ref()) {
                found.push((member, self.at_member(member)));
            } else {
                self.fault_key(member, rules::REPEATED_KEY, repeated(&member.key));
            }
        }
        found
    }

    /// The fields of an object: unknown and repeated ones are reported, empty ones left out.
    pub(crate) fn fields(self, table: &'static Table, ignored: &[&str]) -> Option<Fields<'t>> {
        let Kind::Object(members) = &self.node.kind else {
            self.wrong_type(&table.wanted());
            return None;
        };
        let mut fields = Fields { at: self, present: HashMap::new() };
        let mut seen = HashSet::new();
        for member in members {
            let key = member.key.as_ref();
            if !seen.insert(key) {
                self.fault_key(member, rules::REPEATED_KEY, repeated(key));
                continue;
            }
            let Some((name, presence)) = table.fields.iter().find(|(name, _)| *name == key) else {
                if ignored.contains(&key) {
                    let message = format!("`{key}` is what services add to their answers; it is ignored");
                    self.warn_key(member, rules::IGNORED_FIELD, message);
                } else {
                    self.unknown_field(member, table);
                }
                continue;
            };
            let at = self.at_member(member);
            let is_empty = matches!(&member.value.kind, Kind::Text(text) if text.is_empty());
            let is_null = matches!(member.value.kind, Kind::Null);
            match presence {
                Presence::Required if is_null => {
                    at.fault(rules::MISSING_FIELD, format!("{} needs `{name}`, not null", table.what));
                    fields.present.insert(name, None);
                }
                Presence::Optional if is_empty || is_null => {
                    at.warn(rules::EMPTY_FIELD, format!("an empty `{name}` is read as absent"), None);
                }
                Presence::Text if is_null => {
                    at.warn(rules::EMPTY_FIELD, format!("an empty `{name}` is read as absent"), None);
                }
                _ => {
                    fields.present.insert(name, Some(at));
                }
            }
        }
        for (name, presence) in table.fields {
            if *presence == Presence::Required && !fields.present.contains_key(name) {
                self.fault_missing(name, rules::MISSING_FIELD, format!("{} needs `{name}`", table.what));
            }
        }
        Some(fields)
    }

    fn unknown_field(self, member: &'t Member<'t>, table: &'static Table) {
        let key = member.key.as_ref();
        let of = |list: &[(&str, &'static str)]| {
            list.iter().find(|(other, _)| *other == key).map(|(_, here)| *here)
        };
        let mut message = format!("{} has no field `{}`", table.what, shown(key));
        let advice = of(table.advice);
        if let Some(advice) = advice {
            message.push_str(&format!(": {advice}"));
        }
        let suggestion = match of(table.elsewhere) {
            Some(here) => Some(here.to_owned()),
            // What is known from elsewhere is no slip of something here.
            None if advice.is_some() => None,
            None => self.nearest(key, table.fields.iter().map(|(name, _)| *name)),
        };
        self.fault_key(member, rules::UNKNOWN_FIELD, Invalid { message, suggestion });
    }
}

/// How far two names are apart, if they are near: few slips, or one is a part of the other (`json`, `json-file`).
fn distance(text: &str, name: &str) -> Option<usize> {
    let slips = strsim::osa_distance(text, name);
    let shorter = name.chars().count().min(text.chars().count());
    let is_part = shorter >= 4 && (name.contains(text) || text.contains(name));
    // Of `a` and `b` one is no slip of the other.
    let longer = name.chars().count().max(text.chars().count());
    (is_part || (slips <= 1 + shorter / 3 && 2 * slips <= longer)).then_some(slips)
}

fn repeated(key: &str) -> Invalid {
    Invalid::new(format!("`{}` stands here twice", shown(key)))
}

/// The fault, saying which text it is about.
pub(crate) fn about(text: &str, fault: Invalid) -> Invalid {
    if text.is_empty() {
        return Invalid { message: format!("the text is empty: {}", fault.message), ..fault };
    }
    Invalid { message: format!("`{}`: {}", shown(text), fault.message), ..fault }
}

/// The fields of an object that are there and not empty.
pub(crate) struct Fields<'t> {
    /// The object itself.
    pub(crate) at: At<'t>,
    /// `None`: there, but null, which was reported.
    present: HashMap<&'static str, Option<At<'t>>>,
}

impl<'t> Fields<'t> {
    /// The value of a field.
    pub(crate) fn get(&self, name: &str) -> Option<At<'t>> {
        self.present.get(name).copied().flatten()
    }

    /// Where a field stands, or the object that lacks it.
    pub(crate) fn place(&self, name: &str) -> At<'t> {
        self.get(name).unwrap_or(self.at)
    }

    pub(crate) fn boolean(&self, name: &str) -> bool {
        self.get(name).and_then(At::boolean).unwrap_or_default()
    }
}
