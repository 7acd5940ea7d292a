//! Values over time as inline SVG. Numbers stand beside a picture, not in it, so that they stay readable
//! on a phone, and every picture says in words what it shows.

use jiff::Timestamp;
use maud::{Markup, html};

use crate::drill::trend::{Point, Series};

/// Units of the drawing; the page scales it.
const WIDTH: f64 = 320.0;
const HEIGHT: f64 = 90.0;
const MARGIN: f64 = 6.0;

/// Most dots; more run into one another.
const MOST_DOTS: usize = 60;

/// A chart with its caption.
#[derive(Clone, Copy, Debug)]
pub struct Chart<'a> {
    pub title: &'a str,
    pub series: &'a Series,
    /// How a value is said.
    pub say: fn(f64) -> String,
    /// A line that should not be crossed.
    pub limit: Option<f64>,
    /// Tells the pictures of a page apart.
    pub id: &'a str,
}

impl Chart<'_> {
    /// The figure: picture, last value, median, change, limit.
    #[must_use]
    pub fn figure(&self) -> Markup {
        let Self { title, series, say, limit, id } = *self;
        let frame = Frame::of(&series.points, limit);
        let change = series.line.map(|line| {
            let sign = if line.slope_per_day < 0.0 { "−" } else { "+" };
            format!("{sign}{} a day", say(line.slope_per_day.abs()))
        });
        let (low, high) = extent(series.points.iter().map(|point| point.value));
        let description = format!(
            "{} values from {} to {}, between {} and {}",
            series.points.len(),
            day(series.points.first()),
            day(series.points.last()),
            say(low),
            say(high)
        );
        html! {
            figure {
                h3 { (title) }
                svg class="chart" viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } role="img"
                    aria-labelledby={ (id) "-t " (id) "-d" } {
                    title id={ (id) "-t" } { (title) }
                    desc id={ (id) "-d" } { (description) }
                    line class="base" x1="0" x2=(WIDTH) y1=(HEIGHT - 1.0) y2=(HEIGHT - 1.0) {}
                    @if let Some(limit) = limit {
                        line class="limit" x1="0" x2=(WIDTH) y1=(frame.y(limit)) y2=(frame.y(limit)) {}
                    }
                    polyline class="line" points=(frame.path(&series.points)) {}
                    @if series.points.len() <= MOST_DOTS {
                        @for point in &series.points {
                            circle class="dot" cx=(frame.x(point.at)) cy=(frame.y(point.value)) r="2.5" {}
                        }
                    }
                }
                figcaption {
                    "last " strong { (say(series.last)) } ", median " (say(series.median))
                    @if let Some(change) = change { ", " (change) }
                    @if let Some(limit) = limit { "; objective " (say(limit)) }
                }
            }
        }
    }
}

/// A small line without an axis. `label` says what it shows.
#[must_use]
pub fn sparkline(points: &[Point], label: &str) -> Markup {
    let frame = Frame::of(points, None);
    html! {
        svg class="chart spark" viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } preserveAspectRatio="none"
            role="img" aria-label=(label) {
            title { (label) }
            polyline class="line" points=(frame.path(points)) {}
        }
    }
}

/// From values to places in the drawing. Values begin at zero, so that a small change looks small.
struct Frame {
    from: f64,
    span: f64,
    top: f64,
}

impl Frame {
    fn of(points: &[Point], limit: Option<f64>) -> Self {
        let (from, to) = extent(points.iter().map(|point| seconds(point.at)));
        let (_, high) = extent(points.iter().map(|point| point.value).chain(limit));
        Self { from, span: (to - from).max(1.0), top: high.max(f64::MIN_POSITIVE) }
    }

    fn x(&self, at: Timestamp) -> f64 {
        let share = (seconds(at) - self.from) / self.span;
        round(MARGIN + share * (WIDTH - 2.0 * MARGIN))
    }

    fn y(&self, value: f64) -> f64 {
        round(HEIGHT - MARGIN - value / self.top * (HEIGHT - 2.0 * MARGIN))
    }

    fn path(&self, points: &[Point]) -> String {
        let places: Vec<String> = points
            .iter()
            .map(|point| format!("{},{}", self.x(point.at), self.y(point.value)))
            .collect();
        places.join(" ")
    }
}

fn seconds(at: Timestamp) -> f64 {
    at.as_second() as f64
}

fn round(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

fn extent(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (low, high) = values
        .filter(|value| value.is_finite())
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
    if low <= high { (low, high) } else { (0.0, 0.0) }
}

fn day(point: Option<&Point>) -> String {
    point.map_or_else(String::new, |point| point.at.strftime("%Y-%m-%d").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drill::format::duration;

    fn series(values: &[f64]) -> Series {
        let at = |n: i64| Timestamp::from_second(1_790_000_000 + n * 86_400).unwrap();
        let points = values.iter().zip(0..).map(|(value, n)| Point { at: at(n), value: *value });
        Series::of(points.collect()).unwrap()
    }

    #[test]
    fn a_chart() {
        let series = series(&[100.0, 110.0, 120.0, 130.0, 140.0, 300.0]);
        let chart =
            Chart { title: "RTO", series: &series, say: duration, limit: Some(600.0), id: "rto" };
        insta::assert_snapshot!(chart.figure().into_string());
    }

    #[test]
    fn one_value_and_none_at_all_are_drawn_too() {
        for values in [&[0.0][..], &[5.0], &[0.0, 0.0]] {
            let series = series(values);
            let chart = Chart { title: "t", series: &series, say: duration, limit: None, id: "i" };
            let drawn =
                chart.figure().into_string() + &sparkline(&series.points, "t").into_string();
            assert!(!drawn.contains("NaN") && !drawn.contains("inf"), "{drawn}");
        }
        assert!(sparkline(&[], "none").into_string().contains("points=\"\""));
    }
}
