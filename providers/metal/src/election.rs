//! Which of the candidates announces an address. Pure.
//!
//! The order is MetalLB's, so that during a migration its speakers and ours agree: the highest sum of preferences first, then the SHA-256 of
//! `<node name>#<address>`, ascending as bytes. The address is the text of the first address in the Service's status: both families of a
//! Service, and all Services that share an address, meet on one node. Every node computes it alone; no message is exchanged.

use std::net::IpAddr;

use ring::digest::{SHA256, digest};

/// A node that may announce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate<'a> {
    /// Name of the node.
    pub node: &'a str,
    /// Sum of the preferences of the advertisements that it matches; higher wins.
    pub preference: i64,
}

/// The hash that orders nodes of equal preference for an address.
#[must_use]
pub fn rank(node: &str, address: IpAddr) -> [u8; 32] {
    rank_text(&mut Vec::with_capacity(node.len() + 48), node, &address.to_canonical().to_string())
}

fn rank_text(buffer: &mut Vec<u8>, node: &str, address: &str) -> [u8; 32] {
    buffer.clear();
    buffer.extend_from_slice(node.as_bytes());
    buffer.push(b'#');
    buffer.extend_from_slice(address.as_bytes());
    let mut rank = [0; 32];
    rank.copy_from_slice(digest(&SHA256, buffer).as_ref());
    rank
}

/// The candidate that announces, whatever the order of the candidates. `None` only if there are none.
#[must_use]
pub fn winner<'a>(candidates: impl IntoIterator<Item = Candidate<'a>>, address: IpAddr) -> Option<&'a str> {
    let text = address.to_canonical().to_string();
    let mut buffer = Vec::with_capacity(128);
    let mut best: Option<(Candidate<'a>, Option<[u8; 32]>)> = None;
    for candidate in candidates {
        let Some((leader, leader_rank)) = &mut best else {
            best = Some((candidate, None));
            continue;
        };
        if candidate.preference < leader.preference || candidate.node == leader.node {
            continue;
        }
        if candidate.preference > leader.preference {
            best = Some((candidate, None));
            continue;
        }
        // Hashed only where preferences tie: a lone candidate costs none.
        let theirs = *leader_rank.get_or_insert_with(|| rank_text(&mut buffer, leader.node, &text));
        let ours = rank_text(&mut buffer, candidate.node, &text);
        if (ours, candidate.node) < (theirs, leader.node) {
            best = Some((candidate, Some(ours)));
        }
    }
    best.map(|(candidate, _)| candidate.node)
}

/// Whether a node is the [`winner`] over others of equal preference; one hash for each of them at most, and few on average where it is not.
#[must_use]
pub fn wins<'a>(node: &str, others: impl IntoIterator<Item = &'a str>, address: IpAddr) -> bool {
    let text = address.to_canonical().to_string();
    let mut buffer = Vec::with_capacity(128);
    let mut ours = None;
    others.into_iter().filter(|other| *other != node).all(|other| {
        let ours = *ours.get_or_insert_with(|| rank_text(&mut buffer, node, &text));
        (ours, node) < (rank_text(&mut buffer, other, &text), other)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    const NODES: [&str; 5] = ["node1", "node2", "node3", "node4", "node5"];

    fn order(address: &str) -> Vec<&'static str> {
        let address = address.parse().expect("an address");
        let mut left = NODES.to_vec();
        let mut order = Vec::new();
        while let Some(first) = winner(left.iter().map(|node| Candidate { node, preference: 0 }), address) {
            left.retain(|node| *node != first);
            order.push(NODES[NODES.iter().position(|n| *n == first).expect("one of them")]);
        }
        order
    }

    // Computed with another implementation of SHA-256, of the texts "node1#192.0.2.10" and so on.
    #[rstest]
    #[case("192.0.2.10", ["node2", "node1", "node3", "node4", "node5"])]
    #[case("192.0.2.11", ["node4", "node3", "node1", "node2", "node5"])]
    #[case("2001:db8::10", ["node1", "node2", "node4", "node5", "node3"])]
    #[case("2001:0db8:0:0::0010", ["node1", "node2", "node4", "node5", "node3"])]
    #[case("::ffff:192.0.2.10", ["node2", "node1", "node3", "node4", "node5"])]
    fn known_orders(#[case] address: &str, #[case] expected: [&str; 5]) {
        assert_eq!(order(address), expected);
    }

    #[test]
    fn known_hash() {
        let hex: String = rank("node1", "192.0.2.10".parse().expect("an address"))
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect();
        assert_eq!(hex, "8ca210481d15cae5b41525a6e5fbf545b6c70c6718346ab9cb82349c0faaf214");
    }

    #[test]
    fn preference_goes_before_hash() {
        let address = "192.0.2.10".parse().expect("an address");
        let candidates = [("node2", 1), ("node5", 7), ("node4", 7)];
        let candidates = candidates.map(|(node, preference)| Candidate { node, preference });
        assert_eq!(winner(candidates, address), Some("node4"));
        assert_eq!(winner([], address), None);
    }

    proptest! {
        #[test]
        fn order_of_candidates_does_not_matter_and_survivors_keep_their_addresses(
            nodes in proptest::collection::btree_map("[a-z]{1,8}", 0i64..3, 1..20),
            address in any::<u32>(),
            seed in any::<prop::sample::Index>(),
        ) {
            let address = IpAddr::V4(address.into());
            let forward: Vec<_> =
                nodes.iter().map(|(node, p)| Candidate { node, preference: *p }).collect();
            let first = winner(forward.iter().copied(), address).expect("some");
            let mut rotated = forward.clone();
            rotated.rotate_left(seed.index(forward.len()));
            rotated.reverse();
            prop_assert_eq!(winner(rotated, address), Some(first));
            // One of them is asked whether it is the one.
            let equal = forward.iter().filter(|c| c.preference == forward[0].preference).map(|c| c.node);
            let best = winner(equal.clone().map(|node| Candidate { node, preference: 0 }), address);
            for node in equal.clone() {
                prop_assert_eq!(wins(node, equal.clone(), address), best == Some(node));
            }
            // Whoever else leaves, the winner stays.
            let gone = forward[seed.index(forward.len())].node;
            if gone != first {
                let rest = forward.iter().copied().filter(|c| c.node != gone);
                prop_assert_eq!(winner(rest, address), Some(first));
            }
        }
    }
}
