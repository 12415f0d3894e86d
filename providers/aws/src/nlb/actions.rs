//! `actions.PROTOCOL-PORT` of a Service: connections of one listener shared by weight. Pure.

use serde::Deserialize;

/// Most target groups of one listener, the Service's own included.
const MOST: usize = 5;
/// Highest weight.
const HEAVIEST: u16 = 999;

/// A further receiver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Receiver {
    /// A target group that the user made.
    TargetGroup(String),
    /// A port of another Service of the namespace.
    Service {
        /// Name.
        name: String,
        /// Number or name of the port.
        port: String,
        /// Of a TLS listener: towards these targets without TLS.
        decrypt: bool,
    },
}

/// A receiver and its share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// Who receives.
    pub receiver: Receiver,
    /// Weight.
    pub weight: Option<u16>,
}

/// Who gets how much.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WeightedForward {
    /// Weight of the Service itself.
    pub own_weight: Option<u16>,
    /// The others.
    pub shares: Vec<Share>,
    /// Keeps a client on one of them.
    pub stickiness: Option<bool>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawAction {
    #[serde(rename = "type")]
    kind: String,
    forward_config: Option<RawForward>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawForward {
    base_service_weight: Option<u32>,
    #[serde(default)]
    target_groups: Vec<RawShare>,
    target_group_stickiness_config: Option<RawStickiness>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawShare {
    #[serde(rename = "targetGroupARN")]
    target_group_arn: Option<String>,
    service_name: Option<String>,
    service_port: Option<RawPort>,
    #[serde(default)]
    decrypt: bool,
    weight: Option<u32>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum RawPort {
    Number(u16),
    Name(String),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawStickiness {
    enabled: Option<bool>,
}

fn weight(raw: Option<u32>) -> Result<Option<u16>, String> {
    raw.map(|w| {
        u16::try_from(w)
            .ok()
            .filter(|w| *w <= HEAVIEST)
            .ok_or_else(|| format!("weight {w} is not from 0 to {HEAVIEST}"))
    })
    .transpose()
}

/// Reads the annotation's value.
///
/// # Errors
/// What is wrong with it.
pub fn parse(text: &str) -> Result<WeightedForward, String> {
    let raw: RawAction =
        serde_json::from_str(text).map_err(|e| format!("it is not the JSON of an action: {e}"))?;
    if raw.kind != "forward" {
        return Err(format!("type {:?} is not \"forward\", the only one that an NLB has", raw.kind));
    }
    let Some(forward) = raw.forward_config else {
        return Err("forwardConfig is missing: write whom to forward to".to_owned());
    };
    let several = forward.target_groups.len() > 1;
    if forward.target_groups.len() >= MOST {
        return Err(format!(
            "there are {} target groups besides the Service's own: at most {}",
            forward.target_groups.len(),
            MOST - 1
        ));
    }
    let mut shares = Vec::new();
    for share in forward.target_groups {
        let receiver = match (share.target_group_arn, share.service_name, share.service_port) {
            (Some(arn), None, None) => Receiver::TargetGroup(arn),
            (None, Some(name), Some(port)) => Receiver::Service {
                name,
                port: match port {
                    RawPort::Number(number) => number.to_string(),
                    RawPort::Name(name) => name,
                },
                decrypt: share.decrypt,
            },
            (None, Some(name), None) => return Err(format!("servicePort of Service {name} is missing")),
            _ => return Err("of targetGroupARN and serviceName exactly one must be there".to_owned()),
        };
        let weight = weight(share.weight)?;
        if several && weight.is_none() {
            return Err("weight is missing: with several target groups each needs one".to_owned());
        }
        shares.push(Share { receiver, weight });
    }
    Ok(WeightedForward {
        own_weight: weight(forward.base_service_weight)?,
        shares,
        stickiness: forward.target_group_stickiness_config.and_then(|s| s.enabled),
    })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn forward(config: &str) -> Result<WeightedForward, String> {
        parse(&format!(r#"{{"type":"forward","forwardConfig":{config}}}"#))
    }

    #[test]
    fn receivers_and_weights() {
        let found = forward(
            r#"{"baseServiceWeight":1,"targetGroups":[{"serviceName":"a","servicePort":80,"weight":2,"decrypt":true},
                {"serviceName":"b","servicePort":"http","weight":0},{"targetGroupARN":"arn:tg","weight":999}],
                "targetGroupStickinessConfig":{"enabled":true}}"#,
        )
        .expect("a right one");
        assert_eq!((found.own_weight, found.stickiness), (Some(1), Some(true)));
        let service = |name: &str, port: &str, decrypt| Receiver::Service {
            name: name.to_owned(),
            port: port.to_owned(),
            decrypt,
        };
        let receivers: Vec<_> = found.shares.iter().map(|s| (&s.receiver, s.weight)).collect();
        assert_eq!(
            receivers,
            [
                (&service("a", "80", true), Some(2)),
                (&service("b", "http", false), Some(0)),
                (&Receiver::TargetGroup("arn:tg".to_owned()), Some(999)),
            ]
        );
        assert_eq!(forward("{}").expect("the Service alone").shares, []);
    }

    #[rstest]
    #[case::not_json("forward", "JSON")]
    #[case::another_type(r#"{"type":"redirect"}"#, "forward")]
    #[case::no_config(r#"{"type":"forward"}"#, "forwardConfig")]
    #[case::unknown_key(r#"{"type":"forward","forwardConfig":{"targets":[]}}"#, "targets")]
    #[case::no_port(
        r#"{"type":"forward","forwardConfig":{"targetGroups":[{"serviceName":"a"}]}}"#,
        "servicePort"
    )]
    #[case::both(r#"{"type":"forward","forwardConfig":{"targetGroups":[{"serviceName":"a","servicePort":1,"targetGroupARN":"x"}]}}"#, "exactly one")]
    #[case::neither(r#"{"type":"forward","forwardConfig":{"targetGroups":[{"weight":1}]}}"#, "exactly one")]
    #[case::too_heavy(r#"{"type":"forward","forwardConfig":{"baseServiceWeight":1000}}"#, "999")]
    #[case::without_weight(r#"{"type":"forward","forwardConfig":{"targetGroups":[{"targetGroupARN":"a"},{"targetGroupARN":"b","weight":1}]}}"#, "weight")]
    #[case::too_many(r#"{"type":"forward","forwardConfig":{"targetGroups":[{"targetGroupARN":"a"},{"targetGroupARN":"b"},{"targetGroupARN":"c"},{"targetGroupARN":"d"},{"targetGroupARN":"e"}]}}"#, "at most 4")]
    fn what_is_wrong_is_named(#[case] text: &str, #[case] says: &str) {
        let error = parse(text).expect_err("a wrong one");
        assert!(error.contains(says), "{error}");
    }
}
