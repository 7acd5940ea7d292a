//! What the machine needs at least: copying what is extracted already, and syncing it.

use crate::{
    Outcome,
    bench::Target,
    measure::{Measured, Timed},
};

/// `cp -a` of a restored cluster, from the page cache, then a sync of the file system.
pub fn copy(from: &Target, to: &Target) -> Outcome<Measured> {
    let script = "cp -a \"$1\" \"$2\" \"$0\" && sync -f \"$0\"";
    let program = Timed::new("sh").args(["-c", script]).arg(&to.root);
    program.arg(&from.data).arg(&from.space).run().map(|(measured, _)| measured)
}
