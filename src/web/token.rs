//! The token that starts drills.

use std::{fmt, path::Path};

use sha2::{Digest as _, Sha256};

use crate::{
    drill::{Code, Error, job::SecretSource},
    store::secret,
};

/// Shorter ones can be guessed.
const LEAST: usize = 16;

/// The digest of it: nothing that is printed or compared shows the token itself.
#[derive(Clone, PartialEq, Eq)]
pub struct Token([u8; 32]);

impl Token {
    /// From a file that holds nothing else.
    ///
    /// # Errors
    /// `CredentialsMissing` where there is none, `Usage` where it is too short.
    pub async fn read(file: &Path) -> Result<Self, Error> {
        let source = SecretSource::File(file.to_owned());
        let hint = "Write at least 16 random characters into the file that `--token-file` names, such as \
                    `openssl rand -hex 16` prints.";
        let text = secret::read(&source).await.map_err(|error| error.hint(hint))?;
        if text.expose().len() < LEAST {
            let message =
                format!("the token in `{}` has fewer than {LEAST} characters", file.display());
            return Err(Error::new(Code::Usage, message).hint(hint));
        }
        Ok(Self::of(text.expose()))
    }

    fn of(text: &str) -> Self {
        Self(Sha256::digest(text.as_bytes()).into())
    }

    /// Whether it is this one. How long that takes says nothing: digests are compared.
    #[must_use]
    pub fn is(&self, given: &str) -> bool {
        *self == Self::of(given)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_token_is_long_enough_and_never_shown() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        assert_eq!(Token::read(&file).await.unwrap_err().code, Code::CredentialsMissing);
        std::fs::write(&file, "short\n").unwrap();
        let error = Token::read(&file).await.unwrap_err();
        assert_eq!(error.code, Code::Usage);
        assert!(!error.to_string().contains("short\n"), "{error}");
        std::fs::write(&file, "0123456789abcdef\n").unwrap();
        let token = Token::read(&file).await.unwrap();
        assert!(token.is("0123456789abcdef"));
        assert!(!token.is("0123456789abcdeg") && !token.is(""));
        assert_eq!(format!("{token:?}"), "***");
    }
}
