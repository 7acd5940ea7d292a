//! A second look into the tars of a base backup, for what its catalogs say.

use std::sync::{Arc, Mutex, PoisonError};

use tokio_util::sync::CancellationToken;

use super::{
    bug, listed_parts,
    part::{Part, PartFailure, stream_part},
};
use crate::{
    archive::Backup,
    restore::{
        FetchFailure,
        ahead::Ahead,
        pages::CatalogLook,
        unpack::{self, Place, TarSource},
    },
    store::SharedStore,
};

/// Reads the tars of `backup` once for each pass that `look` asks for: mostly one, up to three. Those of
/// tablespaces only where something in them is wanted.
///
/// # Errors
/// As [`super::restore_base`].
pub async fn look_into(
    store: &SharedStore,
    backup: &Backup,
    look: CatalogLook,
    on_bytes: &(dyn Fn(u64) + Send + Sync),
    cancel: &CancellationToken,
) -> Result<CatalogLook, FetchFailure> {
    let shared = Arc::new(Mutex::new(look));
    let lock = |shared: &Mutex<CatalogLook>, act: &mut dyn FnMut(&mut CatalogLook)| {
        act(&mut shared.lock().unwrap_or_else(PoisonError::into_inner));
    };
    loop {
        let mut wanted: Vec<String> = Vec::new();
        lock(&shared, &mut |look| wanted = look.wanted().into_iter().map(str::to_owned).collect());
        if wanted.is_empty() {
            break;
        }
        for part in listed_parts(backup).into_iter().filter(|part| holds_any(part, &wanted)) {
            let shared = Arc::clone(&shared);
            let read = move |source: TarSource<'_>, input: Ahead, stop: &CancellationToken| {
                let mut look = shared.lock().unwrap_or_else(PoisonError::into_inner);
                unpack::look(source, input, stop, &mut look)
            };
            stream_part(store, part, read, on_bytes, cancel).await.map_err(
                |failure| match failure {
                    PartFailure::Damaged(finding) => FetchFailure::Damaged(vec![finding]),
                    PartFailure::Local(error) => FetchFailure::Local(error),
                    PartFailure::Store(error) => FetchFailure::Store(error),
                    PartFailure::Cancelled => FetchFailure::Cancelled,
                },
            )?;
        }
        lock(&shared, &mut CatalogLook::next_pass);
    }
    let look = Arc::into_inner(shared).ok_or_else(|| bug("a thread still reads the backup"))?;
    Ok(look.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// Whether one of the paths may lie in a part.
fn holds_any(part: &Part, wanted: &[String]) -> bool {
    match part.place {
        Place::Data => true,
        Place::Tablespace(oid) => {
            let folder = format!("pg_tblspc/{oid}/");
            wanted.iter().any(|path| path.starts_with(&folder))
        }
    }
}
