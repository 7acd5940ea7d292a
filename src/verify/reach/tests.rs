use super::*;
use crate::{archive::catalog::TarSet, pg::TimelineId, verify::base::OwnEnd};

/// Where the WAL ends, behind the end that `backup.info` names.
const END: Lsn = Lsn(0x0500_0000);
const BACKUP_END: Lsn = Lsn(0x0400_0100);

fn backup(from: &str) -> Backup {
    let text = format!(
        "systemid=7\nbegin_xlog=0/3000028\nend_xlog=0/4000100\ntimeline=1\n\
         backup_label='START WAL LOCATION: 0/3000028 (file 000000010000000000000003)\\nBACKUP FROM: {from}\\n'\n"
    );
    Backup {
        id: "20261122T191900".into(),
        info: BackupInfo::parse(&text),
        unsettled: false,
        info_object: None,
        data: TarSet::default(),
        tablespaces: std::collections::BTreeMap::new(),
        unreadable: Vec::new(),
        label_object: false,
        keep: None,
        modified: None,
    }
}

/// What a backup comes to whose own files say `own`, over WAL that ends at [`END`].
fn state(
    from: &str,
    own: Option<OwnEnd>,
    ended: Ended,
    backup_end: Option<Lsn>,
) -> (BackupState, Vec<Finding>) {
    let backup = backup(from);
    let info = backup.info.as_ref().unwrap();
    let stretches = Stretches::one(info, END, ended, backup_end);
    let base = BaseRead { own_end: own, ..BaseRead::default() };
    let mut verified = described(&backup, None);
    let path = TimelineHistory::root(TimelineId(1));
    let found = judge(&mut verified, info, &base, None, &path, &stretches);
    assert_eq!(verified.reach.unwrap().lsn, END);
    (verified.state, found)
}

#[test]
fn a_primarys_backup_ends_with_its_record() {
    let own = Some(OwnEnd { standby: false, min_recovery_point: None });
    assert_eq!(state("primary", own, Ended::Newest, Some(BACKUP_END)), (BackupState::Good, vec![]));
    for ended in [Ended::Newest, Ended::Gap] {
        let (state, found) = state("primary", own, ended, None);
        assert_eq!((state, found.len()), (BackupState::Damaged, 1));
        assert_eq!(found[0].class.name(), "wal_missing_for_consistency");
    }
    // What could not be read behind the window says nothing.
    assert_eq!(state("primary", own, Ended::Unread, None), (BackupState::Unknown, vec![]));
}

#[test]
fn a_standbys_backup_ends_where_its_pg_control_says() {
    let at = |point| {
        let own = Some(OwnEnd { standby: true, min_recovery_point: point });
        state("standby", own, Ended::Newest, None).0
    };
    assert_eq!(at(Some(END)), BackupState::Good);
    assert_eq!(at(Some(Lsn(END.0 + 1))), BackupState::Damaged);
    // None is named, and no record ends it.
    assert_eq!(at(None), BackupState::Damaged);
}

#[test]
fn a_backup_whose_own_files_were_not_read_is_not_good() {
    for (from, backup_end) in [("primary", Some(BACKUP_END)), ("standby", None)] {
        let (state, found) = state(from, None, Ended::Newest, backup_end);
        assert_eq!((state, found), (BackupState::Unknown, vec![]), "{from}");
    }
}
