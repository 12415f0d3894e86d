//! Which target group and which target a connection or request goes to. Pure.

use serde_json::Value;

use crate::aws::elb::traffic::{Group, Reachable};

/// The target groups of a forward action with their weights.
pub fn groups(action: &Value) -> Vec<(&str, u64)> {
    let tuples = action["ForwardConfig"]["TargetGroups"].as_array().into_iter().flatten();
    tuples
        .filter_map(|tuple| Some((tuple["TargetGroupArn"].as_str()?, tuple["Weight"].as_u64().unwrap_or(1))))
        .collect()
}

/// One of the groups, by weight; `number` decides. None if all weights are zero.
pub fn group<'a>(groups: &[(&'a str, u64)], number: u64) -> Option<&'a str> {
    let total: u64 = groups.iter().map(|(_, weight)| weight).sum();
    if total == 0 {
        return None;
    }
    let mut point = mix(number) % total;
    for (arn, weight) in groups {
        if point < *weight {
            return Some(arn);
        }
        point -= weight;
    }
    None
}

/// One of a group's eligible targets; `number` decides.
pub fn target(group: &Group, number: u64) -> Option<&Reachable> {
    let eligible = group.eligible();
    let count = eligible.len() as u64;
    (count > 0).then(|| eligible[(number % count) as usize])
}

/// Spreads neighbouring numbers.
pub fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::aws::elb::state::{HealthCheck, Kind};

    #[test]
    fn weights_are_kept() {
        let weighted = [("a", 900), ("b", 100), ("c", 0)];
        let share = |arn| (0..10_000).filter(|number| group(&weighted, *number) == Some(arn)).count();
        assert!((8_800..9_200).contains(&share("a")), "{}", share("a"));
        assert!((800..1_200).contains(&share("b")), "{}", share("b"));
        assert_eq!(share("c"), 0);
        assert_eq!(group(&[("a", 0)], 1), None);
        assert_eq!(group(&[], 1), None);
    }

    fn of(states: &str) -> Group {
        let one = |(port, state): (usize, char)| Reachable {
            id: "i".into(),
            port: port as u16,
            address: None,
            healthy: state == 'h',
            unhealthy: state == 'u',
            draining: state == 'd',
            unused: state == '-',
            open: true,
            check_open: true,
            client_sources: Vec::new(),
        };
        let check = HealthCheck::tcp();
        Group {
            protocol: "TCP".into(),
            kind: Kind::Network,
            check,
            private: [10, 0, 0, 1].into(),
            attributes: BTreeMap::new(),
            targets: states.chars().enumerate().map(one).collect(),
        }
    }

    #[test]
    fn only_healthy_targets_are_chosen_unless_there_is_none() {
        for (states, chosen) in [
            ("huh", vec![0, 2]),
            ("uud", vec![0, 1]),
            ("iu-", vec![0, 1]),
            ("hd", vec![0]),
            ("dd-", vec![]),
            ("", vec![]),
        ] {
            let group = of(states);
            let mut ports: Vec<u16> =
                (0..20).filter_map(|number| target(&group, number)).map(|t| t.port).collect();
            ports.sort_unstable();
            ports.dedup();
            assert_eq!(ports, chosen, "{states}");
        }
    }
}
