//! A `backup.info` that is missing, damaged, or says what the archive's bytes deny.

use crate::{
    archive::Codec,
    drill::{
        FailureClass::{
            self, BackupInfoMismatch, BackupPartMissing, BackupUnsupported, IncrementalChain,
            NoRestorableBackup, SystemIdMismatch, WalMissingForConsistency,
        },
        selftest::Tier::{self, Catalog, Read},
    },
    pg::Lsn,
    restore::codec::encode,
    selftest::{
        damage::{Damage, Made, NotMade, made, nothing},
        materials::Materials,
        overlay::View,
    },
};

pub(super) fn all() -> Vec<Damage> {
    let mut all = files();
    all.extend(values());
    all
}

fn shown(m: &Materials, bytes: &[u8]) -> Result<Made, NotMade> {
    let object = &m.info.object;
    let stored = encode(Codec::Plain, bytes).map_err(|error| error.to_string())?;
    let mut view = View::default();
    view.show(object.key.as_str(), stored, object.modified);
    Ok(made(view, [m.plan.backup.id.clone()]))
}

fn files() -> Vec<Damage> {
    const UNREADABLE: &[FailureClass] = &[BackupInfoMismatch, NoRestorableBackup];
    let file = |name: &'static str, what: &'static str, make: fn(&[u8]) -> Vec<u8>| {
        Damage::of_bytes(name, what, Catalog, UNREADABLE, move |m, _| {
            shown(m, &make(&m.info.bytes))
        })
    };
    vec![
        Damage::of_bytes(
            "info_missing",
            "the backup has no `backup.info`",
            Catalog,
            UNREADABLE,
            |m, _| {
                let mut view = View::default();
                view.hide(m.info.object.key.as_str());
                Ok(made(view, [m.plan.backup.id.clone()]))
            },
        ),
        file("info_empty", "`backup.info` holds no byte", |_| Vec::new()),
        file("info_garbage", "`backup.info` is not text", |bytes| {
            bytes.iter().map(|byte| byte ^ 0xA5).collect()
        }),
        file("info_cut", "`backup.info` ends in its middle", |bytes| {
            bytes[..bytes.len() / 2].to_vec()
        }),
        file("info_html", "`backup.info` is the error page of a proxy", |_| {
            b"<html><body>502 Bad Gateway</body></html>\n".to_vec()
        }),
    ]
}

/// `backup.info` with other values of some keys.
fn with(m: &Materials, changes: &[(&str, String)]) -> Result<Made, NotMade> {
    let text = String::from_utf8_lossy(&m.info.bytes);
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    for (key, value) in changes {
        let line = format!("{key}={value}");
        match lines.iter_mut().find(|line| line.split_once('=').is_some_and(|(k, _)| k == *key)) {
            Some(old) if *old == line => return nothing(format!("`{line}` is what it says")),
            Some(old) => *old = line,
            None => lines.push(line),
        }
    }
    shown(m, format!("{}\n", lines.join("\n")).as_bytes())
}

/// Keys and their other values.
type Values = fn(&Materials) -> Result<Vec<(&'static str, String)>, NotMade>;

fn value(
    name: &'static str,
    what: &'static str,
    tier: Tier,
    classes: &'static [FailureClass],
    change: Values,
) -> Damage {
    Damage::of_bytes(name, what, tier, classes, move |m, _| with(m, &change(m)?))
}

fn values() -> Vec<Damage> {
    const MISMATCH: &[FailureClass] = &[BackupInfoMismatch];
    vec![
        value(
            "info_failed",
            "the backup failed when it was taken",
            Catalog,
            &[NoRestorableBackup],
            |_| Ok(vec![("status", "FAILED".to_owned())]),
        ),
        value(
            "info_never_finished",
            "the backup was begun two days ago and never finished",
            Catalog,
            &[NoRestorableBackup],
            |_| {
                Ok(vec![
                    ("status", "STARTED".to_owned()),
                    ("begin_time", "'2020-01-01 00:00:00.000000+00:00'".replace('\'', "")),
                    ("end_time", "None".to_owned()),
                ])
            },
        ),
        value(
            "info_system_id",
            "`backup.info` names another database system",
            Read,
            &[BackupInfoMismatch, SystemIdMismatch],
            |m| Ok(vec![("systemid", (m.plan.system_id ^ 0xFF00).to_string())]),
        ),
        value("info_version", "`backup.info` names another major version", Read, MISMATCH, |m| {
            let version = m.plan.backup.info.as_ref().ok().and_then(|info| info.version);
            let version = version.unwrap_or_default();
            let other = if version >= 180_000 { version - 10_000 } else { version + 10_000 };
            Ok(vec![("version", other.to_string())])
        }),
        value("info_begin_wal", "`begin_wal` does not hold `begin_xlog`", Catalog, MISMATCH, |m| {
            let middle = m.middle()?;
            Ok(vec![("begin_wal", middle.name().to_owned())])
        }),
        value("info_end_wal", "`end_wal` does not hold `end_xlog`", Catalog, MISMATCH, |m| {
            let middle = m.middle()?;
            Ok(vec![("end_wal", middle.name().to_owned())])
        }),
        value(
            "info_begin_lsn",
            "`begin_xlog` is not where the label begins",
            Catalog,
            MISMATCH,
            |m| {
                let begin = m.plan.backup.info.as_ref().ok().and_then(|info| info.begin_xlog);
                Ok(vec![("begin_xlog", Lsn(begin.unwrap_or_default().0 + 0x40).to_string())])
            },
        ),
        value("info_end_lsn", "`end_xlog` lies before `begin_xlog`", Catalog, MISMATCH, |m| {
            let begin = m.plan.backup.info.as_ref().ok().and_then(|info| info.begin_xlog);
            Ok(vec![("end_xlog", Lsn(begin.unwrap_or_default().0 - 8).to_string())])
        }),
        value(
            "info_segment_size",
            "`backup.info` says another segment size",
            Catalog,
            &[BackupInfoMismatch, WalMissingForConsistency],
            |m| {
                let size = m.plan.segment_size.bytes();
                let other = if size >= 32 << 20 { size / 2 } else { size * 2 };
                Ok(vec![("xlog_segment_size", other.to_string())])
            },
        ),
        value("info_timeline", "`backup.info` names another timeline", Catalog, MISMATCH, |m| {
            let timeline = m.plan.backup.info.as_ref().ok().and_then(|info| info.timeline);
            Ok(vec![("timeline", (timeline.map_or(1, |t| t.0) + 1).to_string())])
        }),
        value(
            "info_checksums",
            "`backup.info` says that there are no data checksums, and there are",
            Read,
            MISMATCH,
            |m| {
                let info = m.plan.backup.info.as_ref().ok();
                match info.and_then(|info| info.data_checksums) {
                    Some(on) => {
                        Ok(vec![("data_checksums", if on { "off" } else { "on" }.to_owned())])
                    }
                    None => nothing("`backup.info` says nothing of checksums"),
                }
            },
        ),
        value(
            "info_tablespaces",
            "`backup.info` names no tablespaces, and a restore leaves them out",
            Catalog,
            MISMATCH,
            |m| {
                if m.plan.backup.tablespaces.is_empty() {
                    return nothing("the cluster has no tablespaces");
                }
                Ok(vec![("tablespaces", "None".to_owned())])
            },
        ),
        value(
            "info_tablespace_unknown",
            "`backup.info` names a tablespace of which there is no tar",
            Catalog,
            &[BackupPartMissing],
            |_| Ok(vec![("tablespaces", "[('lost', 99999, '/srv/lost')]".to_owned())]),
        ),
        value(
            "info_no_end_time",
            "`backup.info` does not say when it ended",
            Catalog,
            MISMATCH,
            |_| Ok(vec![("end_time", "None".to_owned())]),
        ),
        value(
            "info_incremental",
            "the backup holds only what changed since another",
            Catalog,
            &[IncrementalChain],
            |_| Ok(vec![("parent_backup_id", "20200101T000000".to_owned())]),
        ),
        Damage::of_access(
            "info_snapshot",
            "the backup lies in disk snapshots, not in the bucket",
            Catalog,
            &[BackupUnsupported],
            |m, _| {
                let info = ("snapshots_info", "{'provider': 'gcp', 'snapshots': []}".to_owned());
                let mut made = with(m, &[info])?;
                for part in &m.parts {
                    made.view.hide(part.object.key.as_str());
                }
                Ok(made)
            },
        ),
    ]
}
