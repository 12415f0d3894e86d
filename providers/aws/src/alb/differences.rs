//! Where Ingresses are served otherwise than by aws-load-balancer-controller, and why; part of [`crate::differences`]. Pure data.

use crate::differences::Difference;

/// Defaults that differ. `compat=lbc` switches every one of them to the peer's way.
pub const SWITCHED: &[Difference] = &[
    Difference {
        about: "Order of rules",
        lbc: "by group.order, then namespace and name of the Ingress, then within it Exact, longer prefixes, the rest as written; a Prefix / of an earlier Ingress hides all later ones",
        ours: "over all Ingresses: precise hosts, wildcards, none; then Exact before Prefix and longest first; then the rule with more conditions, group.order, the older Ingress",
        why: "It is what the Ingress API says of paths, and no Ingress hides another by its name.",
    },
    Difference {
        about: "Two rules with the same host, path and conditions",
        lbc: "both are made, the later one never matches",
        ours: "the later one is not made, and its Ingress is told",
        why: "It costs a rule, and its owner believes it to work.",
    },
    Difference {
        about: "Hosts such as *.example.com",
        lbc: "match any number of labels",
        ours: "match exactly one label, by a regular expression",
        why: "It is what the Ingress API says.",
    },
    Difference {
        about: "Exact and Prefix paths with * or ?, and characters that patterns of AWS may not have",
        lbc: "an error, nothing of the group is changed",
        ours: "regular expressions that match them literally",
        why: "It is what the Ingress asks for.",
    },
    Difference {
        about: "group.name (switched by the flag --compat, not by the option of an inventory)",
        lbc: "joins Ingresses of all namespaces",
        ours: "joins those of one namespace, or of the namespaces that the class's IngressClassParams select with namespaceSelector or group",
        why: "Otherwise one tenant can take another's host.",
    },
    Difference {
        about: "Ingresses of a group that disagree, or of which one is wrong",
        lbc: "an error, nothing of the group is changed any more",
        ours: "the oldest decides and the other is told; it is not served if it would be open wider than it asks for (scheme, client networks, security groups, web ACL, client certificates)",
        why: "One bad member must not stop the others.",
    },
    Difference {
        about: "Health of instances behind an ALB",
        lbc: "HTTP / on the NodePort, every 15 s, whatever the policy",
        ours: "HTTP /healthz of kube-proxy on port 10256, with policy Local of healthCheckNodePort, every 10 s; the peer's defaults as soon as port, protocol, path or codes are given, and with another version than HTTP1",
        why: "The NodePort answers for pods on other nodes, so that it says nothing of this one; with policy Local it would send requests to nodes without endpoints.",
    },
    Difference {
        about: "Scheme of an ALB without annotation",
        lbc: "the default scheme, also where the load balancer that is there has another",
        ours: "that of the load balancer that is there",
        why: "A changed option must not replace load balancers.",
    },
    Difference {
        about: "Services with both families behind an ALB with IPv4",
        lbc: "an error",
        ours: "IPv4",
        why: "It is what can be served.",
    },
    Difference {
        about: "Public certificates where allowed-certificate-authority-arns is set",
        lbc: "are not found",
        ours: "are found",
        why: "The option restricts private authorities.",
    },
    Difference {
        about: "enable-frontend-nlb",
        lbc: "the default scheme, discovered subnets; HTTP / with 200 as health check, also of listeners with TLS",
        ours: "scheme and subnets of the ALB; the listener's protocol, any answer below 500; default-tags with frontend-nlb-tags too",
        why: "Without a rule for / the ALB answers 404, and with TLS 400: it would never be healthy.",
    },
];

/// What is otherwise in any case.
pub const ALWAYS: &[Difference] = &[
    Difference {
        about: "A backend, action, Secret or Service setting of an Ingress that is missing or wrong",
        lbc: "503 for a missing Service or action; otherwise an error, nothing of the group is changed any more",
        ours: "503 for that path, and an Event",
        why: "The rest can be served, and the path must not fall to another backend.",
    },
    Difference {
        about: "Hosts without certificate",
        lbc: "an error, nothing of the group is changed any more",
        ours: "an Event; the listener has the certificates that are found, and is left out only if there is none",
        why: "One host must not stop the others.",
    },
    Difference {
        about: "ssl-redirect to a port without TLS",
        lbc: "an error, nothing of the group is changed any more",
        ours: "the redirect stays, and an Event",
        why: "To serve without TLS what was asked to be redirected would be worse.",
    },
    Difference {
        about: "Rules with more than five values",
        lbc: "refused by AWS",
        ours: "several rules",
        why: "They mean the same.",
    },
    Difference {
        about: "Quotas of rules, target groups, listeners, certificates",
        lbc: "refused by AWS, in the midst of the work",
        ours: "older Ingresses first; one for which there is no room is not served, and its Event names the quota",
        why: "It is known beforehand.",
    },
    Difference {
        about: "Several default backends in a group",
        lbc: "an error, nothing of the group is changed any more",
        ours: "that of the oldest Ingress, the others are told",
        why: "One bad member must not stop the others.",
    },
    Difference {
        about: "Unknown keys in the JSON of annotations",
        lbc: "ignored",
        ours: "an error",
        why: "A condition that is misspelt and left out lets requests through.",
    },
    Difference {
        about: "The Secret of auth-idp-oidc",
        lbc: "is read, and its content is part of the model",
        ours: "only its version is; the content is read when the rule is written",
        why: "Secrets must not be in plans.",
    },
    Difference {
        about: "A protection by Shield Advanced, once the load balancer goes",
        lbc: "is left behind",
        ours: "goes with it, if it is ours",
        why: "Nothing of ours is left behind.",
    },
    Difference {
        about: "Target groups of several clusters",
        lbc: "what is ours stands in a ConfigMap",
        ours: "it stands in tags of the target group, in digests",
        why: "It lives as long as the target group, and no right to write ConfigMaps is needed.",
    },
];
