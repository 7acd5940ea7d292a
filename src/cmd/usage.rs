//! clap's answers in this program's look: help and version are data, everything else is an error.

use clap::error::{Error as ClapError, ErrorKind};

use super::console::{Console, Failure, Output};
use crate::drill::{Code, Error};

/// Prints what clap has to say and gives the exit status.
pub(super) fn answer(error: &ClapError) -> u8 {
    let console = Console::plain();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            match console.data(&error.render().to_string()) {
                Ok(()) => 0,
                Err(error) => console.fail(&Failure::Error(error), Output::Human),
            }
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            console.talk(error.render().to_string().trim_end());
            super::console::EXIT_USAGE
        }
        _ => {
            let failure = Failure::Error(translate(&error.render().to_string()));
            console.fail(&failure, wanted_output(std::env::args()))
        }
    }
}

/// What `--output` asks for on a command line that clap refused.
fn wanted_output(args: impl Iterator<Item = String>) -> Output {
    let args: Vec<String> = args.collect();
    let json = args.iter().any(|arg| arg == "--output=json")
        || args.windows(2).any(|pair| pair[0] == "--output" && pair[1] == "json");
    if json { Output::Json } else { Output::Human }
}

/// From clap's `error: …`, `tip: …` and `Usage: …` to a message and a hint.
fn translate(text: &str) -> Error {
    let (mut message, mut hints, mut command) = (Vec::new(), Vec::new(), String::new());
    for line in text.lines() {
        let trimmed = line.trim();
        if let Some(tip) = trimmed.strip_prefix("tip: ") {
            hints.push(sentence(tip));
        } else if let Some(usage) = trimmed.strip_prefix("Usage: ") {
            let is_word = |word: &&str| word.starts_with(|c: char| c.is_ascii_lowercase());
            command = usage.split(' ').take_while(is_word).collect::<Vec<_>>().join(" ");
        } else if trimmed.starts_with("For more information") {
            break;
        } else if command.is_empty() && !trimmed.is_empty() && hints.is_empty() {
            message.push(trimmed.strip_prefix("error: ").unwrap_or(trimmed));
        }
    }
    if command.is_empty() {
        "pgassay".clone_into(&mut command);
    }
    hints.push(format!("See `{command} --help`."));
    let message = message.join(" ").replace('\'', "`");
    Error::new(Code::Usage, message.trim_end_matches('.')).hint(hints.join(" "))
}

fn sentence(tip: &str) -> String {
    let tip = tip.replace('\'', "`");
    let mut letters = tip.chars();
    let first = letters.next().map(|c| c.to_uppercase().to_string()).unwrap_or_default();
    format!("{first}{}.", letters.as_str().trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cmd::cli::Cli;

    fn said(args: &[&str]) -> String {
        let error = Cli::try_parse_from([&["pgassay"], args].concat()).unwrap_err();
        let error = translate(&error.render().to_string());
        format!("{}\n{}", error.message, error.hint.unwrap())
    }

    #[test]
    fn refusals_have_one_look() {
        let all = [
            &["drll"][..],
            &["drill", "--target-tme", "x"],
            &["drill", "--output", "xml"],
            &["drill", "--target-lsn", "0/1", "--target-immediate"],
            &["drill", "--seed", "x"],
            &["check"],
            &["init"],
            &["drill", "a", "b"],
        ];
        let text: Vec<String> =
            all.iter().map(|args| format!("{}\n{}", args.join(" "), said(args))).collect();
        insta::assert_snapshot!(text.join("\n\n"));
    }

    #[test]
    fn json_is_recognised_on_a_broken_command_line() {
        let wanted = |args: &[&str]| wanted_output(args.iter().map(ToString::to_string));
        assert_eq!(wanted(&["drill", "--output", "json", "--x"]), Output::Json);
        assert_eq!(wanted(&["drill", "--output=json"]), Output::Json);
        assert_eq!(wanted(&["drill", "--output", "human"]), Output::Human);
    }
}
