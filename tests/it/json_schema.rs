//! As much of JSON Schema (draft 2020-12) as ours uses, and not a keyword more: one that is not known here
//! ends the test. A library for all of it would have the AWS SDK compiled twice, for it changes the
//! features of what both rest on. Shared with the unit tests of the crate.

use serde_json::{Map, Value};

/// Words about a schema that bind nobody; a `pattern` is looked at by [`matches`].
const REMARKS: [&str; 6] = ["$schema", "$id", "$defs", "title", "description", "format"];

/// Everything in which `value` does not follow `schema`.
pub fn errors(schema: &Value, value: &Value) -> Vec<String> {
    let mut errors = Vec::new();
    check(schema, schema, value, "$", false, &mut errors);
    errors
}

/// The same for a part of a document that has its definitions elsewhere.
#[cfg_attr(test, allow(dead_code, reason = "the unit tests of the crate have no such document"))]
pub fn errors_in(document: &Value, schema: &Value, value: &Value) -> Vec<String> {
    let mut errors = Vec::new();
    check(document, schema, value, "$", false, &mut errors);
    errors
}

/// The same with nothing allowed beyond the properties that are named.
pub fn strict_errors(schema: &Value, value: &Value) -> Vec<String> {
    let mut errors = Vec::new();
    check(schema, schema, value, "$", true, &mut errors);
    errors
}

fn check(
    root: &Value,
    schema: &Value,
    value: &Value,
    at: &str,
    strict: bool,
    errors: &mut Vec<String>,
) {
    let schema = schema.as_object().expect("a schema is an object");
    let mut complain = |what: String| errors.push(format!("{at}: {what}"));
    for (keyword, rule) in schema {
        match keyword.as_str() {
            remark if REMARKS.contains(&remark) => {}
            "type" if !is_of(rule, value) => complain(format!("{value} is not of type {rule}")),
            "const" if value != rule => complain(format!("{value} is not {rule}")),
            "enum" if !rule.as_array().unwrap().contains(value) => {
                complain(format!("{value} is none of {rule}"));
            }
            "minimum" if value.as_f64() < rule.as_f64() && value.is_number() => {
                complain(format!("{value} is less than {rule}"));
            }
            "pattern" if value.as_str().is_some_and(|text| !matches(rule, text)) => {
                complain(format!("{value} does not match {rule}"));
            }
            "required" => {
                let Some(object) = value.as_object() else { continue };
                for name in rule.as_array().unwrap() {
                    if !object.contains_key(name.as_str().unwrap()) {
                        complain(format!("{name} is missing"));
                    }
                }
            }
            "type"
            | "const"
            | "enum"
            | "minimum"
            | "pattern"
            | "$ref"
            | "anyOf"
            | "oneOf"
            | "allOf"
            | "items"
            | "properties"
            | "additionalProperties" => {}
            unknown => panic!("the keyword `{unknown}` is not known here"),
        }
    }
    if let Some(target) = schema.get("$ref") {
        let pointer = target.as_str().unwrap().strip_prefix('#').unwrap();
        check(root, root.pointer(pointer).unwrap(), value, at, strict, errors);
    }
    for all in schema.get("allOf").and_then(Value::as_array).into_iter().flatten() {
        check(root, all, value, at, strict, errors);
    }
    // Where one of several is meant, ours differ so much that two never fit.
    if let Some(any) = schema.get("anyOf").or(schema.get("oneOf")) {
        let of = |one: &Value| {
            let mut errors = Vec::new();
            check(root, one, value, at, strict, &mut errors);
            errors
        };
        let all: Vec<Vec<String>> = any.as_array().unwrap().iter().map(of).collect();
        if all.iter().all(|errors| !errors.is_empty()) {
            errors.extend(all.into_iter().flatten());
        }
    }
    if let (Some(items), Some(list)) = (schema.get("items"), value.as_array()) {
        for (index, item) in list.iter().enumerate() {
            check(root, items, item, &format!("{at}[{index}]"), strict, errors);
        }
    }
    if let Some(object) = value.as_object() {
        properties(root, schema, object, at, strict, errors);
    }
}

fn properties(
    root: &Value,
    schema: &Map<String, Value>,
    object: &Map<String, Value>,
    at: &str,
    strict: bool,
    errors: &mut Vec<String>,
) {
    let named = schema.get("properties").and_then(Value::as_object);
    for (name, value) in object {
        let at = format!("{at}.{name}");
        match (named.and_then(|named| named.get(name)), schema.get("additionalProperties")) {
            (Some(rule), _) | (None, Some(rule)) => check(root, rule, value, &at, strict, errors),
            (None, None) if strict && named.is_some() => errors.push(format!("{at}: is not named")),
            (None, None) => {}
        }
    }
}

fn is_of(types: &Value, value: &Value) -> bool {
    let is = |name: &Value| match name.as_str().unwrap() {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "string" => value.is_string(),
        "number" => value.is_number(),
        "integer" => value.is_i64() || value.is_u64(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        unknown => panic!("the type `{unknown}` is not known here"),
    };
    types.as_array().map_or_else(|| is(types), |types| types.iter().any(is))
}

/// The two patterns that there are: an LSN and a whole number.
fn matches(pattern: &Value, text: &str) -> bool {
    let hex = |text: &str| {
        (1..=8).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_digit() || (b'A'..=b'F').contains(&b))
    };
    match pattern.as_str().unwrap() {
        "^[0-9]+$" => !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()),
        "^[0-9A-F]{1,8}/[0-9A-F]{1,8}$" => {
            text.split_once('/').is_some_and(|(high, low)| hex(high) && hex(low))
        }
        unknown => panic!("the pattern `{unknown}` is not known here"),
    }
}
