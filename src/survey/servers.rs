//! Which servers a prefix holds.

use crate::{drill::Error, store::SharedStore};

/// So many folders are looked into.
const MAX_FOLDERS: usize = 200;

/// A folder that looks like a server's archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerSummary {
    /// The server's name: `archive.server`.
    pub name: String,
    /// Key prefix that `archive.url` must end in, without slashes at its ends; may differ from the
    /// one that was asked for.
    pub prefix: String,
    pub has_base: bool,
    pub has_wals: bool,
}

impl ServerSummary {
    /// Name and, where it matters, the prefix.
    #[must_use]
    pub fn describe(&self) -> String {
        if self.prefix.is_empty() {
            format!("`{}` at the bucket's top", self.name)
        } else {
            format!("`{}` below `{}`", self.name, self.prefix)
        }
    }
}

/// The servers at `prefix` (without slashes at its ends): the folders below it that hold `base/` or
/// `wals/`. Where `prefix` itself is such a folder, it is the only one: its last part is the server's
/// name. A folder without either is looked into once more, since CloudNativePG's destination path
/// often ends in the cluster's name already and so has it twice.
///
/// # Errors
/// What the store cannot do.
pub async fn servers(store: &SharedStore, prefix: &str) -> Result<Vec<ServerSummary>, Error> {
    let prefix = prefix.trim_matches('/');
    if let Some((parent, name)) = split(prefix)
        && let Some(server) = look(store, parent, name).await?
    {
        return Ok(vec![server]);
    }
    let mut found = Vec::new();
    for name in folders(store, prefix).await? {
        if let Some(server) = look(store, prefix, &name).await? {
            found.push(server);
            continue;
        }
        let deeper = join(prefix, &name);
        for inner in folders(store, &deeper).await? {
            found.extend(look(store, &deeper, &inner).await?);
        }
    }
    Ok(found)
}

fn split(prefix: &str) -> Option<(&str, &str)> {
    match prefix.rsplit_once('/') {
        Some(parts) => Some(parts),
        None if prefix.is_empty() => None,
        None => Some(("", prefix)),
    }
}

fn join(prefix: &str, name: &str) -> String {
    if prefix.is_empty() { name.to_owned() } else { format!("{prefix}/{name}") }
}

async fn folders(store: &SharedStore, prefix: &str) -> Result<Vec<String>, Error> {
    let below = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
    let mut names = store.list_folders(&below).await?;
    names.truncate(MAX_FOLDERS);
    Ok(names)
}

async fn look(
    store: &SharedStore,
    prefix: &str,
    name: &str,
) -> Result<Option<ServerSummary>, Error> {
    let inside = folders(store, &join(prefix, name)).await?;
    let has = |folder: &str| inside.iter().any(|name| name == folder);
    let (has_base, has_wals) = (has("base"), has("wals"));
    Ok((has_base || has_wals).then(|| ServerSummary {
        name: name.to_owned(),
        prefix: prefix.to_owned(),
        has_base,
        has_wals,
    }))
}
