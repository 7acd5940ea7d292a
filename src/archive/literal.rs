//! Python literals, the values of `backup.info` (Python's language reference, "Literals").
//!
//! Only what `repr` writes of plain values is read; there is nothing here that could run.

use std::{fmt, iter::Peekable, str::CharIndices};

/// Nesting that no `backup.info` comes near to.
const MAX_DEPTH: u32 = 32;

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub enum Literal {
    None,
    Bool(bool),
    Int(i128),
    Float(f64),
    Str(String),
    Bytes(Vec<u8>),
    List(Vec<Literal>),
    Tuple(Vec<Literal>),
    Dict(Vec<(Literal, Literal)>),
    /// A name or call such as `datetime.timedelta(seconds=3)`: name and arguments.
    Call(String, Vec<Literal>),
}

/// What is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} at character {at}")]
pub struct LiteralError {
    what: &'static str,
    /// Byte offset in the text.
    at: usize,
}

impl Literal {
    /// Parses a whole text.
    ///
    /// # Errors
    /// Where the text is not one literal.
    pub fn parse(text: &str) -> Result<Self, LiteralError> {
        let mut parser = Parser { text, chars: text.char_indices().peekable() };
        let value = parser.value(0)?;
        parser.spaces();
        match parser.chars.peek() {
            None => Ok(value),
            Some(_) => Err(parser.error("unexpected text")),
        }
    }

    /// The text of a string.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        if let Self::Str(text) = self { Some(text) } else { None }
    }

    /// The items of a list or tuple.
    #[must_use]
    pub fn items(&self) -> Option<&[Self]> {
        if let Self::List(items) | Self::Tuple(items) = self { Some(items) } else { None }
    }
}

/// As `repr` writes it; strings always in single quotes.
impl fmt::Display for Literal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |f: &mut fmt::Formatter<'_>, items: &[Self]| {
            items.iter().enumerate().try_for_each(|(index, item)| {
                write!(f, "{}{item}", if index > 0 { ", " } else { "" })
            })
        };
        match self {
            Self::None => f.write_str("None"),
            Self::Bool(true) => f.write_str("True"),
            Self::Bool(false) => f.write_str("False"),
            Self::Int(number) => write!(f, "{number}"),
            Self::Float(number) if number.is_nan() => f.write_str("nan"),
            Self::Float(number) => write!(f, "{number:?}"),
            Self::Str(text) => {
                f.write_str("'")?;
                for c in text.chars() {
                    match c {
                        '\\' | '\'' => write!(f, "\\{c}")?,
                        '\n' => f.write_str("\\n")?,
                        '\r' => f.write_str("\\r")?,
                        '\t' => f.write_str("\\t")?,
                        c if c.is_control() => write!(f, "\\U{:08x}", c as u32)?,
                        c => write!(f, "{c}")?,
                    }
                }
                f.write_str("'")
            }
            Self::Bytes(bytes) => {
                f.write_str("b'")?;
                bytes.iter().try_for_each(|byte| write!(f, "\\x{byte:02x}"))?;
                f.write_str("'")
            }
            Self::List(items) => {
                f.write_str("[")?;
                list(f, items)?;
                f.write_str("]")
            }
            Self::Tuple(items) => {
                f.write_str("(")?;
                list(f, items)?;
                f.write_str(if items.len() == 1 { ",)" } else { ")" })
            }
            Self::Dict(pairs) => {
                f.write_str("{")?;
                for (index, (key, value)) in pairs.iter().enumerate() {
                    write!(f, "{}{key}: {value}", if index > 0 { ", " } else { "" })?;
                }
                f.write_str("}")
            }
            Self::Call(name, items) => {
                write!(f, "{name}(")?;
                list(f, items)?;
                f.write_str(")")
            }
        }
    }
}

struct Parser<'a> {
    text: &'a str,
    chars: Peekable<CharIndices<'a>>,
}

impl Parser<'_> {
    fn at(&mut self) -> usize {
        self.chars.peek().map_or(self.text.len(), |(at, _)| *at)
    }

    fn error(&mut self, what: &'static str) -> LiteralError {
        LiteralError { what, at: self.at() }
    }

    fn peek(&mut self) -> Option<char> {
        self.chars.peek().map(|(_, c)| *c)
    }

    fn next(&mut self) -> Option<char> {
        self.chars.next().map(|(_, c)| c)
    }

    fn take(&mut self, wanted: char) -> bool {
        self.chars.next_if(|(_, c)| *c == wanted).is_some()
    }

    fn spaces(&mut self) {
        while self.chars.next_if(|(_, c)| c.is_ascii_whitespace()).is_some() {}
    }

    fn word(&mut self, more: fn(char) -> bool) -> String {
        let mut word = String::new();
        while let Some((_, c)) = self.chars.next_if(|(_, c)| more(*c)) {
            word.push(c);
        }
        word
    }

    fn value(&mut self, depth: u32) -> Result<Literal, LiteralError> {
        if depth > MAX_DEPTH {
            return Err(self.error("nested too deep"));
        }
        self.spaces();
        match self.peek() {
            Some('(') => {
                self.next();
                let (items, comma) = self.items(')', depth)?;
                // Brackets around one value without a comma mean nothing.
                match <[Literal; 1]>::try_from(items) {
                    Ok([item]) if !comma => Ok(item),
                    Ok(item) => Ok(Literal::Tuple(item.into())),
                    Err(items) => Ok(Literal::Tuple(items)),
                }
            }
            Some('[') => {
                self.next();
                Ok(Literal::List(self.items(']', depth)?.0))
            }
            Some('{') => {
                self.next();
                self.dict(depth)
            }
            Some('\'' | '"') => self.string("").map(Literal::Str),
            Some(c) if c.is_ascii_digit() || matches!(c, '-' | '+' | '.') => self.number(),
            Some(c) if c.is_ascii_alphabetic() || c == '_' => self.name(depth),
            Some(_) => Err(self.error("unexpected character")),
            None => Err(self.error("missing value")),
        }
    }

    /// Values up to `close`, and whether the last was followed by a comma.
    fn items(&mut self, close: char, depth: u32) -> Result<(Vec<Literal>, bool), LiteralError> {
        let (mut items, mut comma) = (Vec::new(), true);
        loop {
            self.spaces();
            if self.take(close) {
                return Ok((items, comma));
            }
            if !comma {
                return Err(self.error("missing comma"));
            }
            items.push(self.value(depth + 1)?);
            self.spaces();
            comma = self.take(',');
        }
    }

    fn dict(&mut self, depth: u32) -> Result<Literal, LiteralError> {
        let (mut pairs, mut comma) = (Vec::new(), true);
        loop {
            self.spaces();
            if self.take('}') {
                return Ok(Literal::Dict(pairs));
            }
            if !comma {
                return Err(self.error("missing comma"));
            }
            let key = self.value(depth + 1)?;
            self.spaces();
            if !self.take(':') {
                return Err(self.error("missing colon"));
            }
            pairs.push((key, self.value(depth + 1)?));
            self.spaces();
            comma = self.take(',');
        }
    }

    fn name(&mut self, depth: u32) -> Result<Literal, LiteralError> {
        let word = self.word(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.'));
        if matches!(self.peek(), Some('\'' | '"')) {
            let prefix = word.to_ascii_lowercase();
            return match prefix.as_str() {
                "u" | "r" => self.string(&prefix).map(Literal::Str),
                "b" | "br" | "rb" => {
                    let text = self.string(&prefix)?;
                    let bytes = text.chars().map(|c| u8::try_from(u32::from(c)));
                    let bytes: Result<_, _> = bytes.collect();
                    bytes.map(Literal::Bytes).map_err(|_| self.error("not a byte"))
                }
                _ => Err(self.error("unknown prefix of a string")),
            };
        }
        match word.as_str() {
            "None" => Ok(Literal::None),
            "True" => Ok(Literal::Bool(true)),
            "False" => Ok(Literal::Bool(false)),
            "inf" => Ok(Literal::Float(f64::INFINITY)),
            "nan" => Ok(Literal::Float(f64::NAN)),
            _ if self.take('(') => Ok(Literal::Call(word, self.arguments(depth)?)),
            _ => Ok(Literal::Call(word, Vec::new())),
        }
    }

    /// `tzinfo=x` counts as `x`.
    fn arguments(&mut self, depth: u32) -> Result<Vec<Literal>, LiteralError> {
        let (mut items, mut comma) = (Vec::new(), true);
        loop {
            self.spaces();
            if self.take(')') {
                return Ok(items);
            }
            if !comma {
                return Err(self.error("missing comma"));
            }
            let mut item = self.value(depth + 1)?;
            self.spaces();
            if matches!(item, Literal::Call(..)) && self.take('=') {
                item = self.value(depth + 1)?;
                self.spaces();
            }
            items.push(item);
            comma = self.take(',');
        }
    }

    fn number(&mut self) -> Result<Literal, LiteralError> {
        let start = self.at();
        let mut previous = ' ';
        while let Some((_, c)) = self.chars.next_if(|(_, c)| {
            let sign = matches!(c, '+' | '-') && matches!(previous, ' ' | 'e' | 'E');
            sign || c.is_ascii_alphanumeric() || matches!(c, '.' | '_')
        }) {
            previous = c;
        }
        let end = self.at();
        // Python 2 writes long numbers with an `L`.
        let text = self.text[start..end].trim_end_matches('L').replace('_', "");
        let (sign, digits) = match text.strip_prefix('-') {
            Some(digits) => (-1, digits),
            None => (1, text.strip_prefix('+').unwrap_or(&text)),
        };
        let based = [("0x", 16), ("0o", 8), ("0b", 2)];
        let based =
            based.iter().find_map(|(prefix, base)| Some((digits.strip_prefix(prefix)?, base)));
        let number = if let Some((digits, base)) = based {
            let plain = digits.bytes().all(|b| b.is_ascii_hexdigit());
            plain.then(|| i128::from_str_radix(digits, *base).ok()).flatten().map(Literal::Int)
        } else if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) {
            digits.parse().ok().map(Literal::Int)
        } else if digits == "inf" {
            Some(Literal::Float(f64::INFINITY))
        } else if digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
            digits.parse().ok().map(Literal::Float)
        } else {
            None
        };
        match number {
            Some(Literal::Int(number)) => Ok(Literal::Int(sign * number)),
            Some(Literal::Float(number)) => Ok(Literal::Float(f64::from(sign as i8) * number)),
            _ => Err(LiteralError { what: "not a number", at: start }),
        }
    }

    fn string(&mut self, prefix: &str) -> Result<String, LiteralError> {
        let (raw, bytes) = (prefix.contains('r'), prefix.contains('b'));
        let Some(quote) = self.next() else { return Err(self.error("missing quote")) };
        let mut text = String::new();
        loop {
            match self.next() {
                None | Some('\n') => return Err(self.error("a string without an end")),
                Some(c) if c == quote => return Ok(text),
                Some('\\') if raw => {
                    text.push('\\');
                    text.extend(self.next());
                }
                Some('\\') => self.escape(&mut text, bytes)?,
                Some(c) => text.push(c),
            }
        }
    }

    fn escape(&mut self, text: &mut String, bytes: bool) -> Result<(), LiteralError> {
        let Some(c) = self.next() else { return Err(self.error("a string without an end")) };
        let plain = match c {
            'n' => '\n',
            't' => '\t',
            'r' => '\r',
            'a' => '\x07',
            'b' => '\x08',
            'f' => '\x0c',
            'v' => '\x0b',
            '\\' | '\'' | '"' => c,
            '\n' => return Ok(()),
            'x' => self.code(2)?,
            'u' if !bytes => self.code(4)?,
            'U' if !bytes => self.code(8)?,
            '0'..='7' => {
                let mut value = c as u32 - '0' as u32;
                for _ in 0..2 {
                    let Some((_, digit)) = self.chars.next_if(|(_, c)| ('0'..='7').contains(c))
                    else {
                        break;
                    };
                    value = value * 8 + digit as u32 - '0' as u32;
                }
                char::from_u32(value).unwrap_or('\u{fffd}')
            }
            // Python keeps the backslash of what is no escape.
            _ => {
                text.push('\\');
                c
            }
        };
        text.push(plain);
        Ok(())
    }

    fn code(&mut self, digits: u32) -> Result<char, LiteralError> {
        let mut value = 0u32;
        for _ in 0..digits {
            let Some(digit) = self.peek().and_then(|c| c.to_digit(16)) else {
                return Err(self.error("an escape with too few digits"));
            };
            self.next();
            value = value << 4 | digit;
        }
        // Half of a surrogate pair is no character here.
        Ok(char::from_u32(value).unwrap_or('\u{fffd}'))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Literal {
        Literal::parse(text).unwrap()
    }

    fn text(text: &str) -> Literal {
        Literal::Str(text.to_owned())
    }

    #[test]
    fn values() {
        for (source, value) in [
            ("None", Literal::None),
            (" True ", Literal::Bool(true)),
            ("-42", Literal::Int(-42)),
            ("16384L", Literal::Int(16384)),
            ("1_000", Literal::Int(1000)),
            ("0x1F", Literal::Int(31)),
            ("-0b11", Literal::Int(-3)),
            ("1.5e-3", Literal::Float(0.0015)),
            ("-.5", Literal::Float(-0.5)),
            ("-inf", Literal::Float(f64::NEG_INFINITY)),
            (r"'it\'s'", text("it's")),
            (r#""a'b\n\x41\u00e9\U0001F600\101""#, text("a'b\nAé😀A")),
            (r"r'a\n'", text(r"a\n")),
            (r"u'a\qb'", text(r"a\qb")),
            (r"b'\xff'", Literal::Bytes(vec![255])),
            ("[]", Literal::List(vec![])),
            ("()", Literal::Tuple(vec![])),
            ("(1)", Literal::Int(1)),
            ("(1,)", Literal::Tuple(vec![Literal::Int(1)])),
            ("{'a': {}}", Literal::Dict(vec![(text("a"), Literal::Dict(vec![]))])),
            (
                "datetime.timedelta(seconds=3)",
                Literal::Call("datetime.timedelta".to_owned(), vec![Literal::Int(3)]),
            ),
            (
                "[('ts1', 16384, '/srv/ts')]",
                Literal::List(vec![Literal::Tuple(vec![
                    text("ts1"),
                    Literal::Int(16384),
                    text("/srv/ts"),
                ])]),
            ),
        ] {
            assert_eq!(parse(source), value, "{source}");
        }
        assert!(matches!(parse("nan"), Literal::Float(f) if f.is_nan()));
        assert_eq!(parse("[nan]").to_string(), "[nan]");
    }

    #[test]
    fn what_is_no_literal() {
        for source in [
            "",
            "'",
            "'a",
            "'a\nb'",
            "[1",
            "[1 2]",
            "[,]",
            "{1}",
            "{1: }",
            "(1",
            "1 2",
            "1.2.3",
            "--1",
            "0x",
            "0xg",
            "'\\x4'",
            "b'€'",
            "f'x'",
            "f(1",
            "+",
            "-",
            "*",
            "1e",
            "12abc",
            "999999999999999999999999999999999999999999",
        ] {
            assert!(Literal::parse(source).is_err(), "{source}");
        }
        let deep = "[".repeat(100_000);
        assert!(Literal::parse(&deep).unwrap_err().to_string().contains("too deep"));
    }

    fn any_literal() -> impl Strategy<Value = Literal> {
        let leaf = prop_oneof![
            Just(Literal::None),
            any::<bool>().prop_map(Literal::Bool),
            any::<i64>().prop_map(|n| Literal::Int(i128::from(n))),
            (-1e300..1e300f64).prop_map(Literal::Float),
            any::<String>().prop_map(Literal::Str),
            any::<Vec<u8>>().prop_map(Literal::Bytes),
        ];
        leaf.prop_recursive(4, 32, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Literal::List),
                prop::collection::vec(inner.clone(), 0..5).prop_map(Literal::Tuple),
                prop::collection::vec((inner.clone(), inner), 0..5).prop_map(Literal::Dict),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(value in any_literal()) {
            prop_assert_eq!(parse(&value.to_string()), value);
        }

        #[test]
        fn any_text_ends(text in "\\PC*") {
            let _ = Literal::parse(&text);
        }

        #[test]
        fn any_broken_literal_ends(value in any_literal(), cut in any::<prop::sample::Index>()) {
            let text: Vec<char> = value.to_string().chars().collect();
            let cut = cut.index(text.len() + 1);
            let _ = Literal::parse(&text[..cut].iter().collect::<String>());
        }
    }
}
