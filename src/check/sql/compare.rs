//! Whether a value satisfies an expectation: exact decimals where both sides are numbers, else text.

use std::cmp::Ordering;

use crate::drill::job::{Comparison, Expectation};

/// Whether `value` (`None` is NULL) satisfies `expect`.
///
/// A literal in quotes is text. `true`, `false` and `null` mean what they say in SQL, but `= null`
/// holds for NULL. Where only one side is a number no order holds, and the sides differ.
#[must_use]
pub fn holds(expect: &Expectation, value: Option<&str>) -> bool {
    let operator = expect.operator;
    let (literal, quoted) = unquoted(expect.literal.trim());
    if !quoted && literal.eq_ignore_ascii_case("null") {
        return match operator {
            Comparison::Equal => value.is_none(),
            Comparison::NotEqual => value.is_some(),
            _ => false,
        };
    }
    let Some(value) = value else { return false };
    let boolean = match literal.to_ascii_lowercase().as_str() {
        "true" if !quoted => "t",
        "false" if !quoted => "f",
        _ => literal,
    };
    if boolean != literal && matches!(value, "t" | "f") {
        return satisfies(operator, Some(value.cmp(boolean)));
    }
    let order = if quoted {
        Some(value.cmp(literal))
    } else {
        match (Decimal::parse(value), Decimal::parse(literal)) {
            (Some(left), Some(right)) => Some(left.cmp(&right)),
            (None, None) => Some(value.cmp(literal)),
            _ => None,
        }
    };
    satisfies(operator, order)
}

fn satisfies(operator: Comparison, order: Option<Ordering>) -> bool {
    let Some(order) = order else { return operator == Comparison::NotEqual };
    match operator {
        Comparison::Equal => order.is_eq(),
        Comparison::NotEqual => order.is_ne(),
        Comparison::Less => order.is_lt(),
        Comparison::LessOrEqual => order.is_le(),
        Comparison::Greater => order.is_gt(),
        Comparison::GreaterOrEqual => order.is_ge(),
    }
}

fn unquoted(text: &str) -> (&str, bool) {
    for quote in ['\'', '"'] {
        let inner = text.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
        if let Some(inner) = inner {
            return (inner, true);
        }
    }
    (text, false)
}

/// A finite decimal number: 0.DIGITS times ten to the `exponent`, without leading or trailing zeros.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Decimal {
    negative: bool,
    digits: String,
    exponent: i64,
}

impl Decimal {
    /// From the text of any number type: `-12`, `3.50`, `1e+20`. Not `NaN` or `Infinity`.
    fn parse(text: &str) -> Option<Self> {
        let (negative, rest) = match text.as_bytes().first()? {
            b'-' => (true, &text[1..]),
            b'+' => (false, &text[1..]),
            _ => (false, text),
        };
        let (mantissa, power) = match rest.split_once(['e', 'E']) {
            Some((mantissa, power)) => (mantissa, i64::from(power.parse::<i32>().ok()?)),
            None => (rest, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits = format!("{whole}{fraction}");
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let significant = digits.trim_start_matches('0');
        let leading = digits.len() - significant.len();
        let places = |n: usize| i64::try_from(n).unwrap_or(i64::MAX / 4);
        let exponent = places(whole.len()) - places(leading) + power;
        let significant = significant.trim_end_matches('0');
        if significant.is_empty() {
            return Some(Self { negative: false, digits: String::new(), exponent: 0 });
        }
        Some(Self { negative, digits: significant.to_owned(), exponent })
    }
}

impl Ord for Decimal {
    fn cmp(&self, other: &Self) -> Ordering {
        let sign = |d: &Self| match (d.digits.is_empty(), d.negative) {
            (true, _) => 0,
            (false, true) => -1,
            (false, false) => 1,
        };
        // Digits without trailing zeros compare like fractions, byte by byte.
        let size = || {
            let by_exponent = self.exponent.cmp(&other.exponent);
            by_exponent.then_with(|| self.digits.cmp(&other.digits))
        };
        sign(self).cmp(&sign(other)).then_with(|| match sign(self) {
            0 => Ordering::Equal,
            1 => size(),
            _ => size().reverse(),
        })
    }
}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(value: &str, expect: &str) -> bool {
        let (operator, literal) = expect.split_once(' ').unwrap();
        let operator = match operator {
            "=" => Comparison::Equal,
            "!=" => Comparison::NotEqual,
            "<" => Comparison::Less,
            "<=" => Comparison::LessOrEqual,
            ">" => Comparison::Greater,
            ">=" => Comparison::GreaterOrEqual,
            other => panic!("{other}"),
        };
        let value = (value != "NULL").then_some(value);
        holds(&Expectation { operator, literal: literal.into() }, value)
    }

    #[test]
    fn table() {
        for (value, expect, answer) in [
            ("1000", ">= 1000", true),
            ("999", ">= 1000", false),
            ("1000.0", "= 1e3", true),
            ("9007199254740993", "= 9007199254740992", false),
            ("-0.5", "> -0.51", true),
            ("-10", "< -9", true),
            ("0", "= -0.00", true),
            ("0.1", "= .1", true),
            ("abc", ">= 1000", false),
            ("abc", "!= 1000", true),
            ("NaN", ">= 0", false),
            ("5", ">= 2026-01-01", false),
            ("2026-11-22 04:00:00+00", ">= 2026-11-01", true),
            ("on", "= on", true),
            ("010", "= 10", true),
            ("010", "= '10'", false),
            ("t", "= true", true),
            ("f", "= true", false),
            ("f", "!= TRUE", true),
            ("true", "= true", true),
            ("NULL", "= null", true),
            ("NULL", "!= null", false),
            ("x", "!= null", true),
            ("NULL", "!= 5", false),
            ("NULL", "= ''", false),
            ("", "= ''", true),
        ] {
            assert_eq!(check(value, expect), answer, "{value} {expect}");
        }
    }

    proptest! {
        #[test]
        fn decimals_order_like_numbers(a: i64, b: i64, scale in 0u32..6) {
            let text = |n: i64| {
                let power = 10i128.pow(scale);
                let (whole, rest) = (i128::from(n).abs() / power, i128::from(n).abs() % power);
                let sign = if n < 0 { "-" } else { "" };
                format!("{sign}{whole}.{rest:0width$}", width = scale as usize)
            };
            let parse = |n| Decimal::parse(&text(n)).unwrap();
            prop_assert_eq!(parse(a).cmp(&parse(b)), a.cmp(&b));
        }

        #[test]
        fn never_panics(value in "\\PC{0,20}", literal in "\\PC{0,20}") {
            let _ = holds(&Expectation { operator: Comparison::Less, literal }, Some(&value));
        }
    }
}
