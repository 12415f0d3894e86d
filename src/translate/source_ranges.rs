//! Which client networks may use a load balancer. Pure, and fails shut: a list that is there never becomes "everybody" because
//! of an entry that cannot be read.

use causeway_api::names::ANNOTATION_SOURCE_RANGES;
use causeway_api::{ObjectRef, Problem};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::reasons;
use crate::state::records::ServiceRecord;

/// A network that no client is in (the unspecified address): what is left of a list in which nothing can be read.
pub const NOBODY_V4: IpNet = IpNet::V4(Ipv4Net::new_assert(std::net::Ipv4Addr::UNSPECIFIED, 32));
/// The same for IPv6.
pub const NOBODY_V6: IpNet = IpNet::V6(Ipv6Net::new_assert(std::net::Ipv6Addr::UNSPECIFIED, 128));

/// The networks of a Service, sorted, without duplicates, host bits cleared; empty means everybody.
///
/// `spec.loadBalancerSourceRanges` wins over the annotation, whole, as upstream. Entries may carry white space. One that is no
/// network is reported and left out; if none remains, the list is [`NOBODY_V4`] and [`NOBODY_V6`].
pub(super) fn source_ranges(service: &ServiceRecord, object: &ObjectRef) -> (Vec<IpNet>, Vec<Problem>) {
    let mut problems = Vec::new();
    let mut ranges = Vec::new();
    let mut read = |field: String, text: &str| match text.trim().parse::<IpNet>() {
        Ok(range) => ranges.push(range.trunc()),
        Err(_) => problems.push(malformed(object, field, text)),
    };
    let given = if service.source_ranges.is_empty() {
        let text = service.meta.annotations.get(ANNOTATION_SOURCE_RANGES).map_or("", |v| v.trim());
        let field = || format!("metadata.annotations[{ANNOTATION_SOURCE_RANGES}]");
        // A comma at the end is no entry.
        let entries: Vec<&str> = text.split(',').filter(|entry| !entry.trim().is_empty()).collect();
        if entries.is_empty() && !text.is_empty() {
            read(field(), text);
        }
        for entry in entries {
            read(field(), entry);
        }
        !text.is_empty()
    } else {
        for (i, entry) in service.source_ranges.iter().enumerate() {
            read(format!("spec.loadBalancerSourceRanges[{i}]"), entry);
        }
        true
    };
    if given && ranges.is_empty() {
        ranges.extend([NOBODY_V4, NOBODY_V6]);
    }
    ranges.sort();
    ranges.dedup();
    (ranges, problems)
}

fn malformed(object: &ObjectRef, field: String, text: &str) -> Problem {
    let text = text.trim();
    let remedy = match text.parse::<std::net::IpAddr>() {
        Ok(ip) => format!("write {ip}/{} for this one address", if ip.is_ipv4() { 32 } else { 128 }),
        Err(_) => "write an address and a prefix length such as 192.0.2.0/24 or 2001:db8::/32".to_owned(),
    };
    Problem::error(
        object.clone(),
        field,
        reasons::INVALID_SOURCE_RANGE,
        format!("{text:?} is not a network, so no client is let in by it: {remedy}"),
    )
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn nets(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|t| t.parse().expect("a network")).collect()
    }

    #[rstest]
    #[case::none_is_everybody(&[], None, &[], 0)]
    #[case::spec(&["10.0.0.0/8"], None, &["10.0.0.0/8"], 0)]
    #[case::spec_wins(&["10.0.0.0/8"], Some("192.0.2.0/24"), &["10.0.0.0/8"], 0)]
    #[case::annotation(&[], Some("192.0.2.0/24"), &["192.0.2.0/24"], 0)]
    #[case::annotation_list(&[], Some(" 192.0.2.0/24 ,10.0.0.0/8, "), &["10.0.0.0/8", "192.0.2.0/24"], 0)]
    #[case::blank_annotation_is_unset(&[], Some("  "), &[], 0)]
    #[case::white_space(&[" 10.0.0.0/8 "], None, &["10.0.0.0/8"], 0)]
    #[case::sorted_and_unique(&["192.0.2.0/24", "10.0.0.0/8", "192.0.2.0/24"], None, &["10.0.0.0/8", "192.0.2.0/24"], 0)]
    #[case::host_bits(&["10.1.2.3/8"], None, &["10.0.0.0/8"], 0)]
    #[case::everybody_said(&["0.0.0.0/0"], None, &["0.0.0.0/0"], 0)]
    #[case::both_families(&["2001:db8::/32", "10.0.0.0/8"], None, &["10.0.0.0/8", "2001:db8::/32"], 0)]
    #[case::one_bad(&["10.0.0.0/8", "10.0.0.0/33"], None, &["10.0.0.0/8"], 1)]
    #[case::one_bad_in_annotation(&[], Some("office,10.0.0.0/8"), &["10.0.0.0/8"], 1)]
    #[case::all_bad(&["office"], None, &["0.0.0.0/32", "::/128"], 1)]
    #[case::all_bad_in_annotation(&[], Some("office,home"), &["0.0.0.0/32", "::/128"], 2)]
    #[case::bad_spec_does_not_fall_back(&["office"], Some("10.0.0.0/8"), &["0.0.0.0/32", "::/128"], 1)]
    #[case::only_commas(&[], Some(","), &["0.0.0.0/32", "::/128"], 1)]
    #[case::empty_entry_of_spec(&[""], None, &["0.0.0.0/32", "::/128"], 1)]
    fn lists(
        #[case] spec: &[&str],
        #[case] annotation: Option<&str>,
        #[case] want: &[&str],
        #[case] problems: usize,
    ) {
        let mut service = ServiceRecord::test().source_ranges(spec);
        if let Some(text) = annotation {
            service = service.annotation(ANNOTATION_SOURCE_RANGES, text);
        }
        let (ranges, found) = source_ranges(&service, &service.object());
        assert_eq!(ranges, nets(want));
        assert_eq!(found.len(), problems, "{found:?}");
    }

    #[test]
    fn a_bad_entry_is_named_with_its_remedy() {
        let service = ServiceRecord::test().source_ranges(&["10.0.0.0/8", "192.0.2.7"]);
        let (_, problems) = source_ranges(&service, &service.object());
        assert_eq!(problems[0].field, "spec.loadBalancerSourceRanges[1]");
        assert!(problems[0].message.contains("192.0.2.7/32"), "{}", problems[0].message);
    }
}
