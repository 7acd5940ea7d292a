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

/// What the files say last of a setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The file that has the last word.
    pub file: String,
    pub value: String,
}

/// What a server would make of the files at hand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effective {
    /// By name.
    pub settings: BTreeMap<String, Setting>,
    /// Files and folders that are included and are not at hand, each with the file that includes it.
    pub absent: Vec<(String, String)>,
}

impl Effective {
    /// The value of a setting that is not empty.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Setting> {
        self.settings.get(name).filter(|setting| !setting.value.is_empty())
    }
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

/// What a server would take from these files, by their names below the data directory.
#[must_use]
pub fn effective(files: &BTreeMap<String, String>) -> Effective {
    let mut reader = Reader { files, found: Effective::default(), read: 0 };
    reader.file("postgresql.conf", 0, Some(""));
    reader.file("postgresql.auto.conf", 0, None);
    reader.found
}

/// The libraries that a server would load on these files, by their names below the data directory.
#[must_use]
pub fn preloads(files: &BTreeMap<String, String>) -> Preloads {
    let Effective { settings, absent } = effective(files);
    let mut libraries = Vec::new();
    let mut by_name = PRELOADS;
    by_name.sort_unstable();
    for setting in by_name {
        let Some(Setting { file, value }) = settings.get(setting) else { continue };
        let preload = |library| Preload { setting, file: file.clone(), library };
        libraries.extend(preloaded(setting, value).map(preload));
    }
    Preloads { libraries, whole: absent.is_empty() }
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
    found: Effective,
    /// Files read so far, each as often as it was included.
    read: usize,
}

impl Reader<'_> {
    /// `by` is who needs the file, where one that is not at hand counts.
    fn file(&mut self, name: &str, depth: usize, by: Option<&str>) {
        let files = self.files;
        let allowed = depth <= MAX_DEPTH && self.read < MOST_INCLUDES;
        let Some(text) = files.get(name).filter(|_| allowed) else {
            self.absent(name, by);
            return;
        };
        self.read += 1;
        for (key, value) in entries(text) {
            match key.as_str() {
                "include" => self.file(below(&value), depth + 1, Some(name)),
                // One that is missing is nothing, but only of what the data directory would have.
                "include_if_exists" => {
                    let included = below(&value);
                    let by = included.contains('/').then_some(name);
                    self.file(included, depth + 1, by);
                }
                "include_dir" => self.absent(&value, Some(name)),
                _ => {
                    let file = name.to_owned();
                    self.found.settings.insert(key, Setting { file, value });
                }
            }
        }
    }

    fn absent(&mut self, name: &str, by: Option<&str>) {
        let Some(by) = by else { return };
        let absent = (name.to_owned(), by.to_owned());
        if self.found.absent.len() < MOST_INCLUDES && !self.found.absent.contains(&absent) {
            self.found.absent.push(absent);
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
    fn a_setting_has_a_file_and_a_value() {
        let main =
            "Archive_Command = 'cp %p /a/%f'\narchive_mode = on\ninclude 'c.conf'\nport = 1\n";
        let list = [
            ("postgresql.conf", main),
            ("c.conf", "port = 2\n"),
            ("postgresql.auto.conf", "archive_mode = ''"),
        ];
        let found = effective(&files(&list));
        let get = |name: &str| found.get(name).map(|s| (s.file.as_str(), s.value.as_str()));
        assert_eq!(get("archive_command"), Some(("postgresql.conf", "cp %p /a/%f")));
        assert_eq!(get("port"), Some(("postgresql.conf", "1")));
        assert_eq!(get("archive_mode"), None);
        assert_eq!(found.absent, []);
        let found = effective(&files(&[("postgresql.conf", "include '/etc/x.conf'")]));
        assert_eq!(found.absent, [("/etc/x.conf".to_owned(), "postgresql.conf".to_owned())]);
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
