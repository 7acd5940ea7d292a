//! `checks:` and `objectives:`.

use super::{
    value::{self, not_available},
    walker::{Complaint, Value},
};
use crate::drill::job::{CheckSpec, Depth, Heartbeat, Job, Objectives, SqlCheck};

pub(super) fn objectives(value: Value<'_>) -> Option<Objectives> {
    value.fields(|fields| Objectives {
        rto: fields.parsed("rto", value::duration),
        rpo: fields.parsed("rpo", value::duration),
        heartbeat: fields.optional("heartbeat", heartbeat),
    })
}

/// What a job asks for and its depth would never look at: a drill that passes without it would
/// promise too much.
pub(super) fn too_shallow(job: &Job) -> Option<Complaint> {
    let objectives = &job.objectives;
    let (what, depth) = if job.depth < Depth::Deep && !job.checks.is_empty() {
        ("checks", "deep")
    } else if job.depth < Depth::Restore && objectives.rto.is_some() {
        ("objectives.rto", "restore")
    } else if job.depth < Depth::Restore && objectives.heartbeat.is_some() {
        ("objectives.heartbeat", "restore")
    } else {
        return None;
    };
    Some(Complaint::new(
        format!(
            "`{what}` of the job needs at least the depth `{depth}`, so it would never be looked at"
        ),
        format!("Choose the depth `{depth}`, or a job without `{what}`."),
    ))
}

fn heartbeat(value: Value<'_>) -> Option<Heartbeat> {
    value.fields(|fields| {
        let hint =
            "Write a query whose one value is a time, such as `select max(at) from heartbeat`.";
        let sql = fields.required("sql", hint, |value| value.text().map(str::to_owned));
        let database = fields.required("database", DATABASE_HINT, database);
        Some(Heartbeat { sql: sql?, database: database? })
    })?
}

const DATABASE_HINT: &str = "Write the name of the database to connect to.";

/// PostgreSQL cuts names at 63 bytes (`NAMEDATALEN`).
fn database(value: Value<'_>) -> Option<String> {
    let name = value.text()?;
    if name.len() > 63 || name.contains('\0') {
        value.complain(Complaint::new(
            format!("`{}` is not a database's name", value::short(name)),
            "A name has at most 63 bytes.",
        ));
        return None;
    }
    Some(name.to_owned())
}

pub(super) fn checks(value: Value<'_>) -> Option<Vec<CheckSpec>> {
    let mut specs: Vec<CheckSpec> = Vec::new();
    for (index, node) in value.list()?.iter().enumerate() {
        let path = format!("{}[{index}]", value.path);
        let entry = Value { node, path: &path, problems: value.problems };
        let Some(spec) = check(entry) else { continue };
        let CheckSpec::Sql(sql) = &spec;
        let taken = |other: &CheckSpec| matches!(other, CheckSpec::Sql(o) if o.name == sql.name);
        if specs.iter().any(taken) {
            entry.complain(Complaint::new(
                format!("another check is already named `{}`", sql.name),
                "Give each check a name of its own; reports and metrics tell them apart by it.",
            ));
        }
        specs.push(spec);
    }
    Some(specs)
}

fn check(value: Value<'_>) -> Option<CheckSpec> {
    value.fields(|fields| {
        let sql = fields.optional("sql", sql);
        fields.optional("rowFloor", |value| -> Option<()> {
            value.complain(not_available("rowFloor", "Remove this check."));
            None
        });
        match fields.given(&["sql", "rowFloor"]).as_slice() {
            [_] => sql.map(CheckSpec::Sql),
            [] => {
                let hint = "Write `- sql: {name: …, database: …, query: …, expect: …}`.";
                fields.complain(Complaint::new("names no kind of check", hint));
                None
            }
            several => {
                let message = format!("`{}` are two checks in one entry", several.join("` and `"));
                let hint = "Begin each check on a line of its own with `- `.";
                fields.complain(Complaint::new(message, hint));
                None
            }
        }
    })?
}

fn sql(value: Value<'_>) -> Option<SqlCheck> {
    value.fields(|fields| {
        let hint = "Give the check a short name, such as `orders-not-empty`.";
        let name = fields.required("name", hint, |value| {
            let text = value.text()?;
            value.accepted(value::resource_name(text))
        });
        let database = fields.required("database", DATABASE_HINT, database);
        let hint = "Write a query that returns one value, such as `select count(*) from orders`.";
        let query = fields.required("query", hint, |value| value.text().map(str::to_owned));
        let hint = "Write what the value must be, such as `\">= 1000\"`.";
        let expect = fields.required("expect", hint, |value| value.parsed(value::expectation));
        let search_path = fields.text("searchPath");
        let show_value = fields.boolean("showValue").unwrap_or_default();
        Some(SqlCheck {
            name: name?,
            database: database?,
            query: query?,
            expect: expect?,
            search_path,
            show_value,
        })
    })?
}
