//! Evidence beside kept reports: signed when a drill ends, verified from the store alone.

use bytes::Bytes;

use super::{
    Digest, Link,
    chain::{Chain, Kept, State},
    dsse,
    key::{SigningKey, VerifyingKey},
    statement,
};
use crate::{
    drill::{DrillReport, Error},
    report::kept::{KeptId, ReportStore, Wanted},
};

/// So many earlier reports are looked at for the newest evidence. Where all of them lack it another
/// chain begins.
const LOOKED_BACK: usize = 100;

/// Signs a report that was kept under `id` as these bytes, and keeps the evidence beside it.
///
/// # Errors
/// What the store gives. The report is kept all the same.
pub async fn sign(
    store: &dyn ReportStore,
    id: &KeptId,
    bytes: &[u8],
    report: &DrillReport,
    key: &SigningKey,
) -> Result<(), Error> {
    let previous = newest_before(store, id).await?;
    let said = statement(&id.path(), bytes, report, previous);
    store.put_evidence(id, Bytes::from(dsse::seal(&said, key))).await
}

async fn newest_before(store: &dyn ReportStore, id: &KeptId) -> Result<Option<Link>, Error> {
    let wanted = Wanted::job(id.job()).limit(LOOKED_BACK);
    for earlier in store.list(&wanted).await? {
        if earlier >= *id {
            continue;
        }
        if let Some(envelope) = store.evidence(&earlier).await? {
            return Ok(Some(Link { name: earlier.path(), digest: Digest::of(&envelope) }));
        }
    }
    Ok(None)
}

/// One report, and what its evidence is worth.
#[derive(Debug)]
pub struct Looked {
    pub id: KeptId,
    pub state: State,
}

/// Verifies every chain of these jobs, none meaning all: job by job, oldest first. One report at a time is
/// in memory.
///
/// # Errors
/// What the store gives.
pub async fn verify(
    store: &dyn ReportStore,
    jobs: &[String],
    keys: &[VerifyingKey],
) -> Result<Vec<Looked>, Error> {
    let mut jobs = if jobs.is_empty() { store.jobs().await? } else { jobs.to_vec() };
    jobs.sort_unstable();
    jobs.dedup();
    let mut looked = Vec::new();
    for job in jobs {
        let mut chain = Chain::new(keys);
        for id in store.list(&Wanted::job(job)).await?.into_iter().rev() {
            // Pruned since it was listed: it is no part of the chain any more.
            let Some(report) = store.find(&id).await? else { continue };
            let envelope = store.evidence(&id).await?;
            let name = id.path();
            let state =
                chain.next(&Kept { name: &name, report: &report, envelope: envelope.as_deref() });
            looked.push(Looked { id, state });
        }
    }
    Ok(looked)
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::{
        drill::{job::StoreLocation, report::sample},
        report::{evidence::key::testing, json, kept},
    };

    fn id(job: &str, second: i64) -> KeptId {
        KeptId::new(job, Timestamp::from_second(second).unwrap(), format!("d{second}"))
    }

    async fn keep(store: &dyn ReportStore, id: &KeptId, signed: bool) {
        let report = sample::pass();
        let bytes = json::render(&report);
        store.put(id, bytes.clone().into()).await.unwrap();
        if signed {
            sign(store, id, bytes.as_bytes(), &report, &testing::signing(1)).await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_chain_for_each_job_beside_its_reports() {
        let folder = tempfile::tempdir().unwrap();
        let location = StoreLocation::folder(folder.path().to_str().unwrap());
        let store = kept::open(&location).await.unwrap();
        let keys = [testing::verifying(1)];
        let states = async |jobs: &[&str]| {
            let jobs: Vec<String> = jobs.iter().map(|&job| job.to_owned()).collect();
            let looked = verify(&*store, &jobs, &keys).await.unwrap();
            looked.into_iter().map(|looked| (looked.id, looked.state)).collect::<Vec<_>>()
        };
        // Over a month's end, with a report from before there was a key.
        let month = 31 * 24 * 3600;
        keep(&*store, &id("a", 1), false).await;
        for second in [2, month, month + 1] {
            keep(&*store, &id("a", second), true).await;
            keep(&*store, &id("b", second), true).await;
        }
        let good = |job: &str, second| (id(job, second), State::Good);
        let b = [good("b", 2), good("b", month), good("b", month + 1)];
        assert_eq!(states(&["b"]).await, b);
        let all = states(&[]).await;
        assert_eq!(all[0], (id("a", 1), State::Unsigned));
        assert_eq!(all.len(), 7);
        assert!(all[1..].iter().all(|(_, state)| *state == State::Good), "{all:?}");
        // Listings do not take evidence for reports, and it goes with its report.
        assert_eq!(store.list(&Wanted::default()).await.unwrap().len(), 7);
        store.remove(&id("b", 2)).await.unwrap();
        assert_eq!(store.evidence(&id("b", 2)).await.unwrap(), None);
        let left = states(&["b"]).await;
        assert!(matches!(&left[0].1, State::Begins(link) if link.name == id("b", 2).path()));
        // The same evidence twice is one, other evidence is refused.
        let envelope = store.evidence(&id("b", month)).await.unwrap().unwrap();
        store.put_evidence(&id("b", month), envelope).await.unwrap();
        let error = store.put_evidence(&id("b", month), "{}".into()).await.unwrap_err();
        assert!(error.message.contains("has other evidence"), "{error}");
        // The report on disk is changed.
        let path = folder.path().join(id("a", month).path());
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text.replace("\"pass\"", "\"fail\"")).unwrap();
        assert_eq!(states(&["a"]).await[2], (id("a", month), State::Changed));
    }
}
