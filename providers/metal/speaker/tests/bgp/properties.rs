//! After any sequence of wishes the peer has the last one, whatever the network does in between.

use std::sync::Arc;

use causeway_metal::bgp::{Families, RibOut, RouteAttributes};
use causeway_speaker::bgp::{Family, Input};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use proptest::prelude::*;

use crate::heard::expected;
use crate::wire::{Wire, address, ms, seconds, settings};

fn prefix() -> impl Strategy<Value = IpNet> {
    prop_oneof![
        // Not 224.0.0.0/4, which the oracle does not take for unicast.
        (0u32..0xdfff_ffff, 8u8..=32).prop_map(|(address, length)| Ipv4Net::new(address.into(), length)
            .expect("a prefix")
            .trunc()
            .into()),
        // Close together, so that they come and go.
        (0u32..40)
            .prop_map(|address| Ipv4Net::new((0x0a00_0000 + address).into(), 32).expect("a prefix").into()),
        (0u128..40, 64u8..=128).prop_map(|(address, length)| {
            let network = (0x2001_0db8_u128 << 96) | (address << 60) | address;
            Ipv6Net::new(network.into(), length).expect("a prefix").trunc().into()
        }),
    ]
}

prop_compose! {
    fn attributes()(
        local_pref in proptest::option::of(0u32..3),
        med in proptest::option::of(0u32..3),
        prepend in 0u8..=10,
        communities in proptest::collection::btree_set(0u32..100_000, 0..80),
        large in proptest::collection::btree_set(any::<[u32; 3]>(), 0..25),
        bandwidth in proptest::option::of(1u64..1_000_000_000_000),
    ) -> RouteAttributes {
        RouteAttributes { local_pref, med, prepend, communities, large, bandwidth }
    }
}

fn rib() -> impl Strategy<Value = RibOut> {
    (proptest::collection::vec(attributes(), 1..4), proptest::collection::vec((prefix(), 0usize..4), 0..60))
        .prop_map(|(attributes, routes)| {
            let attributes: Vec<Arc<RouteAttributes>> = attributes.into_iter().map(Arc::new).collect();
            let route = |(prefix, which)| (prefix, Arc::clone(&attributes[which % attributes.len()]));
            routes.into_iter().map(route).collect()
        })
}

#[derive(Debug, Clone)]
enum Act {
    Routes(RibOut),
    Pass(u64),
    Break,
    Refresh(u8),
    StopReading,
    ReadAgain,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => rib().prop_map(Act::Routes),
        4 => (0u64..20).prop_map(Act::Pass),
        1 => Just(Act::Break),
        1 => (1u8..3).prop_map(Act::Refresh),
        1 => Just(Act::StopReading),
        1 => Just(Act::ReadAgain),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_peer_has_the_last_wish(acts in proptest::collection::vec(act(), 1..25), last in rib(), internal: bool, ipv6: bool, seed: u64) {
        let mut settings = [settings(0), settings(1)];
        settings[0].asn = 4_200_000_001;
        settings[1].asn = if internal { 4_200_000_001 } else { 65002 };
        for side in 0..2 {
            settings[side].remote = causeway_metal::bgp::RemoteAsn::Is(settings[1 - side].asn);
            settings[side].families = Families::Both;
        }
        let mut wire = Wire::new(settings, seed);
        wire.ipv6 = ipv6;
        for act in acts {
            match act {
                Act::Routes(routes) => wire.routes(0, &routes),
                Act::Pass(time) => wire.run_for(ms(time)),
                Act::Break => wire.break_all(),
                Act::StopReading => wire.sides[1].reads = false,
                Act::ReadAgain => wire.read_again(1),
                Act::Refresh(afi) if wire.up() && wire.openers().len() == 1 => {
                    let mut octets = vec![0xff; 16];
                    octets.extend([0, 23, 5, 0, afi, 0, 1]);
                    let conn = wire.conn(0);
                    wire.input(0, Input::Octets { conn, octets: &octets });
                }
                Act::Refresh(_) => {}
            }
        }
        wire.routes(0, &last);
        wire.read_again(1);
        wire.come_up(seconds(300));
        wire.run_for(seconds(3));
        prop_assert!(wire.up());
        let heard = wire.heard(1);
        prop_assert!(heard.table.keys().eq(last.keys()), "{:?} instead of {:?}", heard.table.keys(), last.keys());
        for (prefix, route) in &last {
            let next_hop = address(0, Family::of(&prefix.addr()) == Family::V6);
            prop_assert_eq!(&heard.table[prefix], &expected(route, 4_200_000_001, internal, next_hop));
        }
        let prefixes = wire.sides[0].session.prefixes();
        prop_assert_eq!((prefixes.told, prefixes.pending), (last.len(), 0));
        // A further word would be one too many.
        let updates = heard.updates;
        wire.routes(0, &last);
        wire.run_for(seconds(2));
        prop_assert_eq!(wire.heard(1).updates, updates);
    }
}
