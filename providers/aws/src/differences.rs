//! Where we do otherwise than aws-load-balancer-controller, and why: the list behind `compat=lbc` and docs/differences-from-lbc.md. Pure data.

use std::fmt::Write as _;

use crate::alb::differences as alb;

/// One difference.
pub struct Difference {
    /// What it is about.
    pub about: &'static str,
    /// What the peer does.
    pub lbc: &'static str,
    /// What we do.
    pub ours: &'static str,
    /// Why that is better.
    pub why: &'static str,
}

/// Defaults that differ. `compat=lbc` switches every one of them to the peer's way.
pub const SWITCHED: &[Difference] = &[
    Difference {
        about: "Health of instances, policy Cluster",
        lbc: "TCP to the NodePort, every 10 s, 3 of 3",
        ours: "HTTP to kube-proxy on port 10256, every 10 s, 2 of 2; the peer's defaults as soon as port, protocol, path or codes are given",
        why: "The NodePort answers for pods on other nodes, so that it says nothing of this one; kube-proxy fails before the node goes, and connections drain (KEP-3836).",
    },
    Difference {
        about: "TCP and UDP on one port number",
        lbc: "the second replaces the first, unless aws-load-balancer-enable-tcp-udp-listener is true",
        ours: "one TCP_UDP listener; what cannot be merged is an error of that port",
        why: "It is what the Service asks for.",
    },
    Difference {
        about: "Services with IPv6",
        lbc: "an error, unless aws-load-balancer-ip-address-type is dualstack",
        ours: "dual stack by default; where ipv4 is said and the Service has IPv4 too, IPv4 is served",
        why: "It is what the Service asks for.",
    },
    Difference {
        about: "UDP on dual stack",
        lbc: "source NAT by IPv6 prefixes is off, and AWS refuses the listener",
        ours: "it is on, unless an annotation says otherwise",
        why: "Without it there is no listener.",
    },
    Difference {
        about: "sessionAffinity ClientIP",
        lbc: "ignored",
        ours: "stickiness by source address, unless an attribute says something of stickiness",
        why: "Without it a client goes to another node, and the affinity of kube-proxy is of no use.",
    },
    Difference {
        about: "Status with fixed addresses",
        lbc: "the host name",
        ours: "private addresses, and those of elastic IPs",
        why: "They are fixed in order to be used.",
    },
    Difference {
        about: "manage-backend-security-group-rules false, with a group that is made",
        lbc: "ignored",
        ours: "nodes are not opened",
        why: "It is what the annotation says.",
    },
];

/// What is otherwise in any case.
pub const ALWAYS: &[Difference] = &[
    Difference {
        about: "One wrong annotation",
        lbc: "nothing of the Service or group is changed any more",
        ours: "it counts as absent, or keeps that object as it is where something would be open or broken; the rest is served",
        why: "One bad member must not stop the others.",
    },
    Difference {
        about: "A node with a wrong providerID",
        lbc: "no target of the target group is changed any more",
        ours: "that node is no target, and says so",
        why: "One bad node must not stop the others.",
    },
    Difference {
        about: "Nodes that are not Ready",
        lbc: "are taken out of every target group",
        ours: "stay: their health is the load balancer's business",
        why: "A flap of readiness must not move connections (KEP-3458).",
    },
    Difference {
        about: "Rules of the nodes' security groups",
        lbc: "the smallest range of ports for each protocol, moved as Services come and go",
        ours: "the range of NodePorts, the port of the health check, and for pods as targets all ports; from the shared group alone",
        why: "Their number and content do not change with Services.",
    },
    Difference {
        about: "Instances with several security groups",
        lbc: "an error unless exactly one has the cluster's tag",
        ours: "the one with the tag, else the first of the primary interface",
        why: "The rule has to be somewhere.",
    },
    Difference {
        about: "Readiness gates of pods",
        lbc: "one for each TargetGroupBinding, named after it, set by a webhook on pods of its Service",
        ours: "one for all target groups, target-health.elbv2.k8s.aws/causeway, set by a policy in the API server on pods that a Service selects; a pod that is no target waits for nobody; gates of the peer's are honoured, and mean all target groups too",
        why: "A webhook that is away keeps pods from being made, and a policy cannot know target groups.",
    },
    Difference {
        about: "More targets than a quota allows",
        lbc: "an error, no target is changed any more",
        ours: "a subset that stays the same while nodes come and go, and a warning",
        why: "It serves.",
    },
    Difference {
        about: "Services of other types",
        lbc: "NodePort and ClusterIP Services with the annotations get an NLB",
        ours: "type LoadBalancer only",
        why: "The status of others cannot hold the address.",
    },
    Difference {
        about: "Misspelt annotations, those of Classic Load Balancers",
        lbc: "ignored",
        ours: "a warning on the object",
        why: "Whoever writes one means something by it.",
    },
    Difference {
        about: "Several Services on one NLB",
        lbc: "not possible",
        ours: "the annotation causeway.io/load-balancer-group, within a namespace",
        why: "An NLB costs money.",
    },
    Difference {
        about: "The cluster in names and tags",
        lbc: "its name",
        ours: "its id, the uid of namespace kube-system",
        why: "Two clusters of one name must not take each other's load balancers.",
    },
];

fn table(page: &mut String, differences: &[Difference]) {
    page.push_str("| About | aws-load-balancer-controller | Causeway | Why |\n|---|---|---|---|\n");
    for d in differences {
        // Writing to a String cannot fail.
        let _ = writeln!(page, "| {} | {} | {} | {} |", d.about, d.lbc, d.ours, d.why);
    }
}

/// The page.
#[must_use]
pub fn reference_markdown() -> String {
    let mut page = String::from(
        "# Differences from aws-load-balancer-controller\n\nNames, annotations, defaults and resources are those of aws-load-balancer-controller, but for these.\n\n\
         ## Switched by compat=lbc\n\nWith `--compat=lbc`, or the option `compat: lbc`, all of these are done in the peer's way.\n\n",
    );
    page.push_str("Of Services:\n\n");
    table(&mut page, SWITCHED);
    page.push_str("\nOf Ingresses:\n\n");
    table(&mut page, alb::SWITCHED);
    page.push_str("\n## In any case\n\n");
    page.push_str("Of Services:\n\n");
    table(&mut page, ALWAYS);
    page.push_str("\nOf Ingresses:\n\n");
    table(&mut page, alb::ALWAYS);
    page
}
