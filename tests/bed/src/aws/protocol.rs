//! AWS's wire protocols as far as a proxy has to understand them: which service and action a request is for, what it is about, and what an error looks like. Pure.

use http::HeaderMap;
use serde_json::{Value, json};

/// A request as the proxy understands it.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// Service, as in the signature: `elasticloadbalancing`, `ec2`, `acm`, `tagging`, ...
    pub service: String,
    /// Region, as in the signature.
    pub region: String,
    /// Action.
    pub action: String,
    /// How it is written.
    pub protocol: Protocol,
    /// API version, of query protocols.
    pub version: String,
    /// Parameters, of query protocols.
    pub parameters: Vec<(String, String)>,
    /// The body, of JSON protocols.
    pub body: Value,
}

/// How requests and answers of a service are written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Protocol {
    /// Form in, XML out: ELB, IAM, STS, Auto Scaling.
    Query,
    /// The same with errors of its own: EC2.
    Ec2,
    /// JSON in and out: ACM, tagging, WAF, Shield.
    Json,
    /// Paths and methods: S3 and others that are only passed on.
    Rest,
}

/// Version of the API of load balancers that this is about; classic ones have another.
pub const ELB_V2: &str = "2015-12-01";

impl Call {
    /// Understands a request. A request without signature is for whom its action's version or its `X-Amz-Target` says, in us-east-1.
    pub fn recognise(headers: &HeaderMap, path: &str, query: &str, body: &[u8]) -> Call {
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let scope: Vec<&str> = header("authorization")
            .split_once("Credential=")
            .map(|(_, rest)| rest.split([',', ' ']).next().unwrap_or_default().split('/').collect())
            .unwrap_or_default();
        // Key, date, region, service, aws4_request; keys themselves may have slashes.
        let from_end =
            |n: usize| scope.len().checked_sub(n).and_then(|at| scope.get(at)).copied().unwrap_or_default();
        let region = Some(from_end(3)).filter(|region| !region.is_empty()).unwrap_or("us-east-1");
        let target = header("x-amz-target");
        let mut call = Call {
            service: from_end(2).to_owned(),
            region: region.to_owned(),
            action: String::new(),
            protocol: Protocol::Rest,
            version: String::new(),
            parameters: Vec::new(),
            body: Value::Null,
        };
        if let Some((prefix, action)) = target.split_once('.') {
            call.protocol = Protocol::Json;
            action.clone_into(&mut call.action);
            call.body = serde_json::from_slice(body).unwrap_or(Value::Null);
            if call.service.is_empty() {
                call.service = match prefix {
                    "CertificateManager" => "acm",
                    "ResourceGroupsTaggingAPI_20170126" => "tagging",
                    "AWSWAF_20190729" => "wafv2",
                    other => other,
                }
                .to_owned();
            }
            return call;
        }
        let form = header("content-type").starts_with("application/x-www-form-urlencoded");
        let encoded = if form { body } else { query.as_bytes() };
        let parameters: Vec<(String, String)> = form_urlencoded::parse(encoded)
            .map(|(name, value)| (name.into_owned(), value.into_owned()))
            .collect();
        let parameter = |name: &str| {
            parameters.iter().find(|(own, _)| own == name).map(|(_, value)| value.clone()).unwrap_or_default()
        };
        (call.action, call.version) = (parameter("Action"), parameter("Version"));
        if call.action.is_empty() {
            call.action = format!("{path}?{query}").trim_end_matches('?').to_owned();
            return call;
        }
        if call.service.is_empty() {
            call.service = match call.version.as_str() {
                ELB_V2 | "2012-06-01" => "elasticloadbalancing",
                "2016-11-15" => "ec2",
                "2010-05-08" => "iam",
                "2011-06-15" => "sts",
                _ => "",
            }
            .to_owned();
        }
        call.protocol = if call.service == "ec2" { Protocol::Ec2 } else { Protocol::Query };
        call.parameters = parameters;
        call
    }

    /// Whether it is for load balancers of the second generation.
    pub fn is_elb(&self) -> bool {
        self.service == "elasticloadbalancing" && self.version == ELB_V2
    }

    /// The value of a parameter, or of a member of a JSON body.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        let named = self.parameters.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str());
        named.or_else(|| self.body.get(name).and_then(Value::as_str))
    }

    /// The name or id of what it is about, for the log; empty if none is found.
    pub fn resource(&self) -> String {
        const NAMES: [&str; 16] = [
            "RuleArn",
            "ListenerArn",
            "TargetGroupArn",
            "LoadBalancerArn",
            "ResourceArns.member.1",
            "LoadBalancerArns.member.1",
            "TargetGroupArns.member.1",
            "ListenerArns.member.1",
            "RuleArns.member.1",
            "RulePriorities.member.1.RuleArn",
            "GroupId",
            "GroupName",
            "CertificateArn",
            "ResourceId.1",
            "Names.member.1",
            "Name",
        ];
        NAMES.iter().find_map(|name| self.parameter(name)).unwrap_or_default().to_owned()
    }
}

/// An error as it goes over the wire.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct WireError {
    /// HTTP status.
    pub status: u16,
    /// `Content-Type`.
    pub content_type: &'static str,
    /// `X-Amzn-ErrorType`, of JSON services.
    pub error_type: Option<String>,
    /// Body.
    pub body: String,
}

/// An error with that code in the form of a protocol. A status of 0 means the protocol's usual one.
pub fn error(protocol: Protocol, code: &str, message: &str, status: u16) -> WireError {
    let (code_text, message_text) = (super::xml::escape(code), super::xml::escape(message));
    let sender = if status >= 500 { "Receiver" } else { "Sender" };
    match protocol {
        Protocol::Query => WireError {
            status: if status == 0 { 400 } else { status },
            content_type: "text/xml",
            error_type: None,
            body: format!(
                "<ErrorResponse xmlns=\"http://elasticloadbalancing.amazonaws.com/doc/{ELB_V2}/\"><Error><Type>{sender}</Type><Code>{code_text}</Code><Message>{message_text}</Message></Error><RequestId>bed</RequestId></ErrorResponse>"
            ),
        },
        Protocol::Ec2 | Protocol::Rest => WireError {
            status: if status == 0 { 400 } else { status },
            content_type: "text/xml;charset=UTF-8",
            error_type: None,
            body: format!(
                "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Response><Errors><Error><Code>{code_text}</Code><Message>{message_text}</Message></Error></Errors><RequestID>bed</RequestID></Response>"
            ),
        },
        Protocol::Json => WireError {
            status: if status == 0 { 400 } else { status },
            content_type: "application/x-amz-json-1.1",
            error_type: Some(code.to_owned()),
            body: json!({"__type": code, "message": message}).to_string(),
        },
    }
}

/// Code, message and status of a refusal by rate limits in a protocol.
pub fn throttled(protocol: Protocol) -> (&'static str, &'static str, u16) {
    match protocol {
        Protocol::Query => ("Throttling", "Rate exceeded", 400),
        Protocol::Ec2 | Protocol::Rest => ("RequestLimitExceeded", "Request limit exceeded.", 503),
        Protocol::Json => ("ThrottlingException", "Rate exceeded", 400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&str, &str)| {
            (http::HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap())
        };
        pairs.iter().map(pair).collect()
    }

    const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded; charset=utf-8");

    #[test]
    fn service_region_and_action_are_recognised() {
        let signed = |service: &str| {
            format!(
                "AWS4-HMAC-SHA256 Credential=AKID/20261130/eu-west-1/{service}/aws4_request, SignedHeaders=host, Signature=0"
            )
        };
        let auth = signed("elasticloadbalancing");
        let body = b"Action=CreateRule&Version=2015-12-01&ListenerArn=arn%3Aaws&Priority=1";
        let call = Call::recognise(&headers(&[FORM, ("authorization", &auth)]), "/", "", body);
        assert_eq!((call.service.as_str(), call.region.as_str()), ("elasticloadbalancing", "eu-west-1"));
        assert_eq!((call.action.as_str(), call.protocol), ("CreateRule", Protocol::Query));
        assert!(call.is_elb());
        assert_eq!(call.resource(), "arn:aws");

        let auth = signed("ec2");
        let call = Call::recognise(
            &headers(&[FORM, ("authorization", &auth)]),
            "/",
            "",
            b"Action=DescribeVpcs&Version=2016-11-15",
        );
        assert_eq!((call.action.as_str(), call.protocol), ("DescribeVpcs", Protocol::Ec2));

        let target = ("x-amz-target", "CertificateManager.ListCertificates");
        let call = Call::recognise(&headers(&[target]), "/", "", b"{}");
        assert_eq!((call.service.as_str(), call.action.as_str()), ("acm", "ListCertificates"));
        assert_eq!((call.protocol, call.region.as_str()), (Protocol::Json, "us-east-1"));

        let classic =
            Call::recognise(&headers(&[FORM]), "/", "", b"Action=DescribeLoadBalancers&Version=2012-06-01");
        assert!(classic.service == "elasticloadbalancing" && !classic.is_elb());

        let rest = Call::recognise(&headers(&[]), "/bucket/key", "acl", b"");
        assert_eq!((rest.action.as_str(), rest.protocol), ("/bucket/key?acl", Protocol::Rest));
    }

    #[test]
    fn errors_look_as_each_protocol_wants() {
        let query = error(Protocol::Query, "Throttling", "a < b", 400);
        assert!(query.body.contains("<Code>Throttling</Code><Message>a &lt; b</Message>"), "{}", query.body);
        let (code, message, status) = throttled(Protocol::Ec2);
        let ec2 = error(Protocol::Ec2, code, message, status);
        assert_eq!(ec2.status, 503);
        assert!(ec2.body.contains("<Errors><Error><Code>RequestLimitExceeded</Code>"));
        let json = error(Protocol::Json, "ThrottlingException", "Rate exceeded", 0);
        assert_eq!((json.status, json.error_type.as_deref()), (400, Some("ThrottlingException")));
        assert!(json.body.contains("\"__type\":\"ThrottlingException\""));
    }
}
