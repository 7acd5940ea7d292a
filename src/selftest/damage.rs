//! A damage: what it does, and what must be said of it.

use super::{
    dice::Dice,
    materials::{Content, Materials, Part, Small},
    overlay::View,
    segment::Segment,
};
use crate::{
    archive::{Codec, key::TarName},
    drill::{FailureClass, Verdict, selftest::Tier},
};

/// One way in which an archive goes bad.
pub struct Damage {
    /// Stable.
    pub name: String,
    /// One sentence.
    pub what: String,
    pub classes: &'static [FailureClass],
    pub verdict: Verdict,
    /// The cheapest tier that can tell.
    pub tier: Tier,
    make: Box<Make>,
}

type Make = dyn Fn(&Materials, &mut Dice) -> Result<Made, NotMade> + Send + Sync;

/// An archive with one damage.
#[derive(Debug)]
pub struct Made {
    pub view: View,
    /// Parts of names: a finding must hold one of them.
    pub subjects: Vec<String>,
}

/// Why an archive cannot be damaged in this way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotMade {
    /// It holds nothing to which this could happen.
    NotApplicable(String),
    /// What would have to be changed is too large for memory.
    TooLarge(String),
}

impl std::fmt::Debug for Damage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Damage").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Damage {
    /// Bytes are bad or lost: the backup must not pass.
    pub fn of_bytes(
        name: impl Into<String>,
        what: impl Into<String>,
        tier: Tier,
        classes: &'static [FailureClass],
        make: impl Fn(&Materials, &mut Dice) -> Result<Made, NotMade> + Send + Sync + 'static,
    ) -> Self {
        let (name, what) = (name.into(), what.into());
        Self { name, what, classes, verdict: Verdict::Fail, tier, make: Box::new(make) }
    }

    /// The store is in trouble or the machine lacks something: nothing is known of the backup.
    pub fn of_access(
        name: impl Into<String>,
        what: impl Into<String>,
        tier: Tier,
        classes: &'static [FailureClass],
        make: impl Fn(&Materials, &mut Dice) -> Result<Made, NotMade> + Send + Sync + 'static,
    ) -> Self {
        let verdict = Verdict::Inconclusive;
        Self { verdict, ..Self::of_bytes(name, what, tier, classes, make) }
    }

    /// Findings of this damage name something else than an object.
    #[must_use]
    pub fn named_by(mut self, subjects: &'static [&'static str]) -> Self {
        let make = self.make;
        self.make = Box::new(move |materials, dice| {
            let mut made = make(materials, dice)?;
            made.subjects = subjects.iter().map(|subject| (*subject).to_owned()).collect();
            Ok(made)
        });
        self
    }

    /// Damages the archive, the same for the same seed.
    ///
    /// # Errors
    /// Where the archive cannot be damaged in this way.
    pub fn make(&self, materials: &Materials, seed: u64) -> Result<Made, NotMade> {
        (self.make)(materials, &mut Dice::new(seed, &self.name))
    }
}

/// Nothing there to which this could happen.
pub fn nothing<T>(why: impl Into<String>) -> Result<T, NotMade> {
    Err(NotMade::NotApplicable(why.into()))
}

impl From<String> for NotMade {
    /// What an encoder says of memory.
    fn from(why: String) -> Self {
        Self::TooLarge(why)
    }
}

/// A view in the making with the subjects that it damages.
pub fn made(view: View, subjects: impl IntoIterator<Item = impl Into<String>>) -> Made {
    Made { view, subjects: subjects.into_iter().map(Into::into).collect() }
}

impl Materials {
    /// A segment in memory, by its index in the plan.
    pub fn segment(&self, index: usize) -> Result<&Segment, NotMade> {
        let large = || NotMade::TooLarge("the segments are too large to be rewritten".to_owned());
        self.wal.get(&index).ok_or_else(large)
    }

    /// The key of a planned segment.
    pub fn wal_key(&self, index: usize) -> Result<String, NotMade> {
        let none = || NotMade::NotApplicable("the recovery point has no WAL".to_owned());
        self.plan.wal.get(index).map(|segment| segment.object.key).ok_or_else(none)
    }

    /// A segment behind the backup's end, with neighbours on its timeline.
    pub fn middle(&self) -> Result<&Segment, NotMade> {
        match self.middle {
            Some(index) => self.segment(index),
            None => nothing("fewer than three segments follow the backup on its timeline"),
        }
    }

    pub fn middle_index(&self) -> Result<usize, NotMade> {
        self.middle.map_or_else(
            || nothing("fewer than three segments follow the backup on its timeline"),
            Ok,
        )
    }

    /// The history of the timeline that recovery follows.
    pub fn history(&self) -> Result<&Small, NotMade> {
        let timeline = self.plan.history.timeline;
        let none = || NotMade::NotApplicable("the archive has one timeline only".to_owned());
        self.histories.get(&timeline).ok_or_else(none)
    }

    /// The parts of the data directory's tar, in order.
    pub fn data_parts(&self) -> Vec<&Part> {
        self.parts.iter().filter(|part| part.tar == TarName::Data).collect()
    }

    /// The first part whose content fits, with that content.
    pub fn part_with<T>(
        &self,
        what: &str,
        find: impl Fn(&Part, &Content) -> Option<T>,
    ) -> Result<(&Part, &Content, T), NotMade> {
        let mut large = false;
        for part in &self.parts {
            let Some(content) = &part.content else {
                large = true;
                continue;
            };
            if let Some(found) = find(part, content) {
                return Ok((part, content, found));
            }
        }
        if large {
            Err(NotMade::TooLarge("the tars are too large to be rewritten".to_owned()))
        } else {
            nothing(format!("no part of the backup holds {what}"))
        }
    }

    /// The first part of the data directory with its content.
    pub fn first_part(&self) -> Result<(&Part, &Content), NotMade> {
        let (part, content, ()) = self.part_with("a tar of the data directory", |part, _| {
            (part.tar == TarName::Data).then_some(())
        })?;
        Ok((part, content))
    }
}

impl Part {
    /// The file's name without a compression's extension.
    #[must_use]
    pub fn name(&self) -> String {
        self.tar.file_name(self.number)
    }

    /// Shows another tar in this part's own codec.
    pub fn show(&self, view: &mut View, tar: &[u8]) -> Result<(), NotMade> {
        self.show_in(view, self.object.codec, tar)
    }

    /// Shows another tar under the key of another codec.
    pub fn show_in(&self, view: &mut View, codec: Codec, tar: &[u8]) -> Result<(), NotMade> {
        let stored = crate::restore::codec::encode(codec, tar).map_err(|e| e.to_string())?;
        self.store_as(view, codec, stored);
        Ok(())
    }

    /// Shows these stored bytes under the key of another codec.
    pub fn store_as(&self, view: &mut View, codec: Codec, stored: Vec<u8>) {
        view.hide(self.object.key.as_str());
        let key = super::segment::key_in(&self.object.key, codec);
        view.show(key, stored, self.object.modified);
    }
}
