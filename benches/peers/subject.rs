//! One comparison: who takes part, what is counted, what ours is to reach.

use std::time::Instant;

use crate::{
    Outcome,
    measure::{Measured, Spread},
    say,
    scale::Scale,
};

/// Who takes part, under the name that the table gives.
pub struct Contender<'a> {
    pub name: &'static str,
    /// The commands, in words.
    pub how: String,
    /// One run, from preparing it to cleaning up; only what lies between is in the measure.
    pub run: Box<dyn FnMut() -> Outcome<Measured> + 'a>,
}

impl<'a> Contender<'a> {
    pub fn new(
        name: &'static str,
        how: impl Into<String>,
        run: impl FnMut() -> Outcome<Measured> + 'a,
    ) -> Self {
        Self { name, how: how.into(), run: Box::new(run) }
    }
}

/// What ours is to reach.
#[derive(Clone, Copy, Debug)]
pub struct Goal {
    pub ours: &'static str,
    pub than: &'static str,
    pub bar: Bar,
}

#[derive(Clone, Copy, Debug)]
pub enum Bar {
    /// So many times faster, at least.
    Faster(f64),
    /// So many times as long, at most.
    Within(f64),
    /// Less than so many seconds, whatever others take.
    Under(f64),
}

/// A comparison.
pub struct Subject<'a> {
    pub title: &'static str,
    /// What is measured, from where to where.
    pub counts: String,
    pub contenders: Vec<Contender<'a>>,
    pub goals: Vec<Goal>,
}

/// What came of a contender.
#[derive(Clone, Debug)]
pub struct Row {
    pub name: &'static str,
    pub how: String,
    pub runs: Vec<Measured>,
    /// Why it did not run, or did not come to its end.
    pub missing: Option<String>,
}

/// What came of a comparison.
#[derive(Clone, Debug)]
pub struct Table {
    pub title: &'static str,
    pub counts: String,
    pub rows: Vec<Row>,
    pub goals: Vec<Goal>,
}

impl Subject<'_> {
    /// Runs all of them in turn, again and again. Who fails once is out: a run that did not do its work
    /// is no measure. Once the time is over nobody gets a second run.
    pub fn measure(mut self, scale: &Scale, since: Instant) -> Table {
        say(self.title);
        let mut rows: Vec<Row> = Vec::new();
        for contender in &self.contenders {
            let (name, how) = (contender.name, contender.how.clone());
            rows.push(Row { name, how, runs: Vec::new(), missing: None });
        }
        for round in 0..scale.runs {
            for (contender, row) in self.contenders.iter_mut().zip(&mut rows) {
                let late = round > 0 && since.elapsed() > scale.budget();
                let enough =
                    row.runs.first().is_some_and(|first| round >= scale.runs_of(first.seconds));
                if row.missing.is_some() || late || enough {
                    continue;
                }
                match (contender.run)() {
                    Ok(measured) => {
                        say(&format!("  {}: {:.2} s", row.name, measured.seconds));
                        row.runs.push(measured);
                    }
                    Err(why) => {
                        say(&format!("  {}: missing: {why}", row.name));
                        row.missing = Some(why);
                    }
                }
            }
        }
        Table { title: self.title, counts: self.counts, rows, goals: self.goals }
    }
}

impl Row {
    /// `None` where it is missing, also if it failed after some runs.
    pub fn seconds(&self) -> Option<Spread> {
        if self.missing.is_some() {
            return None;
        }
        Spread::of(self.runs.iter().map(|run| run.seconds))
    }

    /// The median of processor seconds.
    pub fn cpu(&self) -> Option<f64> {
        Spread::of(self.runs.iter().filter_map(|run| run.cpu)).map(|spread| spread.median)
    }

    /// The most resident bytes in any run.
    pub fn peak(&self) -> Option<u64> {
        self.runs.iter().filter_map(|run| run.peak).max()
    }
}

impl Table {
    fn median(&self, name: &str) -> Result<f64, String> {
        let row = self.rows.iter().find(|row| row.name == name);
        let seconds = row.and_then(Row::seconds);
        seconds.map(|spread| spread.median).ok_or_else(|| format!("{name} is missing"))
    }

    /// Each goal in a sentence.
    pub fn goals(&self) -> Vec<String> {
        self.goals.iter().map(|goal| self.goal(*goal)).collect()
    }

    fn goal(&self, goal: Goal) -> String {
        let Goal { ours, than, bar } = goal;
        let own = self.median(ours);
        let other = || self.median(than);
        let (wanted, judged) = match bar {
            Bar::Faster(times) => (
                format!("at least {times} times faster than {than}"),
                own.and_then(|own| Ok(other()? / own)).map(|ratio| (ratio, ratio >= times)),
            ),
            Bar::Within(times) => (
                format!("at most {times} times as long as {than}"),
                own.and_then(|own| Ok(own / other()?)).map(|ratio| (ratio, ratio <= times)),
            ),
            Bar::Under(limit) => {
                let wanted = format!("under {:.1} ms", limit * 1e3);
                (wanted, own.map(|own| (own * 1e3, own < limit)))
            }
        };
        let measured = match judged {
            Ok((measured, true)) => format!("Measured {measured:.2}: reached"),
            Ok((measured, false)) => format!("Measured {measured:.2}: **not reached**"),
            Err(why) => format!("**Not measured**: {why}"),
        };
        format!("Goal for {ours}: {wanted}. {measured}.")
    }
}
