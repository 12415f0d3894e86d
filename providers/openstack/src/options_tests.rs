use super::*;

fn sections(text: &[(&str, &str, &str)]) -> BTreeMap<String, Section> {
    let mut out = BTreeMap::new();
    for (section, key, value) in text {
        let section: &mut Section = out.entry((*section).to_owned()).or_default();
        section.entry((*key).to_owned()).or_default().push((*value).to_owned());
    }
    out
}

#[test]
fn every_option_is_read_and_written() {
    let given = sections(&[
        ("LoadBalancer", "lb-provider", "ovn"),
        ("LoadBalancer", "lb-method", "source_ip"),
        ("LoadBalancer", "create-monitor", "off"),
        ("LoadBalancer", "monitor-delay", "1m30s"),
        ("LoadBalancer", "monitor-timeout", "7"),
        ("LoadBalancer", "floating-network-id", "net-1"),
        ("LoadBalancer", "container-store", "external"),
        ("LoadBalancerClass \"dmz\"", "floating-subnet-tags", "&a,b"),
        ("LoadBalancerClass \"dmz\"", "subnet-id", "sub-1"),
        ("Global", "auth-url", "http://k"),
    ]);
    let (options, complaints) = Options::read(&given);
    assert_eq!(complaints, []);
    assert_eq!((options.monitor_delay, options.monitor_timeout), (90, 7));
    assert_eq!((options.create_monitor, options.method), (Some(false), Some(Algorithm::SourceIp)));
    assert_eq!(options.classes["dmz"].floating_subnet_tags.as_deref(), Some("&a,b"));
    assert_eq!(Options::read(&options.written()), (options, vec![]));
    assert_eq!(Options::read(&Options::default().written()).0, Options::default());
}

#[test]
fn what_is_wrong_is_said_and_leaves_the_default() {
    let given = sections(&[
        ("LoadBalancer", "monitor-delay", "5x"),
        ("LoadBalancer", "monitor-max-retries", "11"),
        ("LoadBalancer", "lb-metod", "x"),
        ("LoadBalancer", "use-octavia", "true"),
        ("LoadBalancer", "internal-lb", "maybe"),
        ("LoadBalancerClass \"dmz\"", "create-monitor", "true"),
        ("LoadBalancerClass", "subnet-id", "x"),
    ]);
    let (options, complaints) = Options::read(&given);
    assert_eq!(options.classes["dmz"], Placement::default());
    assert_eq!(Options { classes: BTreeMap::new(), ..options }, Options::default());
    let fields: Vec<&str> = complaints.iter().map(|c| c.field.as_str()).collect();
    assert_eq!(
        fields,
        [
            "[LoadBalancer] internal-lb",
            "[LoadBalancer] lb-metod",
            "[LoadBalancer] monitor-delay",
            "[LoadBalancer] monitor-max-retries",
            "[LoadBalancer] use-octavia",
            "[LoadBalancerClass]",
            "[LoadBalancerClass \"dmz\"] create-monitor",
        ]
    );
    assert!(complaints.iter().all(|c| c.message.len() > 15), "{complaints:?}");
}

#[test]
fn times() {
    let mut seconds = 0;
    for (text, want) in [("5s", 5), ("1m", 60), ("1h1m1s", 3661), ("10", 10)] {
        assert_eq!(set_seconds(&mut seconds, text), Ok(()), "{text}");
        assert_eq!(seconds, want);
    }
    for wrong in ["", "s", "5s5", "0", "500ms", "25h", "-5s", "99999999999999999999h"] {
        assert!(set_seconds(&mut seconds, wrong).is_err(), "{wrong}");
    }
}
