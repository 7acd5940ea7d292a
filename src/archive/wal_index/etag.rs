//! Entity tags in few bytes.

/// An entity tag as listed. Those of objects that were stored in one piece are an MD5, mostly in
/// double quotes; these take no memory of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Etag {
    None,
    Md5 { quoted: bool, sum: [u8; 16] },
    Other(Box<str>),
}

impl Etag {
    pub(super) fn new(text: Option<&str>) -> Self {
        let Some(text) = text else { return Self::None };
        let inner = text.strip_prefix('"').and_then(|t| t.strip_suffix('"'));
        match md5(inner.unwrap_or(text)) {
            Some(sum) => Self::Md5 { quoted: inner.is_some(), sum },
            None => Self::Other(text.into()),
        }
    }

    pub(super) fn text(&self) -> Option<String> {
        match self {
            Self::None => None,
            Self::Other(text) => Some(text.to_string()),
            Self::Md5 { quoted, sum } => {
                let hex = format!("{:032x}", u128::from_be_bytes(*sum));
                Some(if *quoted { format!("\"{hex}\"") } else { hex })
            }
        }
    }
}

/// Lower-case hex only, so that the text comes back as it was.
fn md5(text: &str) -> Option<[u8; 16]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let bytes: &[u8; 32] = text.as_bytes().try_into().ok()?;
    let mut sum = [0; 16];
    for (out, pair) in sum.iter_mut().zip(bytes.chunks_exact(2)) {
        *out = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(sum)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_plain_md5_takes_no_heap() {
        let quoted = Etag::new(Some("\"d41d8cd98f00b204e9800998ecf8427e\""));
        assert!(matches!(quoted, Etag::Md5 { quoted: true, .. }));
        assert_eq!(size_of::<Etag>(), 24);
    }

    proptest! {
        #[test]
        fn every_tag_comes_back(tag in "\"?([0-9a-f]{32}|[0-9A-Fa-f]{30,34}|\\PC{0,8})(-[0-9])?\"?") {
            prop_assert_eq!(Etag::new(Some(&tag)).text(), Some(tag));
        }
    }
}
