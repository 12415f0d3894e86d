//! The cloud's own URLs for clients outside the bed: they come through relays of the owner's loopback, and what they are told leads there too. Pure.

use super::service::Service;

/// Ports of the relays, in the order of [`Service::ALL`].
pub type Relays = [u16; 5];

/// The URL of a relay.
pub fn outside(relays: &Relays, service: Service) -> String {
    format!("http://127.0.0.1:{}", relays[service.index()])
}

/// Whether a request came through a relay, by its `Host`.
pub fn is_from_outside(host: &str, relays: &Relays, service: Service) -> bool {
    let Some((name, port)) = host.rsplit_once(':') else { return false };
    matches!(name, "127.0.0.1" | "localhost") && port.parse() == Ok(relays[service.index()])
}

/// A text for a client outside.
pub fn outwards(text: &str, relays: &Relays) -> String {
    replace(text, |service| (service.inside(), outside(relays, service)))
}

/// A text from a client outside.
pub fn inwards(text: &str, relays: &Relays) -> String {
    replace(text, |service| (outside(relays, service), service.inside()))
}

fn replace(text: &str, pair: impl Fn(Service) -> (String, String)) -> String {
    let mut text = text.to_owned();
    for service in Service::ALL {
        let (from, to) = pair(service);
        text = text.replace(&from, &to);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const RELAYS: Relays = [40001, 40002, 40003, 40004, 40005];

    #[test]
    fn urls_lead_where_the_client_is() {
        let inside = r#"{"url": "http://10.77.0.241:9876", "ref": "http://10.77.0.241:9311/v1/secrets/x"}"#;
        let outside = outwards(inside, &RELAYS);
        assert_eq!(
            outside,
            r#"{"url": "http://127.0.0.1:40003", "ref": "http://127.0.0.1:40004/v1/secrets/x"}"#
        );
        assert_eq!(inwards(&outside, &RELAYS), inside);
    }

    #[test]
    fn a_relays_host_is_known() {
        assert!(is_from_outside("127.0.0.1:40002", &RELAYS, Service::Network));
        assert!(is_from_outside("localhost:40002", &RELAYS, Service::Network));
        assert!(!is_from_outside("127.0.0.1:40001", &RELAYS, Service::Network));
        assert!(!is_from_outside("10.77.0.241:9696", &RELAYS, Service::Network));
    }
}
