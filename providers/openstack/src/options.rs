//! Options of the provider: the keys of `[LoadBalancer]` and `[LoadBalancerClass "…"]` in cloud.conf, under the peer controller's own names. One table,
//! from which parsing and the reference page are made. Pure.
//!
//! Whoever reads the file hands over its sections as they are, key by key; offline they stand in the inventory. What is wrong is said with section,
//! key and remedy ([`Complaint`]) and leaves that key at its default.

use std::collections::BTreeMap;

use crate::annotations::service::METHODS;
use crate::annotations::value::{self, one_of};
use crate::stack::Algorithm;

/// One section: values by key. A key that may stand once has the last of its values.
pub type Section = BTreeMap<String, Vec<String>>;

/// Something wrong with an option.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Complaint {
    /// Section and key.
    pub field: String,
    /// What is wrong, and what to do.
    pub message: String,
}

/// Where floating IPs and VIPs come from; of the section, or of a class.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placement {
    /// `floating-network-id`.
    pub floating_network: Option<String>,
    /// `floating-subnet-id`.
    pub floating_subnet_id: Option<String>,
    /// `floating-subnet`: pattern.
    pub floating_subnet: Option<String>,
    /// `floating-subnet-tags`.
    pub floating_subnet_tags: Option<String>,
    /// `network-id`.
    pub network: Option<String>,
    /// `subnet-id`.
    pub subnet: Option<String>,
    /// `member-subnet-id`.
    pub member_subnet: Option<String>,
}

impl Placement {
    /// Whether it says of floating IPs more than their network.
    #[must_use]
    pub fn names_floating_subnet(&self) -> bool {
        self.floating_subnet_id.is_some()
            || self.floating_subnet.is_some()
            || self.floating_subnet_tags.is_some()
    }
}

/// The options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// `enabled`: Services are served.
    pub enabled: bool,
    /// `lb-provider`; `None`: chosen by what Octavia offers.
    pub provider: Option<String>,
    /// `lb-method`; `None`: that of the provider.
    pub method: Option<Algorithm>,
    /// Where things are.
    pub placement: Placement,
    /// `internal-lb`.
    pub internal: bool,
    /// `cascade-delete`.
    pub cascade_delete: bool,
    /// `create-monitor`; `None`: it was not said.
    pub create_monitor: Option<bool>,
    /// `monitor-delay`, seconds.
    pub monitor_delay: u32,
    /// `monitor-timeout`, seconds.
    pub monitor_timeout: u32,
    /// `monitor-max-retries`.
    pub monitor_max_retries: u32,
    /// `monitor-max-retries-down`.
    pub monitor_max_retries_down: u32,
    /// `manage-security-groups`.
    pub manage_security_groups: bool,
    /// `node-selector`.
    pub node_selector: Option<String>,
    /// `flavor-id`.
    pub flavor: Option<String>,
    /// `availability-zone`.
    pub availability_zone: Option<String>,
    /// `enable-ingress-hostname`.
    pub ingress_hostname: bool,
    /// `ingress-hostname-suffix`.
    pub ingress_hostname_suffix: String,
    /// `default-tls-container-ref`.
    pub tls_container: Option<String>,
    /// `container-store` is `external`: references are nobody's that Causeway knows.
    pub external_containers: bool,
    /// `provider-requires-serial-api-calls`: no populated create, one call for each object.
    pub serial_calls: bool,
    /// `[LoadBalancerClass "…"]` by name.
    pub classes: BTreeMap<String, Placement>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            enabled: true,
            provider: None,
            method: None,
            placement: Placement::default(),
            internal: false,
            cascade_delete: true,
            create_monitor: None,
            monitor_delay: 5,
            monitor_timeout: 3,
            monitor_max_retries: 1,
            monitor_max_retries_down: 3,
            manage_security_groups: false,
            node_selector: None,
            flavor: None,
            availability_zone: None,
            ingress_hostname: false,
            ingress_hostname_suffix: "nip.io".to_owned(),
            tls_container: None,
            external_containers: false,
            serial_calls: false,
            classes: BTreeMap::new(),
        }
    }
}

/// One option.
pub struct OptionSpec {
    /// Name.
    pub name: &'static str,
    /// Form of its value, for people.
    pub kind: &'static str,
    /// What holds without it, where that is no value of its own.
    pub default: &'static str,
    /// One line for people.
    pub doc: &'static str,
    /// It may stand in a class too.
    pub in_class: bool,
    /// Takes a value.
    set: fn(&mut Options, &str) -> Result<(), String>,
    /// The value as text, empty where there is none.
    get: fn(&Options) -> String,
}

/// As the file's own syntax has switches, and as Go does.
fn set_bool(field: &mut bool, text: &str) -> Result<(), String> {
    let found = crate::config::gcfg::switch(text).or_else(|| value::bool(text));
    *field = found.ok_or_else(|| format!("{text:?} is not true or false"))?;
    Ok(())
}

fn set_number(field: &mut u32, text: &str, range: std::ops::RangeInclusive<u32>) -> Result<(), String> {
    match text.parse::<u32>() {
        Ok(n) if range.contains(&n) => {
            *field = n;
            Ok(())
        }
        _ => Err(format!("{text:?} is not a number from {} to {}", range.start(), range.end())),
    }
}

/// Seconds of a duration as Go writes it (`5s`, `1m30s`), or of a plain number.
fn set_seconds(field: &mut u32, text: &str) -> Result<(), String> {
    let wrong = || format!("{text:?} is no time of whole seconds, such as 5s or 1m30s");
    let mut seconds = 0u64;
    let mut number = String::new();
    for c in text.chars() {
        match c {
            '0'..='9' => number.push(c),
            'h' | 'm' | 's' => {
                let count: u64 = std::mem::take(&mut number).parse().map_err(|_| wrong())?;
                let unit = if c == 'h' {
                    3600
                } else if c == 'm' {
                    60
                } else {
                    1
                };
                seconds = count.checked_mul(unit).and_then(|s| s.checked_add(seconds)).ok_or_else(wrong)?;
            }
            _ => return Err(wrong()),
        }
    }
    if !number.is_empty() {
        if seconds > 0 {
            return Err(wrong());
        }
        seconds = number.parse().map_err(|_| wrong())?;
    }
    match u32::try_from(seconds) {
        Ok(s) if (1..=86_400).contains(&s) => {
            *field = s;
            Ok(())
        }
        _ => Err(format!("{text:?} is not between one second and one day")),
    }
}

fn set_text(field: &mut Option<String>, text: &str) -> Result<(), String> {
    *field = Some(text.to_owned()).filter(|t| !t.is_empty());
    Ok(())
}

fn checked(
    field: &mut Option<String>,
    text: &str,
    check: fn(&str) -> Result<(), String>,
) -> Result<(), String> {
    if !text.is_empty() {
        check(text)?;
    }
    set_text(field, text)
}

macro_rules! switch {
    ($name:literal, $field:ident, $doc:literal) => {
        OptionSpec {
            name: $name,
            kind: "true, false",
            default: "",
            doc: $doc,
            in_class: false,
            set: |o, t| set_bool(&mut o.$field, t),
            get: |o| o.$field.to_string(),
        }
    };
}

macro_rules! text {
    ($name:literal, $kind:literal, $default:literal, $($field:ident).+, $in_class:literal, $doc:literal $(, $check:path)?) => {
        OptionSpec {
            name: $name,
            kind: $kind,
            default: $default,
            doc: $doc,
            in_class: $in_class,
            set: |o, t| text!(@set o, t, $($field).+ $(, $check)?),
            get: |o| o.$($field).+.clone().unwrap_or_default(),
        }
    };
    (@set $o:ident, $t:ident, $($field:ident).+) => { set_text(&mut $o.$($field).+, $t) };
    (@set $o:ident, $t:ident, $($field:ident).+, $check:path) => { checked(&mut $o.$($field).+, $t, $check) };
}

/// All options.
pub const TABLE: &[OptionSpec] = &[
    switch!("enabled", enabled, "Services get load balancers."),
    text!(
        "lb-provider",
        "text",
        "amphora, or ovn where Octavia offers nothing else",
        provider,
        false,
        "Provider of Octavia. Ingresses, which ovn cannot serve, get amphora where that is offered."
    ),
    OptionSpec {
        name: "lb-method",
        kind: "ROUND_ROBIN, LEAST_CONNECTIONS, SOURCE_IP, SOURCE_IP_PORT",
        default: "ROUND_ROBIN, on ovn SOURCE_IP_PORT",
        doc: "How a member is chosen. What the provider does not know counts as absent.",
        in_class: false,
        set: |o, t| {
            o.method = if t.is_empty() {
                None
            } else {
                Some(
                    Algorithm::parse(t)
                        .ok_or_else(|| format!("{t:?} is not known: write {}", one_of(METHODS)))?,
                )
            };
            Ok(())
        },
        get: |o| o.method.map(Algorithm::as_str).unwrap_or_default().to_owned(),
    },
    text!(
        "floating-network-id",
        "id",
        "the external network there is; of several the default one, else the first by name",
        placement.floating_network,
        true,
        "Network that floating IPs come from."
    ),
    text!(
        "floating-subnet-id",
        "id",
        "",
        placement.floating_subnet_id,
        true,
        "Subnet that floating IPs come from."
    ),
    text!(
        "floating-subnet",
        "pattern",
        "",
        placement.floating_subnet,
        true,
        "Subnets that floating IPs may come from, by name: with * and ?, or ~ and a regular expression; ! in front takes the others.",
        value::check_subnet_pattern
    ),
    text!(
        "floating-subnet-tags",
        "tags",
        "",
        placement.floating_subnet_tags,
        true,
        "Subnets that floating IPs may come from, by tags with commas: one of them, with & in front all of them; ! before it takes the others."
    ),
    text!("network-id", "id", "", placement.network, true, "Network of VIPs."),
    text!("subnet-id", "id", "that of the nodes", placement.subnet, true, "Subnet of VIPs."),
    text!(
        "member-subnet-id",
        "id",
        "subnet-id, else that of the nodes",
        placement.member_subnet,
        true,
        "Subnet through which load balancers reach the nodes."
    ),
    switch!("internal-lb", internal, "No Service gets a floating IP, whatever its annotation says."),
    switch!(
        "cascade-delete",
        cascade_delete,
        "A load balancer is deleted with all that belongs to it in one call; otherwise one by one."
    ),
    OptionSpec {
        name: "create-monitor",
        kind: "true, false",
        default: "true",
        doc: "Members are watched. Where it is false, nodes that cannot take traffic get it all the same.",
        in_class: false,
        set: |o, t| {
            let mut on = false;
            set_bool(&mut on, t)?;
            o.create_monitor = Some(on);
            Ok(())
        },
        get: |o| o.create_monitor.map(|on| on.to_string()).unwrap_or_default(),
    },
    OptionSpec {
        name: "monitor-delay",
        kind: "time",
        default: "",
        doc: "Time between checks.",
        in_class: false,
        set: |o, t| set_seconds(&mut o.monitor_delay, t),
        get: |o| format!("{}s", o.monitor_delay),
    },
    OptionSpec {
        name: "monitor-timeout",
        kind: "time",
        default: "",
        doc: "Time until a check has failed; not more than the delay.",
        in_class: false,
        set: |o, t| set_seconds(&mut o.monitor_timeout, t),
        get: |o| format!("{}s", o.monitor_timeout),
    },
    OptionSpec {
        name: "monitor-max-retries",
        kind: "1 to 10",
        default: "",
        doc: "Successes until a member is healthy.",
        in_class: false,
        set: |o, t| set_number(&mut o.monitor_max_retries, t, 1..=10),
        get: |o| o.monitor_max_retries.to_string(),
    },
    OptionSpec {
        name: "monitor-max-retries-down",
        kind: "1 to 10",
        default: "",
        doc: "Failures until a member is not.",
        in_class: false,
        set: |o, t| set_number(&mut o.monitor_max_retries_down, t, 1..=10),
        get: |o| o.monitor_max_retries_down.to_string(),
    },
    switch!(
        "manage-security-groups",
        manage_security_groups,
        "Each load balancer gets a security group that opens the nodes' ports to it; health checks then ask kube-proxy on port 10256."
    ),
    text!(
        "node-selector",
        "key=value, key, …",
        "all nodes",
        node_selector,
        false,
        "Labels that nodes must have, all of them, to be members.",
        value::check_selector
    ),
    text!("flavor-id", "id", "Octavia's", flavor, false, "Flavor of load balancers. Not on ovn."),
    text!(
        "availability-zone",
        "name",
        "Octavia's",
        availability_zone,
        false,
        "Availability zone of load balancers. Not on ovn."
    ),
    switch!(
        "enable-ingress-hostname",
        ingress_hostname,
        "With the PROXY protocol the status has a name made of the address, so that pods do not bypass the load balancer."
    ),
    OptionSpec {
        name: "ingress-hostname-suffix",
        kind: "DNS name",
        default: "",
        doc: "What such a name ends with.",
        in_class: false,
        set: |o, t| {
            value::check_hostname(t)?;
            t.clone_into(&mut o.ingress_hostname_suffix);
            Ok(())
        },
        get: |o| o.ingress_hostname_suffix.clone(),
    },
    text!(
        "default-tls-container-ref",
        "URL",
        "",
        tls_container,
        false,
        "Certificate in Barbican for all ports with TCP of all Services.",
        value::check_reference
    ),
    OptionSpec {
        name: "container-store",
        kind: "barbican, external",
        default: "",
        doc: "external: references to certificates are those of another store, no Barbican is needed for them.",
        in_class: false,
        set: |o, t| {
            o.external_containers = match t {
                "barbican" => false,
                "external" => true,
                _ => return Err(format!("{t:?} is not known: write barbican or external")),
            };
            Ok(())
        },
        get: |o| if o.external_containers { "external" } else { "barbican" }.to_owned(),
    },
    switch!(
        "provider-requires-serial-api-calls",
        serial_calls,
        "The provider takes one object in one call only."
    ),
];

/// Keys of the peer that decide nothing here, and why.
const LEFT_OUT: &[(&str, &str)] = &[
    ("use-octavia", "Octavia is all there is"),
    ("lb-version", "Octavia's v2 is all there is"),
    ("max-shared-lb", "as many Services share a load balancer as name it"),
];

/// Name of the section.
pub const SECTION: &str = "LoadBalancer";
/// What the name of a class's section begins with.
pub const CLASS_SECTION: &str = "LoadBalancerClass";

impl Options {
    /// Sets one option from its text.
    ///
    /// # Errors
    /// What is wrong.
    pub fn set(&mut self, name: &str, text: &str) -> Result<(), String> {
        if let Some((_, why)) = LEFT_OUT.iter().find(|(n, _)| *n == name) {
            return Err(format!("it decides nothing: {why}; take it away"));
        }
        let Some(spec) = TABLE.iter().find(|o| o.name == name) else {
            let known: Vec<&str> = TABLE.iter().map(|o| o.name).collect();
            return Err(format!("it is not known; there are: {}", known.join(", ")));
        };
        (spec.set)(self, text.trim())
    }

    /// Whether a key of this name is read, anywhere.
    #[must_use]
    pub fn knows(name: &str) -> bool {
        TABLE.iter().any(|option| option.name == name)
    }

    /// Reads the sections of a configuration file; those with other names are somebody else's.
    #[must_use]
    pub fn read(sections: &BTreeMap<String, Section>) -> (Self, Vec<Complaint>) {
        let mut options = Self::default();
        let mut complaints = Vec::new();
        for (name, section) in sections {
            if name == SECTION {
                options.take(name, section, &mut complaints);
            } else if let Some(rest) = name.strip_prefix(CLASS_SECTION) {
                let class = rest.trim().trim_matches('"');
                if class.is_empty() {
                    complaints.push(Complaint {
                        field: format!("[{name}]"),
                        message: format!("it has no name: write [{CLASS_SECTION} \"NAME\"]"),
                    });
                    continue;
                }
                // A class is read by the same table.
                let mut read = Self::default();
                let allowed = |key: &String| TABLE.iter().find(|o| o.name == key).is_none_or(|o| o.in_class);
                let (own, others): (Section, Section) =
                    section.clone().into_iter().partition(|(key, _)| allowed(key));
                read.take(name, &own, &mut complaints);
                complaints.extend(others.into_keys().map(|key| Complaint {
                    field: format!("[{name}] {key}"),
                    message: format!("a class has none: write it under [{SECTION}], or as an annotation"),
                }));
                options.classes.insert(class.to_owned(), read.placement);
            }
        }
        (options, complaints)
    }

    fn take(&mut self, name: &str, section: &Section, complaints: &mut Vec<Complaint>) {
        for (key, values) in section {
            let text = values.last().map(String::as_str).unwrap_or_default();
            if let Err(message) = self.set(key, text) {
                complaints.push(Complaint { field: format!("[{name}] {key}"), message });
            }
        }
    }

    /// Those that differ from their defaults, as [`read`](Self::read) takes them.
    #[must_use]
    pub fn written(&self) -> BTreeMap<String, Section> {
        let default = Self::default();
        let differing = |options: &Self| -> Section {
            TABLE
                .iter()
                .filter(|o| (o.get)(options) != (o.get)(&default))
                .map(|o| (o.name.to_owned(), vec![(o.get)(options)]))
                .collect()
        };
        let mut sections = BTreeMap::new();
        let own = differing(self);
        if !own.is_empty() {
            sections.insert(SECTION.to_owned(), own);
        }
        for (class, placement) in &self.classes {
            let of_class = Self { placement: placement.clone(), ..Self::default() };
            sections.insert(format!("{CLASS_SECTION} \"{class}\""), differing(&of_class));
        }
        sections
    }
}

/// The table of options as Markdown.
#[must_use]
pub fn reference_markdown() -> String {
    use std::fmt::Write as _;
    let default = Options::default();
    let mut page =
        String::from("| Option | Value | Default | In a class | Meaning |\n|---|---|---|---|---|\n");
    for option in TABLE {
        let value = (option.get)(&default);
        let value = match (option.default, value.as_str()) {
            ("", "") => String::new(),
            ("", value) => format!("`{value}`"),
            (default, _) => default.to_owned(),
        };
        let class = if option.in_class { "yes" } else { "" };
        // Writing to a String cannot fail.
        let _ =
            writeln!(page, "| `{}` | {} | {value} | {class} | {} |", option.name, option.kind, option.doc);
    }
    page.push_str("\nUnderstood, and of no effect: ");
    let left_out: Vec<String> = LEFT_OUT.iter().map(|(name, why)| format!("`{name}` ({why})")).collect();
    let _ = writeln!(page, "{}.", left_out.join(", "));
    page
}

#[cfg(test)]
#[path = "options_tests.rs"]
mod tests;
