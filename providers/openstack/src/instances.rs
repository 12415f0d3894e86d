//! The servers of Nova behind Nodes, for the node controllers. Pure, but for [`find`], which asks.
//!
//! As openstack-cloud-controller-manager has it: a Node is found by its `spec.providerID` (`openstack:///ID`, `openstack://REGION/ID`), or, while it has none, by its name, which is the
//! server's. A floating address, or one of a network that `[Networking] public-network-name` names, is an ExternalIP, every other one an InternalIP unless
//! `internal-network-name` names others. One that is shut off, suspended, paused, shelved or soft-deleted is stopped: it may come back.
//!
//! A server that Nova does not show is gone only if it was asked for by its id.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use causeway_api::{AddressKind, Found, Instance, NodeAddress, NodeRef};
use ipnet::IpNet;

use crate::annotations::value;
use crate::api::nova::{SERVER, SERVERS, Server};
use crate::api::{Api, CallError, Calls, Priority, Query};
use crate::nodes::server_id;
use crate::options::{Complaint, Section};

/// Servers that are asked for one by one; for more of them all of the project are listed.
const ONE_BY_ONE: usize = 8;
/// States in which a server is there and does not run (compute API guide, "Server concepts").
const STOPPED: &[&str] = &["SHUTOFF", "SUSPENDED", "PAUSED", "SHELVED", "SHELVED_OFFLOADED", "SOFT_DELETED"];

/// `[Networking]` of cloud.conf: which of a server's addresses are what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networking {
    /// `public-network-name`: addresses of these networks are external.
    pub public: BTreeSet<String>,
    /// `internal-network-name`: addresses of others are none of the Node's; empty: of all.
    pub internal: BTreeSet<String>,
    /// `ipv6-support-disabled`: IPv6 addresses are none of the Node's.
    pub ipv4_only: bool,
    /// `address-sort-order`: addresses in the first of these come first.
    pub order: Vec<IpNet>,
}

impl Networking {
    /// Reads the section; what is wrong counts as absent.
    #[must_use]
    pub fn read(section: &Section) -> (Self, Vec<Complaint>) {
        let (mut read, mut complaints) = (Self::default(), Vec::new());
        for (key, values) in section {
            let mut complain =
                |message| complaints.push(Complaint { field: format!("[Networking] {key}"), message });
            let last = values.last().map(String::as_str).unwrap_or_default();
            let names = || values.iter().filter(|name| !name.is_empty()).cloned().collect();
            match key.as_str() {
                "public-network-name" => read.public = names(),
                "internal-network-name" => read.internal = names(),
                "ipv6-support-disabled" => {
                    match crate::config::gcfg::switch(last).or_else(|| value::bool(last)) {
                        Some(said) => read.ipv4_only = said,
                        None => complain(format!("{last:?} is not true or false")),
                    }
                }
                "address-sort-order" => {
                    for text in last.split(',').map(str::trim).filter(|text| !text.is_empty()) {
                        match text.parse() {
                            Ok(range) => read.order.push(range),
                            Err(_) => complain(format!("{text:?} is no range such as 10.0.0.0/8")),
                        }
                    }
                }
                _ => complain("nobody reads this key: leave it out".to_owned()),
            }
        }
        (read, complaints)
    }

    /// What an address of a network is to a Node.
    fn kind(&self, network: &str, floating: bool) -> Option<AddressKind> {
        if floating || self.public.contains(network) {
            return Some(AddressKind::ExternalIP);
        }
        (self.internal.is_empty() || self.internal.contains(network)).then_some(AddressKind::InternalIP)
    }
}

/// Where servers are looked for, and how what is found is told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Region; empty if it was not said.
    pub region: String,
    /// Networks.
    pub networking: Networking,
}

/// How a Node's server is looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Way {
    Id(String),
    Name(String),
    None(String),
}

fn way(region: &str, node: &NodeRef) -> Way {
    if node.provider_id.is_empty() {
        return Way::Name(node.name.clone());
    }
    let (id, name) = (&node.provider_id, &node.name);
    let Some(server) = server_id(id) else {
        return Way::None(format!("provider id {id:?} of Node {name} names no server of OpenStack"));
    };
    let of = id.strip_prefix("openstack://").and_then(|rest| rest.split_once('/')).map_or("", |(of, _)| of);
    if !of.is_empty() && !region.is_empty() && of != region {
        return Way::None(format!(
            "Node {name} is a server of region {of} by its provider id, and servers are looked for in {region}"
        ));
    }
    Way::Id(server.to_owned())
}

/// A regular expression of MySQL and PostgreSQL, as Nova's filter takes it, for exactly this name.
fn exactly(name: &str) -> String {
    let mut pattern = String::from("^");
    for c in name.chars() {
        if !c.is_ascii_alphanumeric() && c != '-' {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern + "$"
}

/// Looks for the servers of these Nodes, in their order: a call for each of a few, one for each thousand servers of the project for many.
///
/// # Errors
/// The calls'.
pub async fn find<A: Api>(
    calls: &Calls<A>,
    place: &Place,
    nodes: &[NodeRef],
) -> Result<Vec<Found>, CallError> {
    let ways: Vec<Way> = nodes.iter().map(|node| way(&place.region, node)).collect();
    let mut servers: BTreeMap<String, Server> = BTreeMap::new();
    let asked = ways.iter().filter(|way| !matches!(way, Way::None(_))).count();
    let all = asked > ONE_BY_ONE;
    if all {
        let listed = calls.list(&SERVERS, Query::all(), Priority::Change).await?;
        servers.extend(listed.into_iter().map(|server| (server.id.clone(), server)));
    }
    for way in &ways {
        match way {
            // What a list does not hold may have been made since.
            Way::Id(id) if !servers.contains_key(id) => {
                if let Some(server) = calls.get(&SERVER, id, Priority::Change).await? {
                    servers.insert(id.clone(), server);
                }
            }
            Way::Name(name) if !all => {
                let named = Query::all().with("name", exactly(name));
                let listed = calls.list(&SERVERS, named, Priority::Change).await?;
                servers.extend(listed.into_iter().map(|server| (server.id.clone(), server)));
            }
            _ => {}
        }
    }
    Ok(nodes.iter().zip(&ways).map(|(node, way)| answer(place, node, way, &servers)).collect())
}

fn answer(place: &Place, node: &NodeRef, way: &Way, servers: &BTreeMap<String, Server>) -> Found {
    let there = |server: &&Server| server.status != "DELETED";
    let server = match way {
        Way::None(why) => return Found::Unknown(why.clone()),
        Way::Id(id) => servers.get(id).filter(there),
        Way::Name(name) => {
            let mut named = servers.values().filter(there).filter(|s| s.name.eq_ignore_ascii_case(name));
            let server = named.next();
            if let (Some(one), Some(other)) = (server, named.next()) {
                return Found::Unknown(format!(
                    "servers {} and {} are both called {name}: set spec.providerID of the Node",
                    one.id, other.id
                ));
            }
            server
        }
    };
    server.map_or(Found::Gone, |server| Found::Instance(Box::new(instance(place, node, server))))
}

fn instance(place: &Place, node: &NodeRef, server: &Server) -> Instance {
    Instance {
        provider_id: format!("openstack:///{}", server.id),
        instance_type: [&server.flavor.original_name, &server.flavor.id]
            .into_iter()
            .find(|name| !name.is_empty())
            .cloned()
            .unwrap_or_default(),
        zone: server.availability_zone.clone().unwrap_or_default(),
        region: place.region.clone(),
        labels: BTreeMap::new(),
        addresses: addresses(&place.networking, node, server),
        stopped: STOPPED.contains(&server.status.as_str()),
    }
}

fn addresses(networking: &Networking, node: &NodeRef, server: &Server) -> Vec<NodeAddress> {
    let mut all: Vec<(IpAddr, AddressKind)> = Vec::new();
    let mut add = |text: &str, kind: Option<AddressKind>| {
        let (Ok(address), Some(kind)) = (text.parse::<IpAddr>(), kind) else { return };
        let unwanted = networking.ipv4_only && address.is_ipv6();
        if !unwanted && all.iter().all(|(known, _)| *known != address) {
            all.push((address, kind));
        }
    };
    for (network, addresses) in &server.addresses {
        for address in addresses {
            add(&address.addr, networking.kind(network, address.kind == "floating"));
        }
    }
    for address in [&server.access_ipv4, &server.access_ipv6] {
        add(address, Some(AddressKind::ExternalIP));
    }
    // The family that the kubelet uses comes first, unless somebody wants it otherwise.
    let first = node.internal_addresses.first().and_then(|a| a.parse::<IpAddr>().ok());
    let rank = |address: &IpAddr| {
        let listed = networking.order.iter().position(|range| range.contains(address));
        let other = first.is_some_and(|first| first.is_ipv6() != address.is_ipv6());
        (listed.unwrap_or(usize::MAX), other)
    };
    all.sort_by_key(|(address, kind)| (*kind == AddressKind::ExternalIP, rank(address)));
    let hostname = server.metadata.get("hostname").filter(|name| !name.is_empty());
    let hostname = hostname.map(|name| NodeAddress::new(AddressKind::Hostname, name));
    let found = all.into_iter().map(|(address, kind)| NodeAddress::new(kind, address.to_string()));
    found.chain(hostname).collect()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;
    use crate::api::{Failure, Pass, Request, Service};

    fn node(provider_id: &str, name: &str, addresses: &[&str]) -> NodeRef {
        NodeRef {
            name: name.into(),
            provider_id: provider_id.into(),
            internal_addresses: addresses.iter().map(|a| (*a).to_owned()).collect(),
        }
    }

    fn server(id: &str, name: &str, status: &str) -> Server {
        serde_json::from_value(json!({
            "id": id, "name": name, "status": status, "OS-EXT-AZ:availability_zone": "az1",
            "flavor": {"original_name": "m1.small"}, "accessIPv4": "", "metadata": {},
            "addresses": {
                "nodes": [
                    {"addr": "10.0.0.1", "version": 4, "OS-EXT-IPS:type": "fixed"},
                    {"addr": "203.0.113.1", "version": 4, "OS-EXT-IPS:type": "floating"},
                    {"addr": "fd00::1", "version": 6, "OS-EXT-IPS:type": "fixed"},
                ],
                "storage": [{"addr": "10.9.0.1", "version": 4, "OS-EXT-IPS:type": "fixed"}],
            },
        }))
        .expect("a server")
    }

    fn found(place: &Place, node: &NodeRef, servers: &[Server]) -> Found {
        let servers = servers.iter().map(|s| (s.id.clone(), s.clone())).collect();
        answer(place, node, &way(&place.region, node), &servers)
    }

    fn one(place: &Place, node: &NodeRef, server: Server) -> Instance {
        match found(place, node, &[server]) {
            Found::Instance(instance) => *instance,
            other => panic!("{other:?}"),
        }
    }

    fn of(instance: &Instance, kind: AddressKind) -> Vec<&str> {
        instance.addresses.iter().filter(|a| a.kind == kind).map(|a| a.address.as_str()).collect()
    }

    #[rstest]
    #[case::by_id("openstack:///0a", "any", "", Way::Id("0a".into()))]
    #[case::by_id_of_the_region("openstack://one/0a", "any", "one", Way::Id("0a".into()))]
    #[case::region_not_said("openstack://one/0a", "any", "", Way::Id("0a".into()))]
    #[case::by_name("", "node-1", "one", Way::Name("node-1".into()))]
    fn ways(#[case] provider_id: &str, #[case] name: &str, #[case] region: &str, #[case] want: Way) {
        assert_eq!(way(region, &node(provider_id, name, &[])), want);
    }

    #[rstest]
    #[case("aws:///eu-west-1a/i-0abc")]
    #[case("openstack:///")]
    #[case("openstack://two/0a")]
    fn of_what_is_no_server_of_ours_nothing_is_said(#[case] provider_id: &str) {
        let place = Place { region: "one".into(), ..Place::default() };
        let Found::Unknown(why) = found(&place, &node(provider_id, "n", &[]), &[]) else {
            panic!("said something")
        };
        assert!(
            why.contains('n') && why.contains(provider_id.split('/').nth(2).unwrap_or_default()),
            "{why}"
        );
    }

    #[rstest]
    #[case("ACTIVE", Some(false))]
    #[case("ERROR", Some(false))]
    #[case("REBOOT", Some(false))]
    #[case("SHUTOFF", Some(true))]
    #[case("SHELVED_OFFLOADED", Some(true))]
    #[case("SOFT_DELETED", Some(true))]
    #[case("DELETED", None)]
    fn states(#[case] status: &str, #[case] want: Option<bool>) {
        let found =
            found(&Place::default(), &node("openstack:///0a", "n", &[]), &[server("0a", "n", status)]);
        let stopped = match found {
            Found::Instance(instance) => Some(instance.stopped),
            Found::Gone => None,
            Found::Unknown(why) => panic!("{why}"),
        };
        assert_eq!(stopped, want);
    }

    #[test]
    fn a_name_is_that_of_the_one_that_lives() {
        let (place, node) = (Place::default(), node("", "Web.1", &[]));
        let dead = server("0a", "web.1", "DELETED");
        assert_eq!(found(&place, &node, std::slice::from_ref(&dead)), Found::Gone);
        let Found::Instance(it) = found(&place, &node, &[dead, server("0b", "web.1", "ACTIVE")]) else {
            panic!("gone")
        };
        assert_eq!(it.provider_id, "openstack:///0b");
        let two = [server("0b", "web.1", "ACTIVE"), server("0c", "WEB.1", "ACTIVE")];
        let Found::Unknown(why) = found(&place, &node, &two) else { panic!("took one of two") };
        assert!(why.contains("0b") && why.contains("0c"), "{why}");
        assert_eq!(exactly("Web.1-a_b"), "^Web\\.1-a\\_b$");
    }

    #[test]
    fn what_a_node_is_told_of_its_server() {
        let place = Place { region: "one".into(), ..Place::default() };
        let it = one(&place, &node("openstack:///0a", "n", &["fd00::1"]), server("0a", "n", "ACTIVE"));
        assert_eq!(
            (it.instance_type.as_str(), it.zone.as_str(), it.region.as_str()),
            ("m1.small", "az1", "one")
        );
        assert_eq!(of(&it, AddressKind::InternalIP), ["fd00::1", "10.0.0.1", "10.9.0.1"]);
        assert_eq!(of(&it, AddressKind::ExternalIP), ["203.0.113.1"]);
        let mut named = server("0a", "n", "ACTIVE");
        named.access_ipv4 = "198.51.100.1".to_owned();
        named.metadata.insert("hostname".to_owned(), "n.example".to_owned());
        let it = one(&place, &node("openstack:///0a", "n", &[]), named);
        assert_eq!(of(&it, AddressKind::InternalIP), ["10.0.0.1", "fd00::1", "10.9.0.1"]);
        assert_eq!(of(&it, AddressKind::ExternalIP), ["203.0.113.1", "198.51.100.1"]);
        assert_eq!(of(&it, AddressKind::Hostname), ["n.example"]);
    }

    /// Answers a list with these servers, and one by its id; notes what was asked.
    #[derive(Default)]
    struct Nova {
        servers: Vec<serde_json::Value>,
        asked: std::sync::Mutex<Vec<String>>,
    }

    impl Api for Nova {
        async fn call(&self, request: &Request, _pass: Pass<'_>) -> Result<serde_json::Value, CallError> {
            let filter =
                request.query.iter().map(|(key, value)| format!(" {key}={value}")).collect::<String>();
            self.asked.lock().expect("whole").push(format!("{}{filter}", request.path));
            let id = request.path.strip_prefix("/v2.1/servers/").unwrap_or_default();
            if id == "detail" {
                return Ok(json!({ "servers": self.servers }));
            }
            let found = self.servers.iter().find(|server| server["id"] == id);
            found.map(|server| json!({ "server": server })).ok_or_else(|| {
                let text = format!("Instance {id} could not be found.");
                CallError::Failed(Failure::refused(Service::Compute, 404, &text))
            })
        }
    }

    #[tokio::test]
    async fn a_few_cost_a_call_each_and_many_a_list() {
        let all: Vec<String> = (0..12).map(|n| format!("id-{n}")).collect();
        let servers = all.iter().map(|id| json!({"id": id, "name": id, "status": "ACTIVE"})).collect();
        let nova = Calls::new(Nova { servers, ..Nova::default() });
        let of = |ids: &[String]| -> Vec<NodeRef> {
            ids.iter().map(|id| node(&format!("openstack:///{id}"), "n", &[])).collect()
        };
        let asked = || std::mem::take(&mut *nova.api.asked.lock().expect("whole"));
        let mut few = of(&all[..2]);
        few.push(node("", "id-5", &[]));
        few.push(node("openstack:///none", "n", &[]));
        let found = find(&nova, &Place::default(), &few).await.expect("answers");
        assert!(
            matches!(found[..], [Found::Instance(_), Found::Instance(_), Found::Instance(_), Found::Gone]),
            "{found:?}"
        );
        assert_eq!(
            asked(),
            [
                "/v2.1/servers/id-0",
                "/v2.1/servers/id-1",
                "/v2.1/servers/detail name=^id-5$",
                "/v2.1/servers/none"
            ]
        );
        let mut many = of(&all);
        many.push(node("openstack:///none", "n", &[]));
        many.push(node("", "nobody", &[]));
        let found = find(&nova, &Place::default(), &many).await.expect("answers");
        assert_eq!(found.iter().filter(|found| matches!(found, Found::Instance(_))).count(), 12);
        // That one is gone is said of one that was asked for alone.
        assert_eq!(asked(), ["/v2.1/servers/detail", "/v2.1/servers/none"]);
    }

    #[test]
    fn networks_have_their_parts() {
        let section = |pairs: &[(&str, &str)]| -> Section {
            let mut section = Section::new();
            for (key, value) in pairs {
                section.entry((*key).to_owned()).or_default().push((*value).to_owned());
            }
            section
        };
        let read = |pairs: &[(&str, &str)]| {
            let (networking, complaints) = Networking::read(&section(pairs));
            assert_eq!(complaints, []);
            let place = Place { networking, ..Place::default() };
            one(&place, &node("openstack:///0a", "n", &[]), server("0a", "n", "ACTIVE"))
        };
        let it = read(&[("internal-network-name", "nodes"), ("ipv6-support-disabled", "true")]);
        assert_eq!(of(&it, AddressKind::InternalIP), ["10.0.0.1"]);
        let it = read(&[("public-network-name", "storage")]);
        assert_eq!(of(&it, AddressKind::ExternalIP), ["203.0.113.1", "10.9.0.1"]);
        let it = read(&[("address-sort-order", "10.9.0.0/16, fd00::/8")]);
        assert_eq!(of(&it, AddressKind::InternalIP), ["10.9.0.1", "fd00::1", "10.0.0.1"]);
        let wrong =
            section(&[("ipv6-support-disabled", "maybe"), ("address-sort-order", "ten"), ("frob", "1")]);
        let (read, complaints) = Networking::read(&wrong);
        assert_eq!(read, Networking::default());
        let fields: Vec<&str> = complaints.iter().map(|c| c.field.as_str()).collect();
        assert_eq!(
            fields,
            ["[Networking] address-sort-order", "[Networking] frob", "[Networking] ipv6-support-disabled"]
        );
    }
}
