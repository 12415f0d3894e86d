//! As much of DER as bundles need: elements are written, and taken apart. Pure. Source: X.690.

/// INTEGER.
pub(super) const INTEGER: u8 = 0x02;
/// OCTET STRING.
pub(super) const OCTETS: u8 = 0x04;
/// NULL.
pub(super) const NULL: u8 = 0x05;
/// OBJECT IDENTIFIER.
pub(super) const OID: u8 = 0x06;
/// SEQUENCE.
pub(super) const SEQUENCE: u8 = 0x30;
/// SET.
pub(super) const SET: u8 = 0x31;
/// The first element with a tag of its own.
pub(super) const FIRST: u8 = 0xa0;

/// One element.
pub(super) fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    match u8::try_from(content.len()) {
        Ok(short @ ..0x80) => out.push(short),
        _ => {
            let bytes = content.len().to_be_bytes();
            let skip = bytes.iter().take_while(|b| **b == 0).count();
            out.push(0x80 | u8::try_from(bytes.len() - skip).unwrap_or_default());
            out.extend_from_slice(&bytes[skip..]);
        }
    }
    out.extend_from_slice(content);
    out
}

/// An element of others.
pub(super) fn of(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    element(tag, &parts.concat())
}

/// The first element: its tag, its content, and what follows.
pub(super) fn take(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        ..0x80 => (usize::from(first), rest),
        _ => {
            let (length, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            if length.is_empty() || length.len() > 4 {
                return None;
            }
            (length.iter().fold(0, |all, byte| all << 8 | usize::from(*byte)), rest)
        }
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

/// The content of the first element, if it has this tag, and what follows.
pub(super) fn take_as(tag: u8, bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (found, content, rest) = take(bytes)?;
    (found == tag).then_some((content, rest))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(0, &[4, 0])]
    #[case(127, &[4, 127])]
    #[case(128, &[4, 0x81, 128])]
    #[case(300, &[4, 0x82, 1, 44])]
    fn lengths(#[case] length: usize, #[case] head: &[u8]) {
        let content = vec![7; length];
        let written = element(OCTETS, &content);
        assert_eq!(&written[..head.len()], head);
        assert_eq!(take(&[&written[..], &[9]].concat()), Some((OCTETS, &content[..], &[9][..])));
    }

    #[rstest]
    #[case::nothing(&[])]
    #[case::no_length(&[4])]
    #[case::too_short(&[4, 3, 1, 2])]
    #[case::without_end(&[4, 0x80, 0, 0])]
    #[case::huge(&[4, 0x85, 1, 0, 0, 0, 0])]
    fn what_is_broken_is_nothing(#[case] bytes: &[u8]) {
        assert_eq!(take(bytes), None);
    }
}
