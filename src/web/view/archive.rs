//! An archive by its name.

use serde::Serialize;
use sha2::{Digest as _, Sha256};
use utoipa::ToSchema;

use crate::drill::Job;

/// Where backups and WAL of one server are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct ArchiveView {
    /// Tells it from others in addresses of this service: made of the store's address, the URL and the server.
    pub id: String,
    pub url: String,
    pub server: String,
}

impl ArchiveView {
    /// Of a job.
    #[must_use]
    pub fn of(job: &Job) -> Self {
        let (store, server) = (&job.archive.store, &job.archive.server);
        let endpoint = store.s3.endpoint.as_deref().unwrap_or_default();
        Self::made_of(endpoint, &store.url(), server)
    }

    /// By its names.
    #[must_use]
    pub fn named(url: &str, server: &str) -> Self {
        Self::made_of("", url, server)
    }

    /// Two stores may have buckets of one name.
    fn made_of(endpoint: &str, url: &str, server: &str) -> Self {
        let digest = Sha256::digest(format!("{endpoint}\n{url}\n{server}").as_bytes());
        let id = digest[..8].try_into().map_or(0, u64::from_be_bytes);
        Self { id: format!("{id:016x}"), url: url.to_owned(), server: server.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    #[test]
    fn buckets_of_one_name_in_two_places_are_two_archives() {
        let id = |endpoint: &str, server: &str| {
            let text = format!(
                "apiVersion: pgassay.dev/v1alpha1\nkind: DrillJob\nmetadata: {{name: j}}\nspec:\n  archive: {{url: \
                 s3://bucket/path, server: {server}, s3: {{endpoint: \"http://{endpoint}\"}}}}\n"
            );
            ArchiveView::of(&config::parse(&text, "job.yaml").unwrap()).id
        };
        assert_eq!(id("one:9000", "orders"), id("one:9000", "orders"));
        assert_ne!(id("one:9000", "orders"), id("two:9000", "orders"));
        assert_ne!(id("one:9000", "orders"), id("one:9000", "billing"));
    }
}
