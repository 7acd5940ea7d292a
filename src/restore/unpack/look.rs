//! Reads the files of a tar that a second look at the backup's catalogs wants.

use std::io::{BufReader, Read};

use tokio_util::sync::CancellationToken;

use super::{
    TarSource, UnpackFailure, WRITE,
    policy::{self, Action},
};
use crate::restore::{pages::CatalogLook, tar::TarReader};

/// Shows `look` the files that it wants of one tar. Blocks.
///
/// # Errors
/// See [`UnpackFailure`].
pub fn look(
    source: TarSource<'_>,
    input: impl Read,
    cancel: &CancellationToken,
    look: &mut CatalogLook,
) -> Result<(), UnpackFailure> {
    let mut tar = TarReader::new(BufReader::with_capacity(WRITE / 2, input));
    let mut buf = vec![0; WRITE];
    while let Some(entry) = tar.next_entry()? {
        if cancel.is_cancelled() {
            return Err(UnpackFailure::Cancelled);
        }
        let Action::File { path, .. } = policy::decide(source.place, &entry) else { continue };
        let Ok(path) = std::str::from_utf8(&path) else { continue };
        let Some(mut file) = look.file(path) else { continue };
        loop {
            match tar.read_data(&mut buf)? {
                0 => break,
                count => file.data(&buf[..count]),
            }
        }
    }
    Ok(())
}
