//! `checks:` and `objectives:`.

use super::{
    value,
    walker::{Complaint, Value},
};
use crate::drill::job::{
    BackupChoice, CheckSpec, Depth, Heartbeat, Job, LoginRole, Objectives, RecoveryPoint, RowFloor,
    SqlCheck, StoreLocation,
};

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
        if let Some(complaint) = specs.iter().find_map(|other| twice(other, &spec)) {
            entry.complain(complaint);
        }
        specs.push(spec);
    }
    Some(specs)
}

/// Two entries that reports and metrics could not tell apart.
fn twice(one: &CheckSpec, other: &CheckSpec) -> Option<Complaint> {
    let kind = match (one, other) {
        (CheckSpec::Sql(one), CheckSpec::Sql(other)) if one.name == other.name => {
            return Some(Complaint::new(
                format!("another check is already named `{}`", one.name),
                "Give each check a name of its own; reports and metrics tell them apart by it.",
            ));
        }
        (CheckSpec::RowFloor(_), CheckSpec::RowFloor(_)) => "rowFloor",
        (CheckSpec::LoginRoles(_), CheckSpec::LoginRoles(_)) => "loginRoles",
        (CheckSpec::Extensions(_), CheckSpec::Extensions(_)) => "extensions",
        (CheckSpec::ForeignKeys(_), CheckSpec::ForeignKeys(_)) => "foreignKeys",
        _ => return None,
    };
    Some(Complaint::new(
        format!("`{kind}` is already given"),
        "Write everything into one entry of this kind.",
    ))
}

fn check(value: Value<'_>) -> Option<CheckSpec> {
    value.fields(|fields| {
        let sql = fields.optional("sql", sql).map(CheckSpec::Sql);
        let floor = fields.optional("rowFloor", row_floor).map(CheckSpec::RowFloor);
        let roles = fields.optional("loginRoles", login_roles).map(CheckSpec::LoginRoles);
        let extensions = fields.optional("extensions", extensions).map(CheckSpec::Extensions);
        let keys = fields.optional("foreignKeys", foreign_keys).map(CheckSpec::ForeignKeys);
        let kinds = ["sql", "rowFloor", "loginRoles", "extensions", "foreignKeys"];
        match fields.given(&kinds).as_slice() {
            [_] => sql.or(floor).or(roles).or(extensions).or(keys),
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

/// What a list's entries are, those without a problem.
pub(super) fn entries<T>(
    value: Value<'_>,
    read: impl Fn(Value<'_>) -> Option<T>,
) -> Option<Vec<T>> {
    let read = |(index, node)| {
        let path = format!("{}[{index}]", value.path);
        read(Value { node, path: &path, problems: value.problems })
    };
    Some(value.list()?.iter().enumerate().filter_map(read).collect())
}

/// What is missing on the machine of the drill without keeping it from an answer.
fn extensions(value: Value<'_>) -> Option<Vec<String>> {
    value.fields(|fields| {
        let hint = "Write a list of extensions, such as `[pg_cron]`.";
        fields.required("mayBeMissing", hint, |value| {
            entries(value, |value| value.text().map(str::to_owned))
        })
    })?
}

/// Keys that production has broken itself. One would hide every loss, so a pattern names its database.
fn foreign_keys(value: Value<'_>) -> Option<Vec<String>> {
    let hint = "Write a list of `database.schema.table.constraint`; `*` stands for any text.";
    value.fields(|fields| {
        fields.required("except", hint, |value| {
            entries(value, |value| {
                let pattern = value.text()?;
                let (database, key) = pattern.split_once('.').unwrap_or_default();
                if database.is_empty() || database.contains('*') || !key.contains('.') {
                    let message = format!("`{}` names no foreign key", value::short(pattern));
                    value.complain(Complaint::new(message, hint));
                    return None;
                }
                Some(pattern.to_owned())
            })
        })
    })?
}

fn row_floor(value: Value<'_>) -> Option<RowFloor> {
    value.fields(|fields| {
        let hint = "Write the share of a table's rows that may be missing, such as `5%`.";
        let tolerance = fields.required("tolerance", hint, |value| value.parsed(percent));
        let tables = fields
            .optional("tables", |value| entries(value, |value| value.text().map(str::to_owned)));
        let since = fields.parsed("since", value::time);
        Some(RowFloor {
            tolerance: tolerance?,
            tables: tables.unwrap_or_default(),
            since,
            first: false,
        })
    })?
}

/// Hundredths of a percent.
fn percent(text: &str) -> Result<u32, Complaint> {
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let parsed = text.trim().strip_suffix('%').map(str::trim).and_then(|number| {
        let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
        let sound = digits(whole) && digits(part) && matches!(part.len(), 1 | 2);
        let whole: u32 = whole.parse().ok().filter(|_| sound)?;
        let part = part.parse::<u32>().ok()? * if part.len() == 1 { 10 } else { 1 };
        whole.checked_mul(100)?.checked_add(part).filter(|all| *all <= 10_000)
    });
    parsed.ok_or_else(|| {
        Complaint::new(
            format!("`{}` is not a share", value::short(text)),
            "Write a percentage from 0 to 100 with at most two decimals, such as `5%` or `0.5%`.",
        )
    })
}

fn login_roles(value: Value<'_>) -> Option<Vec<LoginRole>> {
    let roles = entries(value, login_role)?;
    for (index, role) in roles.iter().enumerate() {
        if roles[..index].iter().any(|other| other.name == role.name) {
            value.complain(Complaint::new(
                format!("the role `{}` is there twice", value::short(&role.name)),
                "Keep one of the two.",
            ));
        }
    }
    Some(roles)
}

fn login_role(value: Value<'_>) -> Option<LoginRole> {
    let plain = |name| LoginRole { name, database: None, password: None, without_password: false };
    if !value.is_mapping() {
        return role_name(value).map(plain);
    }
    value.fields(|fields| {
        let name = fields.required("role", "Write the name of the role.", role_name);
        let database = fields.optional("database", database);
        let password = fields.optional("password", super::archive::secret);
        let without_password = fields.boolean("withoutPassword").unwrap_or_default();
        if without_password && password.is_some() {
            fields.complain(Complaint::new(
                "has a password, and is said to have none",
                "Remove `password` or `withoutPassword`.",
            ));
        }
        Some(LoginRole { name: name?, database, password, without_password })
    })?
}

/// A role's name that means itself in `pg_hba.conf` too.
fn role_name(value: Value<'_>) -> Option<String> {
    let name = value.text()?;
    let other = |c: char| c == '"' || c.is_control();
    if name.len() > 63 || name.contains(other) || name.starts_with(['/', '+', '@']) {
        value.complain(Complaint::new(
            format!("`{}` is not a role that can be looked for", value::short(name)),
            "A name has at most 63 bytes, no quote in it, and none of `/ + @` in front.",
        ));
        return None;
    }
    Some(name.to_owned())
}

/// A floor needs the reports of earlier drills.
pub(super) fn floor_without_reports(job: &Job) -> Option<Complaint> {
    (job.row_floor().is_some() && job.report_store.is_none()).then(|| {
        Complaint::new(
            "`rowFloor` compares with the last passed drill, but the job keeps no reports",
            "Write `report: {store: …}` into the job, or remove the check.",
        )
    })
}

/// So does a choice that goes by them.
pub(super) fn choice_without_reports(
    point: &RecoveryPoint,
    reports: Option<&StoreLocation>,
) -> Option<Complaint> {
    (point.backup == BackupChoice::LeastRecentlyVerified && reports.is_none()).then(|| {
        Complaint::new(
            "`leastRecentlyVerified` goes by earlier drills, but the job keeps no reports",
            "Write `report: {store: …}` into the job, or choose another backup.",
        )
    })
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
