//! `pgassay schedule`, and its slots beside those of Python's `croniter`.

mod sample;

use std::{
    io::Write as _,
    process::{Command, Stdio},
};

use jiff::{SignedDuration, Timestamp};
use pgassay::calendar::Calendar;
use serde_json::{Value, json};

use crate::support::tools::tool;

/// As many expressions are compared, over as many slots each.
const EXPRESSIONS: usize = 600;
const SLOTS: usize = 40;

/// `implement_cron_bug`: a day field that begins with `*` restricts nothing, also with a step, which is
/// what crontab(5) says.
const CRONITER: &str = "
import datetime, json, sys
from croniter import croniter
utc = datetime.timezone.utc
answer = []
for expression, start, count in json.load(sys.stdin):
    start = datetime.datetime.fromtimestamp(start, utc)
    slots = croniter(expression, start, datetime.datetime, implement_cron_bug=True,
                     second_at_beginning=True, max_years_between_matches=100)
    answer.append([int(next(slots).timestamp()) for _ in range(count)])
json.dump(answer, sys.stdout)
";

fn croniter(asked: &Value) -> Vec<Vec<i64>> {
    let mut python = Command::new(tool("venv/bin/python"))
        .args(["-c", CRONITER])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    python.stdin.take().unwrap().write_all(asked.to_string().as_bytes()).unwrap();
    let output = python.wait_with_output().unwrap();
    assert!(output.status.success(), "croniter is missing: run `scripts/setup test`");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn slots_are_those_of_croniter() {
    let mut sample = sample::Sample::new(0x6361_6C65_6E64_6172);
    let (mut calendars, mut asked) = (Vec::new(), Vec::new());
    while calendars.len() < EXPRESSIONS {
        let text = sample.expression();
        // What never comes is refused by us, and looked for in vain by others.
        let Ok(calendar) = Calendar::parse(&text, None) else { continue };
        let start = sample.second_of_these_years();
        asked.push(json!([text, start, SLOTS]));
        calendars.push((text, start, calendar));
    }
    let answers = croniter(&Value::from(asked));
    assert_eq!(answers.len(), EXPRESSIONS);
    let mut forms = [0, 0];
    for ((text, start, calendar), wanted) in calendars.iter().zip(answers) {
        let from = Timestamp::from_second(*start).unwrap();
        let found: Vec<i64> =
            calendar.slots_after(from).take(SLOTS).map(Timestamp::as_second).collect();
        assert_eq!(found, wanted, "`{text}` after {from}");
        forms[text.split(' ').count() - 5] += 1;
    }
    assert!(forms.iter().all(|count| *count > EXPRESSIONS / 5), "{forms:?}");
}

/// Exit status, stdout and stderr.
fn schedule(arguments: &[&str]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_pgassay"))
        .arg("schedule")
        .args(arguments)
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[test]
fn json_is_an_array_of_times_with_the_zones_offset() {
    let arguments =
        ["30 2 * * *", "--time-zone", "Europe/Berlin", "--from", "2026-03-28T02:30:00+01:00"];
    let (exit, stdout, stderr) =
        schedule(&[&arguments[..], &["--count=3", "--output=json"]].concat());
    assert_eq!((exit, stderr.as_str()), (0, ""));
    // `--from` is exclusive; what the clocks skipped comes at the end of the gap.
    let wanted = json!([
        "2026-03-29T03:00:00+02:00",
        "2026-03-30T02:30:00+02:00",
        "2026-03-31T02:30:00+02:00"
    ]);
    assert_eq!(serde_json::from_str::<Value>(&stdout).unwrap(), wanted);

    let (_, stdout, _) =
        schedule(&["@daily", "--from=2026-03-28T00:00:00Z", "--count=1", "--output=json"]);
    assert_eq!(
        serde_json::from_str::<Value>(&stdout).unwrap(),
        json!(["2026-03-29T00:00:00+00:00"])
    );
}

#[test]
fn people_are_told_what_it_means_and_which_form_it_has() {
    let from = "--from=2026-11-23T22:00:00Z";
    let (exit, five, _) = schedule(&["0 4 * * 1-5", "--time-zone", "europe/berlin", from]);
    assert_eq!(exit, 0);
    for part in [
        "Means    at 04:00 on Monday to Friday\n",
        "Form     five fields: minute, hour, ",
        "Zone     Europe/Berlin\n",
        "Tue 2026-11-24 04:00:00 +01:00  2026-11-24T03:00:00Z  ",
    ] {
        assert!(five.contains(part), "no `{part}` in {five}");
    }
    assert_eq!(five.matches("+01:00").count(), 10, "{five}");
    let (_, six, _) = schedule(&["0 4 * * * *", from]);
    assert!(six.contains("Means    at minute 4 of every hour\n"), "{six}");
    assert!(six.contains("six fields, seconds first"), "{six}");
}

#[test]
fn without_a_time_slots_come_after_now() {
    let before = Timestamp::now();
    let (_, stdout, _) = schedule(&["* * * * * *", "--output=json", "--count", "5"]);
    let slots: Vec<Timestamp> = serde_json::from_str(&stdout).unwrap();
    assert_eq!(slots.len(), 5);
    assert!(slots[0] > before && slots[0] < before + SignedDuration::from_mins(5), "{stdout}");
    assert!(slots.is_sorted_by(|a, b| *b == *a + SignedDuration::from_secs(1)), "{stdout}");
}

#[test]
fn what_is_wrong_is_said_with_a_way_out() {
    for (arguments, message) in [
        (&["0 25 * * *"][..], "`25` is out of range in the hour field"),
        (&["0 4 * *"], "it has 4 fields"),
        (&["@reboot"], "`@reboot` is not a schedule"),
        (&["0 0 30 2 *"], "never comes"),
        (&["0 4 * * *", "--time-zone", "Mars/Olympus"], "`Mars/Olympus` is not a time zone"),
        (&["0 4 * * *", "--from", "tomorrow"], "--from: `tomorrow` is not"),
        (&["0 4 * * *", "--from", "2026-11-23T04:00:00"], "no UTC offset"),
        (&["0 4 * * *", "--count", "0"], "0 is not in 1..=100000"),
        (&["0", "4", "*", "*", "*"], "unexpected argument `4`"),
        (&[], "<EXPR>"),
    ] {
        let (exit, stdout, stderr) = schedule(arguments);
        assert_eq!((exit, stdout.as_str()), (2, ""), "{stderr}");
        assert!(stderr.starts_with("error[P001]: "), "{stderr}");
        assert!(stderr.contains(message) && stderr.contains("hint: "), "{stderr}");
        let (exit, stdout, _) = schedule(&[arguments, &["--output", "json"]].concat());
        let error: Value = serde_json::from_str(&stdout).unwrap();
        assert_eq!((exit, &error["error"]["code"]), (2, &json!("P001")), "{stdout}");
    }
}
