mod clocks;
mod oracle;

use jiff::Timestamp;

use super::*;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// The next slots as RFC 3339 in the zone's time.
fn slots(expression: &str, zone: &str, from: &str, count: usize) -> Vec<String> {
    let calendar = Calendar::parse(expression, Some(zone)).unwrap();
    let shown =
        |slot: Timestamp| slot.display_with_offset(calendar.zone().offset_at(slot)).to_string();
    calendar.slots_after(at(from)).take(count).map(shown).collect()
}

fn refusal(text: &str) -> String {
    let Refusal { message, hint } = Expression::parse(text).unwrap_err();
    format!("{message}\n    {hint}")
}

#[test]
fn every_form_is_known_by_its_fields() {
    let form = |text| Expression::parse(text).unwrap().form();
    assert_eq!(form("0 4 * * 1-5"), Form::Five);
    assert_eq!(form("0 0 4 * * 1-5"), Form::Six);
    assert_eq!(form("  0\t4  * * ? "), Form::Five);
    assert_eq!(form("@Daily"), Form::Word("@daily", "0 0 * * *"));
    assert_eq!(Expression::parse(" 0\t4  * * ? ").unwrap().text(), "0 4 * * ?");
}

/// The same text means five fields here and an hour's seconds there: a day apart.
#[test]
fn six_fields_have_seconds_first() {
    let from = "2026-11-23T12:00:00Z";
    assert_eq!(slots("0 4 * * *", "UTC", from, 1), ["2026-11-24T04:00:00+00:00"]);
    assert_eq!(slots("0 0 4 * * *", "UTC", from, 1), ["2026-11-24T04:00:00+00:00"]);
    assert_eq!(slots("0 4 * * * *", "UTC", from, 1), ["2026-11-23T12:04:00+00:00"]);
    assert_eq!(slots("*/20 4 * * * *", "UTC", from, 4)[3], "2026-11-23T13:04:00+00:00");
}

#[test]
fn either_day_is_enough_where_both_are_restricted() {
    let days = |text| -> Vec<String> {
        let all = slots(text, "UTC", "2026-11-01T00:00:00Z", 4);
        all.iter().map(|slot| slot[5..10].to_owned()).collect()
    };
    // 2026-11-13 is a Friday.
    assert_eq!(days("0 0 13 * 5"), ["11-06", "11-13", "11-20", "11-27"]);
    assert_eq!(days("0 0 14 * 5"), ["11-06", "11-13", "11-14", "11-20"]);
    // A field that begins with `*` restricts nothing, as crontab(5) says, but its step counts.
    assert_eq!(days("0 0 */10 * 1"), ["12-21", "01-11", "02-01", "03-01"]);
    assert_eq!(days("0 0 1-31/10 * 1"), ["11-02", "11-09", "11-11", "11-16"]);
    assert_eq!(days("0 0 1 * */2"), ["12-01", "04-01", "05-01", "06-01"]);
}

#[test]
fn the_instant_itself_is_not_after_it() {
    let calendar = Calendar::parse("*/15 * * * *", None).unwrap();
    let next = |text| calendar.next_after(at(text)).unwrap().to_string();
    assert_eq!(next("2026-11-23T12:15:00Z"), "2026-11-23T12:30:00Z");
    assert_eq!(next("2026-11-23T12:14:59.999999999Z"), "2026-11-23T12:15:00Z");
    assert_eq!(next("2026-11-23T12:15:00.000000001Z"), "2026-11-23T12:30:00Z");
    assert_eq!(next("1969-12-31T23:59:59.5Z"), "1970-01-01T00:00:00Z");
    assert_eq!(next("1969-12-31T23:44:59.5Z"), "1969-12-31T23:45:00Z");
}

#[test]
fn rare_days_are_found() {
    let from = "2096-03-01T00:00:00Z";
    assert_eq!(slots("0 0 29 2 *", "UTC", from, 1), ["2104-02-29T00:00:00+00:00"]);
    let from = "2026-01-01T00:00:00Z";
    assert_eq!(slots("0 0 29 2 */7", "Europe/Berlin", from, 1), ["2032-02-29T00:00:00+01:00"]);
    let last = Calendar::parse("0 0 1 1 *", None).unwrap();
    assert_eq!(last.next_after(at("9998-06-01T00:00:00Z")), Some(at("9999-01-01T00:00:00Z")));
    assert_eq!(last.next_after(at("9999-06-01T00:00:00Z")), None);
    assert_eq!(last.next_after(Timestamp::MAX), None);
    assert!(last.next_after(Timestamp::MIN).is_some());
}

#[test]
fn newest_is_the_last_slot_of_a_span() {
    let quarter = Calendar::parse("*/15 * * * *", Some("Europe/Berlin")).unwrap();
    let (from, until) = (at("2016-11-23T12:15:00Z"), at("2026-11-23T12:44:59Z"));
    assert_eq!(quarter.newest(from, until), Some(at("2026-11-23T12:30:00Z")));
    assert_eq!(quarter.newest(from, at("2026-11-23T12:30:00Z")), Some(at("2026-11-23T12:30:00Z")));
    assert_eq!(quarter.newest(until, until), None);
    for seconds in 0..4000 {
        let until = from + jiff::SignedDuration::from_secs(seconds);
        let wanted = quarter.slots_after(from).take_while(|slot| *slot <= until).last();
        assert_eq!(quarter.newest(from, until), wanted, "{until}");
    }
    let yearly = Calendar::parse("@yearly", None).unwrap();
    assert_eq!(yearly.newest(from, until), Some(at("2026-01-01T00:00:00Z")));
    assert_eq!(yearly.newest(at("2026-01-01T00:00:00Z"), until), None);
}

#[test]
fn what_cannot_be_is_refused() {
    let all = [
        "",
        "every night",
        "0 4 * *",
        "0 0 4 * * * 2026",
        "0 24 * * *",
        "61 * * * *",
        "0 0 0 * *",
        "0 0 30 2 *",
        "0 0 31 4,6,9,11 *",
        "0 0 L * *",
        "0 0 * * 5#2",
        "@reboot",
        "@every 1h30m",
        "@fortnightly",
        "@daily 4",
        "CRON_TZ=Europe/Berlin 0 4 * * *",
        "0 4 * * MON-FRI extra words here",
        "H 4 * * *",
        "0 4 * * 1-5\u{1b}[2J",
    ];
    let said: Vec<String> =
        all.iter().map(|text| format!("{text:?}\n    {}", refusal(text))).collect();
    insta::assert_snapshot!(said.join("\n"));
    assert!(refusal(&"1,".repeat(10_000)).starts_with("a schedule of 20000 bytes is too long"));
}

/// A container without a zone database has the one that is built in.
#[test]
fn zones_are_built_in() {
    let built_in = jiff::tz::TimeZoneDatabase::bundled();
    assert!(["Europe/Berlin", "Australia/Lord_Howe"].iter().all(|zone| built_in.get(zone).is_ok()));
}

#[test]
fn zones_are_those_of_the_database() {
    assert_eq!(Zone::named("europe/berlin").unwrap().name(), "Europe/Berlin");
    assert_eq!(Zone::named("UTC").unwrap(), Zone::utc());
    for bad in ["", "Europe/Berln", "+01:00", "../etc/passwd", "CET-1CEST", "Europe", "/UTC", "U C"]
    {
        let refusal = Zone::named(bad).unwrap_err();
        assert_eq!(refusal.message, format!("`{bad}` is not a time zone"));
    }
}
