//! Expressions of every form that crontab(5) has, the same for the same seed.

use pgassay::selftest::dice::Dice;

/// Least and greatest value of each of six fields, and names where there are some.
const FIELDS: [(usize, usize, &[&str]); 6] = [
    (0, 59, &[]),
    (0, 59, &[]),
    (0, 23, &[]),
    (1, 31, &[]),
    (1, 12, &["jan", "FEB", "Mar", "apr", "may", "jun", "jul", "aug", "sep", "OCT", "nov", "dec"]),
    (0, 7, &["sun", "MON", "Tue", "wed", "thu", "FRI", "sat"]),
];

/// Seconds of 2020 to 2035.
const YEARS: (i64, usize) = (1_577_836_800, 504_921_600);

pub struct Sample(Dice);

impl Sample {
    pub fn new(seed: u64) -> Self {
        Self(Dice::new(seed, "expressions"))
    }

    pub fn second_of_these_years(&mut self) -> i64 {
        YEARS.0 + i64::try_from(self.0.below(YEARS.1)).unwrap()
    }

    /// Five fields or six.
    pub fn expression(&mut self) -> String {
        let first = usize::from(self.0.below(3) > 0);
        let fields: Vec<String> = (first..6).map(|field| self.field(field)).collect();
        fields.join(" ")
    }

    fn field(&mut self, field: usize) -> String {
        let entries = if self.0.below(4) == 0 { self.0.between(2, 5) } else { 1 };
        if self.0.below(5) < 2 {
            let any = (3..6).step_by(2).any(|day| day == field) && self.0.below(8) == 0;
            return if any { "?" } else { "*" }.to_owned();
        }
        let entries: Vec<String> = (0..entries).map(|_| self.entry(field)).collect();
        entries.join(",")
    }

    fn entry(&mut self, field: usize) -> String {
        let (least, greatest, _) = FIELDS[field];
        let (a, b) = (self.0.between(least, greatest + 1), self.0.between(least, greatest + 1));
        // Of a range from a value to itself `croniter` makes the whole circle.
        let (first, last) = if a == b { (least, greatest) } else { (a.min(b), a.max(b)) };
        let step = self.0.between(1, greatest - least + 1);
        match self.0.below(7) {
            0..=2 => self.value(field, a),
            3 => format!("{}-{}", self.value(field, first), self.value(field, last)),
            4 => format!("{first}-{last}/{step}"),
            5 => format!("*/{step}"),
            // Up to the end of the field; of a week that is Saturday.
            _ => format!("{}/{step}", if field == 5 { a % 7 } else { a }),
        }
    }

    fn value(&mut self, field: usize, value: usize) -> String {
        let (least, _, names) = FIELDS[field];
        match names.get(value - least) {
            Some(name) if self.0.below(2) == 0 => (*name).to_owned(),
            _ => value.to_string(),
        }
    }
}
