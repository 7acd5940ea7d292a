//! Ed25519 keys as `openssl genpkey -algorithm ed25519` writes them: PKCS#8 (RFC 8410) in PEM.

use std::fmt;

use aws_lc_rs::{
    encoding::{AsDer, PublicKeyX509Der},
    signature::{ED25519, Ed25519KeyPair, KeyPair as _, ParsedPublicKey},
};
use rustls::pki_types::{PrivatePkcs8KeyDer, SubjectPublicKeyInfoDer, pem::PemObject};

use super::Digest;
use crate::drill::{Code, Error, FailureClass};

/// Signs evidence. Prints as the id of its public half.
pub struct SigningKey {
    pair: Ed25519KeyPair,
    id: String,
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("id", &self.id).finish_non_exhaustive()
    }
}

impl SigningKey {
    /// From the PEM of a private key.
    ///
    /// # Errors
    /// `KeyInvalid`; the message never holds any of it.
    pub fn from_pem(pem: &str) -> Result<Self, Error> {
        let wrong = || invalid("the key to sign with is no Ed25519 private key in PEM (PKCS#8)");
        let der = PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes()).map_err(|_| wrong())?;
        let pair = Ed25519KeyPair::from_pkcs8(der.secret_pkcs8_der()).map_err(|_| wrong())?;
        let id = AsDer::<PublicKeyX509Der<'_>>::as_der(pair.public_key());
        let id = Digest::of(id.map_err(|_| wrong())?.as_ref()).sha256;
        Ok(Self { pair, id })
    }

    /// SHA-256 of the public key's `SubjectPublicKeyInfo`, in hexadecimal digits.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.pair.sign(message).as_ref().to_vec()
    }
}

/// Verifies evidence.
#[derive(Clone, Debug)]
pub struct VerifyingKey {
    key: ParsedPublicKey,
    id: String,
}

impl VerifyingKey {
    /// Every public key of a PEM file, so that evidence is good over a change of keys.
    ///
    /// # Errors
    /// `KeyInvalid` where there is none, or one of another kind.
    pub fn all_from_pem(pem: &[u8]) -> Result<Vec<Self>, Error> {
        let wrong = || {
            invalid("the key to verify with is no Ed25519 public key in PEM")
                .hint("Write it with `openssl pkey -in key.pem -pubout -out public.pem`.")
        };
        let mut keys = Vec::new();
        for der in SubjectPublicKeyInfoDer::pem_slice_iter(pem) {
            let der = der.map_err(|_| wrong())?;
            let key = ParsedPublicKey::new(&ED25519, der.as_ref()).map_err(|_| wrong())?;
            keys.push(Self { key, id: Digest::of(der.as_ref()).sha256 });
        }
        if keys.is_empty() { Err(wrong()) } else { Ok(keys) }
    }

    /// As [`SigningKey::id`].
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        self.key.verify_sig(message, signature).is_ok()
    }
}

fn invalid(message: &str) -> Error {
    Error::new(Code::KeyInvalid, message)
        .class(FailureClass::ConfigError)
        .hint("Make one with `openssl genpkey -algorithm ed25519 -out key.pem`.")
}

/// Keys for tests, each from a number.
#[cfg(test)]
pub(super) mod testing {
    use super::*;

    /// The PKCS#8 frame of an Ed25519 key (RFC 8410, section 7), then its 32 bytes.
    fn pkcs8(number: u8) -> Vec<u8> {
        let frame = [
            0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22,
            0x04, 0x20,
        ];
        [&frame[..], &[number; 32]].concat()
    }

    fn pem(label: &str, der: &[u8]) -> String {
        use base64::{Engine as _, engine::general_purpose::STANDARD};
        format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(der))
    }

    pub(in crate::report::evidence) fn private_pem(number: u8) -> String {
        pem("PRIVATE KEY", &pkcs8(number))
    }

    pub(in crate::report::evidence) fn signing(number: u8) -> SigningKey {
        SigningKey::from_pem(&private_pem(number)).unwrap()
    }

    pub(in crate::report::evidence) fn public_pem(number: u8) -> String {
        let key = signing(number);
        let der = AsDer::<PublicKeyX509Der<'_>>::as_der(key.pair.public_key()).unwrap();
        pem("PUBLIC KEY", der.as_ref())
    }

    pub(in crate::report::evidence) fn verifying(number: u8) -> VerifyingKey {
        VerifyingKey::all_from_pem(public_pem(number).as_bytes()).unwrap().remove(0)
    }
}

#[cfg(test)]
mod tests {
    use super::{testing::*, *};

    #[test]
    fn both_halves_have_one_id() {
        assert_eq!(signing(1).id(), verifying(1).id());
        assert_ne!(signing(1).id(), signing(2).id());
        assert_eq!(signing(1).id().len(), 64);
        // The id of the key in RFC 8410, section 10.1, as OpenSSL has it: `openssl pkey -pubin -outform
        // DER | sha256sum`.
        let pem = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----\n";
        let keys = VerifyingKey::all_from_pem(pem.as_bytes()).unwrap();
        assert_eq!(keys.len(), 1);
    }

    #[test]
    fn several_keys_of_a_file() {
        let pem = public_pem(1) + &public_pem(2);
        let keys = VerifyingKey::all_from_pem(pem.as_bytes()).unwrap();
        let ids: Vec<&str> = keys.iter().map(VerifyingKey::id).collect();
        assert_eq!(ids, [verifying(1).id(), verifying(2).id()]);
    }

    #[test]
    fn what_is_no_key_is_refused_and_not_repeated() {
        let private = private_pem(1);
        for pem in ["", "secret", &public_pem(1), &private.replace("MC4CAQ", "MC4CAR")] {
            let error = SigningKey::from_pem(pem).unwrap_err();
            assert_eq!(error.code, Code::KeyInvalid);
            assert!(!error.to_string().contains("secret"), "{error}");
        }
        for pem in ["", "public", &private] {
            let error = VerifyingKey::all_from_pem(pem.as_bytes()).unwrap_err();
            assert!(error.hint.unwrap().contains("-pubout"));
        }
        assert!(!format!("{:?}", signing(1)).contains("pair"));
    }
}
