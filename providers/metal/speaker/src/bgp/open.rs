//! OPEN: what both sides say of themselves first (RFC 4271 §4.2), and what follows from it for the session. Pure.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use causeway_api::Family;
use causeway_metal::bgp::RemoteAsn;
use serde::Serialize;

use super::capability::{Capabilities, GracefulCapability};
use super::error::{Notification, Reason};
use super::message::{self, Kind};

const VERSION: u8 = 4;
/// Stands for an AS number that does not fit into two octets (RFC 6793 §9).
pub const AS_TRANS: u16 = 23456;

const CAPABILITIES: u8 = 2;
/// In the place of the first parameter's type: lengths have two octets (RFC 9072 §2).
const EXTENDED: u8 = 255;

/// An OPEN message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Open {
    /// AS number, or [`AS_TRANS`].
    pub asn: u16,
    /// Hold time in seconds.
    pub hold: u16,
    /// BGP Identifier.
    pub identifier: Ipv4Addr,
    /// Capabilities.
    pub capabilities: Capabilities,
}

impl Open {
    /// Reads a body of ten octets or more. What makes no sense in itself is refused here; what does not fit together with us in [`Negotiated::new`].
    ///
    /// # Errors
    ///
    /// What to answer (RFC 4271 §6.2).
    pub fn parse(body: &[u8]) -> Result<Self, Notification> {
        let malformed = || Notification::new(Reason::BAD_OPEN);
        let (head, rest) = body.split_first_chunk::<10>().ok_or_else(malformed)?;
        let [version, asn_high, asn_low, hold_high, hold_low, id @ .., length] = *head;
        if version != VERSION {
            return Err(Notification::with(Reason::BAD_VERSION, &u16::from(VERSION).to_be_bytes()));
        }
        // RFC 9072 §2: known by the type alone, whatever the length says; but 0 are no parameters.
        let extended = length != 0 && rest.first() == Some(&EXTENDED);
        let parameters = match (extended, rest) {
            (true, [_, high, low, rest @ ..]) => rest
                .get(..usize::from(u16::from_be_bytes([*high, *low])))
                .filter(|all| all.len() == rest.len()),
            (true, _) => None,
            (false, _) => Some(rest).filter(|all| all.len() == usize::from(length)),
        };
        let mut parameters = parameters.ok_or_else(malformed)?;
        let mut capabilities = Capabilities::default();
        while let [kind, rest @ ..] = parameters {
            let (length, rest) = match (extended, rest) {
                (false, [length, rest @ ..]) => (usize::from(*length), rest),
                (true, [high, low, rest @ ..]) => (usize::from(u16::from_be_bytes([*high, *low])), rest),
                _ => return Err(malformed()),
            };
            let (value, rest) = rest.split_at_checked(length).ok_or_else(malformed)?;
            if *kind != CAPABILITIES {
                return Err(Notification::new(Reason::BAD_PARAMETER));
            }
            capabilities.parse(value).map_err(|_overrun| malformed())?;
            parameters = rest;
        }
        Ok(Open {
            asn: u16::from_be_bytes([asn_high, asn_low]),
            hold: u16::from_be_bytes([hold_high, hold_low]),
            identifier: Ipv4Addr::from(id),
            capabilities,
        })
    }

    /// The message. All capabilities stand in one parameter, which never needs the long form of RFC 9072.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(message::HEADER + 110);
        message::write(&mut out, Kind::Open, |out| {
            out.push(VERSION);
            out.extend_from_slice(&self.asn.to_be_bytes());
            out.extend_from_slice(&self.hold.to_be_bytes());
            out.extend_from_slice(&self.identifier.octets());
            let mut capabilities = Vec::with_capacity(100);
            self.capabilities.write(&mut capabilities);
            if capabilities.is_empty() {
                out.push(0);
            } else {
                let length = capabilities.len() as u8;
                out.extend_from_slice(&[length + 2, CAPABILITIES, length]);
                out.append(&mut capabilities);
            }
        });
        out
    }

    /// The sender's AS number, whichever field has it.
    pub fn real_asn(&self) -> u32 {
        self.capabilities.four_octet_asn.unwrap_or(u32::from(self.asn))
    }
}

/// The field for an AS number in two octets (RFC 6793 §4.2.1).
pub fn two_octets(asn: u32) -> u16 {
    u16::try_from(asn).unwrap_or(AS_TRANS)
}

/// What both sides agree upon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Negotiated {
    /// The peer's AS number.
    pub remote_asn: u32,
    /// The peer's BGP Identifier.
    pub remote_id: Ipv4Addr,
    /// Whether it is in our AS.
    pub internal: bool,
    /// Seconds of silence after which the peer counts as gone; 0 for never.
    pub hold: u16,
    /// Families that both speak.
    pub families: BTreeSet<Family>,
    /// AS numbers have four octets.
    pub four_octet_asn: bool,
    /// IPv4 routes may have an IPv6 next hop.
    pub extended_next_hop: bool,
    /// Either side can ask for routes again.
    pub route_refresh: bool,
    /// Both keep routes while the other restarts.
    pub graceful_restart: bool,
    /// The peer's graceful restart capability. One without families: it does not restart gracefully itself, but helps us to.
    pub peer_restart: Option<GracefulCapability>,
    /// Codes of the peer's capabilities that mean nothing here.
    pub other_capabilities: BTreeSet<u8>,
}

impl Negotiated {
    /// Our OPEN and the peer's, and the AS number that the peer must have.
    ///
    /// # Errors
    ///
    /// What to answer (RFC 4271 §6.2).
    pub fn new(ours: &Open, theirs: &Open, wanted: RemoteAsn) -> Result<Self, Notification> {
        let (local, remote) = (ours.real_asn(), theirs.real_asn());
        let internal = local == remote;
        let expected = match wanted {
            RemoteAsn::Is(asn) => remote == asn,
            RemoteAsn::Internal => internal,
            RemoteAsn::External => !internal,
        };
        // RFC 7607: 0 is nobody's. RFC 6793 §4.2.1: the two fields must not contradict each other.
        let sound = remote != 0 && [two_octets(remote), AS_TRANS].contains(&theirs.asn);
        if !expected || !sound {
            return Err(Notification::with(Reason::BAD_PEER_AS, &theirs.asn.to_be_bytes()));
        }
        if theirs.hold == 1 || theirs.hold == 2 {
            return Err(Notification::with(Reason::BAD_HOLD_TIME, &theirs.hold.to_be_bytes()));
        }
        // RFC 6286 §2.2: unique within an AS, and not 0; it need not be an address.
        let double = internal && theirs.identifier == ours.identifier;
        if theirs.identifier.is_unspecified() || double {
            return Err(Notification::with(Reason::BAD_IDENTIFIER, &theirs.identifier.octets()));
        }
        let families: BTreeSet<Family> =
            ours.capabilities.spoken().intersection(&theirs.capabilities.spoken()).copied().collect();
        if families.is_empty() {
            // RFC 5492 §5: the capabilities that are missed.
            let missed =
                Capabilities { families: ours.capabilities.families.clone(), ..Capabilities::default() };
            let mut data = Vec::new();
            missed.write(&mut data);
            return Err(Notification { reason: Reason::NO_CAPABILITY, data });
        }
        let both = |has: fn(&Capabilities) -> bool| has(&ours.capabilities) && has(&theirs.capabilities);
        Ok(Negotiated {
            remote_asn: remote,
            remote_id: theirs.identifier,
            internal,
            // RFC 4271 §4.2: the smaller; 0 by either side switches it off.
            hold: ours.hold.min(theirs.hold),
            families,
            four_octet_asn: both(|capabilities| capabilities.four_octet_asn.is_some()),
            extended_next_hop: both(|capabilities| capabilities.extended_next_hop),
            route_refresh: both(|capabilities| capabilities.route_refresh),
            graceful_restart: both(|capabilities| capabilities.graceful_restart.is_some()),
            peer_restart: theirs.capabilities.graceful_restart.clone(),
            other_capabilities: theirs.capabilities.others.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    fn open(asn: u32) -> Open {
        Open {
            asn: two_octets(asn),
            hold: 90,
            identifier: Ipv4Addr::new(192, 0, 2, asn as u8),
            capabilities: Capabilities {
                families: [Family::V4].into(),
                multiprotocol: true,
                four_octet_asn: Some(asn),
                ..Capabilities::default()
            },
        }
    }

    fn body(asn: u32) -> Vec<u8> {
        open(asn).encode()[message::HEADER..].to_vec()
    }

    /// A body whose optional parameters are these octets, under this length.
    fn with_parameters(length: u8, parameters: &[u8]) -> Vec<u8> {
        [&body(65001)[..9], &[length], parameters].concat()
    }

    const NONE: &[u8] = &[];

    #[rstest]
    #[case::version({ let mut body = body(65001); body[0] = 3; body }, Reason::BAD_VERSION, &[0, 4])]
    #[case::authentication(with_parameters(3, &[1, 1, 0]), Reason::BAD_PARAMETER, NONE)]
    #[case::unknown(with_parameters(2, &[7, 0]), Reason::BAD_PARAMETER, NONE)]
    #[case::too_short(with_parameters(4, &[2, 0]), Reason::BAD_OPEN, NONE)]
    #[case::too_long(with_parameters(0, &[2, 0]), Reason::BAD_OPEN, NONE)]
    #[case::parameter_overrun(with_parameters(2, &[2, 1]), Reason::BAD_OPEN, NONE)]
    #[case::half_a_parameter(with_parameters(1, &[2]), Reason::BAD_OPEN, NONE)]
    #[case::capability_overrun(with_parameters(4, &[2, 2, 65, 4]), Reason::BAD_OPEN, NONE)]
    #[case::half_extended(with_parameters(255, &[255, 0]), Reason::BAD_OPEN, NONE)]
    #[case::extended_too_short(with_parameters(255, &[255, 0, 9, 2, 0, 0]), Reason::BAD_OPEN, NONE)]
    #[case::extended_overrun(with_parameters(255, &[255, 0, 3, 2, 0, 1]), Reason::BAD_OPEN, NONE)]
    fn what_cannot_be_read_is_refused(#[case] body: Vec<u8>, #[case] reason: Reason, #[case] data: &[u8]) {
        assert_eq!(Open::parse(&body), Err(Notification::with(reason, data)));
    }

    #[rstest]
    #[case::none(with_parameters(0, &[]))]
    #[case::two(with_parameters(8, &[2, 2, 2, 0, 2, 2, 70, 0]))]
    #[case::extended(with_parameters(255, &[255, 0, 5, 2, 0, 2, 2, 0]))]
    // RFC 9072 §2: the length beside the type 255 says nothing.
    #[case::extended_under_any_length(with_parameters(8, &[255, 0, 5, 2, 0, 2, 2, 0]))]
    #[case::extended_and_long(with_parameters(255, &[&[255, 4, 3, 2, 4, 0], &[&[9, 254], &[0; 254][..]].concat().repeat(4)[..]].concat()))]
    fn forms_of_parameters(#[case] body: Vec<u8>) {
        let read = Open::parse(&body).expect("sound");
        assert_eq!(read.asn, 65001);
    }

    #[test]
    fn large_asn_and_small_identifier() {
        let read = Open::parse(&body(4_200_000_001)).expect("sound");
        assert_eq!((read.asn, read.real_asn()), (AS_TRANS, 4_200_000_001));
        assert_eq!(read, open(4_200_000_001));
    }

    fn changed(asn: u32, change: impl FnOnce(&mut Open)) -> Open {
        let mut open = open(asn);
        change(&mut open);
        open
    }

    #[rstest]
    #[case::wrong(open(65002), RemoteAsn::Is(65003), Reason::BAD_PEER_AS)]
    #[case::not_internal(open(65002), RemoteAsn::Internal, Reason::BAD_PEER_AS)]
    #[case::not_external(open(65001), RemoteAsn::External, Reason::BAD_PEER_AS)]
    #[case::zero(open(0), RemoteAsn::External, Reason::BAD_PEER_AS)]
    #[case::contradiction(changed(65002, |open| open.asn = 65003), RemoteAsn::External, Reason::BAD_PEER_AS)]
    #[case::trans_as_number(changed(70000, |open| open.capabilities.four_octet_asn = None), RemoteAsn::Is(70000), Reason::BAD_PEER_AS)]
    #[case::hold_1(changed(65002, |open| open.hold = 1), RemoteAsn::External, Reason::BAD_HOLD_TIME)]
    #[case::hold_2(changed(65002, |open| open.hold = 2), RemoteAsn::External, Reason::BAD_HOLD_TIME)]
    #[case::no_identifier(changed(65002, |open| open.identifier = Ipv4Addr::UNSPECIFIED), RemoteAsn::External, Reason::BAD_IDENTIFIER)]
    #[case::our_identifier(open(65001), RemoteAsn::Internal, Reason::BAD_IDENTIFIER)]
    #[case::other_family(changed(65002, |open| open.capabilities.families = [Family::V6].into()), RemoteAsn::External, Reason::NO_CAPABILITY)]
    #[case::only_evpn(changed(65002, |open| open.capabilities.families.clear()), RemoteAsn::External, Reason::NO_CAPABILITY)]
    fn what_does_not_fit_is_refused(#[case] theirs: Open, #[case] wanted: RemoteAsn, #[case] reason: Reason) {
        let refused = Negotiated::new(&open(65001), &theirs, wanted).expect_err("it does not fit");
        assert_eq!(refused.reason, reason);
    }

    #[rstest]
    #[case(open(65002), RemoteAsn::Is(65002), 90)]
    #[case(open(65002), RemoteAsn::External, 90)]
    #[case(changed(65001, |open| open.identifier = Ipv4Addr::new(9, 9, 9, 9)), RemoteAsn::Internal, 90)]
    #[case::shorter_hold(changed(65002, |open| open.hold = 3), RemoteAsn::External, 3)]
    #[case::longer_hold(changed(65002, |open| open.hold = 180), RemoteAsn::External, 90)]
    #[case::no_hold(changed(65002, |open| open.hold = 0), RemoteAsn::External, 0)]
    #[case::old_speaker(changed(65002, |open| open.capabilities = Capabilities::default()), RemoteAsn::Is(65002), 90)]
    // RFC 6286: another AS may have the same identifier.
    #[case::same_identifier(changed(65002, |open| open.identifier = Ipv4Addr::new(192, 0, 2, 65001u32 as u8)), RemoteAsn::External, 90)]
    fn what_fits_is_taken(#[case] theirs: Open, #[case] wanted: RemoteAsn, #[case] hold: u16) {
        let negotiated = Negotiated::new(&open(65001), &theirs, wanted).expect("it fits");
        assert_eq!(negotiated.hold, hold);
        assert_eq!(negotiated.families, [Family::V4].into());
        assert_eq!(negotiated.four_octet_asn, theirs.capabilities.four_octet_asn.is_some());
    }

    #[test]
    fn missed_capabilities_are_named() {
        let theirs = changed(65002, |open| open.capabilities.families = [Family::V6].into());
        let refused =
            Negotiated::new(&open(65001), &theirs, RemoteAsn::External).expect_err("no common family");
        assert_eq!(refused.data, [1, 4, 0, 1, 0, 1]);
    }

    proptest! {
        #[test]
        fn arbitrary_octets_never_panic(octets in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut body = octets;
            let _read = Open::parse(&body);
            if let Some(version) = body.first_mut() {
                *version = VERSION;
            }
            if let Ok(theirs) = Open::parse(&body) {
                let _fits = Negotiated::new(&open(65001), &theirs, RemoteAsn::External);
            }
        }
    }
}
