//! Messages as they stand in the octet stream (RFC 4271 §4), and the reader that cuts the stream into them. Pure.
//!
//! The codec is ours and small, because what is needed is little: OPEN, NOTIFICATION, KEEPALIVE and ROUTE-REFRESH are read; UPDATE, OPEN, NOTIFICATION and
//! KEEPALIVE are written. Of `netgauze-bgp-pkt`, which was meant for it, the reader refuses the extended optional parameters that RFC 9072 wants accepted, the
//! writer lets UPDATE and NOTIFICATION grow beyond 4096 octets and counts capabilities modulo 256, and an object per prefix is built where a loop over the RIB
//! does. It is the oracle of the tests instead: it must read what is written here.
//!
//! The body of a received UPDATE is **skipped**: no octet of it is looked at or kept, so nothing in it can hurt this session, malformed
//! attributes included (what RFC 7606 wants is kept by not looking). Everything else has at most 4096 octets, and that is what a connection costs at most.

use std::mem;

use causeway_api::Family;

use super::error::{Notification, Reason};
use super::family::from_wire;
use super::open::Open;

/// Length of a header.
pub const HEADER: usize = 19;
/// The longest message. Longer ones (RFC 8654) are neither offered nor accepted.
pub const MAX_LENGTH: usize = 4096;

const MARKER: usize = 16;
const OPEN: u8 = 1;
const UPDATE: u8 = 2;
const NOTIFICATION: u8 = 3;
const KEEPALIVE: u8 = 4;
const ROUTE_REFRESH: u8 = 5;

/// What was received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// RFC 4271 §4.2.
    Open(Open),
    /// §4.3; its contents are not known to anybody here.
    Update,
    /// §4.5.
    Notification(Notification),
    /// §4.4.
    Keepalive,
    /// RFC 2918 §3: the peer wants to hear all routes of a family again; nothing if it means something that is not spoken here.
    RouteRefresh(Option<Family>),
}

/// Cuts octets into messages. After an error the stream makes no sense any more.
#[derive(Debug, Default)]
pub struct Reader {
    header: [u8; HEADER],
    /// Octets of the header that are there.
    filled: usize,
    /// Octets of the body that are missing.
    missing: usize,
    /// The body as far as it is there; of an UPDATE, nothing.
    body: Vec<u8>,
}

impl Reader {
    /// The next message, taken from the front of `octets`; nothing if they hold only a part of one, which is kept.
    ///
    /// # Errors
    ///
    /// What to send to the peer before the connection is closed.
    pub fn next(&mut self, octets: &mut &[u8]) -> Option<Result<Message, Notification>> {
        if self.filled < HEADER {
            let taken = octets.len().min(HEADER - self.filled);
            let (head, tail) = octets.split_at(taken);
            self.header[self.filled..][..taken].copy_from_slice(head);
            self.filled += taken;
            *octets = tail;
            if self.filled < HEADER {
                return None;
            }
            match body_length(&self.header) {
                Ok(length) => self.missing = length,
                Err(error) => return Some(Err(error)),
            }
        }
        let kind = self.header[HEADER - 1];
        let taken = octets.len().min(self.missing);
        let (head, tail) = octets.split_at(taken);
        *octets = tail;
        self.missing -= taken;
        let whole = self.missing == 0;
        if whole && self.body.is_empty() {
            self.filled = 0;
            return Some(parse(kind, head));
        }
        if kind != UPDATE {
            self.body.extend_from_slice(head);
        }
        if !whole {
            return None;
        }
        self.filled = 0;
        Some(parse(kind, &mem::take(&mut self.body)))
    }
}

/// Checks a header (RFC 4271 §6.1).
fn body_length(header: &[u8; HEADER]) -> Result<usize, Notification> {
    if header[..MARKER].iter().any(|octet| *octet != 0xff) {
        return Err(Notification::new(Reason::NOT_SYNCHRONIZED));
    }
    let field = [header[MARKER], header[MARKER + 1]];
    let length = usize::from(u16::from_be_bytes(field));
    let kind = header[HEADER - 1];
    let possible = match kind {
        OPEN => 29..=MAX_LENGTH,
        UPDATE => 23..=MAX_LENGTH,
        NOTIFICATION => 21..=MAX_LENGTH,
        KEEPALIVE => HEADER..=HEADER,
        ROUTE_REFRESH => 23..=MAX_LENGTH,
        // What it is matters only if it is a message at all.
        _ if (HEADER..=MAX_LENGTH).contains(&length) => {
            return Err(Notification::with(Reason::BAD_TYPE, &[kind]));
        }
        _ => HEADER..=MAX_LENGTH,
    };
    if !possible.contains(&length) {
        return Err(Notification::with(Reason::BAD_LENGTH, &field));
    }
    Ok(length - HEADER)
}

fn parse(kind: u8, body: &[u8]) -> Result<Message, Notification> {
    let message = match (kind, body) {
        (OPEN, _) => Message::Open(Open::parse(body)?),
        (NOTIFICATION, [code, subcode, data @ ..]) => {
            Message::Notification(Notification::with(Reason(*code, *subcode), data))
        }
        // The third octet is a subtype since RFC 7313, whose other values are about a peer's own routes. Anything behind is of RFC 5291, which is not spoken here.
        (ROUTE_REFRESH, [high, low, subtype, safi, ..]) => {
            let family = from_wire(u16::from_be_bytes([*high, *low]), *safi);
            Message::RouteRefresh(family.filter(|_| *subtype == 0))
        }
        (UPDATE, _) => Message::Update,
        (KEEPALIVE, _) => Message::Keepalive,
        _ => return Err(Notification::new(Reason::BAD_LENGTH)),
    };
    Ok(message)
}

/// Appends a message whose body is what `body` appends. The caller sees to it that it is not too long.
pub(super) fn write(out: &mut Vec<u8>, kind: Kind, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0xff; MARKER]);
    out.extend_from_slice(&[0, 0, kind as u8]);
    body(out);
    let length = out.len() - start;
    debug_assert!(length <= MAX_LENGTH, "a message of {length} octets");
    out[start + MARKER..][..2].copy_from_slice(&(length as u16).to_be_bytes());
}

/// The kinds of message that are written.
#[derive(Debug, Clone, Copy)]
#[repr(u8)]
pub(super) enum Kind {
    /// Session parameters.
    Open = OPEN,
    /// Routes.
    Update = UPDATE,
    /// The end.
    Notification = NOTIFICATION,
    /// A sign of life.
    Keepalive = KEEPALIVE,
}

/// A sign of life.
pub fn keepalive() -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER);
    write(&mut out, Kind::Keepalive, |_| {});
    out
}

/// The end. Data that does not fit is cut.
pub fn notification(notification: &Notification) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER + 2 + notification.data.len());
    write(&mut out, Kind::Notification, |out| {
        out.extend_from_slice(&[notification.reason.0, notification.reason.1]);
        let room = MAX_LENGTH - HEADER - 2;
        out.extend_from_slice(&notification.data[..notification.data.len().min(room)]);
    });
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    fn message(kind: u8, length: u16, body: &[u8]) -> Vec<u8> {
        [&[0xff; MARKER], &length.to_be_bytes()[..], &[kind], body].concat()
    }

    fn read_all(mut octets: &[u8]) -> Vec<Result<Message, Notification>> {
        let mut reader = Reader::default();
        let mut messages = Vec::new();
        while let Some(message) = reader.next(&mut octets) {
            let end = message.is_err();
            messages.push(message);
            if end {
                break;
            }
        }
        messages
    }

    fn bad_length(length: u16) -> Notification {
        Notification::with(Reason::BAD_LENGTH, &length.to_be_bytes())
    }

    #[rstest]
    #[case::marker(vec![0xfe; 19], Notification::new(Reason::NOT_SYNCHRONIZED))]
    #[case::short(message(4, 18, &[]), bad_length(18))]
    #[case::zero(message(4, 0, &[]), bad_length(0))]
    #[case::keepalive_with_body(message(4, 20, &[0]), bad_length(20))]
    #[case::open(message(1, 28, &[0; 9]), bad_length(28))]
    #[case::update(message(2, 22, &[0; 3]), bad_length(22))]
    #[case::long_update(message(2, 4097, &[0; 4078]), bad_length(4097))]
    #[case::notification(message(3, 20, &[0]), bad_length(20))]
    #[case::refresh(message(5, 22, &[0; 3]), bad_length(22))]
    #[case::long_unknown(message(9, 4097, &[0; 4078]), bad_length(4097))]
    #[case::kind(message(9, 19, &[]), Notification::with(Reason::BAD_TYPE, &[9]))]
    #[case::kind_0(message(0, 19, &[]), Notification::with(Reason::BAD_TYPE, &[0]))]
    fn bad_headers(#[case] octets: Vec<u8>, #[case] answer: Notification) {
        assert_eq!(read_all(&octets), [Err(answer)]);
    }

    #[rstest]
    #[case(&[0, 1, 0, 1], Some(Family::V4))]
    #[case(&[0, 2, 0, 1], Some(Family::V6))]
    #[case::multicast(&[0, 1, 0, 2], None)]
    #[case::evpn(&[0, 25, 0, 70], None)]
    #[case::beginning_of_rr(&[0, 1, 1, 1], None)]
    #[case::with_filters(&[0, 1, 0, 1, 1, 64, 0, 0], Some(Family::V4))]
    fn refreshes(#[case] body: &[u8], #[case] family: Option<Family>) {
        let octets = message(5, 19 + body.len() as u16, body);
        assert_eq!(read_all(&octets), [Ok(Message::RouteRefresh(family))]);
    }

    #[test]
    fn an_update_is_skipped_whatever_is_in_it() {
        let mut octets = message(2, 4096, &[0xff; 4077]);
        octets.extend(keepalive());
        assert_eq!(read_all(&octets), [Ok(Message::Update), Ok(Message::Keepalive)]);
        // And nothing is kept of it meanwhile.
        let mut reader = Reader::default();
        assert_eq!(reader.next(&mut &octets[..2000]), None);
        assert_eq!(reader.body.capacity(), 0);
    }

    #[test]
    fn a_notification_is_read_as_it_was_written_up_to_the_longest() {
        for length in [0, 1, 500, 4075] {
            let said = Notification::with(Reason::BAD_PARAMETER, &vec![7; length]);
            assert_eq!(read_all(&notification(&said)), [Ok(Message::Notification(said))]);
        }
        let too_long = Notification::with(Reason::BAD_PARAMETER, &[7; 5000]);
        assert_eq!(notification(&too_long).len(), MAX_LENGTH);
    }

    proptest! {
        #[test]
        fn how_the_stream_is_cut_makes_no_difference(cuts in proptest::collection::vec(1usize..40, 1..40)) {
            let mut octets = Vec::new();
            octets.extend(message(2, 60, &[1; 41]));
            octets.extend(keepalive());
            octets.extend(notification(&Notification::telling(Reason::SHUTDOWN, "a text that is cut into pieces")));
            octets.extend(message(5, 23, &[0, 1, 0, 1]));
            octets.extend(message(2, 4096, &[1; 4077]));
            let mut reader = Reader::default();
            let (mut messages, mut rest, mut cuts) = (Vec::new(), octets.as_slice(), cuts.iter().cycle());
            while !rest.is_empty() {
                let (mut head, tail) = rest.split_at(rest.len().min(*cuts.next().expect("endless")));
                while let Some(message) = reader.next(&mut head) {
                    messages.push(message);
                }
                rest = tail;
            }
            prop_assert_eq!(messages, read_all(&octets));
        }

        #[test]
        fn arbitrary_octets_never_panic_and_never_cost_much(
            octets in proptest::collection::vec(any::<u8>(), 0..200),
            kind in 0u8..7,
            length in 0u16..200,
        ) {
            let _read = read_all(&octets);
            let framed = message(kind, length, &octets);
            let _read = read_all(&framed);
            let mut reader = Reader::default();
            let mut rest = framed.as_slice();
            while let Some(Ok(_)) = reader.next(&mut rest) {}
            prop_assert!(reader.body.capacity() <= 2 * MAX_LENGTH);
        }
    }
}
