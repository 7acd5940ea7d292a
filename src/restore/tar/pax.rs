//! Extended headers: records of the form `length key=value\n`.

use super::MAX_NAME;

/// What extended headers say instead of a member's own header. Times, owners and what else there may
/// be does not matter here.
#[derive(Clone, Debug, Default)]
pub(super) struct Overrides {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
}

impl Overrides {
    /// # Errors
    /// One sentence that says what is wrong.
    pub(super) fn apply_pax(&mut self, mut body: &[u8]) -> Result<(), String> {
        while !body.is_empty() {
            let (key, value, rest) = record(body).ok_or("a pax header is not well formed")?;
            body = rest;
            let name = || match value.len() as u64 {
                0 => Ok(None),
                1..=MAX_NAME => Ok(Some(value.to_vec())),
                length => Err(format!("a name of {length} bytes")),
            };
            match key {
                b"path" => self.path = name()?,
                b"linkpath" => self.link = name()?,
                b"size" => {
                    let size = decimal(value).ok_or("a pax header's size is not a number")?;
                    self.size = Some(size);
                }
                _ if key.starts_with(b"GNU.sparse.") => {
                    return Err("a member is a sparse file, which no backup tool writes".into());
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// The first record's key and value, and what follows it.
fn record(body: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = body.iter().take(8).position(|byte| *byte == b' ')?;
    let length = usize::try_from(decimal(&body[..space])?).ok()?;
    let (record, rest) = body.split_at_checked(length)?;
    let record = record.get(space + 1..)?.strip_suffix(b"\n")?;
    let equals = record.iter().position(|byte| *byte == b'=')?;
    (equals > 0).then(|| (&record[..equals], &record[equals + 1..], rest))
}

fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > 19 {
        return None;
    }
    digits.iter().try_fold(0_u64, |sum, digit| match digit {
        b'0'..=b'9' => sum.checked_mul(10)?.checked_add(u64::from(digit - b'0')),
        _ => None,
    })
}
