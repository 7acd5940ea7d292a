//! What the server says on its standard error, line by line: kept in the sandbox's log file, read for
//! the few facts that nothing else tells.

use std::{
    collections::VecDeque,
    fs::File,
    io::{BufRead, BufReader, Read, Write},
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use jiff::Timestamp;
use tokio::sync::Notify;

use crate::pg::TimelineId;

/// `log_line_prefix` of the sandbox: no other line begins like this.
pub const LINE_PREFIX: &str = "pgassay|%p|%e|";

/// Lines that are kept in memory.
const KEPT: usize = 60;

/// Bytes of one line that are kept in memory.
const LINE_LIMIT: usize = 2000;

/// Bytes that the log file may take.
const FILE_LIMIT: u64 = 64 << 20;

/// `elevel` as the log spells it; only what matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// `LOG`, `NOTICE`, `INFO`, `DEBUG…`
    Talk,
    Warning,
    Error,
    Fatal,
    Panic,
    /// `DETAIL`, `HINT`, `CONTEXT`, `STATEMENT`: belongs to the message above.
    More,
}

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    pub severity: Severity,
    /// `SQLSTATE`; `00000` where the line does not say.
    pub sqlstate: String,
    /// The word that PostgreSQL used, such as `FATAL`.
    pub word: String,
    pub text: String,
    /// `DETAIL` of the message, where it followed.
    pub detail: Option<String>,
    /// `HINT` of the message, where it followed.
    pub hint: Option<String>,
}

/// Everything heard so far.
#[derive(Debug, Default)]
pub struct LogFacts {
    /// Ends of the log, raw.
    pub tail: VecDeque<String>,
    /// Messages of severity FATAL or PANIC, the first few.
    pub fatal: Vec<LogLine>,
    /// Messages of severity ERROR, the first few.
    pub errors: Vec<LogLine>,
    /// A child that a signal ended, as in `startup process (PID 7) was terminated by signal 9`.
    pub terminated: Option<String>,
    /// When replay ended.
    pub redo_done: Option<Instant>,
    /// When the server said that it is ready for connections.
    pub ready: Option<Instant>,
    pub new_timeline: Option<TimelineId>,
    pub last_transaction_at: Option<Timestamp>,
    /// Lines heard.
    pub lines: u64,
    /// The server has closed its standard error.
    pub closed: bool,
}

/// The log of one run of the server.
#[derive(Clone, Debug, Default)]
pub struct ServerLog {
    facts: Arc<Mutex<LogFacts>>,
    /// Woken at each line and at the end.
    pub heard: Arc<Notify>,
}

impl ServerLog {
    /// Looks at what was heard.
    pub fn with<T>(&self, look: impl FnOnce(&LogFacts) -> T) -> T {
        look(&self.facts.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads until the other side closes. Blocks: for a thread of its own.
    pub fn read_all(&self, from: impl Read, mut file: Option<File>) {
        let mut reader = BufReader::new(from);
        let mut written = 0_u64;
        let mut raw = Vec::new();
        loop {
            raw.clear();
            // A line without an end must not fill the memory.
            match Read::by_ref(&mut reader).take(64 << 10).read_until(b'\n', &mut raw) {
                Ok(0) | Err(_) => break,
                Ok(count) => {
                    written += count as u64;
                    if written <= FILE_LIMIT
                        && let Some(file) = &mut file
                    {
                        let _ = file.write_all(&raw);
                    }
                }
            }
            let line = String::from_utf8_lossy(&raw);
            self.take(line.trim_end_matches(['\r', '\n']));
        }
        self.facts.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
        self.heard.notify_waiters();
        self.heard.notify_one();
    }

    fn take(&self, line: &str) {
        let mut facts = self.facts.lock().unwrap_or_else(PoisonError::into_inner);
        facts.take(line);
        drop(facts);
        self.heard.notify_waiters();
        self.heard.notify_one();
    }
}

impl LogFacts {
    /// The last lines, for a person.
    #[must_use]
    pub fn tail_text(&self, lines: usize) -> String {
        let skip = self.tail.len().saturating_sub(lines);
        self.tail.iter().skip(skip).cloned().collect::<Vec<_>>().join("; ")
    }

    fn take(&mut self, raw: &str) {
        self.lines += 1;
        let raw = truncate(raw);
        if self.tail.len() == KEPT {
            self.tail.pop_front();
        }
        let Some(line) = parse(raw) else {
            // Continuation lines begin with a tab.
            self.tail.push_back(raw.to_owned());
            return;
        };
        self.tail.push_back(format!("{}:  {}", line.word, line.text));
        match line.severity {
            Severity::Fatal | Severity::Panic => keep(&mut self.fatal, line),
            Severity::Error => keep(&mut self.errors, line),
            Severity::More => self.attach(&line),
            Severity::Talk => self.note(&line.text),
            Severity::Warning => {}
        }
    }

    /// Gives a detail or hint to the newest bad message.
    fn attach(&mut self, more: &LogLine) {
        let newest = if self.fatal.is_empty() { &mut self.errors } else { &mut self.fatal };
        if let Some(line) = newest.last_mut() {
            let slot = match more.word.as_str() {
                "DETAIL" => &mut line.detail,
                "HINT" => &mut line.hint,
                _ => return,
            };
            slot.get_or_insert_with(|| more.text.clone());
        }
    }

    fn note(&mut self, text: &str) {
        if text.starts_with("redo done at") || text.starts_with("redo is not required") {
            self.redo_done.get_or_insert_with(Instant::now);
        } else if let Some(id) = text.strip_prefix("selected new timeline ID: ") {
            self.redo_done.get_or_insert_with(Instant::now);
            self.new_timeline = id.trim().parse().ok().map(TimelineId);
        } else if let Some(at) = text.strip_prefix("last completed transaction was at log time ") {
            self.last_transaction_at = parse_time(at);
        } else if text.starts_with("database system is ready to accept connections") {
            self.ready.get_or_insert_with(Instant::now);
        } else if text.contains("was terminated by signal") {
            self.terminated.get_or_insert_with(|| text.to_owned());
        }
    }
}

fn keep(lines: &mut Vec<LogLine>, line: LogLine) {
    if lines.len() < 8 {
        lines.push(line);
    }
}

fn truncate(line: &str) -> &str {
    let mut end = line.len().min(LINE_LIMIT);
    while !line.is_char_boundary(end) {
        end -= 1;
    }
    &line[..end]
}

/// Reads a time as the sandbox's settings make PostgreSQL print it: ISO, in UTC.
fn parse_time(text: &str) -> Option<Timestamp> {
    let bare = text.trim().strip_suffix("+00")?;
    format!("{bare}Z").parse().ok()
}

/// Takes a line apart. Lines from before the configuration is read have another prefix.
fn parse(line: &str) -> Option<LogLine> {
    if line.starts_with('\t') {
        return None;
    }
    let ours = line.strip_prefix("pgassay|").and_then(|rest| {
        let (_pid, rest) = rest.split_once('|')?;
        rest.split_once('|')
    });
    let (sqlstate, message) = ours.unwrap_or(("00000", line));
    let (head, text) = message.split_once(":  ")?;
    let word = if ours.is_some() { head } else { head.rsplit(' ').next()? };
    let severity = match word {
        "LOG" | "NOTICE" | "INFO" | "DEBUG" | "DEBUG1" | "DEBUG2" | "DEBUG3" | "DEBUG4"
        | "DEBUG5" => Severity::Talk,
        "WARNING" => Severity::Warning,
        "ERROR" => Severity::Error,
        "FATAL" => Severity::Fatal,
        "PANIC" => Severity::Panic,
        "DETAIL" | "HINT" | "CONTEXT" | "STATEMENT" | "QUERY" | "LOCATION" => Severity::More,
        _ => return None,
    };
    Some(LogLine {
        severity,
        sqlstate: sqlstate.to_owned(),
        word: word.to_owned(),
        text: text.to_owned(),
        detail: None,
        hint: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(text: &str) -> ServerLog {
        let log = ServerLog::default();
        log.read_all(text.as_bytes(), None);
        log
    }

    #[test]
    fn the_facts_of_a_recovery() {
        let log = heard(
            "pgassay|7|00000|LOG:  redo done at 0/5000028 system usage: CPU: user: 0.01 s\n\
             pgassay|7|00000|LOG:  last completed transaction was at log time 2026-11-22 19:44:16.123456+00\n\
             pgassay|7|00000|LOG:  selected new timeline ID: 12\n\
             pgassay|1|00000|LOG:  database system is ready to accept connections\n",
        );
        log.with(|facts| {
            assert!(facts.redo_done.is_some() && facts.ready.is_some() && facts.closed);
            assert_eq!(facts.new_timeline, Some(TimelineId(12)));
            let at = facts.last_transaction_at.unwrap();
            assert_eq!(at.to_string(), "2026-11-22T19:44:16.123456Z");
            assert_eq!(facts.lines, 4);
        });
    }

    #[test]
    fn a_fatal_message_keeps_its_state_detail_and_hint() {
        let log = heard(
            "2026-11-22 19:44:16 UTC [12] LOG:  skipping\n\
             pgassay|7|53100|FATAL:  could not write to file \"x\": No space left on device\n\
             \tcontinued: |ERROR:  not a message\n\
             pgassay|7|53100|HINT:  Free some.\n\
             2026-11-22 19:44:16.001 GMT [8] FATAL:  early\n",
        );
        log.with(|facts| {
            assert_eq!(facts.fatal.len(), 2);
            assert_eq!(facts.fatal[0].sqlstate, "53100");
            assert_eq!(facts.fatal[0].hint.as_deref(), Some("Free some."));
            assert_eq!(facts.fatal[1].text, "early");
            assert!(facts.errors.is_empty());
        });
    }

    #[test]
    fn any_bytes_do() {
        let mut bytes = vec![0xFF; 200_000];
        bytes.extend_from_slice("\u{e9}".repeat(LINE_LIMIT).as_bytes());
        let log = ServerLog::default();
        log.read_all(bytes.as_slice(), None);
        log.with(|facts| assert!(facts.tail.iter().all(|line| line.len() <= LINE_LIMIT)));
    }
}
