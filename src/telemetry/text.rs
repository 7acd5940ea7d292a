//! The classic text format of Prometheus, version 0.0.4
//! (<https://prometheus.io/docs/instrumenting/exposition_formats/>): gauges only. Pushgateway and the
//! textfile collector read nothing newer, and the common library writes OpenMetrics.

use std::fmt::Write as _;

/// Metrics of one name. All are gauges: what a finished run was, not what has been counted since.
#[derive(Clone, Debug, PartialEq)]
pub struct Family {
    pub name: &'static str,
    /// One sentence, with the unit.
    pub help: &'static str,
    pub samples: Vec<Sample>,
}

/// One value. Not a number means "not known"; comparisons with it are false.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// The name from our own enums, the value never an id.
    pub label: Option<(&'static str, String)>,
    pub value: f64,
}

/// Writes the families, `common` labels first in every sample. Lines end in a line feed, there are no
/// timestamps (Pushgateway refuses both otherwise).
#[must_use]
pub fn write(families: &[Family], common: &[(&str, &str)]) -> String {
    let mut text = String::with_capacity(8 << 10);
    for family in families {
        let Family { name, help, samples } = family;
        let _ = writeln!(text, "# HELP {name} {}", escape_help(help));
        let _ = writeln!(text, "# TYPE {name} gauge");
        for sample in samples {
            text.push_str(&series(name, common, sample.label.as_ref()));
            let _ = writeln!(text, " {}", number(sample.value));
        }
    }
    text
}

/// Name and labels of one series, as they stand at the start of its line.
#[must_use]
pub fn series(name: &str, common: &[(&str, &str)], own: Option<&(&'static str, String)>) -> String {
    let own = own.map(|(label, value)| (*label, value.as_str()));
    let mut text = name.to_owned();
    for (index, (label, value)) in common.iter().copied().chain(own).enumerate() {
        text.push(if index == 0 { '{' } else { ',' });
        let _ = write!(text, "{label}=\"{}\"", escape_value(value));
    }
    if text.len() > name.len() {
        text.push('}');
    }
    text
}

fn number(value: f64) -> String {
    if value.is_nan() {
        "NaN".to_owned()
    } else if value.is_infinite() {
        if value > 0.0 { "+Inf".to_owned() } else { "-Inf".to_owned() }
    } else {
        value.to_string()
    }
}

fn escape_help(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\n', "\\n")
}

fn escape_value(text: &str) -> String {
    escape_help(text).replace('"', "\\\"")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn writes_what_the_format_says() {
        let family = Family {
            name: "a_seconds",
            help: "Line one\nand a \\.",
            samples: vec![
                Sample { label: None, value: 0.25 },
                Sample { label: Some(("kind", "a\"b\\c\nd".to_owned())), value: f64::NAN },
                Sample { label: None, value: f64::NEG_INFINITY },
                Sample { label: None, value: 1.0e18 },
            ],
        };
        assert_eq!(
            write(std::slice::from_ref(&family), &[]),
            "# HELP a_seconds Line one\\nand a \\\\.\n# TYPE a_seconds gauge\na_seconds 0.25\n\
             a_seconds{kind=\"a\\\"b\\\\c\\nd\"} NaN\na_seconds -Inf\n\
             a_seconds 1000000000000000000\n"
        );
        let text = write(&[family], &[("drill", "x")]);
        assert!(text.contains("\na_seconds{drill=\"x\"} 0.25\n"), "{text}");
        assert!(text.contains("\na_seconds{drill=\"x\",kind=\"a"), "{text}");
    }

    proptest! {
        #[test]
        fn any_label_value_stays_on_its_line(value in ".*") {
            let text = series("a", &[("x", &value)], None);
            prop_assert!(!text.contains('\n'));
            let quoted = text.strip_prefix("a{x=\"").unwrap().strip_suffix("\"}").unwrap();
            let (mut back, mut chars) = (String::new(), quoted.chars());
            while let Some(c) = chars.next() {
                prop_assert_ne!(c, '"');
                back.push(match c {
                    '\\' => match chars.next().unwrap() { 'n' => '\n', other => other },
                    other => other,
                });
            }
            prop_assert_eq!(back, value);
        }
    }
}
