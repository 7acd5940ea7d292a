//! Walks a block of fields: takes the known ones, and at the end reports the rest. The fields that a
//! reader asks for are the fields that exist, so there is no second list to keep.

use std::cell::RefCell;

use super::{
    node::{Kind, Node, Position, ScalarType},
    problem::{Problem, did_you_mean},
};

/// What is wrong with one value: the sentence and the hint, without a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Complaint {
    pub message: String,
    pub hint: String,
}

impl Complaint {
    pub(super) fn new(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { message: message.into(), hint: hint.into() }
    }
}

/// Gathers problems while a document or a command line is read.
#[derive(Debug, Default)]
pub(super) struct Collector(RefCell<Vec<Problem>>);

impl Collector {
    pub(super) fn add(&self, path: &str, at: Position, message: &str, hint: &str) {
        self.push(path, Some(at), Complaint::new(message, hint));
    }

    pub(super) fn push(&self, path: &str, at: Option<Position>, complaint: Complaint) {
        self.0.borrow_mut().push(Problem {
            path: path.to_owned(),
            line: at.map(|at| at.line),
            column: at.map(|at| at.column),
            message: complaint.message,
            hint: complaint.hint,
        });
    }

    /// In the document's order.
    pub(super) fn into_sorted(self) -> Vec<Problem> {
        let mut problems = self.0.into_inner();
        problems.sort_by_key(|p| (p.line, p.column));
        problems
    }
}

/// A value with its path.
#[derive(Clone, Copy)]
pub(super) struct Value<'a> {
    pub node: &'a Node,
    pub path: &'a str,
    pub problems: &'a Collector,
}

impl<'a> Value<'a> {
    pub(super) fn complain(&self, complaint: Complaint) {
        self.problems.push(self.path, Some(self.node.at), complaint);
    }

    /// Text; a plain number, boolean or empty value is a problem.
    pub(super) fn text(&self) -> Option<&'a str> {
        match self.node.scalar() {
            Some((text, ScalarType::Text)) if !text.trim().is_empty() => Some(text),
            Some((_, ScalarType::Text | ScalarType::Null)) => {
                self.complain(Complaint::new(
                    "has no value",
                    "Write a value after the colon or remove the line.",
                ));
                None
            }
            Some(_) => {
                self.wrong_type("text", "Put the value into double quotes.");
                None
            }
            None => {
                self.wrong_type("text", "Write one value on the line of its field.");
                None
            }
        }
    }

    /// Text or a number, as written: for values that look like numbers but are parsed here.
    pub(super) fn text_or_number(&self) -> Option<&'a str> {
        match self.node.scalar() {
            Some((text, ScalarType::Number)) => Some(text),
            _ => self.text(),
        }
    }

    pub(super) fn boolean(&self) -> Option<bool> {
        if let Some((_, ScalarType::Boolean(value))) = self.node.scalar() {
            return Some(value);
        }
        self.wrong_type("`true` or `false`", "Write `true` or `false`, without quotes.");
        None
    }

    pub(super) fn list(&self) -> Option<&'a [Node]> {
        if let Kind::Sequence(items) = &self.node.kind {
            return Some(items);
        }
        self.wrong_type("a list", "Begin each entry on a line of its own with `- `.");
        None
    }

    /// Text that `parse` understands.
    pub(super) fn parsed<T>(&self, parse: impl Fn(&str) -> Result<T, Complaint>) -> Option<T> {
        self.accepted(parse(self.text_or_number()?))
    }

    pub(super) fn accepted<T>(&self, result: Result<T, Complaint>) -> Option<T> {
        result.map_err(|complaint| self.complain(complaint)).ok()
    }

    pub(super) fn wrong_type(&self, expected: &str, hint: &str) {
        let message = match self.node.describe() {
            "empty" => "has no value".to_owned(),
            found => format!("must be {expected}, not {found}"),
        };
        self.complain(Complaint::new(message, hint));
    }

    pub(super) fn is_mapping(&self) -> bool {
        matches!(self.node.kind, Kind::Mapping(_))
    }

    /// Reads a block of fields; whatever `read` does not ask for is an unknown field.
    pub(super) fn fields<T>(&self, read: impl FnOnce(&Fields<'_>) -> T) -> Option<T> {
        let Kind::Mapping(entries) = &self.node.kind else {
            self.wrong_type("a block of fields", "Write `name: value` lines, indented, below it.");
            return None;
        };
        for (index, entry) in entries.iter().enumerate() {
            if let Some(first) = entries[..index].iter().find(|e| e.key == entry.key) {
                let message = format!("this field is already given in line {}", first.at.line);
                let hint = "Keep one of the two.";
                self.problems.add(&join(self.path, &entry.key), entry.at, &message, hint);
            }
        }
        let fields = Fields { value: *self, asked: RefCell::default() };
        let result = read(&fields);
        fields.report_unknown();
        Some(result)
    }
}

/// The fields of one block.
pub(super) struct Fields<'a> {
    value: Value<'a>,
    asked: RefCell<Vec<&'static str>>,
}

impl Fields<'_> {
    /// Reads an optional field with `read`. `None` when it is absent or has a problem.
    pub(super) fn optional<T>(
        &self,
        name: &'static str,
        read: impl FnOnce(Value<'_>) -> Option<T>,
    ) -> Option<T> {
        self.asked.borrow_mut().push(name);
        let Kind::Mapping(entries) = &self.value.node.kind else { return None };
        let entry = entries.iter().find(|entry| entry.key == name)?;
        let path = join(self.value.path, name);
        read(Value { node: &entry.value, path: &path, problems: self.value.problems })
    }

    /// Like [`Self::optional`], and a missing field is a problem with this hint.
    pub(super) fn required<T>(
        &self,
        name: &'static str,
        hint: &str,
        read: impl FnOnce(Value<'_>) -> Option<T>,
    ) -> Option<T> {
        if !self.has(name) {
            self.asked.borrow_mut().push(name);
            let path = join(self.value.path, name);
            self.value.problems.add(&path, self.value.node.at, "is missing", hint);
            return None;
        }
        self.optional(name, read)
    }

    pub(super) fn text(&self, name: &'static str) -> Option<String> {
        self.optional(name, |value| value.text().map(str::to_owned))
    }

    pub(super) fn boolean(&self, name: &'static str) -> Option<bool> {
        self.optional(name, |value| value.boolean())
    }

    pub(super) fn parsed<T>(
        &self,
        name: &'static str,
        parse: impl Fn(&str) -> Result<T, Complaint>,
    ) -> Option<T> {
        self.optional(name, |value| value.parsed(parse))
    }

    pub(super) fn has(&self, name: &str) -> bool {
        matches!(&self.value.node.kind, Kind::Mapping(entries) if entries.iter().any(|e| e.key == name))
    }

    /// Of the names, those that are given, in the order of `names`.
    pub(super) fn given<'n>(&self, names: &[&'n str]) -> Vec<&'n str> {
        names.iter().copied().filter(|name| self.has(name)).collect()
    }

    /// Every name and value, for blocks with free names.
    pub(super) fn each(&self, mut read: impl FnMut(&str, Value<'_>)) {
        let Kind::Mapping(entries) = &self.value.node.kind else { return };
        for entry in entries {
            let path = join(self.value.path, &entry.key);
            let value = Value { node: &entry.value, path: &path, problems: self.value.problems };
            read(&entry.key, value);
        }
    }

    pub(super) fn complain(&self, complaint: Complaint) {
        self.value.complain(complaint);
    }

    fn report_unknown(&self) {
        let Kind::Mapping(entries) = &self.value.node.kind else { return };
        let asked = self.asked.borrow();
        if asked.is_empty() {
            return;
        }
        for entry in entries.iter().filter(|entry| !asked.contains(&entry.key.as_str())) {
            let hint = match did_you_mean(&entry.key, asked.iter().copied()) {
                Some(word) => format!("Did you mean `{word}`?"),
                None => format!("Known here: `{}`.", asked.join("`, `")),
            };
            let path = join(self.value.path, &entry.key);
            self.value.problems.add(&path, entry.at, "unknown field", &hint);
        }
    }
}

/// Path of a field; names that are not one plain word, or are very long, are shown shortened.
fn join(path: &str, name: &str) -> String {
    let shown: String = name.chars().filter(|c| !c.is_control()).take(60).collect();
    if path.is_empty() { shown } else { format!("{path}.{shown}") }
}
