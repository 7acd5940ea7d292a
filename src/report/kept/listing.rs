//! Listing by time over the folders of months: the newest month of all jobs first, so that what is asked
//! for is found without looking at what is older.

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::{
    KeptId, ROOT, Shelf, Wanted,
    name::{folder, unescape},
    wanted::{Month, number},
};
use crate::drill::Error;

/// Folders that are looked at at the same time: a bucket answers each in some ten milliseconds.
const PARALLEL: usize = 32;

/// The jobs that have a folder.
pub(super) async fn jobs<S: Shelf>(shelf: &S) -> Result<Vec<String>, Error> {
    let folders = shelf.folders(ROOT).await?;
    let mut jobs: Vec<String> = folders.iter().filter_map(|folder| unescape(folder)).collect();
    jobs.sort_unstable();
    Ok(jobs)
}

/// What is asked for, newest first.
pub(super) async fn list<S: Shelf>(shelf: &S, wanted: &Wanted) -> Result<Vec<KeptId>, Error> {
    let most = wanted.limit.unwrap_or(usize::MAX);
    let each = wanted.each.unwrap_or(usize::MAX).min(most);
    if each == 0 {
        return Ok(Vec::new());
    }
    let mut names = if wanted.jobs.is_empty() { jobs(shelf).await? } else { wanted.jobs.clone() };
    names.sort_unstable();
    names.dedup();
    let begun = stream::iter(names).map(|job| Walk::begin(shelf, wanted, job));
    let mut walks: Vec<Walk> = begun.buffer_unordered(PARALLEL).try_collect().await?;
    let mut found: Vec<KeptId> = Vec::new();
    while found.len() < most {
        // Everything in it is newer than what no folder has been opened for yet.
        let Some(month) = walks.iter().filter_map(Walk::next).max() else { break };
        let (now, later): (Vec<Walk>, Vec<Walk>) =
            walks.into_iter().partition(|walk| walk.next() == Some(month));
        let stepped = now.into_iter().map(|walk| walk.step(shelf, wanted, each));
        let stepped: Vec<(Walk, Vec<KeptId>)> =
            stream::iter(stepped).buffer_unordered(PARALLEL).try_collect().await?;
        walks = later;
        for (walk, ids) in stepped {
            found.extend(ids);
            walks.push(walk);
        }
    }
    found.sort_unstable_by(|a, b| b.cmp(a));
    found.truncate(most);
    Ok(found)
}

/// Where the listing of one job has got to.
#[derive(Debug)]
struct Walk {
    job: String,
    /// Still to be opened, the newest last.
    years: Vec<i16>,
    months: Vec<Month>,
    taken: usize,
}

impl Walk {
    async fn begin<S: Shelf>(shelf: &S, wanted: &Wanted, job: String) -> Result<Self, Error> {
        let names = shelf.folders(&folder(&job)).await?;
        let mut years: Vec<i16> = names
            .iter()
            .filter_map(|name| number(name, 4))
            .filter(|year| wanted.may_be_in_year(*year))
            .collect();
        years.sort_unstable();
        let mut walk = Self { job, years, months: Vec::new(), taken: 0 };
        walk.turn_back(shelf, wanted).await?;
        Ok(walk)
    }

    /// The newest month that has not been opened.
    fn next(&self) -> Option<Month> {
        self.months.last().copied()
    }

    /// Opens the newest month.
    async fn step<S: Shelf>(
        mut self,
        shelf: &S,
        wanted: &Wanted,
        each: usize,
    ) -> Result<(Self, Vec<KeptId>), Error> {
        let Some(month) = self.months.pop() else { return Ok((self, Vec::new())) };
        let files = shelf.files(&format!("{}/{}", folder(&self.job), month.path())).await?;
        let ids = files.iter().filter_map(|file| KeptId::parse(&self.job, file));
        // A file in the folder of another month would not be found again by its name.
        let mut ids: Vec<KeptId> =
            ids.filter(|id| wanted.has(id) && Month::of(id.at()) == month).collect();
        if ids.len() > each - self.taken {
            ids.sort_unstable_by(|a, b| b.cmp(a));
            ids.truncate(each - self.taken);
        }
        self.taken += ids.len();
        if self.taken == each {
            (self.months, self.years) = (Vec::new(), Vec::new());
        }
        self.turn_back(shelf, wanted).await?;
        Ok((self, ids))
    }

    /// Goes on to the year before, where no month is left of this one.
    async fn turn_back<S: Shelf>(&mut self, shelf: &S, wanted: &Wanted) -> Result<(), Error> {
        while self.months.is_empty()
            && let Some(year) = self.years.pop()
        {
            let names = shelf.folders(&format!("{}/{year:04}", folder(&self.job))).await?;
            self.months = names
                .iter()
                .filter_map(|name| Month::parse(year, name))
                .filter(|month| wanted.may_be_in(*month))
                .collect();
            self.months.sort_unstable();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, sync::Mutex};

    use async_trait::async_trait;
    use bytes::Bytes;
    use jiff::Timestamp;

    use super::*;

    /// A tree of names that remembers what it was asked for.
    #[derive(Debug, Default)]
    struct Tree {
        names: BTreeMap<String, Vec<String>>,
        asked: Mutex<Vec<String>>,
    }

    impl Tree {
        fn of(ids: &[KeptId]) -> Self {
            let mut tree = Self::default();
            for id in ids {
                tree.names.entry(id.folder()).or_default().push(id.file());
            }
            tree
        }

        fn asked(&self) -> Vec<String> {
            std::mem::take(&mut *self.asked.lock().unwrap())
        }
    }

    #[async_trait]
    impl Shelf for Tree {
        async fn folders(&self, path: &str) -> Result<Vec<String>, Error> {
            let below = format!("{path}/");
            let mut names: Vec<String> = self
                .names
                .keys()
                .filter_map(|folder| {
                    Some(folder.strip_prefix(&below)?.split('/').next()?.to_owned())
                })
                .collect();
            names.dedup();
            Ok(names)
        }
        async fn files(&self, path: &str) -> Result<Vec<String>, Error> {
            self.asked.lock().unwrap().push(path.strip_prefix("reports/v1/").unwrap().to_owned());
            Ok(self.names.get(path).cloned().unwrap_or_default())
        }
        async fn create(&self, _: &str, _: &str, _: Bytes) -> Result<bool, Error> {
            unreachable!("a listing does not write")
        }
        async fn read(&self, _: &str, _: usize) -> Result<Option<Bytes>, Error> {
            unreachable!("a listing reads names only")
        }
        async fn remove(&self, _: &str) -> Result<(), Error> {
            unreachable!("a listing removes nothing")
        }
        async fn exists(&self) -> Result<bool, Error> {
            Ok(true)
        }
        fn describe(&self) -> String {
            String::new()
        }
    }

    fn id(job: &str, time: &str) -> KeptId {
        KeptId::new(job, time.parse().unwrap(), "d")
    }

    fn sample() -> Vec<KeptId> {
        let mut ids = Vec::new();
        for month in 1..=12 {
            ids.push(id("daily", &format!("2026-{month:02}-01T00:00:00Z")));
            ids.push(id("daily", &format!("2026-{month:02}-28T00:00:00Z")));
        }
        ids.push(id("old", "2024-02-29T00:00:00Z"));
        ids.push(id("new", "2026-12-28T00:00:00.001Z"));
        ids
    }

    fn newest_first(mut ids: Vec<KeptId>) -> Vec<KeptId> {
        ids.sort_unstable_by(|a, b| b.cmp(a));
        ids
    }

    #[tokio::test]
    async fn reads_only_the_months_that_matter() {
        let tree = Tree::of(&sample());
        let all = newest_first(sample());
        assert_eq!(list(&tree, &Wanted::default()).await.unwrap(), all);
        assert_eq!(tree.asked().len(), 14);

        assert_eq!(list(&tree, &Wanted::newest(2)).await.unwrap(), all[..2]);
        let mut asked = tree.asked();
        asked.sort_unstable();
        assert_eq!(asked, ["daily/2026/12", "new/2026/12"]);

        let wanted = Wanted {
            since: Some("2026-03-02T00:00:00Z".parse().unwrap()),
            until: Some("2026-05-28T00:00:00Z".parse().unwrap()),
            ..Wanted::job("daily")
        };
        let times: Vec<String> =
            list(&tree, &wanted).await.unwrap().iter().map(|id| id.at().to_string()).collect();
        assert_eq!(
            times,
            [
                "2026-05-01T00:00:00Z",
                "2026-04-28T00:00:00Z",
                "2026-04-01T00:00:00Z",
                "2026-03-28T00:00:00Z"
            ]
        );
        assert_eq!(tree.asked(), ["daily/2026/05", "daily/2026/04", "daily/2026/03"]);
    }

    #[tokio::test]
    async fn the_newest_of_each_job() {
        let tree = Tree::of(&sample());
        let each = |each: usize, limit: Option<usize>| Wanted {
            each: Some(each),
            limit,
            ..Wanted::default()
        };
        let found = list(&tree, &each(1, None)).await.unwrap();
        assert_eq!(
            found,
            [
                id("new", "2026-12-28T00:00:00.001Z"),
                id("daily", "2026-12-28T00:00:00Z"),
                id("old", "2024-02-29T00:00:00Z"),
            ]
        );
        assert_eq!(tree.asked().len(), 3);
        assert_eq!(list(&tree, &each(3, None)).await.unwrap().len(), 5);
        assert_eq!(list(&tree, &each(3, Some(2))).await.unwrap(), found[..2]);
        assert_eq!(list(&tree, &each(0, None)).await.unwrap(), []);
        assert_eq!(jobs(&tree).await.unwrap(), ["daily", "new", "old"]);
    }

    #[tokio::test]
    async fn files_in_a_wrong_month_are_no_reports() {
        let mut tree = Tree::of(&[id("j", "2026-01-01T00:00:00Z")]);
        let stray = id("j", "2026-02-01T00:00:00Z");
        tree.names.get_mut("reports/v1/j/2026/01").unwrap().push(stray.file());
        tree.names.insert("reports/v1/j/lost/02".into(), vec![stray.file()]);
        let found = list(&tree, &Wanted::job("j")).await.unwrap();
        assert_eq!(found, [id("j", "2026-01-01T00:00:00Z")]);
        assert_eq!(found[0].at(), Timestamp::from_second(1_767_225_600).unwrap());
    }
}
