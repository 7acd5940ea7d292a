//! A store that refuses, loses or changes objects while it is read: nothing is known of the backup.

use crate::{
    archive::Codec,
    drill::{
        FailureClass::{
            self, AccessDenied, ArchiveUnsettled, DeletedDuringDrill, ObjectReadIncomplete,
            ObjectStoreError,
        },
        selftest::Tier::{self, Catalog, Read},
    },
    selftest::{
        damage::{Damage, NotMade, made, nothing},
        materials::Materials,
        overlay::{
            Body, Call, Edit, Shown, Trouble,
            TroubleKind::{self, Changed, Denied, Incomplete, Missing, Unavailable},
            View,
        },
    },
};

/// A key and the name under which a person knows it.
type Subject = (String, String);

fn wal(m: &Materials) -> Result<Subject, NotMade> {
    let key = m.wal_key(m.middle_index()?)?;
    let name = Codec::split(key.rsplit('/').next().unwrap_or(&key)).0.to_owned();
    Ok((key, name))
}

fn base(m: &Materials) -> Result<Subject, NotMade> {
    match m.data_parts().last() {
        Some(part) => Ok((part.object.key.clone(), part.name())),
        None => nothing("there is no part"),
    }
}

fn trouble(
    name: &'static str,
    what: &'static str,
    tier: Tier,
    classes: &'static [FailureClass],
    subject: fn(&Materials) -> Result<Subject, NotMade>,
    kind: TroubleKind,
) -> Damage {
    Damage::of_access(name, what, tier, classes, move |m, _| {
        let (key, name) = subject(m)?;
        let call = if key.is_empty() { Call::List } else { Call::Get };
        let trouble = Trouble { call, key, kind, after: 0 };
        Ok(made(View { troubles: vec![trouble], ..View::default() }, [name]))
    })
}

pub(super) fn all() -> Vec<Damage> {
    const DENIED: &[FailureClass] = &[AccessDenied];
    const STORE: &[FailureClass] = &[ObjectStoreError];
    const GONE: &[FailureClass] = &[DeletedDuringDrill, ArchiveUnsettled];
    const SHORT: &[FailureClass] = &[ObjectReadIncomplete];
    let info: fn(&Materials) -> Result<Subject, NotMade> =
        |m| Ok((m.info.object.key.clone(), m.plan.backup.id.clone()));
    let list: fn(&Materials) -> Result<Subject, NotMade> = |m| Ok((String::new(), m.root.clone()));
    let mut all = vec![
        trouble("store_list_denied", "listing is refused (403)", Catalog, DENIED, list, Denied),
        trouble("store_list_unavailable", "listing fails (500)", Catalog, STORE, list, Unavailable),
        trouble(
            "store_info_denied",
            "reading `backup.info` is refused (403)",
            Catalog,
            DENIED,
            info,
            Denied,
        ),
        trouble(
            "store_info_unavailable",
            "reading `backup.info` fails (500)",
            Catalog,
            STORE,
            info,
            Unavailable,
        ),
        trouble(
            "store_info_vanished",
            "`backup.info` is listed and not there any more (404)",
            Catalog,
            GONE,
            info,
            Missing,
        ),
        trouble(
            "store_wal_denied",
            "reading a segment is refused (403)",
            Read,
            DENIED,
            wal,
            Denied,
        ),
        trouble(
            "store_wal_unavailable",
            "reading a segment fails (500)",
            Read,
            STORE,
            wal,
            Unavailable,
        ),
        trouble(
            "store_wal_vanished",
            "a segment is listed and not there any more (404)",
            Read,
            GONE,
            wal,
            Missing,
        ),
        trouble(
            "store_wal_changed",
            "a segment is replaced after it was listed (412)",
            Read,
            GONE,
            wal,
            Changed,
        ),
        trouble(
            "store_wal_incomplete",
            "the body of a segment breaks off, also after retries",
            Read,
            SHORT,
            wal,
            Incomplete,
        ),
        trouble("store_base_denied", "reading a part is refused (403)", Read, DENIED, base, Denied),
        trouble(
            "store_base_unavailable",
            "reading a part fails (500)",
            Read,
            STORE,
            base,
            Unavailable,
        ),
        trouble(
            "store_base_vanished",
            "a part is listed and not there any more (404)",
            Read,
            GONE,
            base,
            Missing,
        ),
        trouble(
            "store_base_changed",
            "a part is replaced after it was listed (412)",
            Read,
            GONE,
            base,
            Changed,
        ),
        trouble(
            "store_base_incomplete",
            "the body of a part breaks off, also after retries",
            Read,
            SHORT,
            base,
            Incomplete,
        ),
    ];
    // The store is sure of what it gives: the object is not what was uploaded.
    let lie = |name: &'static str, what: &'static str, more: i64| {
        Damage::of_bytes(name, what, Read, SHORT, move |m: &Materials, _| {
            let Some(part) = m.data_parts().into_iter().next() else {
                return nothing("there is no part");
            };
            let body = Body::Stored { key: part.object.key.clone(), edit: Edit::None };
            let size = part.object.size.saturating_add_signed(more);
            let mut view = View::default();
            let shown = Shown { size, modified: part.object.modified, body };
            view.objects.insert(part.object.key.clone(), Some(shown));
            Ok(made(view, [part.name()]))
        })
    };
    all.push(lie("store_body_short", "a part's body is shorter than its listed size", 1000));
    all.push(lie("store_body_long", "a part's body is longer than its listed size", -1000));
    all
}
