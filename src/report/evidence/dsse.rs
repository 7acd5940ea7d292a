//! DSSE envelopes: a payload, what it is, and who signed both.
//!
//! Format: <https://github.com/secure-systems-lab/dsse/blob/v1.0.2/protocol.md>.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};

use super::{
    PREDICATE_TYPE, STATEMENT_TYPE, Statement,
    key::{SigningKey, VerifyingKey},
};

/// What our payloads are.
const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    payload: String,
    payload_type: String,
    signatures: Vec<Signature>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Signature {
    #[serde(default)]
    keyid: String,
    sig: String,
}

/// Why an envelope proves nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// It is no envelope, or holds no statement of ours.
    Form(String),
    /// None of its signatures is by one of the keys; the ids that it names.
    ForeignKey(Vec<String>),
    /// It names one of the keys, and the signature is not that key's of this content.
    Signature,
}

/// The envelope of a statement, as one line of JSON.
#[must_use]
pub fn seal(statement: &Statement, key: &SigningKey) -> Vec<u8> {
    // Nothing in a statement can fail to serialise: no map has other keys than texts.
    let payload = serde_json::to_vec(statement).unwrap_or_default();
    let sig = STANDARD.encode(key.sign(&encoding(PAYLOAD_TYPE, &payload)));
    let envelope = Envelope {
        payload: STANDARD.encode(&payload),
        payload_type: PAYLOAD_TYPE.to_owned(),
        signatures: vec![Signature { keyid: key.id().to_owned(), sig }],
    };
    let mut line = serde_json::to_vec(&envelope).unwrap_or_default();
    line.push(b'\n');
    line
}

/// The statement of an envelope that one of the keys has signed.
///
/// # Errors
/// What is wrong with it. Nothing of the payload is looked at before its signature holds.
pub fn open(envelope: &[u8], keys: &[VerifyingKey]) -> Result<Statement, Flaw> {
    let form = |what: &str| Flaw::Form(what.to_owned());
    let envelope: Envelope =
        serde_json::from_slice(envelope).map_err(|_| form("it is not a DSSE envelope"))?;
    let payload =
        STANDARD.decode(&envelope.payload).map_err(|_| form("its payload is not base64"))?;
    let signed = encoding(&envelope.payload_type, &payload);
    let holds = |key: &VerifyingKey| {
        let decoded = envelope.signatures.iter().filter_map(|by| STANDARD.decode(&by.sig).ok());
        decoded.into_iter().any(|sig| key.verifies(&signed, &sig))
    };
    if !keys.iter().any(holds) {
        let named = envelope.signatures.into_iter().map(|by| by.keyid);
        let named: Vec<String> = named.filter(|id| !id.is_empty()).collect();
        // The id is a hint and proves nothing: it only tells which of two things to say.
        let ours = named.is_empty() || keys.iter().any(|key| named.iter().any(|id| id == key.id()));
        return Err(if ours { Flaw::Signature } else { Flaw::ForeignKey(named) });
    }
    if envelope.payload_type != PAYLOAD_TYPE {
        return Err(form("its payload is no in-toto statement"));
    }
    let statement: Statement =
        serde_json::from_slice(&payload).map_err(|_| form("its statement is not of a drill"))?;
    if statement.kind != STATEMENT_TYPE || statement.predicate_type != PREDICATE_TYPE {
        return Err(form("its statement is of another kind or version"));
    }
    Ok(statement)
}

/// What is signed: the pre-authentication encoding.
fn encoding(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let head = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len());
    [head.as_bytes(), payload].concat()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::{
        drill::report::sample,
        report::evidence::{key::testing, statement},
    };

    fn sealed() -> (Statement, Vec<u8>) {
        let said = statement("x.json", b"report", &sample::pass(), None);
        let envelope = seal(&said, &testing::signing(1));
        (said, envelope)
    }

    #[test]
    fn the_encoding_is_that_of_the_protocol() {
        // The example of protocol.md.
        let encoded = encoding("http://example.com/HelloWorld", b"hello world");
        assert_eq!(encoded, b"DSSEv1 29 http://example.com/HelloWorld 11 hello world");
    }

    #[test]
    fn what_is_sealed_opens() {
        let (said, envelope) = sealed();
        let keys = [testing::verifying(2), testing::verifying(1)];
        assert_eq!(open(&envelope, &keys), Ok(said));
        assert_eq!(envelope.iter().position(|byte| *byte == b'\n'), Some(envelope.len() - 1));
    }

    #[test]
    fn other_keys_open_nothing() {
        let (_, envelope) = sealed();
        let id = testing::verifying(1).id().to_owned();
        assert_eq!(open(&envelope, &[testing::verifying(2)]), Err(Flaw::ForeignKey(vec![id])));
        assert!(open(&envelope, &[]).is_err());
    }

    #[test]
    fn every_changed_byte_of_the_content_is_seen() {
        let (_, envelope) = sealed();
        let keys = [testing::verifying(1)];
        let mut document: Value = serde_json::from_slice(&envelope).unwrap();
        let payload = STANDARD.decode(document["payload"].as_str().unwrap()).unwrap();
        for at in 0..payload.len() {
            let mut changed = payload.clone();
            changed[at] ^= 1;
            document["payload"] = STANDARD.encode(changed).into();
            let bytes = serde_json::to_vec(&document).unwrap();
            assert_eq!(open(&bytes, &keys), Err(Flaw::Signature), "byte {at}");
        }
        document["payload"] = STANDARD.encode(&payload).into();
        document["payloadType"] = "text/plain".into();
        let bytes = serde_json::to_vec(&document).unwrap();
        assert_eq!(open(&bytes, &keys), Err(Flaw::Signature));
    }

    #[test]
    fn a_signature_alone_is_no_statement_of_ours() {
        let keys = [testing::verifying(1)];
        let signed = |payload_type: &str, payload: &[u8]| {
            let sig = STANDARD.encode(testing::signing(1).sign(&encoding(payload_type, payload)));
            let signatures = vec![Signature { keyid: String::new(), sig }];
            let payload = STANDARD.encode(payload);
            let envelope = Envelope { payload, payload_type: payload_type.to_owned(), signatures };
            serde_json::to_vec(&envelope).unwrap()
        };
        let (mut said, _) = sealed();
        let form = |bytes: &[u8]| matches!(open(bytes, &keys), Err(Flaw::Form(_)));
        assert!(form(&signed("text/plain", &serde_json::to_vec(&said).unwrap())));
        assert!(form(&signed(PAYLOAD_TYPE, b"{}")));
        said.predicate_type = "https://slsa.dev/provenance/v1".into();
        assert!(form(&signed(PAYLOAD_TYPE, &serde_json::to_vec(&said).unwrap())));
        for bytes in
            [&b""[..], b"{}", b"[]", b"{\"payload\":\"!\",\"payloadType\":\"\",\"signatures\":[]}"]
        {
            assert!(form(bytes));
        }
    }
}
