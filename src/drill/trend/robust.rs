//! Statistics that one odd value does not move: median, median absolute deviation, Theil–Sen slope.

use jiff::Timestamp;
use serde::Serialize;

/// Least points and least span that a slope is told of: what lies closer together is noise times a day.
const LEAST_POINTS: usize = 5;
const LEAST_SPAN: f64 = 86_400.0;

/// Most points that are compared with one another, evenly taken from all: pairs grow with the square.
const MOST_POINTS: usize = 400;

/// A value at a time.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Point {
    pub at: Timestamp,
    pub value: f64,
}

/// A line through points over time.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Line {
    /// Change of the value in a day.
    pub slope_per_day: f64,
    /// A point on it.
    #[serde(skip)]
    pub through: Point,
}

impl Line {
    /// The value on the line at a time.
    #[must_use]
    pub fn at(&self, at: Timestamp) -> f64 {
        self.through.value + self.slope_per_day * days(self.through.at, at)
    }
}

fn days(from: Timestamp, to: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64() / 86_400.0
}

/// The middle value, or the mean of the two in the middle.
#[must_use]
pub fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.into_iter().filter(|value| value.is_finite()).collect();
    values.sort_unstable_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(values[middle]),
        _ => Some(f64::midpoint(values[middle - 1], values[middle])),
    }
}

/// The median distance from the median, scaled so that of normally distributed values it is their
/// standard deviation (Rousseeuw and Croux 1993).
#[must_use]
pub fn deviation(values: &[f64], median_of_them: f64) -> f64 {
    let distances = values.iter().map(|value| (value - median_of_them).abs());
    1.4826 * median(distances).unwrap_or(0.0)
}

/// The median of the slopes between any two points, and the median of what it leaves (Theil 1950, Sen
/// 1968). `None` where there are fewer than five points or they span less than a day.
#[must_use]
pub fn theil_sen(points: &[Point]) -> Option<Line> {
    let mut points = points.to_vec();
    points.sort_by_key(|point| point.at);
    let (first, last) = (points.first()?.at, points.last()?.at);
    if points.len() < LEAST_POINTS || last.duration_since(first).as_secs_f64() < LEAST_SPAN {
        return None;
    }
    let step = points.len().div_ceil(MOST_POINTS);
    // From the end, so that the newest is one of them.
    let thin: Vec<Point> = points.iter().rev().step_by(step).rev().copied().collect();
    let slopes = thin.iter().enumerate().flat_map(|(index, a)| {
        thin[index + 1..].iter().filter_map(|b| {
            let days = days(a.at, b.at);
            (days > 0.0).then(|| (b.value - a.value) / days)
        })
    });
    let slope_per_day = median(slopes)?;
    let level = median(thin.iter().map(|p| p.value - slope_per_day * days(last, p.at)))?;
    Some(Line { slope_per_day, through: Point { at: last, value: level } })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(values: &[f64]) -> Vec<Point> {
        let at = |day: i64| Timestamp::from_second(1_790_000_000 + day * 86_400).unwrap();
        values.iter().zip(0..).map(|(value, day)| Point { at: at(day), value: *value }).collect()
    }

    fn near(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-9
    }

    #[test]
    fn medians() {
        assert_eq!(median([]), None);
        assert_eq!(median([3.0, f64::NAN, 1.0, 2.0]), Some(2.0));
        assert_eq!(median([4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert!(near(deviation(&[1.0, 1.0, 2.0, 2.0, 4.0, 6.0, 9.0], 2.0), 1.4826));
        assert!(near(deviation(&[5.0; 4], 5.0), 0.0));
    }

    #[test]
    fn a_line_in_spite_of_odd_values() {
        let mut values: Vec<f64> = (0..20).map(|day| 10.0 + 2.0 * f64::from(day)).collect();
        values[3] = 1e6;
        values[17] = 0.0;
        let points = points(&values);
        let line = theil_sen(&points).unwrap();
        assert!(near(line.slope_per_day, 2.0), "{line:?}");
        assert!(near(line.at(points[0].at), 10.0) && near(line.at(points[19].at), 48.0));
    }

    #[test]
    fn too_little_says_nothing() {
        assert_eq!(theil_sen(&[]), None);
        assert_eq!(theil_sen(&points(&[1.0, 2.0, 3.0, 4.0])), None);
        let mut close = points(&[1.0, 2.0, 3.0, 4.0, 5.0]);
        assert!(theil_sen(&close).is_some());
        for (point, hour) in close.iter_mut().zip(0..) {
            point.at = Timestamp::from_second(1_790_000_000 + hour * 3_600).unwrap();
        }
        assert_eq!(theil_sen(&close), None);
    }

    #[test]
    fn many_points_are_thinned() {
        let values: Vec<f64> = (0..5_000).map(|day| f64::from(day) * 3.0).collect();
        let line = theil_sen(&points(&values)).unwrap();
        assert!(near(line.slope_per_day, 3.0));
        assert_eq!(line.through.at, points(&values)[4_999].at);
    }
}
