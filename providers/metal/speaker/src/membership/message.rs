//! The heartbeat on the wire: layout, authentication. Pure.
//!
//! One UDP datagram, at most [`MAX_LENGTH`] octets, integers big-endian:
//!
//! | Octets | Field |
//! |---|---|
//! | 0–3 | `CwHb` |
//! | 4 | version, 2 |
//! | 5 | state of the sender: 0 joining, 1 alive, 2 leaving |
//! | 6 | whether the sender hears the receiver: 0 no, 1 yes |
//! | 7 | whether the sender, alive, has just started and may still wait for others to start: 0 no, 1 yes |
//! | 8–15 | boot of the sender: a number drawn at each start |
//! | 16–23 | sequence: counts up from 1 within a boot |
//! | 24–31 | boot of the receiver, as the sender last heard it; 0 = never |
//! | 32–39 | the receiver's sequence that the sender last heard from that boot |
//! | 40–43 | the time in milliseconds after which the sender sends to this receiver again, at the latest |
//! | 44–47 | the time in milliseconds after which it wants to hear the receiver again |
//! | 48–51 | number of the sender's statement; 0 = it has made none |
//! | 52–55 | number of the receiver's statement that the sender knows, of the boot above; 0 = none |
//! | 56–57 | which part of the sender's statement this datagram carries, from 0 |
//! | 58–59 | how many parts there are; 0 = it carries none |
//! | 60–… | cluster id, sender's node name, receiver's node name: one octet of length and the text, each |
//! | … | two octets of length, and the part of the statement ([`super::statement`]) |
//! | … | anything else is ignored, so that later versions can add to it |
//! | last 32 | HMAC-SHA256 (RFC 2104) over all that stands before |
//!
//! The tag is checked before anything behind the version is looked at. Contents are no secret: they say which nodes exist and run, and
//! node names show in any ARP table's DNS anyway; so they are authenticated, not encrypted.

use std::fmt;

use ring::hmac;

/// The longest datagram that is sent or read. Fits any link that carries IPv6 without fragments.
pub const MAX_LENGTH: usize = 1200;
/// The shortest key, in octets: the length of the hash (RFC 2104 §3 discourages less).
pub const MIN_KEY_LENGTH: usize = 32;
const MAGIC: [u8; 4] = *b"CwHb";
const VERSION: u8 = 2;
const FIXED_LENGTH: usize = 60;
const TAG_LENGTH: usize = 32;
/// Lengths of three texts and of the part.
const LENGTHS: usize = 3 + 2;
/// The most parts that a statement may have. 512 of 400 octets or more hold 25,000 addresses.
pub(super) const MAX_PARTS: usize = 512;

/// The keys of the membership protocol: one signs, all are accepted, so that a key can be changed without anybody being taken for dead.
#[derive(Clone)]
pub struct Keys {
    sign: hmac::Key,
    accept: Vec<hmac::Key>,
}

/// A secret that cannot be a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// There is none at all.
    #[error("no membership key: the Secret must hold at least one entry of {MIN_KEY_LENGTH} octets or more")]
    Missing,
    /// One is too short.
    #[error("membership key {index} has {length} octets: at least {MIN_KEY_LENGTH} random ones are needed")]
    TooShort {
        /// Which, counted from 0.
        index: usize,
        /// Its length in octets.
        length: usize,
    },
}

impl Keys {
    /// Keys from secrets: the first signs, each is accepted.
    ///
    /// # Errors
    ///
    /// If there is none, or one is shorter than [`MIN_KEY_LENGTH`].
    pub fn new<S: AsRef<[u8]>>(secrets: &[S]) -> Result<Self, KeyError> {
        let mut accept = Vec::with_capacity(secrets.len());
        for (index, secret) in secrets.iter().enumerate() {
            let secret = secret.as_ref();
            if secret.len() < MIN_KEY_LENGTH {
                return Err(KeyError::TooShort { index, length: secret.len() });
            }
            accept.push(hmac::Key::new(hmac::HMAC_SHA256, secret));
        }
        let sign = accept.first().cloned().ok_or(KeyError::Missing)?;
        Ok(Keys { sign, accept })
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Keys({}, redacted)", self.accept.len())
    }
}

/// What a speaker says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub enum State {
    /// Started, but does not know yet what there is to announce: not to be elected.
    Joining,
    /// May be elected.
    Alive,
    /// Going away: not to be elected from now on.
    Leaving,
}

/// A part of a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part<'a> {
    /// Which, from 0.
    pub index: u16,
    /// Of how many.
    pub count: u16,
    /// Its octets.
    pub octets: &'a [u8],
}

/// One heartbeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message<'a> {
    /// State of the sender.
    pub state: State,
    /// Whether the sender hears the receiver.
    pub hears_receiver: bool,
    /// Whether the sender, alive, may still wait for others to start.
    pub gathering: bool,
    /// Boot of the sender.
    pub boot: u64,
    /// Number of this message within the boot.
    pub sequence: u64,
    /// Boot of the receiver as the sender last heard it, 0 for never.
    pub heard_boot: u64,
    /// The last sequence heard of that boot.
    pub heard_sequence: u64,
    /// After how many milliseconds the sender sends to this receiver again, at the latest.
    pub interval_ms: u32,
    /// After how many it wants to hear the receiver again.
    pub wanted_ms: u32,
    /// Number of the sender's statement, 0 for none.
    pub statement: u32,
    /// Number of the receiver's statement that the sender knows whole, of `heard_boot`; 0 for none.
    pub heard_statement: u32,
    /// The part of the statement that comes with it.
    pub part: Option<Part<'a>>,
    /// Cluster of the sender.
    pub cluster: &'a str,
    /// Node of the sender.
    pub sender: &'a str,
    /// Node it is meant for.
    pub receiver: &'a str,
}

/// Why a datagram was ignored. The names are the values of the metric's label `reason`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Ignored {
    /// Too short, or it does not begin as our messages do.
    Foreign,
    /// A version that this program does not speak.
    Version,
    /// The tag fits no key.
    Forged,
    /// A sound tag around contents that make no sense.
    Malformed,
    /// Of another cluster that has the same key.
    OtherCluster,
    /// Meant for another node.
    OtherReceiver,
    /// Says that it comes from this very node.
    FromSelf,
    /// From a node that the cluster does not have.
    UnknownSender,
    /// Not newer than what was heard before.
    Replayed,
    /// From a boot of the peer that did not yet prove that it is running now. The first message after a start always is.
    Unproven,
}

impl Ignored {
    /// Every reason, for metrics that start at zero.
    pub const ALL: [Ignored; 10] = [
        Ignored::Foreign,
        Ignored::Version,
        Ignored::Forged,
        Ignored::Malformed,
        Ignored::OtherCluster,
        Ignored::OtherReceiver,
        Ignored::FromSelf,
        Ignored::UnknownSender,
        Ignored::Replayed,
        Ignored::Unproven,
    ];

    /// The label's value.
    pub fn name(self) -> &'static str {
        match self {
            Ignored::Foreign => "foreign",
            Ignored::Version => "version",
            Ignored::Forged => "forged",
            Ignored::Malformed => "malformed",
            Ignored::OtherCluster => "otherCluster",
            Ignored::OtherReceiver => "otherReceiver",
            Ignored::FromSelf => "fromSelf",
            Ignored::UnknownSender => "unknownSender",
            Ignored::Replayed => "replayed",
            Ignored::Unproven => "unproven",
        }
    }
}

impl<'a> Message<'a> {
    /// The datagram. Names longer than 255 octets are cut (Kubernetes allows 253).
    pub fn encode(&self, keys: &Keys) -> Vec<u8> {
        let part = self.part.map_or(&[][..], |part| part.octets);
        let part = &part[..part.len().min(usize::from(u16::MAX))];
        let texts = self.cluster.len() + self.sender.len() + self.receiver.len();
        let mut octets = Vec::with_capacity(FIXED_LENGTH + LENGTHS + texts + part.len() + TAG_LENGTH);
        octets.extend_from_slice(&MAGIC);
        octets.push(VERSION);
        octets.push(match self.state {
            State::Joining => 0,
            State::Alive => 1,
            State::Leaving => 2,
        });
        octets.push(u8::from(self.hears_receiver));
        octets.push(u8::from(self.gathering));
        for number in [self.boot, self.sequence, self.heard_boot, self.heard_sequence] {
            octets.extend_from_slice(&number.to_be_bytes());
        }
        for number in [self.interval_ms, self.wanted_ms, self.statement, self.heard_statement] {
            octets.extend_from_slice(&number.to_be_bytes());
        }
        let (index, count) = self.part.map_or((0, 0), |part| (part.index, part.count));
        for number in [index, count] {
            octets.extend_from_slice(&number.to_be_bytes());
        }
        for text in [self.cluster, self.sender, self.receiver] {
            let text = &text.as_bytes()[..text.len().min(usize::from(u8::MAX))];
            octets.push(text.len() as u8);
            octets.extend_from_slice(text);
        }
        octets.extend_from_slice(&(part.len() as u16).to_be_bytes());
        octets.extend_from_slice(part);
        let tag = hmac::sign(&keys.sign, &octets);
        octets.extend_from_slice(tag.as_ref());
        octets
    }

    /// How many octets of a statement fit into a datagram with these names.
    pub fn room(cluster: &str, sender: &str, receiver: &str) -> usize {
        let names = [cluster, sender, receiver].map(|text| text.len().min(usize::from(u8::MAX)));
        MAX_LENGTH - FIXED_LENGTH - LENGTHS - TAG_LENGTH - names.iter().sum::<usize>()
    }

    /// Reads a datagram from anywhere.
    ///
    /// # Errors
    ///
    /// Says why it is none of ours; never panics, whatever the octets are.
    pub fn decode(octets: &'a [u8], keys: &Keys) -> Result<Self, Ignored> {
        if octets.len() < FIXED_LENGTH + TAG_LENGTH || octets.len() > MAX_LENGTH || octets[..4] != MAGIC {
            return Err(Ignored::Foreign);
        }
        if octets[4] != VERSION {
            return Err(Ignored::Version);
        }
        let (signed, tag) = octets.split_at(octets.len() - TAG_LENGTH);
        if !keys.accept.iter().any(|key| hmac::verify(key, signed, tag).is_ok()) {
            return Err(Ignored::Forged);
        }
        let state = match signed[5] {
            0 => State::Joining,
            1 => State::Alive,
            2 => State::Leaving,
            _ => return Err(Ignored::Malformed),
        };
        let mut rest = &signed[8..];
        let boot = take_u64(&mut rest)?;
        let sequence = take_u64(&mut rest)?;
        let heard_boot = take_u64(&mut rest)?;
        let heard_sequence = take_u64(&mut rest)?;
        let interval_ms = u32::from_be_bytes(take(&mut rest)?);
        let wanted_ms = u32::from_be_bytes(take(&mut rest)?);
        let statement = u32::from_be_bytes(take(&mut rest)?);
        let heard_statement = u32::from_be_bytes(take(&mut rest)?);
        let index = u16::from_be_bytes(take(&mut rest)?);
        let count = u16::from_be_bytes(take(&mut rest)?);
        let cluster = take_text(&mut rest)?;
        let sender = take_text(&mut rest)?;
        let receiver = take_text(&mut rest)?;
        // 0 means "never heard" in the field that echoes it.
        if boot == 0 || sequence == 0 || interval_ms == 0 || wanted_ms == 0 {
            return Err(Ignored::Malformed);
        }
        let length = u16::from_be_bytes(take(&mut rest)?);
        let (octets, _later) = rest.split_at_checked(length.into()).ok_or(Ignored::Malformed)?;
        let part = match count {
            0 => None,
            _ if index >= count || usize::from(count) > MAX_PARTS || statement == 0 => {
                return Err(Ignored::Malformed);
            }
            _ => Some(Part { index, count, octets }),
        };
        Ok(Message {
            state,
            hears_receiver: signed[6] == 1,
            gathering: signed[7] == 1,
            boot,
            sequence,
            heard_boot,
            heard_sequence,
            interval_ms,
            wanted_ms,
            statement,
            heard_statement,
            part,
            cluster,
            sender,
            receiver,
        })
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], Ignored> {
    let (head, tail) = rest.split_first_chunk::<N>().ok_or(Ignored::Malformed)?;
    *rest = tail;
    Ok(*head)
}

fn take_u64(rest: &mut &[u8]) -> Result<u64, Ignored> {
    take(rest).map(u64::from_be_bytes)
}

fn take_text<'a>(rest: &mut &'a [u8]) -> Result<&'a str, Ignored> {
    let [length] = take::<1>(rest)?;
    let (head, tail) = rest.split_at_checked(usize::from(length)).ok_or(Ignored::Malformed)?;
    *rest = tail;
    std::str::from_utf8(head).map_err(|_| Ignored::Malformed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn keys(octet: u8) -> Keys {
        Keys::new(&[[octet; 32]]).expect("long enough")
    }

    fn message() -> Message<'static> {
        Message {
            state: State::Alive,
            hears_receiver: true,
            gathering: true,
            boot: 7,
            sequence: 8,
            heard_boot: 9,
            heard_sequence: 10,
            interval_ms: 1000,
            wanted_ms: 100,
            statement: 3,
            heard_statement: 4,
            part: Some(Part { index: 1, count: 2, octets: b"part" }),
            cluster: "0b5e",
            sender: "node-1",
            receiver: "node-2",
        }
    }

    #[test]
    fn what_was_written_is_read() {
        let octets = message().encode(&keys(1));
        assert_eq!(Message::decode(&octets, &keys(1)), Ok(message()));
        assert_eq!(octets.len(), 60 + 5 + 7 + 7 + 2 + 4 + 32);
    }

    #[test]
    fn a_changed_key_is_taken_over_without_a_gap() {
        let old = keys(1);
        let both = Keys::new(&[[2; 32], [1; 32]]).expect("long enough");
        let signed_by_old = message().encode(&old);
        let signed_by_new = message().encode(&both);
        assert!(Message::decode(&signed_by_old, &both).is_ok());
        assert!(Message::decode(&signed_by_new, &keys(2)).is_ok());
        assert_eq!(Message::decode(&signed_by_new, &old), Err(Ignored::Forged));
    }

    #[test]
    fn the_longest_part_just_fits() {
        let (name, cluster) = ("n".repeat(253), "c".repeat(36));
        let part = vec![7; Message::room(&cluster, &name, &name)];
        assert!(part.len() >= 400);
        let part = Some(Part { index: 0, count: 1, octets: &part });
        let longest = Message { cluster: &cluster, sender: &name, receiver: &name, part, ..message() };
        let octets = longest.encode(&keys(1));
        assert_eq!(octets.len(), MAX_LENGTH);
        assert_eq!(Message::decode(&octets, &keys(1)), Ok(longest));
    }

    #[test]
    fn weak_or_missing_keys_are_refused() {
        assert_eq!(Keys::new(&[[0u8; 31]]).unwrap_err(), KeyError::TooShort { index: 0, length: 31 });
        assert_eq!(Keys::new::<Vec<u8>>(&[]).unwrap_err(), KeyError::Missing);
        assert_eq!(format!("{:?}", keys(0x41)), "Keys(1, redacted)");
    }

    #[test]
    fn another_version_is_named_as_such() {
        let mut octets = message().encode(&keys(1));
        octets[4] = 1;
        assert_eq!(Message::decode(&octets, &keys(1)), Err(Ignored::Version));
    }

    #[test]
    fn later_additions_are_skipped() {
        let octets = message().encode(&keys(1));
        let mut longer = octets[..octets.len() - 32].to_vec();
        longer.extend_from_slice(b"something that version 2 does not know");
        let tag = hmac::sign(&keys(1).sign, &longer);
        longer.extend_from_slice(tag.as_ref());
        assert_eq!(Message::decode(&longer, &keys(1)), Ok(message()));
    }

    proptest! {
        #[test]
        fn any_flipped_bit_or_cut_is_refused(position in 0usize..117, bit in 0u8..8, cut in 1usize..117) {
            let octets = message().encode(&keys(1));
            let mut flipped = octets.clone();
            flipped[position] ^= 1 << bit;
            prop_assert!(Message::decode(&flipped, &keys(1)).is_err());
            prop_assert!(Message::decode(&octets[..octets.len() - cut], &keys(1)).is_err());
        }

        #[test]
        fn arbitrary_octets_never_panic(octets in proptest::collection::vec(any::<u8>(), 0..1500)) {
            prop_assert!(Message::decode(&octets, &keys(1)).is_err());
        }

        #[test]
        fn signed_nonsense_never_panics(mut body in proptest::collection::vec(any::<u8>(), 60..300)) {
            body[..4].copy_from_slice(&MAGIC);
            body[4] = VERSION;
            let tag = hmac::sign(&keys(1).sign, &body);
            body.extend_from_slice(tag.as_ref());
            if let Ok(read) = Message::decode(&body, &keys(1)) {
                prop_assert!(read.boot != 0 && read.sequence != 0);
                prop_assert!(read.part.is_none_or(|part| part.index < part.count));
            }
        }
    }
}
