//! Listeners and their certificates. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::state::{Kind, Listener, LoadBalancer};
use super::{Answer, Context, Elb, Refusal, actions, list, names, page, required, tags, text, texts};

/// Security policies that can be named; of the real list those that controllers and users name most.
pub const SSL_POLICIES: &[&str] = &[
    "ELBSecurityPolicy-2016-08",
    "ELBSecurityPolicy-TLS-1-0-2015-04",
    "ELBSecurityPolicy-TLS-1-1-2017-01",
    "ELBSecurityPolicy-TLS-1-2-2017-01",
    "ELBSecurityPolicy-TLS-1-2-Ext-2018-06",
    "ELBSecurityPolicy-FS-2018-06",
    "ELBSecurityPolicy-FS-1-1-2019-08",
    "ELBSecurityPolicy-FS-1-2-2019-08",
    "ELBSecurityPolicy-FS-1-2-Res-2019-08",
    "ELBSecurityPolicy-FS-1-2-Res-2020-10",
    "ELBSecurityPolicy-2015-05",
    "ELBSecurityPolicy-TLS13-1-0-2021-06",
    "ELBSecurityPolicy-TLS13-1-1-2021-06",
    "ELBSecurityPolicy-TLS13-1-2-2021-06",
    "ELBSecurityPolicy-TLS13-1-2-Res-2021-06",
    "ELBSecurityPolicy-TLS13-1-2-Ext1-2021-06",
    "ELBSecurityPolicy-TLS13-1-2-Ext2-2021-06",
    "ELBSecurityPolicy-TLS13-1-3-2021-06",
];

/// What can be set of a listener, by creation and by modification.
struct Settings {
    port: u16,
    protocol: String,
    ssl_policy: Option<String>,
    certificates: Vec<String>,
    alpn: Vec<String>,
    mutual: Option<Value>,
    actions: Vec<Value>,
}

impl Settings {
    fn of(listener: &Listener) -> Settings {
        Settings {
            port: listener.port,
            protocol: listener.protocol.clone(),
            ssl_policy: listener.ssl_policy.clone(),
            certificates: listener.certificates.clone(),
            alpn: listener.alpn.clone(),
            mutual: listener.mutual.clone(),
            actions: listener.actions.clone(),
        }
    }
}

impl Elb {
    /// A listener by ARN.
    pub(super) fn listener(&self, arn: &str) -> Result<&Listener, Refusal> {
        let missing = || Refusal::new("ListenerNotFound", format!("Listener '{arn}' not found"));
        self.listeners.get(arn).ok_or_else(missing)
    }

    /// Settings with those of the request laid over, checked.
    fn settings(
        &self,
        input: &Value,
        mut settings: Settings,
        balancer: &LoadBalancer,
        context: Context,
    ) -> Result<Settings, Refusal> {
        let validation = |message: String| Refusal::new("ValidationError", message);
        if let Some(port) = input.get("Port").and_then(Value::as_u64) {
            settings.port = port as u16;
        }
        if let Some(protocol) = text(input, "Protocol") {
            protocol.clone_into(&mut settings.protocol);
        }
        if settings.port == 0 || settings.protocol.is_empty() {
            return Err(validation("A listener needs a port and a protocol".into()));
        }
        let fits = match balancer.kind {
            Kind::Application => matches!(settings.protocol.as_str(), "HTTP" | "HTTPS"),
            Kind::Network => matches!(settings.protocol.as_str(), "TCP" | "UDP" | "TCP_UDP" | "TLS"),
        };
        if !fits {
            return Err(validation(format!(
                "Listener protocol '{}' is not supported by load balancers of type '{}'",
                settings.protocol,
                balancer.kind.as_str()
            )));
        }
        let tls = matches!(settings.protocol.as_str(), "TLS" | "HTTPS");
        let certificates: Vec<String> = list(input, "Certificates")
            .iter()
            .map(|certificate| required(certificate, "CertificateArn").map(str::to_owned))
            .collect::<Result<_, _>>()?;
        if certificates.len() > 1 {
            return Err(validation("Exactly one certificate must be specified: the default one".into()));
        }
        if !certificates.is_empty() {
            check_certificates(&certificates, context)?;
            settings.certificates = certificates;
        }
        if let Some(policy) = text(input, "SslPolicy") {
            if !SSL_POLICIES.contains(&policy) {
                return Err(Refusal::new("SSLPolicyNotFound", format!("SSL policy '{policy}' not found")));
            }
            settings.ssl_policy = Some(policy.to_owned());
        }
        if tls {
            if settings.certificates.is_empty() {
                return Err(validation(format!(
                    "A certificate must be specified for {} listeners",
                    settings.protocol
                )));
            }
            settings.ssl_policy.get_or_insert_with(|| SSL_POLICIES[0].to_owned());
        } else if text(input, "SslPolicy").is_some() || !list(input, "Certificates").is_empty() {
            return Err(Refusal::new(
                "InvalidConfigurationRequest",
                format!(
                    "Certificates and SSL policies cannot be specified for {} listeners",
                    settings.protocol
                ),
            ));
        } else {
            (settings.ssl_policy, settings.certificates) = (None, Vec::new());
        }
        if input.get("AlpnPolicy").is_some() {
            settings.alpn = texts(input, "AlpnPolicy");
            let known = ["HTTP1Only", "HTTP2Only", "HTTP2Optional", "HTTP2Preferred", "None"];
            if settings.alpn.len() > 1 || settings.alpn.iter().any(|policy| !known.contains(&policy.as_str()))
            {
                return Err(Refusal::new("ALPNPolicyNotSupported", "One ALPN policy can be specified"));
            }
        }
        if settings.protocol != "TLS" && !settings.alpn.is_empty() {
            return Err(Refusal::new(
                "InvalidConfigurationRequest",
                "ALPN policies are for TLS listeners only",
            ));
        }
        if let Some(mutual) = input.get("MutualAuthentication") {
            if text(mutual, "Mode") == Some("verify") {
                // There are no trust stores here.
                return Err(Refusal::new("TrustStoreNotFound", "Trust store not found"));
            }
            settings.mutual = Some(mutual.clone());
        }
        if input.get("DefaultActions").is_some() {
            settings.actions = self.actions(balancer.kind, list(input, "DefaultActions"))?;
        }
        if balancer.kind == Kind::Network {
            for arn in actions::target_groups(&settings.actions) {
                let group = self.target_group(&arn)?;
                let fits = match settings.protocol.as_str() {
                    "TLS" | "TCP" if group.protocol == "TCP" => true,
                    protocol => group.protocol == protocol,
                };
                if !fits {
                    return Err(Refusal::new(
                        "IncompatibleProtocols",
                        format!(
                            "The listener's protocol {} and the target group's {} do not fit: {arn}",
                            settings.protocol, group.protocol
                        ),
                    ));
                }
            }
        }
        Ok(settings)
    }

    pub(super) fn create_listener(&mut self, input: &Value, context: Context) -> Answer {
        let balancer = self.load_balancer(required(input, "LoadBalancerArn")?)?.clone();
        let empty = Settings {
            port: 0,
            protocol: String::new(),
            ssl_policy: None,
            certificates: Vec::new(),
            alpn: Vec::new(),
            mutual: None,
            actions: Vec::new(),
        };
        let settings = self.settings(input, empty, &balancer, context)?;
        let new_tags = tags::of(input)?;
        if let Some(existing) = self.on_port(&balancer.arn, settings.port) {
            let same = existing.protocol == settings.protocol
                && existing.ssl_policy == settings.ssl_policy
                && existing.certificates == settings.certificates
                && existing.alpn == settings.alpn
                && existing.mutual == settings.mutual
                && existing.actions == settings.actions
                && self.tags.get(&existing.arn).cloned().unwrap_or_default() == new_tags;
            return match same {
                true => Ok(json!({"Listeners": [self.describe_listener(existing)]})),
                false => Err(duplicate(settings.port)),
            };
        }
        let limit = self.quota_of(balancer.kind, "listeners-per");
        if self.listeners.values().filter(|listener| listener.load_balancer == balancer.arn).count() as u64
            >= limit
        {
            return Err(Refusal::new(
                "TooManyListeners",
                format!(
                    "The maximum number of listeners has been reached on load balancer '{}': {limit}",
                    balancer.arn
                ),
            ));
        }
        self.check_groups(&balancer, &self.groups_with(&balancer.arn, "", &settings.actions))?;
        let arn = names::listener_arn(&balancer.arn, &names::id(self.next_id()));
        let listener = Listener {
            default_rule: names::rule_arn(&arn, &names::id(self.next_id())),
            arn: arn.clone(),
            load_balancer: balancer.arn,
            port: settings.port,
            protocol: settings.protocol,
            ssl_policy: settings.ssl_policy,
            certificates: settings.certificates,
            more_certificates: BTreeSet::new(),
            alpn: settings.alpn,
            mutual: settings.mutual,
            actions: settings.actions,
            attributes: BTreeMap::new(),
        };
        let answer = json!({"Listeners": [self.describe_listener(&listener)]});
        self.tags.insert(arn.clone(), new_tags);
        self.listeners.insert(arn, listener);
        self.settle_targets(context);
        Ok(answer)
    }

    /// The listener of a load balancer on a port: there is one at most, whatever the protocols.
    fn on_port(&self, balancer: &str, port: u16) -> Option<&Listener> {
        self.listeners.values().find(|listener| listener.load_balancer == balancer && listener.port == port)
    }

    pub(super) fn modify_listener(&mut self, input: &Value, context: Context) -> Answer {
        let arn = required(input, "ListenerArn")?;
        let listener = self.listener(arn)?;
        let balancer = self.load_balancer(&listener.load_balancer)?.clone();
        let settings = self.settings(input, Settings::of(listener), &balancer, context)?;
        if self.on_port(&balancer.arn, settings.port).is_some_and(|other| other.arn != arn) {
            return Err(duplicate(settings.port));
        }
        let mut changed = listener.clone();
        changed.port = settings.port;
        changed.protocol = settings.protocol;
        changed.ssl_policy = settings.ssl_policy;
        changed.certificates = settings.certificates;
        changed.alpn = settings.alpn;
        changed.mutual = settings.mutual;
        changed.actions = settings.actions;
        self.check_groups(&balancer, &self.groups_with(&balancer.arn, arn, &changed.actions))?;
        let answer = json!({"Listeners": [self.describe_listener(&changed)]});
        self.listeners.insert(arn.to_owned(), changed);
        self.settle_targets(context);
        Ok(answer)
    }

    pub(super) fn delete_listener(&mut self, input: &Value) -> Answer {
        // Gone already is success, as with every Delete of this API.
        self.remove_listener(required(input, "ListenerArn")?);
        Ok(json!({}))
    }

    /// Takes a listener away with its rules and their tags.
    pub(super) fn remove_listener(&mut self, arn: &str) {
        self.listeners.remove(arn);
        self.tags.remove(arn);
        let rules: Vec<String> =
            self.rules.values().filter(|rule| rule.listener == arn).map(|rule| rule.arn.clone()).collect();
        for rule in rules {
            self.rules.remove(&rule);
            self.tags.remove(&rule);
        }
    }

    pub(super) fn add_listener_certificates(&mut self, input: &Value, context: Context) -> Answer {
        let arn = required(input, "ListenerArn")?;
        let listener = self.listener(arn)?;
        let balancer = self.load_balancer(&listener.load_balancer)?;
        let new: Vec<String> = list(input, "Certificates")
            .iter()
            .map(|certificate| required(certificate, "CertificateArn").map(str::to_owned))
            .collect::<Result<_, _>>()?;
        check_certificates(&new, context)?;
        let mut all = listener.more_certificates.clone();
        all.extend(new.iter().cloned());
        let limit = self.quota_of(balancer.kind, "certificates-per");
        let of_others =
            self.listeners.values().filter(|other| other.load_balancer == balancer.arn && other.arn != arn);
        let others: usize = of_others.map(|other| other.more_certificates.len()).sum();
        if (others + all.len()) as u64 > limit {
            return Err(Refusal::new(
                "TooManyCertificates",
                format!(
                    "The maximum number of certificates has been reached on load balancer '{}': {limit}",
                    balancer.arn
                ),
            ));
        }
        if let Some(listener) = self.listeners.get_mut(arn) {
            listener.more_certificates = all;
        }
        let added: Vec<Value> =
            new.iter().map(|arn| json!({"CertificateArn": arn, "IsDefault": false})).collect();
        Ok(json!({"Certificates": added}))
    }

    pub(super) fn remove_listener_certificates(&mut self, input: &Value) -> Answer {
        let arn = required(input, "ListenerArn")?;
        let listener = self.listener(arn)?;
        let gone: Vec<String> = list(input, "Certificates")
            .iter()
            .filter_map(|c| text(c, "CertificateArn"))
            .map(str::to_owned)
            .collect();
        let default =
            |arn: &String| listener.certificates.contains(arn) && !listener.more_certificates.contains(arn);
        if gone.iter().any(default) {
            return Err(Refusal::new(
                "OperationNotPermitted",
                "The default certificate of a listener cannot be removed",
            ));
        }
        if let Some(listener) = self.listeners.get_mut(arn) {
            listener.more_certificates.retain(|arn| !gone.contains(arn));
        }
        Ok(json!({}))
    }

    pub(super) fn describe_listener_certificates(&self, input: &Value) -> Answer {
        let listener = self.listener(required(input, "ListenerArn")?)?;
        let default =
            listener.certificates.iter().map(|arn| json!({"CertificateArn": arn, "IsDefault": true}));
        let more =
            listener.more_certificates.iter().map(|arn| json!({"CertificateArn": arn, "IsDefault": false}));
        page::page(input, "Certificates", default.chain(more).collect())
    }

    pub(super) fn describe_ssl_policies(&self, input: &Value) -> Answer {
        let names = texts(input, "Names");
        if let Some(unknown) = names.iter().find(|name| !SSL_POLICIES.contains(&name.as_str())) {
            return Err(Refusal::new("SSLPolicyNotFound", format!("SSL policy '{unknown}' not found")));
        }
        let wanted =
            SSL_POLICIES.iter().filter(|policy| names.is_empty() || names.iter().any(|name| name == *policy));
        let described = wanted.map(|policy| {
            json!({"Name": policy, "SslProtocols": ["TLSv1.2"], "SupportedLoadBalancerTypes": ["application", "network"],
                   "Ciphers": [{"Name": "ECDHE-ECDSA-AES128-GCM-SHA256", "Priority": 1}]})
        });
        page::page(input, "SslPolicies", described.collect())
    }
}

fn duplicate(port: u16) -> Refusal {
    Refusal::new(
        "DuplicateListener",
        format!("A listener already exists on port {port} for this load balancer"),
    )
}

fn check_certificates(arns: &[String], context: Context) -> Result<(), Refusal> {
    for arn in arns {
        // Server certificates of IAM are taken on trust: the bed reads only ACM.
        let known = context.facts.certificates.get(arn);
        if arn.contains(":acm:") && known.is_none() {
            return Err(Refusal::new("CertificateNotFound", format!("Certificate ARN '{arn}' is not valid")));
        }
        if let Some(certificate) = known.filter(|certificate| certificate.status != "ISSUED") {
            return Err(Refusal::new(
                "UnsupportedCertificate",
                format!("The certificate '{arn}' must be issued, but is {}", certificate.status),
            ));
        }
    }
    Ok(())
}
