//! Configuration files of a server: `postgresql.conf`, what it includes, and `postgresql.auto.conf`
//! (`utils/misc/guc-file.l`). Only what a data directory holds is known; a distribution may keep its
//! files elsewhere.

use std::collections::BTreeMap;

/// `CONF_FILE_MAX_DEPTH`: how deep includes go.
const MAX_DEPTH: usize = 10;
/// Includes are followed that often: files may include one another.
const MOST_INCLUDES: usize = 200;

/// The settings that name libraries to load (`utils/init/miscinit.c`).
const PRELOADS: [&str; 3] =
    ["shared_preload_libraries", "session_preload_libraries", "local_preload_libraries"];

/// A library that the configuration loads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preload {
    pub setting: &'static str,
    /// The file that has the last word.
    pub file: String,
    /// As the server looks for it: of `local_preload_libraries`, below `$libdir/plugins`.
    pub library: String,
}

/// Every library that the configuration loads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Preloads {
    pub libraries: Vec<Preload>,
    /// False where files that may say otherwise are not among those at hand.
    pub whole: bool,
}

/// The lines `name = value` of one file: names in lower case, values without their quotes. Lines that
/// the server would refuse are passed over.
pub fn entries(text: &str) -> impl Iterator<Item = (String, String)> {
    text.lines().filter_map(entry)
}

fn entry(line: &str) -> Option<(String, String)> {
    let line = line.trim_start();
    let end = line.find(|c: char| !(c.is_ascii_alphanumeric() || "_.$".contains(c)))?;
    let (name, rest) = line.split_at(end);
    let spaced = rest.trim_start();
    let rest = spaced.strip_prefix('=').unwrap_or(spaced).trim_start();
    let value = match rest.strip_prefix('\'') {
        Some(quoted) => unquoted(quoted)?,
        None => rest.split([' ', '\t', '\r', '#']).next()?.to_owned(),
    };
    (!name.is_empty()).then(|| (name.to_ascii_lowercase(), value))
}

/// The text up to the closing quote (`DeescapeQuotedString`). Escapes other than those of quotes and
/// backslashes are in no library's name.
fn unquoted(text: &str) -> Option<String> {
    let mut value = String::new();
    let mut rest = text.chars();
    loop {
        match rest.next()? {
            '\'' if rest.as_str().starts_with('\'') => value.extend(rest.next()),
            '\'' => return Some(value),
            '\\' => value.extend(rest.next()),
            other => value.push(other),
        }
    }
}

/// The elements of a list of libraries (`SplitDirectoriesString`).
pub fn list(value: &str) -> impl Iterator<Item = String> {
    value.split(',').map(|item| item.trim().trim_matches('"').to_owned()).filter(|i| !i.is_empty())
}

/// The libraries that a server would load on these files, by their names below the data directory.
#[must_use]
pub fn preloads(files: &BTreeMap<String, String>) -> Preloads {
    let mut reader = Reader { files, last: BTreeMap::new(), whole: true, read: 0 };
    reader.file("postgresql.conf", 0, true);
    reader.file("postgresql.auto.conf", 0, false);
    let Reader { last, whole, .. } = reader;
    let mut libraries = Vec::new();
    for (setting, (file, value)) in last {
        let preload = |library| Preload { setting, file: file.clone(), library };
        libraries.extend(preloaded(setting, &value).map(preload));
    }
    Preloads { libraries, whole }
}

/// What a value of one of these settings loads, as the server looks for it (`load_libraries`).
pub fn preloaded(setting: &str, value: &str) -> impl Iterator<Item = String> {
    let plugins = setting == PRELOADS[2];
    list(value).map(move |library| {
        let plugin = plugins && !library.contains('/');
        if plugin { format!("$libdir/plugins/{library}") } else { library }
    })
}

struct Reader<'a> {
    files: &'a BTreeMap<String, String>,
    /// What was said last of a setting, and where.
    last: BTreeMap<&'static str, (String, String)>,
    whole: bool,
    /// Files read so far, each as often as it was included.
    read: usize,
}

impl Reader<'_> {
    fn file(&mut self, name: &str, depth: usize, needed: bool) {
        let files = self.files;
        let allowed = depth <= MAX_DEPTH && self.read < MOST_INCLUDES;
        let Some(text) = files.get(name).filter(|_| allowed) else {
            self.whole &= !needed;
            return;
        };
        self.read += 1;
        for (key, value) in entries(text) {
            match key.as_str() {
                "include" => self.file(below(&value), depth + 1, true),
                // One that is missing is nothing, but only of what the data directory would have.
                "include_if_exists" => {
                    let name = below(&value);
                    self.file(name, depth + 1, name.contains('/'));
                }
                "include_dir" => self.whole = false,
                key => {
                    if let Some(setting) = PRELOADS.into_iter().find(|setting| *setting == key) {
                        self.last.insert(setting, (name.to_owned(), value));
                    }
                }
            }
        }
    }
}

fn below(path: &str) -> &str {
    path.strip_prefix("./").unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(list: &[(&str, &str)]) -> BTreeMap<String, String> {
        list.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
    }

    fn libraries(list: &[(&str, &str)]) -> (Vec<String>, bool) {
        let found = preloads(&files(list));
        let words = |p: Preload| format!("{} {} {}", p.file, p.setting, p.library);
        (found.libraries.into_iter().map(words).collect(), found.whole)
    }

    #[test]
    fn lines_are_read_as_the_server_reads_them() {
        let text = "# a = 1\n  Work_Mem=4MB # five\nport 5433\r\nx = 'it''s \\'a\\' # b' # c\n\
                    auto_explain.log = on\nbroken = 'no end\n= 5\nlonely\n";
        let all: Vec<_> = entries(text).collect();
        let expected = [
            ("work_mem", "4MB"),
            ("port", "5433"),
            ("x", "it's 'a' # b"),
            ("auto_explain.log", "on"),
        ];
        assert_eq!(all, expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
    }

    #[test]
    fn the_last_word_counts() {
        let main = "shared_preload_libraries = 'early'\ninclude 'custom.conf'\n\
                    session_preload_libraries = auto_explain\n";
        let custom = "shared_preload_libraries = 'pg_stat_statements, \"pgaudit\"'\n";
        let both = [("postgresql.conf", main), ("custom.conf", custom)];
        assert_eq!(
            libraries(&both),
            (
                vec![
                    "postgresql.conf session_preload_libraries auto_explain".to_owned(),
                    "custom.conf shared_preload_libraries pg_stat_statements".to_owned(),
                    "custom.conf shared_preload_libraries pgaudit".to_owned(),
                ],
                true
            )
        );
        let auto = (
            "postgresql.auto.conf",
            "shared_preload_libraries = ''\nlocal_preload_libraries = 'x'\n",
        );
        assert_eq!(
            libraries(&[both[0], both[1], auto]).0,
            [
                "postgresql.auto.conf local_preload_libraries $libdir/plugins/x",
                "postgresql.conf session_preload_libraries auto_explain"
            ]
        );
    }

    #[test]
    fn what_is_not_at_hand_is_known_not_to_be() {
        assert_eq!(libraries(&[("postgresql.auto.conf", "port = 1")]), (vec![], false));
        for (line, whole) in [
            ("include '/etc/x.conf'", false),
            ("include_dir 'conf.d'", false),
            ("include_if_exists 'conf.d/x.conf'", false),
            ("include_if_exists 'absent.conf'", true),
            ("include 'absent.conf'", false),
            ("include './postgresql.conf'", false),
            ("", true),
        ] {
            assert_eq!(libraries(&[("postgresql.conf", line)]), (vec![], whole), "{line}");
        }
    }
}
