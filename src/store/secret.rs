//! Secrets, read from where a job says they are. Errors name the variable or file, never the value.

use std::{fmt, path::Path};

use tokio::io::AsyncReadExt;

use crate::drill::{Code, Error, FailureClass, job::SecretSource};

/// Longer than any access key or session token; a file beyond it is not a secret but a mistake.
const MAX_BYTES: u64 = 64 * 1024;

/// A secret's value, which prints as stars.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The value itself, for the one call that needs it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Reads a secret now. White space around it goes: files made with `echo` end in a newline, and no
/// key or token holds any.
///
/// # Errors
/// `CredentialsMissing` where the variable or file does not exist, is empty, too long, not text or
/// holds more than one word.
pub async fn read(source: &SecretSource) -> Result<Secret, Error> {
    read_with(source, |name| std::env::var_os(name)).await
}

/// Reads a secret of several lines, such as a key in PEM.
///
/// # Errors
/// As [`read`], but for what it holds.
pub async fn read_text(source: &SecretSource) -> Result<Secret, Error> {
    text(source, |name| std::env::var_os(name)).await.map(|(_, text)| Secret(text))
}

/// As [`read`], with another environment.
async fn read_with(
    source: &SecretSource,
    env: impl Fn(&str) -> Option<std::ffi::OsString>,
) -> Result<Secret, Error> {
    let (place, value) = text(source, env).await?;
    if value.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(missing(format!("the {place} holds more than one word"))
            .hint("It must hold the bare value of one secret, without its name or quotes."));
    }
    Ok(Secret(value))
}

/// Where it is, and what is there without the white space around it.
async fn text(
    source: &SecretSource,
    env: impl Fn(&str) -> Option<std::ffi::OsString>,
) -> Result<(String, String), Error> {
    let (place, bytes) = match source {
        SecretSource::Env(name) => {
            let place = format!("environment variable `{name}`");
            let value = env(name).ok_or_else(|| {
                missing(format!("the {place} is not set"))
                    .hint(format!("Set `{name}`, or name another source under `credentials`."))
            })?;
            (place, value.into_encoded_bytes())
        }
        SecretSource::File(path) => {
            let place = format!("file `{}`", path.display());
            let bytes = read_file(path).await.map_err(|error| {
                missing(format!("the {place} with a secret cannot be read: {error}")).hint(
                    "Check the path under `credentials` and that this user may read the file.",
                )
            })?;
            (place, bytes)
        }
    };
    if bytes.len() as u64 > MAX_BYTES {
        return Err(missing(format!("the {place} is too long for a secret")));
    }
    let text = String::from_utf8(bytes)
        .map_err(|_| missing(format!("the {place} does not hold a secret: it is not text")))?;
    let value = text.trim();
    if value.is_empty() {
        return Err(missing(format!("the {place} is empty")));
    }
    let value = value.to_owned();
    Ok((place, value))
}

async fn read_file(path: &Path) -> std::io::Result<Vec<u8>> {
    let file = tokio::fs::File::open(path).await?;
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).await?;
    Ok(bytes)
}

fn missing(message: String) -> Error {
    Error::new(Code::CredentialsMissing, message).class(FailureClass::ConfigError)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn from_env(value: Option<&str>) -> Result<Secret, Error> {
        read_with(&SecretSource::Env("KEY".to_owned()), |name| {
            assert_eq!(name, "KEY");
            value.map(Into::into)
        })
        .await
    }

    #[tokio::test]
    async fn reads_a_variable_and_trims_it() {
        assert_eq!(from_env(Some("abc/+=\r\n")).await.unwrap().expose(), "abc/+=");
    }

    #[tokio::test]
    async fn reads_a_file_and_trims_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        std::fs::write(&path, "s3cr3t\n\n").unwrap();
        let secret = read(&SecretSource::File(path)).await.unwrap();
        assert_eq!(secret.expose(), "s3cr3t");
    }

    #[tokio::test]
    async fn names_the_place_and_never_the_value() {
        for value in [None, Some(""), Some(" \n"), Some("hush hush"), Some("hush\nhush")] {
            let error = from_env(value).await.unwrap_err();
            assert_eq!(error.code, Code::CredentialsMissing);
            assert!(error.message.contains("`KEY`"), "{error}");
            assert!(!format!("{error:?}").contains("hush"), "{error:?}");
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        for content in [&b"\xff\xfehush"[..], &vec![b'h'; 70_000]] {
            std::fs::write(&path, content).unwrap();
            let error = read(&SecretSource::File(path.clone())).await.unwrap_err();
            assert!(error.message.contains(path.to_str().unwrap()), "{error}");
            assert!(!error.message.contains("hh"), "{error}");
        }
        std::fs::remove_file(&path).unwrap();
        let error = read(&SecretSource::File(path)).await.unwrap_err();
        assert!(error.message.contains("cannot be read"), "{error}");
    }

    #[test]
    fn prints_as_stars() {
        assert_eq!(format!("{:?}", Secret("hush".to_owned())), "***");
    }
}
