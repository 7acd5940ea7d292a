//! Logs: our own lines on stderr, by how much the caller wants to hear.

use std::io::{self, Write};

use tracing_subscriber::{EnvFilter, fmt::MakeWriter};

use super::progress_bar;

/// Names what to log instead of `-v` and `-q`, such as `pgassay=debug,aws_config=info`.
pub const FILTER_VARIABLE: &str = "PGASSAY_LOG";

/// Sets logging up for the whole process; a second call changes nothing. `verbosity` is the number of
/// `-v` less that of `-q`: below 0 errors only, 0 warnings, 1 what is done, 2 details, 3 everything,
/// libraries included. Logs carry no secrets: those are never formatted.
pub fn init(verbosity: i8, color: bool) {
    let filter = std::env::var(FILTER_VARIABLE)
        .ok()
        .filter(|text| !text.is_empty())
        .unwrap_or_else(|| directives(verbosity).to_owned());
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::builder().parse_lossy(filter))
        .with_writer(Stderr)
        .with_ansi(color)
        .with_target(verbosity >= 2)
        .finish();
    // Fails only where a subscriber is set already.
    let _ = tracing::subscriber::set_global_default(subscriber);
}

const fn directives(verbosity: i8) -> &'static str {
    match verbosity {
        ..=-1 => "error",
        0 => "warn",
        // The libraries' own talk at this level is about their connections.
        1 => "warn,pgassay=info",
        2 => "warn,pgassay=debug",
        3.. => "debug,pgassay=trace",
    }
}

/// stderr, below the progress bars.
struct Stderr;

/// One event's line, written as a whole when it is complete.
struct Line(Vec<u8>);

impl<'a> MakeWriter<'a> for Stderr {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line(Vec::new())
    }
}

impl Write for Line {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        self.0.extend_from_slice(piece);
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        progress_bar::above_bars(|| {
            // Nothing is left to tell a broken stderr to.
            let _ = io::stderr().write_all(&self.0);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_level_is_a_valid_filter() {
        for verbosity in i8::MIN..=i8::MAX {
            assert!(EnvFilter::try_new(directives(verbosity)).is_ok());
        }
        assert_eq!(directives(0), "warn");
    }
}
