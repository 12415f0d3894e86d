//! BFD profiles: `BFDProfile` objects checked. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use causeway_api::{OwnObject, OwnObjects, Problem};

use super::Report;
use crate::kinds::BFDProfileSpec;
use crate::names::reasons;

/// How the path to a router is watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BfdSettings {
    /// Required Min RX Interval (RFC 5880 §6.8.1).
    pub receive: Duration,
    /// Desired Min TX Interval while the session is up (RFC 5880 §6.8.1).
    pub transmit: Duration,
    /// Detect Mult (RFC 5880 §6.8.1).
    pub multiplier: u8,
    /// Interval of echo packets, if there are to be any (RFC 5880 §6.4). Only for single-hop IPv4.
    pub echo: Option<Duration>,
    /// Says nothing before the router does (RFC 5880 §6.1).
    pub passive: bool,
    /// With several hops: lowest TTL of packets that are taken (RFC 5883 §5).
    pub minimum_ttl: u8,
}

impl Default for BfdSettings {
    /// Those of FRR, which MetalLB's schema leaves to it.
    fn default() -> Self {
        Self {
            receive: Duration::from_millis(300),
            transmit: Duration::from_millis(300),
            multiplier: 3,
            echo: None,
            passive: false,
            minimum_ttl: 254,
        }
    }
}

/// Interval of echo packets where the profile gives none.
const ECHO: Duration = Duration::from_millis(50);

/// All profiles by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Profiles {
    /// `None`: it is there, but cannot be used.
    by_name: BTreeMap<String, Option<BfdSettings>>,
}

impl Profiles {
    /// Checks all `BFDProfile` objects. One bad object never hides another.
    #[must_use]
    pub fn new(objects: &OwnObjects) -> (Self, Vec<Problem>) {
        let mut problems = Vec::new();
        let by_name = objects
            .of("BFDProfile")
            .map(|object| (object.object.name.clone(), parse(object, &mut problems)))
            .collect();
        (Self { by_name }, problems)
    }

    /// The settings of a profile.
    ///
    /// # Errors
    /// Says what is wrong with naming it.
    pub fn get(&self, name: &str) -> Result<&BfdSettings, String> {
        match self.by_name.get(name) {
            Some(Some(settings)) => Ok(settings),
            Some(None) => Err(format!("BFDProfile {name} cannot be used, see its Events; mend it")),
            None => Err(format!(
                "there is no BFDProfile {name}; create it in the same namespace, or name another"
            )),
        }
    }
}

fn parse(object: &OwnObject, problems: &mut Vec<Problem>) -> Option<BfdSettings> {
    let mut report = Report::new(&object.object, reasons::INVALID_PROFILE, problems);
    let spec = report.spec::<BFDProfileSpec>(object)?;
    let default = BfdSettings::default();
    let interval = |report: &mut Report, field: &str, value: Option<i64>, default: Duration| {
        let millis = bounded(report, field, value, 10, 60_000);
        millis.map_or(default, |millis| Duration::from_millis(millis.into()))
    };
    let receive = interval(&mut report, "receiveInterval", spec.receive_interval, default.receive);
    let transmit = interval(&mut report, "transmitInterval", spec.transmit_interval, default.transmit);
    let echo = interval(&mut report, "echoInterval", spec.echo_interval, ECHO);
    let mut octet = |field: &str, value: Option<i64>, lowest: u16, highest: u16, default: u8| {
        let value = bounded(&mut report, field, value, lowest, highest);
        value.and_then(|value| u8::try_from(value).ok()).unwrap_or(default)
    };
    let multiplier = octet("detectMultiplier", spec.detect_multiplier, 2, 255, default.multiplier);
    let minimum_ttl = octet("minimumTtl", spec.minimum_ttl, 1, 254, default.minimum_ttl);
    report.sound().then(|| BfdSettings {
        receive,
        transmit,
        multiplier,
        echo: spec.echo_mode.unwrap_or_default().then_some(echo),
        passive: spec.passive_mode.unwrap_or_default(),
        minimum_ttl,
    })
}

/// A number of the spec; out of bounds it counts as absent and is reported.
fn bounded(report: &mut Report, field: &str, value: Option<i64>, lowest: u16, highest: u16) -> Option<u16> {
    let value = value?;
    let number = u16::try_from(value).ok().filter(|number| (lowest..=highest).contains(number));
    if number.is_none() {
        report.refuse(format!("spec.{field}"), format!("{value} is not within {lowest} to {highest}"));
    }
    number
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;

    fn read(specs: &[Value]) -> (Profiles, Vec<Problem>) {
        let objects = specs
            .iter()
            .enumerate()
            .map(|(n, spec)| OwnObject::new("BFDProfile", "metallb-system", &format!("p{n}"), spec.clone()))
            .collect();
        Profiles::new(&OwnObjects { objects, ..OwnObjects::default() })
    }

    #[rstest]
    #[case(Value::Null, BfdSettings::default())]
    #[case(json!({}), BfdSettings::default())]
    #[case(json!({"echoInterval": 90}), BfdSettings::default())]
    #[case(json!({"echoMode": true}), BfdSettings { echo: Some(Duration::from_millis(50)), ..BfdSettings::default() })]
    #[case(
        json!({"receiveInterval": 50, "transmitInterval": 51, "detectMultiplier": 4, "echoMode": true, "echoInterval": 52, "passiveMode": true,
            "minimumTtl": 200}),
        BfdSettings {
            receive: Duration::from_millis(50),
            transmit: Duration::from_millis(51),
            multiplier: 4,
            echo: Some(Duration::from_millis(52)),
            passive: true,
            minimum_ttl: 200,
        }
    )]
    fn good(#[case] spec: Value, #[case] expected: BfdSettings) {
        let (profiles, problems) = read(&[spec]);
        assert_eq!(problems, []);
        assert_eq!(profiles.get("p0"), Ok(&expected));
    }

    #[rstest]
    #[case(json!({"receiveInterval": 9}), "spec.receiveInterval")]
    #[case(json!({"receiveInterval": 60_001}), "spec.receiveInterval")]
    #[case(json!({"transmitInterval": 0}), "spec.transmitInterval")]
    #[case(json!({"echoInterval": -1}), "spec.echoInterval")]
    #[case(json!({"detectMultiplier": 1}), "spec.detectMultiplier")]
    #[case(json!({"detectMultiplier": 256}), "spec.detectMultiplier")]
    #[case(json!({"minimumTtl": 0}), "spec.minimumTtl")]
    #[case(json!({"minimumTtl": 255}), "spec.minimumTtl")]
    #[case(json!({"echoMode": "yes"}), "spec")]
    fn faults_name_their_field_and_hide_no_other(#[case] spec: Value, #[case] field: &str) {
        let (profiles, problems) = read(&[spec, json!({})]);
        assert_eq!(problems.iter().map(|p| p.field.as_str()).collect::<Vec<_>>(), [field]);
        assert!(profiles.get("p0").is_err_and(|e| e.contains("cannot be used")));
        assert!(profiles.get("p1").is_ok());
        assert!(profiles.get("p2").is_err_and(|e| e.contains("there is no BFDProfile p2")));
    }
}
