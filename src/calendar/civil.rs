//! Days of the proleptic Gregorian calendar, counted from 1970-01-01. Integers only, since a service
//! asks for them millions of times.

/// Seconds of a day.
pub(super) const DAY: i64 = 86_400;

/// Days of the month.
pub(super) const fn days_in(year: i32, month: u32) -> u32 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

/// The number of a day (H. Hinnant, "chrono-Compatible Low-Level Date Algorithms", `days_from_civil`).
pub(super) const fn day_number(year: i32, month: u32, day: u32) -> i64 {
    let year = year as i64 - (month <= 2) as i64;
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month as i64 + 9) % 12) + 2) / 5 + day as i64 - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// Year, month and day of a number (`civil_from_days` there).
#[expect(clippy::cast_sign_loss, reason = "days and months are positive")]
pub(super) const fn date(number: i64) -> (i32, u32, u32) {
    let shifted = number + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + (month <= 2) as i64;
    (year as i32, month as u32, day as u32)
}

/// Day of the week of a day's number; 0 is Sunday. 1970-01-01 was a Thursday.
pub(super) const fn weekday(number: i64) -> u32 {
    (number + 4).rem_euclid(7) as u32
}

#[cfg(test)]
mod tests {
    use jiff::civil;

    use super::*;

    fn positive(number: i8) -> u32 {
        number.cast_unsigned().into()
    }

    proptest::proptest! {
        #[test]
        fn days_are_those_of_the_library(number in -700_000_i64..2_900_000) {
            let day = civil::date(1970, 1, 1) + jiff::Span::new().days(number);
            let (year, month, of_month) = date(number);
            proptest::prop_assert_eq!(
                (year, month, of_month),
                (day.year().into(), positive(day.month()), positive(day.day()))
            );
            proptest::prop_assert_eq!(day_number(year, month, of_month), number);
            proptest::prop_assert_eq!(weekday(number), positive(day.weekday().to_sunday_zero_offset()));
            proptest::prop_assert_eq!(days_in(year, month), positive(day.days_in_month()));
        }
    }
}
