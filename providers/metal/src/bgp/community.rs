//! BGP communities as users write them: numbers, names that everybody knows, and names out of `Community` objects. Pure.

use std::collections::BTreeMap;
use std::fmt;

use causeway_api::{OwnObject, OwnObjects, Problem};

use crate::kinds::CommunitySpec;
use crate::names::reasons;

/// One community.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Community {
    /// Two numbers of 16 bits, the first one in the upper half (RFC 1997).
    Standard(u32),
    /// Three numbers of 32 bits (RFC 8092).
    Large([u32; 3]),
}

/// The names that stand for a community without being defined (IANA's registry of well-known communities), and the RFC of each.
pub const WELL_KNOWN: [(&str, u32); 11] = [
    ("graceful-shutdown", 0xffff_0000),   // RFC 8326
    ("accept-own", 0xffff_0001),          // RFC 7611
    ("llgr-stale", 0xffff_0006),          // RFC 9494
    ("no-llgr", 0xffff_0007),             // RFC 9494
    ("accept-own-nexthop", 0xffff_0008),  // registered by draft-agrewal-idr-accept-own-nexthop
    ("standby-pe", 0xffff_0009),          // RFC 9026
    ("blackhole", 0xffff_029a),           // RFC 7999
    ("no-export", 0xffff_ff01),           // RFC 1997
    ("no-advertise", 0xffff_ff02),        // RFC 1997
    ("no-export-subconfed", 0xffff_ff03), // RFC 1997
    ("no-peer", 0xffff_ff04),             // RFC 3765
];

impl Community {
    /// Parses the numbers `64500:1` or `large:64500:1:2`, or a well-known name.
    ///
    /// # Errors
    /// Says what a community looks like.
    pub fn parse(text: &str) -> Result<Self, String> {
        if let Some((_, number)) = WELL_KNOWN.iter().find(|(name, _)| *name == text) {
            return Ok(Self::Standard(*number));
        }
        let parts: Vec<&str> = text.split(':').collect();
        match parts.as_slice() {
            [upper, lower] => {
                let (upper, lower) = (part::<u16>(text, upper, "65535")?, part::<u16>(text, lower, "65535")?);
                Ok(Self::Standard(u32::from(upper) << 16 | u32::from(lower)))
            }
            ["large", parts @ ..] if parts.len() == 3 => {
                let mut numbers = [0; 3];
                for (number, text_of_part) in numbers.iter_mut().zip(parts) {
                    *number = part::<u32>(text, text_of_part, "4294967295")?;
                }
                Ok(Self::Large(numbers))
            }
            _ => Err(format!("{text:?} is no community; write it as 64500:1 or large:64500:1:2")),
        }
    }
}

fn part<T: std::str::FromStr>(text: &str, part: &str, highest: &str) -> Result<T, String> {
    // `parse` would also take a sign.
    let digits = part.bytes().all(|byte| byte.is_ascii_digit());
    part.parse()
        .ok()
        .filter(|_| digits)
        .ok_or_else(|| format!("{part:?} in {text:?} is no number from 0 to {highest}"))
}

impl fmt::Display for Community {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Standard(number) => write!(f, "{}:{}", number >> 16, number & 0xffff),
            Self::Large([a, b, c]) => write!(f, "large:{a}:{b}:{c}"),
        }
    }
}

/// The names that `Community` objects define.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Aliases {
    by_name: BTreeMap<String, Community>,
}

impl Aliases {
    /// Reads all `Community` objects, the oldest first: of two definitions of one name the younger is refused. A bad one hides no other.
    #[must_use]
    pub fn new(objects: &OwnObjects) -> (Self, Vec<Problem>) {
        let mut aliases = Self::default();
        let mut problems = Vec::new();
        let mut defined_by: BTreeMap<String, String> = BTreeMap::new();
        let mut objects: Vec<&OwnObject> = objects.of("Community").collect();
        objects.sort_by(|a, b| (a.created, &a.object.name).cmp(&(b.created, &b.object.name)));
        for object in objects {
            let mut refuse = |field: String, message: String| {
                problems.push(Problem::error(
                    object.object.clone(),
                    field,
                    reasons::INVALID_COMMUNITY,
                    message,
                ));
            };
            let spec = if object.spec.is_null() {
                CommunitySpec::default()
            } else {
                match serde_json::from_value::<CommunitySpec>(object.spec.clone()) {
                    Ok(spec) => spec,
                    Err(error) => {
                        refuse(
                            "spec".into(),
                            format!("cannot be read: {error}; see the schema of Community"),
                        );
                        continue;
                    }
                }
            };
            for (index, alias) in spec.communities.into_iter().enumerate() {
                let field = format!("spec.communities[{index}]");
                if alias.name.is_empty() {
                    refuse(format!("{field}.name"), "a community needs a name".into());
                } else if let Some(other) = defined_by.get(&alias.name) {
                    refuse(
                        format!("{field}.name"),
                        format!("{:?} is defined by {other} already; remove one of them", alias.name),
                    );
                } else {
                    match Community::parse(&alias.value) {
                        Ok(community) => {
                            defined_by.insert(alias.name.clone(), object.object.to_string());
                            aliases.by_name.insert(alias.name, community);
                        }
                        Err(message) => refuse(format!("{field}.value"), message),
                    }
                }
            }
        }
        (aliases, problems)
    }

    /// The community that a text stands for: by a name of the user's own, which may be a well-known one, or by itself.
    ///
    /// # Errors
    /// Says what to do.
    pub fn resolve(&self, text: &str) -> Result<Community, String> {
        if let Some(community) = self.by_name.get(text) {
            return Ok(*community);
        }
        Community::parse(text).map_err(|error| {
            if text.contains(':') {
                error
            } else {
                format!("no Community defines {text:?}; define it, or write the community as 64500:1 or large:64500:1:2")
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    #[rstest]
    #[case("64500:1", Community::Standard(64500 << 16 | 1))]
    #[case("0:0", Community::Standard(0))]
    #[case("65535:65535", Community::Standard(u32::MAX))]
    #[case("large:64500:1:2", Community::Large([64500, 1, 2]))]
    #[case("large:4294967295:0:4294967295", Community::Large([u32::MAX, 0, u32::MAX]))]
    #[case("no-export", Community::Standard(0xffff_ff01))]
    #[case("graceful-shutdown", Community::Standard(65535 << 16))]
    #[case("blackhole", Community::Standard(65535 << 16 | 666))]
    fn good(#[case] text: &str, #[case] expected: Community) {
        assert_eq!(Community::parse(text), Ok(expected));
    }

    #[rstest]
    #[case("", "is no community")]
    #[case("64500", "is no community")]
    #[case("1:2:3", "is no community")]
    #[case("large:1:2", "is no community")]
    #[case("large:1:2:3:4", "is no community")]
    #[case("small:1:2:3", "is no community")]
    #[case("65536:1", "\"65536\" in")]
    #[case("1:65536", "from 0 to 65535")]
    #[case("large:1:2:4294967296", "from 0 to 4294967295")]
    #[case("+1:2", "\"+1\" in")]
    #[case("1: 2", "\" 2\" in")]
    #[case(":", "\"\" in")]
    #[case("large:a:b:c", "\"a\" in")]
    fn bad(#[case] text: &str, #[case] says: &str) {
        let error = Community::parse(text).expect_err("invalid");
        assert!(error.contains(says), "{error}");
    }

    fn community(name: &str, created: i64, aliases: &[(&str, &str)]) -> OwnObject {
        let list: Vec<_> =
            aliases.iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
        let spec = json!({ "communities": list });
        OwnObject { created: Some(created), ..OwnObject::new("Community", "metallb-system", name, spec) }
    }

    fn read(objects: Vec<OwnObject>) -> (Aliases, Vec<String>) {
        let (aliases, problems) = Aliases::new(&OwnObjects { objects, ..OwnObjects::default() });
        (aliases, problems.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn names_are_those_of_all_objects() {
        let (aliases, problems) = read(vec![
            community("one", 1, &[("vpn", "64500:1"), ("wide", "large:64500:1:2")]),
            community("two", 2, &[("no-export", "64500:9")]),
            OwnObject::new("Community", "metallb-system", "empty", serde_json::Value::Null),
        ]);
        assert_eq!(problems, Vec::<String>::new());
        assert_eq!(aliases.resolve("vpn"), Ok(Community::Standard(64500 << 16 | 1)));
        assert_eq!(aliases.resolve("wide"), Ok(Community::Large([64500, 1, 2])));
        // What users define themselves holds, as it would with MetalLB, which knows no such names.
        assert_eq!(aliases.resolve("no-export"), Ok(Community::Standard(64500 << 16 | 9)));
        assert_eq!(aliases.resolve("no-advertise"), Ok(Community::Standard(0xffff_ff02)));
        assert_eq!(aliases.resolve("64500:7"), Ok(Community::Standard(64500 << 16 | 7)));
        assert!(aliases.resolve("gone").is_err_and(|e| e.contains("no Community defines \"gone\"")));
        assert!(aliases.resolve("1:2:3").is_err_and(|e| e.contains("is no community")));
    }

    #[rstest]
    #[case::reversed(true)]
    #[case::sorted(false)]
    fn of_two_definitions_the_older_holds(#[case] reversed: bool) {
        let mut objects = vec![
            community("b-old", 1, &[("vpn", "64500:1")]),
            community("a-young", 2, &[("vpn", "64500:2"), ("other", "64500:3")]),
        ];
        if reversed {
            objects.reverse();
        }
        let (aliases, problems) = read(objects);
        assert_eq!(problems.len(), 1);
        for part in
            ["Community metallb-system/a-young", "spec.communities[0].name", "Community metallb-system/b-old"]
        {
            assert!(problems[0].contains(part), "{part}: {}", problems[0]);
        }
        assert_eq!(aliases.resolve("vpn"), Ok(Community::Standard(64500 << 16 | 1)));
        assert!(aliases.resolve("other").is_ok());
    }

    #[rstest]
    #[case(&[("vpn", "64500:1"), ("vpn", "64500:1")], "spec.communities[1].name")]
    #[case(&[("", "64500:1"), ("fine", "64500:1")], "spec.communities[0].name")]
    #[case(&[("bad", "64500"), ("fine", "64500:1")], "spec.communities[0].value")]
    #[case(&[("bad", "65536:1"), ("fine", "64500:1")], "spec.communities[0].value")]
    fn faults_name_their_field_and_hide_no_other(#[case] aliases: &[(&str, &str)], #[case] field: &str) {
        let (read, problems) = read(vec![community("one", 1, aliases)]);
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].contains(field), "{}", problems[0]);
        let sound = if field.ends_with("[1].name") { "vpn" } else { "fine" };
        assert!(read.resolve(sound).is_ok());
    }

    #[test]
    fn what_cannot_be_read_is_said() {
        let (_, problems) =
            read(vec![OwnObject::new("Community", "m", "one", json!({"communities": "vpn"}))]);
        assert!(problems[0].contains("see the schema of Community"), "{problems:?}");
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_as_itself(standard in any::<u32>(), large in any::<[u32; 3]>()) {
            for community in [Community::Standard(standard), Community::Large(large)] {
                prop_assert_eq!(Community::parse(&community.to_string()), Ok(community));
            }
        }

        #[test]
        fn no_text_breaks_it(text in ".{0,40}") {
            let _read = Community::parse(&text);
        }
    }
}
