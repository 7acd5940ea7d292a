//! The YAML of a job as a tree with positions. Sizes are bounded: a document cannot make the
//! parser take more memory than its own length suggests, also not through aliases.

use std::collections::HashMap;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle};

use super::walker::Collector;

/// Most nodes of a document, aliases expanded.
const MAX_NODES: usize = 10_000;
/// Deepest nesting.
const MAX_DEPTH: usize = 32;

/// Where a node begins: line and column from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Position {
    pub line: usize,
    pub column: usize,
}

#[derive(Clone, Debug)]
pub(super) struct Node {
    pub at: Position,
    pub kind: Kind,
    /// This node and all below it.
    size: usize,
    /// Levels of nesting, 1 for a scalar.
    height: usize,
}

#[derive(Clone, Debug)]
pub(super) enum Kind {
    /// `plain` is false for quoted and block scalars, which are always text.
    Scalar {
        text: String,
        plain: bool,
    },
    Sequence(Vec<Node>),
    Mapping(Vec<Entry>),
}

#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub key: String,
    pub at: Position,
    pub value: Node,
}

/// What a plain scalar means in YAML's core schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ScalarType {
    Null,
    Boolean(bool),
    Number,
    Text,
}

impl Node {
    /// The type of a scalar, by the core schema of YAML 1.2 (section 10.3.2).
    pub(super) fn scalar(&self) -> Option<(&str, ScalarType)> {
        let Kind::Scalar { text, plain } = &self.kind else { return None };
        let meaning = match text.as_str() {
            _ if !plain => ScalarType::Text,
            "" | "~" | "null" | "Null" | "NULL" => ScalarType::Null,
            "true" | "True" | "TRUE" => ScalarType::Boolean(true),
            "false" | "False" | "FALSE" => ScalarType::Boolean(false),
            number if is_number(number) => ScalarType::Number,
            _ => ScalarType::Text,
        };
        Some((text, meaning))
    }

    /// What this is, for messages: `a list`, `a number`.
    pub(super) fn describe(&self) -> &'static str {
        match (&self.kind, self.scalar()) {
            (Kind::Sequence(_), _) => "a list",
            (Kind::Mapping(_), _) => "a block of fields",
            (_, Some((_, ScalarType::Null))) => "empty",
            (_, Some((_, ScalarType::Boolean(_)))) => "a boolean",
            (_, Some((_, ScalarType::Number))) => "a number",
            _ => "text",
        }
    }
}

/// Core schema: decimal, octal and hexadecimal integers, floats, infinities.
fn is_number(text: &str) -> bool {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if let Some(digits) = text.strip_prefix("0x") {
        return !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_hexdigit());
    }
    if let Some(digits) = text.strip_prefix("0o") {
        return !digits.is_empty() && digits.bytes().all(|b| (b'0'..=b'7').contains(&b));
    }
    let starts = unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.');
    matches!(unsigned, ".inf" | ".Inf" | ".INF")
        || matches!(text, ".nan" | ".NaN" | ".NAN")
        || (starts && unsigned.parse::<f64>().is_ok())
}

/// A collection that is being read.
struct Open {
    at: Position,
    anchor: usize,
    items: Vec<Node>,
    /// `None` in a list.
    mapping: Option<Fields>,
}

/// A mapping that is being read.
#[derive(Default)]
struct Fields {
    entries: Vec<Entry>,
    /// The key that waits for its value.
    waiting: Option<(String, Position)>,
}

/// Loads the one document of `text`. `None` after a problem that leaves nothing to read.
pub(super) fn load(text: &str, problems: &Collector) -> Option<Node> {
    let start = Position { line: 1, column: 1 };
    if text.len() > super::MAX_DOCUMENT {
        problems.add(
            "",
            start,
            "the document is longer than 1 MiB",
            "A job is one short document.",
        );
        return None;
    }
    let mut loader = Loader { problems, anchors: HashMap::new(), nodes: 0, stack: Vec::new() };
    let mut parser = Parser::new_from_str(text.strip_prefix('\u{feff}').unwrap_or(text));
    let mut root: Option<Node> = None;
    let mut documents = 0;
    while let Some(event) = parser.next_event() {
        let (event, span) = match event {
            Ok(event) => event,
            Err(error) => {
                let message = format!("this is not YAML: {}", printable(error.info()));
                let hint = "Check indentation, quotes and brackets around this place.";
                problems.add("", position(*error.marker()), &message, hint);
                return None;
            }
        };
        let at = position(span.start);
        if matches!(event, Event::DocumentStart(_)) {
            documents += 1;
            if documents > 1 {
                let hint = "Write each job into a file of its own and remove the `---` line.";
                problems.add("", at, "a second document begins here", hint);
                break;
            }
        }
        match loader.event(event, at) {
            Ok(Some(node)) => root = Some(node),
            Ok(None) => {}
            Err(()) => return None,
        }
    }
    let root = root.filter(|node| !matches!(node.scalar(), Some((_, ScalarType::Null))));
    if root.is_none() {
        let hint = "Write a job with `pgassay init s3://bucket/path`.";
        problems.add("", start, "the document is empty", hint);
    }
    root
}

struct Loader<'a> {
    problems: &'a Collector,
    /// Complete anchored nodes, by the parser's number for them.
    anchors: HashMap<usize, Node>,
    nodes: usize,
    stack: Vec<Open>,
}

impl Loader<'_> {
    /// Takes one event; gives the root once it is complete. `Err` when reading must end.
    fn event(&mut self, event: Event<'_>, at: Position) -> Result<Option<Node>, ()> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.refuse_tag(tag.is_some(), at);
                let kind = Kind::Scalar {
                    text: text.into_owned(),
                    plain: style == ScalarStyle::Plain && tag.is_none(),
                };
                self.complete(Node { at, kind, size: 1, height: 1 }, anchor)
            }
            Event::SequenceStart(anchor, tag) => {
                self.open(at, anchor, tag.is_some(), None).map(|()| None)
            }
            Event::MappingStart(anchor, tag) => {
                self.open(at, anchor, tag.is_some(), Some(Fields::default())).map(|()| None)
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(open) = self.stack.pop() else { return Err(()) };
                let (kind, size, height) = if let Some(Fields { entries, .. }) = open.mapping {
                    let size = entries.iter().map(|e| e.value.size).sum::<usize>();
                    let height = entries.iter().map(|e| e.value.height).max().unwrap_or(0);
                    (Kind::Mapping(entries), size, height)
                } else {
                    let size = open.items.iter().map(|n| n.size).sum::<usize>();
                    let height = open.items.iter().map(|n| n.height).max().unwrap_or(0);
                    (Kind::Sequence(open.items), size, height)
                };
                let node = Node { at: open.at, kind, size: size + 1, height: height + 1 };
                self.complete(node, open.anchor)
            }
            Event::Alias(anchor) => {
                let Some(node) = self.anchors.get(&anchor) else {
                    let hint = "Write the value out.";
                    self.problems.add(
                        "",
                        at,
                        "this alias refers to a block that contains it",
                        hint,
                    );
                    return Err(());
                };
                self.nodes += node.size;
                let node = Node { at, ..node.clone() };
                self.bounded(at, self.stack.len() + node.height)?;
                self.complete(node, 0)
            }
            _ => Ok(None),
        }
    }

    fn open(
        &mut self,
        at: Position,
        anchor: usize,
        tagged: bool,
        mapping: Option<Fields>,
    ) -> Result<(), ()> {
        self.refuse_tag(tagged, at);
        self.stack.push(Open { at, anchor, items: Vec::new(), mapping });
        self.bounded(at, self.stack.len())
    }

    /// Hands a complete node to its parent, or back as the root.
    fn complete(&mut self, node: Node, anchor: usize) -> Result<Option<Node>, ()> {
        self.nodes += 1;
        self.bounded(node.at, 0)?;
        if anchor > 0 {
            // The copy counts too, or anchors inside anchors would cost their square.
            self.nodes += node.size;
            self.bounded(node.at, 0)?;
            self.anchors.insert(anchor, node.clone());
        }
        let Some(parent) = self.stack.last_mut() else { return Ok(Some(node)) };
        match &mut parent.mapping {
            None => parent.items.push(node),
            Some(Fields { entries, waiting }) => {
                if let Some((key, at)) = waiting.take() {
                    entries.push(Entry { key, at, value: node });
                } else if let Kind::Scalar { text, .. } = node.kind {
                    *waiting = Some((text, node.at));
                } else {
                    let hint = "A field's name is one word before a colon; quote braces in text.";
                    self.problems.add("", node.at, "a field's name must be text", hint);
                    return Err(());
                }
            }
        }
        Ok(None)
    }

    fn refuse_tag(&self, tagged: bool, at: Position) {
        if tagged {
            let hint = "Remove the word that begins with `!`; quote text that needs it.";
            self.problems.add("", at, "YAML tags are not read", hint);
        }
    }

    fn bounded(&self, at: Position, depth: usize) -> Result<(), ()> {
        if self.nodes > MAX_NODES || depth > MAX_DEPTH {
            let hint = "A job is one short document; write aliases out.";
            self.problems.add("", at, "the document is too large or nested too deeply", hint);
            return Err(());
        }
        Ok(())
    }
}

fn position(mark: Marker) -> Position {
    Position { line: mark.line().max(1), column: mark.col() + 1 }
}

/// The parser's own words, on one line.
fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}
