//! How amounts are said to a person: bytes, rates, durations, counts.

/// Bytes in binary units, such as `12.3 GiB`; below a kibibyte `512 B`.
#[must_use]
pub fn bytes(amount: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if amount < 1024 {
        return format!("{amount} B");
    }
    let mut value = amount as f64 / 1024.0;
    let mut unit = 0;
    // 1023.95 would round up to `1024.0`.
    while value >= 1023.95 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// Bytes a second over a time in seconds, such as `118.2 MiB/s`. `None` where the time is too short
/// to say.
#[must_use]
pub fn rate(amount: u64, seconds: f64) -> Option<String> {
    #[expect(clippy::cast_sign_loss, reason = "both sides are positive")]
    let per_second = (seconds >= 0.001).then(|| (amount as f64 / seconds) as u64)?;
    Some(format!("{}/s", bytes(per_second)))
}

/// Seconds in at most two units, such as `0.8 s`, `42 s`, `3 min 20 s`, `2 h 5 min`, `3 d 4 h`.
#[must_use]
pub fn duration(seconds: f64) -> String {
    if !seconds.is_finite() || seconds < 0.0 {
        return "unknown".to_owned();
    }
    if seconds < 9.95 {
        return format!("{seconds:.1} s");
    }
    #[expect(clippy::cast_sign_loss, reason = "checked above")]
    let whole = seconds.round() as u64;
    let two = |large: u64, large_unit: &str, small: u64, small_unit: &str| {
        if small == 0 {
            format!("{large} {large_unit}")
        } else {
            format!("{large} {large_unit} {small} {small_unit}")
        }
    };
    match whole {
        0..60 => format!("{whole} s"),
        60..3_600 => two(whole / 60, "min", whole % 60, "s"),
        3_600..86_400 => two(whole / 3_600, "h", whole % 3_600 / 60, "min"),
        _ => two(whole / 86_400, "d", whole % 86_400 / 3_600, "h"),
    }
}

/// A number with separators between thousands, such as `1,204`.
#[must_use]
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The count and the noun in its number: `1 file`, `1,204 files`.
#[must_use]
pub fn counted(number: u64, noun: &str) -> String {
    format!("{} {noun}{}", count(number), if number == 1 { "" } else { "s" })
}

/// A text from outside on one line: control characters, which could move a terminal's cursor or fake
/// a line, become escapes such as `\u{1b}`.
#[must_use]
pub fn printable(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\t' => safe.push(' '),
            // The bidirectional controls reorder what a reader sees.
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => safe.extend(c.escape_unicode()),
            c if c.is_control() => safe.extend(c.escape_unicode()),
            c => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_and_rates() {
        let said: Vec<String> =
            [0, 1023, 1024, 1_048_575, 1_048_576, 13_207_024_435, u64::MAX].map(bytes).into();
        assert_eq!(
            said,
            ["0 B", "1023 B", "1.0 KiB", "1.0 MiB", "1.0 MiB", "12.3 GiB", "16384.0 PiB"]
        );
        assert_eq!(rate(10 << 20, 2.0).as_deref(), Some("5.0 MiB/s"));
        assert_eq!(rate(10 << 20, 0.0), None);
        assert_eq!(rate(1, f64::NAN), None);
    }

    #[test]
    fn durations() {
        let said: Vec<String> =
            [0.0, 0.84, 9.96, 59.4, 59.6, 61.0, 200.0, 7_500.0, 86_400.0, 273_600.0, f64::NAN]
                .map(duration)
                .into();
        assert_eq!(
            said,
            [
                "0.0 s",
                "0.8 s",
                "10 s",
                "59 s",
                "1 min",
                "1 min 1 s",
                "3 min 20 s",
                "2 h 5 min",
                "1 d",
                "3 d 4 h",
                "unknown"
            ]
        );
    }

    #[test]
    fn counts() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(counted(1, "file"), "1 file");
        assert_eq!(counted(2_000, "file"), "2,000 files");
    }

    #[test]
    fn nothing_from_outside_moves_the_cursor() {
        assert_eq!(printable("a\u{1b}[2J\r\nb\u{202e}c"), "a\\u{1b}[2J\\u{d} b\\u{202e}c");
    }
}
