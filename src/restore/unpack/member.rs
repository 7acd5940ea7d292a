//! One member of a tar: what becomes of it, and what of it is kept.

use tokio_util::sync::CancellationToken;

use super::{
    TarSource, UnpackFailure, Unpacker,
    place::{PlaceError, Way},
    policy::{self, Action, Keep},
    write::Steps,
};
use crate::{
    drill::{FailureClass, Finding},
    restore::{
        ahead,
        pages::FileWatch,
        tar::{Entry, TarReader},
    },
};

/// How much of a configuration file is kept for the engine.
pub(super) const MAX_CONFIG_TEXT: usize = 256 * 1024;
/// What `ALTER SYSTEM` writes.
pub(super) const AUTO_CONF: &str = "postgresql.auto.conf";
/// How much of `global/pg_control` and `backup_label` is kept; both have less than 9 KB.
pub(super) const MAX_KEPT: usize = 64 * 1024;

/// A member on its way to the disk.
pub(super) struct Member<'a> {
    pub(super) unpacker: &'a Unpacker,
    pub(super) source: TarSource<'a>,
    pub(super) entry: Entry,
    pub(super) way: &'a mut Way,
    /// Where it is written, if it is.
    pub(super) steps: Option<&'a mut Steps>,
    pub(super) cancel: &'a CancellationToken,
}

impl Member<'_> {
    pub(super) fn unpack<R: ahead::Keep>(
        &mut self,
        tar: &mut TarReader<R>,
    ) -> Result<(), UnpackFailure> {
        match policy::decide(self.source.place, &self.entry) {
            Action::Folder(path) => {
                let made = self.unpacker.ground.folder(self.way, &path);
                self.placed(made)?;
            }
            Action::TablespaceLink { oid, path, target } => {
                self.unpacker.state().done.tablespace_links.insert(oid, target);
                let made = self.unpacker.ground.folder(self.way, &path);
                self.placed(made)?;
            }
            Action::File { path, keep } => {
                let created = self.unpacker.ground.create(self.way, &path);
                if let Some(file) = self.placed(created)? {
                    self.unpacker.remember(self.source, &path).map_err(UnpackFailure::Local)?;
                    let pages = self.unpacker.pages.file(&path);
                    if let (Some(file), Some(steps)) = (file, &mut self.steps) {
                        steps.file(file, self.entry.size)?;
                    }
                    let kept = self.copy(tar, true, pages, keep.as_ref())?;
                    let mut state = self.unpacker.state();
                    state.done.files += 1;
                    state.done.bytes += self.entry.size;
                    state.keep(keep, kept, self.source.part);
                }
            }
            Action::Omit { keep, note } => {
                let kept = self.copy(tar, false, None, keep.as_ref())?;
                if matches!(&keep, Some(Keep::Config(name)) if name == AUTO_CONF) {
                    let whole = kept.len() as u64 == self.entry.size;
                    self.unpacker.state().done.auto_conf = whole.then(|| kept.clone());
                }
                self.unpacker.state().keep(keep, kept, self.source.part);
                if let Some(note) = note {
                    self.unpacker.note(note);
                }
            }
            Action::OwnContent => self.unpacker.state().left_out += 1,
            Action::Nothing => {}
            Action::Refuse(class, what) => self.refuse(class, &what),
        }
        Ok(())
    }

    /// Turns a defect of the layout into a finding.
    fn placed<T>(&self, result: Result<T, PlaceError>) -> Result<Option<T>, UnpackFailure> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(PlaceError::Local(error)) => Err(UnpackFailure::Local(error)),
            Err(PlaceError::Layout(what)) => {
                self.refuse(FailureClass::ArchiveCorrupt, &what);
                Ok(None)
            }
        }
    }

    fn refuse(&self, class: FailureClass, what: &str) {
        let name = String::from_utf8_lossy(&self.entry.path).into_owned();
        let name: String = name.chars().take(300).collect();
        self.unpacker.find(Finding::new(
            class,
            self.source.key,
            format!("member `{}`: {what}", name.escape_debug()),
            policy::LAYOUT_HINT,
        ));
    }

    /// Has the data written to the file that was begun, if so it shall be; returns its first bytes where
    /// they are to be kept.
    fn copy<R: ahead::Keep>(
        &mut self,
        tar: &mut TarReader<R>,
        written: bool,
        mut pages: Option<FileWatch<'_>>,
        keep: Option<&Keep>,
    ) -> Result<Vec<u8>, UnpackFailure> {
        let max = match keep {
            None => 0,
            Some(Keep::Config(_)) => MAX_CONFIG_TEXT,
            Some(_) => MAX_KEPT,
        };
        let mut kept = Vec::new();
        loop {
            let piece = tar.data()?;
            if piece.is_empty() {
                return Ok(kept);
            }
            if self.cancel.is_cancelled() {
                return Err(UnpackFailure::Cancelled);
            }
            if let Some(pages) = &mut pages {
                pages.data(piece);
            }
            kept.extend_from_slice(&piece[..piece.len().min(max - kept.len())]);
            let count = piece.len();
            if let (Some(steps), true) = (&mut self.steps, written) {
                steps.data(tar.keep(count))?;
            }
            tar.consume(count);
        }
    }
}
