//! NOTIFICATION: why a session ends, as codes and as words (RFC 4271 §4.5, §6). Pure.

use std::fmt;

/// Of a shutdown text this much is sent. RFC 9003 allows 255 octets, but those who know only RFC 8203 take a longer one than this for an error.
const MAX_TEXT: usize = 128;

/// Error code and subcode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reason(pub u8, pub u8);

impl Reason {
    /// The marker is not all ones (RFC 4271 §6.1).
    pub const NOT_SYNCHRONIZED: Reason = Reason(1, 1);
    /// A length that cannot be (§6.1).
    pub const BAD_LENGTH: Reason = Reason(1, 2);
    /// A message type that does not exist (§6.1).
    pub const BAD_TYPE: Reason = Reason(1, 3);
    /// An OPEN that cannot be read (§6.2).
    pub const BAD_OPEN: Reason = Reason(2, 0);
    /// Another version of BGP (§6.2).
    pub const BAD_VERSION: Reason = Reason(2, 1);
    /// Not the AS number that is configured (§6.2).
    pub const BAD_PEER_AS: Reason = Reason(2, 2);
    /// A BGP Identifier that cannot be (§6.2, RFC 6286 §2.2).
    pub const BAD_IDENTIFIER: Reason = Reason(2, 3);
    /// An optional parameter that is no capability (§6.2).
    pub const BAD_PARAMETER: Reason = Reason(2, 4);
    /// A hold time of one or two seconds (§6.2).
    pub const BAD_HOLD_TIME: Reason = Reason(2, 6);
    /// A capability is missing without which there is nothing to say (RFC 5492 §5).
    pub const NO_CAPABILITY: Reason = Reason(2, 7);
    /// Nothing came for the hold time (RFC 4271 §6.5).
    pub const HOLD_TIMER: Reason = Reason(4, 0);
    /// A message that does not belong into OpenSent (RFC 6608).
    pub const IN_OPEN_SENT: Reason = Reason(5, 1);
    /// A message that does not belong into OpenConfirm (RFC 6608).
    pub const IN_OPEN_CONFIRM: Reason = Reason(5, 2);
    /// A message that does not belong into Established (RFC 6608).
    pub const IN_ESTABLISHED: Reason = Reason(5, 3);
    /// The speaker goes away (RFC 4486).
    pub const SHUTDOWN: Reason = Reason(6, 2);
    /// The peer is configured no more (RFC 4486).
    pub const DECONFIGURED: Reason = Reason(6, 3);
    /// The speaker comes back soon (RFC 4486).
    pub const RESET: Reason = Reason(6, 4);
    /// This connection is not wanted (RFC 4486).
    pub const REJECTED: Reason = Reason(6, 5);
    /// The peer is configured otherwise now (RFC 4486).
    pub const CHANGED: Reason = Reason(6, 6);
    /// Another connection was chosen (RFC 4271 §6.8, RFC 4486).
    pub const COLLISION: Reason = Reason(6, 7);
    /// BFD says that the path is gone (RFC 9384).
    pub const BFD_DOWN: Reason = Reason(6, 10);
    /// The peer reads nothing (RFC 9687).
    pub const SEND_HOLD_TIMER: Reason = Reason(8, 0);

    /// The words of the RFCs; nothing for numbers that mean nothing yet.
    pub fn name(self) -> Option<&'static str> {
        let name = match self {
            Reason(1, 0) => "Message Header Error",
            Self::NOT_SYNCHRONIZED => "Message Header Error/Connection Not Synchronized",
            Self::BAD_LENGTH => "Message Header Error/Bad Message Length",
            Self::BAD_TYPE => "Message Header Error/Bad Message Type",
            Self::BAD_OPEN => "OPEN Message Error",
            Self::BAD_VERSION => "OPEN Message Error/Unsupported Version Number",
            Self::BAD_PEER_AS => "OPEN Message Error/Bad Peer AS",
            Self::BAD_IDENTIFIER => "OPEN Message Error/Bad BGP Identifier",
            Self::BAD_PARAMETER => "OPEN Message Error/Unsupported Optional Parameter",
            Reason(2, 5) => "OPEN Message Error/Authentication Failure",
            Self::BAD_HOLD_TIME => "OPEN Message Error/Unacceptable Hold Time",
            Self::NO_CAPABILITY => "OPEN Message Error/Unsupported Capability",
            Reason(2, 11) => "OPEN Message Error/Role Mismatch",
            Reason(3, 0) => "UPDATE Message Error",
            Reason(3, 1) => "UPDATE Message Error/Malformed Attribute List",
            Reason(3, 2) => "UPDATE Message Error/Unrecognized Well-known Attribute",
            Reason(3, 3) => "UPDATE Message Error/Missing Well-known Attribute",
            Reason(3, 4) => "UPDATE Message Error/Attribute Flags Error",
            Reason(3, 5) => "UPDATE Message Error/Attribute Length Error",
            Reason(3, 6) => "UPDATE Message Error/Invalid ORIGIN Attribute",
            Reason(3, 8) => "UPDATE Message Error/Invalid NEXT_HOP Attribute",
            Reason(3, 9) => "UPDATE Message Error/Optional Attribute Error",
            Reason(3, 10) => "UPDATE Message Error/Invalid Network Field",
            Reason(3, 11) => "UPDATE Message Error/Malformed AS_PATH",
            Self::HOLD_TIMER => "Hold Timer Expired",
            Reason(5, 0) => "Finite State Machine Error",
            Self::IN_OPEN_SENT => "Finite State Machine Error/Unexpected Message in OpenSent",
            Self::IN_OPEN_CONFIRM => "Finite State Machine Error/Unexpected Message in OpenConfirm",
            Self::IN_ESTABLISHED => "Finite State Machine Error/Unexpected Message in Established",
            Reason(6, 0) => "Cease",
            Reason(6, 1) => "Cease/Maximum Number of Prefixes Reached",
            Self::SHUTDOWN => "Cease/Administrative Shutdown",
            Self::DECONFIGURED => "Cease/Peer De-configured",
            Self::RESET => "Cease/Administrative Reset",
            Self::REJECTED => "Cease/Connection Rejected",
            Self::CHANGED => "Cease/Other Configuration Change",
            Self::COLLISION => "Cease/Connection Collision Resolution",
            Reason(6, 8) => "Cease/Out of Resources",
            Reason(6, 9) => "Cease/Hard Reset",
            Self::BFD_DOWN => "Cease/BFD Down",
            Reason(7, 0) => "ROUTE-REFRESH Message Error",
            Reason(7, 1) => "ROUTE-REFRESH Message Error/Invalid Message Length",
            Self::SEND_HOLD_TIMER => "Send Hold Timer Expired",
            _ => return None,
        };
        Some(name)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(formatter, "{name} ({}/{})", self.0, self.1),
            None => write!(formatter, "unknown error ({}/{})", self.0, self.1),
        }
    }
}

/// The last message of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notification {
    /// Why.
    pub reason: Reason,
    /// What belongs to it: for instance the AS number that was not wanted.
    pub data: Vec<u8>,
}

impl Notification {
    /// One without data.
    pub fn new(reason: Reason) -> Self {
        Notification { reason, data: Vec::new() }
    }

    /// One with data.
    pub fn with(reason: Reason, data: &[u8]) -> Self {
        Notification { reason, data: data.to_vec() }
    }

    /// A Cease that tells the operator of the other side something (RFC 9003 §2); meant for [`Reason::SHUTDOWN`] and [`Reason::RESET`].
    pub fn telling(reason: Reason, text: &str) -> Self {
        let text = &text[..text.floor_char_boundary(MAX_TEXT)];
        let mut data = Vec::with_capacity(1 + text.len());
        if !text.is_empty() {
            data.push(text.len() as u8);
            data.extend_from_slice(text.as_bytes());
        }
        Notification { reason, data }
    }

    /// What the other side wants to tell an operator (RFC 9003 §2). Comes from outside: control characters are taken out, and what is no UTF-8 is replaced.
    pub fn text(&self) -> Option<String> {
        if !matches!(self.reason, Reason::SHUTDOWN | Reason::RESET) {
            return None;
        }
        let (length, rest) = self.data.split_first()?;
        let text = rest.get(..usize::from(*length))?;
        let text: String =
            String::from_utf8_lossy(text).chars().filter(|letter| !letter.is_control()).collect();
        (!text.is_empty()).then_some(text)
    }
}

impl fmt::Display for Notification {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reason.fmt(formatter)?;
        match (self.reason, self.data.as_slice()) {
            // The data is what we sent and the other side did not like, or the other way.
            (Reason::BAD_PEER_AS, &[high, low]) => {
                write!(formatter, ", AS {}", u16::from_be_bytes([high, low]))
            }
            (Reason::BAD_HOLD_TIME, &[high, low]) => {
                write!(formatter, ", {} s", u16::from_be_bytes([high, low]))
            }
            _ => match self.text() {
                Some(text) => write!(formatter, ": {text:?}"),
                None => Ok(()),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(Notification::new(Reason::HOLD_TIMER), "Hold Timer Expired (4/0)")]
    #[case(Notification::new(Reason(6, 77)), "unknown error (6/77)")]
    #[case(Notification::with(Reason::BAD_PEER_AS, &[0xfd, 0xe8]), "OPEN Message Error/Bad Peer AS (2/2), AS 65000")]
    #[case(Notification::with(Reason::BAD_HOLD_TIME, &[0, 1]), "OPEN Message Error/Unacceptable Hold Time (2/6), 1 s")]
    #[case(
        Notification::telling(Reason::SHUTDOWN, "back at 9"),
        "Cease/Administrative Shutdown (6/2): \"back at 9\""
    )]
    #[case(Notification::telling(Reason::SHUTDOWN, ""), "Cease/Administrative Shutdown (6/2)")]
    // Longer than the message, not UTF-8, with a terminal's escape sequence: all seen as far as it can be.
    #[case(Notification::with(Reason::SHUTDOWN, &[9, b'x']), "Cease/Administrative Shutdown (6/2)")]
    #[case(Notification::with(Reason::RESET, &[2, 0xff, b'x']), "Cease/Administrative Reset (6/4): \"\u{fffd}x\"")]
    #[case(Notification::with(Reason::RESET, b"\x04\x1b[2J"), "Cease/Administrative Reset (6/4): \"[2J\"")]
    // Only these two carry a text.
    #[case(Notification::with(Reason::DECONFIGURED, b"\x01x"), "Cease/Peer De-configured (6/3)")]
    fn in_words(#[case] notification: Notification, #[case] words: &str) {
        assert_eq!(notification.to_string(), words);
    }

    proptest! {
        #[test]
        fn a_text_is_read_as_it_was_sent_or_its_beginning(text in "\\PC{0,200}") {
            let read = Notification::telling(Reason::SHUTDOWN, &text).text().unwrap_or_default();
            prop_assert!(text.starts_with(&read));
            prop_assert!(read == text || read.len() > MAX_TEXT - 4);
        }
    }
}
