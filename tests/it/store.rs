//! The S3 client against servers that work and against peers that do not.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::{path::PathBuf, time::Duration};

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};
use pgassay::{
    drill::{
        Error,
        job::{Credentials, S3Spec, SecretSource, StoreLocation, StoreScheme},
    },
    store::{
        GetRange, ListedObject, ObjectStore, S3Store, read_all,
        retry::RetryPolicy,
        s3::{S3Options, Timeouts},
    },
};
use tempfile::TempDir;

mod answers;
mod credentials;
mod kept;
pub mod moto;
mod network;
pub mod peer;
mod ranged;
mod servers;
mod tls;

const BUCKET: &str = "backups";
const SECRET: &str = "hush/hush+hush";

/// Files with the keys of a client.
struct Keys {
    dir: TempDir,
}

impl Keys {
    fn new(id: &str, secret: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("id"), format!("{id}\n")).unwrap();
        std::fs::write(dir.path().join("secret"), format!("{secret}\n")).unwrap();
        Self { dir }
    }

    fn credentials(&self) -> Credentials {
        Credentials::Static {
            access_key_id: self.source("id"),
            secret_access_key: self.source("secret"),
            session_token: None,
        }
    }

    fn source(&self, name: &str) -> SecretSource {
        SecretSource::File(self.path(name))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

fn location(endpoint: &str, credentials: Credentials) -> StoreLocation {
    StoreLocation {
        scheme: StoreScheme::S3,
        bucket: BUCKET.to_owned(),
        prefix: String::new(),
        s3: S3Spec {
            endpoint: Some(endpoint.to_owned()),
            path_style: true,
            credentials,
            ..S3Spec::default()
        },
    }
}

/// Retries without waits, and patience for servers on this machine.
fn quick() -> S3Options {
    S3Options {
        retry: RetryPolicy { base: Duration::ZERO, max_attempts: 5, ..RetryPolicy::default() },
        timeouts: Timeouts::default(),
    }
}

/// A client of a scripted peer: no signature, no waits.
async fn client(endpoint: &str) -> S3Store {
    client_with(endpoint, quick()).await
}

async fn client_with(endpoint: &str, options: S3Options) -> S3Store {
    S3Store::connect_with(&location(endpoint, Credentials::Anonymous), options).await.unwrap()
}

async fn read(store: &S3Store, range: GetRange<'_>) -> Result<Bytes, Error> {
    read_all(store, range, 1 << 24).await
}

async fn list(store: &S3Store, prefix: &str) -> Result<Vec<Vec<ListedObject>>, Error> {
    store.list(prefix).try_collect().await
}

async fn list_error(store: &S3Store) -> Error {
    list(store, "a/").await.unwrap_err()
}

/// Bytes that differ everywhere.
fn content(length: usize) -> Vec<u8> {
    (0..length).map(|n| (n % 251) as u8).collect()
}

/// The first error of a body.
async fn body_error(store: &S3Store, range: GetRange<'_>) -> Error {
    let mut body = match store.get(range).await {
        Ok(body) => body,
        Err(error) => return error,
    };
    while let Some(item) = body.next().await {
        if let Err(error) = item {
            assert!(body.next().await.is_none(), "a body ends with its error");
            return error;
        }
    }
    panic!("the body was read without an error");
}
