//! Reads the files of a tar that a second look at the backup's catalogs wants.

use std::io::BufRead;

use tokio_util::sync::CancellationToken;

use super::{
    TarSource, UnpackFailure,
    policy::{self, Action},
};
use crate::restore::{pages::CatalogLook, tar::TarReader};

/// Shows `look` the files that it wants of one tar. Blocks.
///
/// # Errors
/// See [`UnpackFailure`].
pub fn look(
    source: TarSource<'_>,
    input: impl BufRead,
    cancel: &CancellationToken,
    look: &mut CatalogLook,
) -> Result<(), UnpackFailure> {
    let mut tar = TarReader::new(input);
    while let Some(entry) = tar.next_entry()? {
        if cancel.is_cancelled() {
            return Err(UnpackFailure::Cancelled);
        }
        let Action::File { path, .. } = policy::decide(source.place, &entry) else { continue };
        let Ok(path) = std::str::from_utf8(&path) else { continue };
        let Some(mut file) = look.file(path) else { continue };
        loop {
            let piece = tar.data()?;
            if piece.is_empty() {
                break;
            }
            file.data(piece);
            let count = piece.len();
            tar.consume(count);
        }
    }
    Ok(())
}
