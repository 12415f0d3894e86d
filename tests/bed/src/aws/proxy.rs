//! The proxy that AWS's clients speak to: every call passes the gate, then goes to our load balancers, to a repair of moto, or to moto as it is. I/O.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Request, Response};
use hyper::body::Bytes;
use serde_json::{Value, json};

use super::certificates::{self, Material};
use super::cloud::Cloud;
use super::elb::{Elb, Refusal};
use super::moto::{self, Part};
use super::protocol::{self, Call, Protocol, WireError};
use super::{control, ec2, tagging, xml};
use crate::cloud::faults::Failure;
use crate::cloud::http::{Cut, Whole};
use crate::cloud::{Outcome, http as wire};

/// Path of the control endpoint.
pub const CONTROL: &str = "/_bed/";

/// The only fault of AWS's own: a list of load balancing comes in pages of one entry, whatever was asked for.
pub const SMALL_PAGE: &str = "small-page";

/// An answer as it is sent, and kept for stale reads.
#[derive(Clone, Debug)]
pub struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Bytes,
    /// The error's code; empty if it is none.
    code: String,
}

impl Answer {
    fn new(status: u16, content_type: &'static str, body: impl Into<Bytes>) -> Answer {
        let mut headers = HeaderMap::new();
        headers.insert("content-type", http::HeaderValue::from_static(content_type));
        headers.insert("x-amzn-requestid", http::HeaderValue::from_static("bed"));
        Answer { status, headers, body: body.into(), code: String::new() }
    }

    fn json(value: &Value) -> Answer {
        Answer::new(200, "application/x-amz-json-1.1", value.to_string())
    }

    fn error(protocol: Protocol, code: &str, message: &str, status: u16) -> Answer {
        let WireError { status, content_type, error_type, body } =
            protocol::error(protocol, code, message, status);
        let mut answer = Answer::new(status, content_type, body);
        if let Some(value) = error_type.and_then(|code| code.parse().ok()) {
            answer.headers.insert("x-amzn-errortype", value);
        }
        code.clone_into(&mut answer.code);
        answer
    }

    fn into_response(self) -> Response<Whole> {
        let mut response = Response::new(Whole::from(self.body));
        *response.status_mut() =
            http::StatusCode::from_u16(self.status).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
        *response.headers_mut() = self.headers;
        response
    }
}

/// Answers one request, or cuts its connection.
pub async fn handle(cloud: Arc<Cloud>, request: Request<Bytes>) -> Result<Response<Whole>, Cut> {
    if let Some(path) = request.uri().path().strip_prefix(CONTROL) {
        return Ok(control::handle(&cloud, &request, path));
    }
    let (path, query) = (request.uri().path(), request.uri().query().unwrap_or_default());
    let call = Call::recognise(request.headers(), path, query, request.body());
    let admission = cloud.gate().arrive(&call.service, &call.action, &call.resource());
    let (mut record, fate) = (admission.record, admission.fate);
    pause(fate.delay).await;
    let early = match (fate.before, admission.exhausted) {
        (Some(failure), _) => Some(failure),
        (None, Some(_)) => {
            let (code, _, status) = protocol::throttled(call.protocol);
            Some(Failure::Error { code: code.to_owned(), status, retry_after: None })
        }
        (None, None) => None,
    };
    let (failure, answer) = match early {
        Some(failure) => {
            record.took_effect = false;
            (Some(failure), None)
        }
        None => {
            let answer = match fate.own.iter().find(|name| *name != SMALL_PAGE) {
                Some(unknown) => {
                    let message = format!("AWS knows no fault {unknown:?}, only {SMALL_PAGE:?}");
                    Answer::error(call.protocol, "InternalFailure", &message, 500)
                }
                None => answer(&cloud, &call, &request, !fate.own.is_empty()).await,
            };
            record.took_effect = answer.status < 400;
            (fate.after, Some(answer))
        }
    };
    pause(fate.late).await;
    let answer = match failure {
        Some(Failure::Cut) => {
            (record.outcome, record.status) = (Outcome::Lost, 0);
            cloud.gate().leave(record);
            return Err(Cut);
        }
        Some(Failure::Error { code, status, retry_after }) => {
            let mut answer =
                Answer::error(call.protocol, &code, "The bed's test asked for this error", status);
            if is_throttling(&code) {
                let (_, message, _) = protocol::throttled(call.protocol);
                answer = Answer::error(call.protocol, &code, message, status);
            }
            if let Some(seconds) = retry_after {
                answer.headers.insert("retry-after", seconds.into());
            }
            answer
        }
        None => answer.unwrap_or_else(|| Answer::error(call.protocol, "InternalFailure", "", 500)),
    };
    record.status = answer.status;
    record.code.clone_from(&answer.code);
    record.outcome = match answer.status {
        ..400 => Outcome::Ok,
        _ if is_throttling(&answer.code) => Outcome::Throttled,
        400..500 => Outcome::Refused,
        _ => Outcome::Failed,
    };
    cloud.gate().leave(record);
    Ok(answer.into_response())
}

/// Codes by which AWS's services say that a caller is too fast.
fn is_throttling(code: &str) -> bool {
    matches!(code, "Throttling" | "ThrottlingException" | "RequestLimitExceeded" | "TooManyRequestsException")
}

async fn pause(time: Duration) {
    if time > Duration::ZERO {
        tokio::time::sleep(time).await;
    }
}

/// The answer of the cloud as it is, or as it was if reads lag behind.
async fn answer(cloud: &Arc<Cloud>, call: &Call, request: &Request<Bytes>, small_page: bool) -> Answer {
    let read = ["Describe", "Get", "List"].iter().any(|start| call.action.starts_with(start));
    let question = || {
        let mut question = format!("{} {} {} ", call.region, call.service, call.action);
        question.push_str(&String::from_utf8_lossy(request.body()));
        question
    };
    if read {
        let gate = cloud.gate();
        if let Some(earlier) = gate.stale.earlier(&call.service, &call.action, &question(), gate.now()) {
            return earlier;
        }
    }
    let answer = fresh(cloud, call, request, small_page).await.unwrap_or_else(|error| {
        Answer::error(call.protocol, "InternalFailure", &format!("the bed's AWS: {error:#}"), 500)
    });
    if read && answer.status < 400 {
        let mut gate = cloud.gate();
        let now = gate.now();
        gate.stale.remember(question(), now, answer.clone());
    }
    answer
}

async fn fresh(
    cloud: &Arc<Cloud>,
    call: &Call,
    request: &Request<Bytes>,
    small_page: bool,
) -> anyhow::Result<Answer> {
    let answer = match (call.service.as_str(), call.action.as_str()) {
        _ if call.is_elb() => return elb(cloud, call, small_page).await,
        ("tagging", "GetResources") => return get_resources(cloud, call).await,
        ("tagging", "TagResources" | "UntagResources") if is_for_elb(call) => return tag(cloud, call),
        // A dry run asks for the right alone, which moto does too.
        ("ec2", "DeleteSecurityGroup") if call.parameter("DryRun") != Some("true") => {
            cloud.facts(&call.region).await?;
            let group = call.parameter("GroupId").unwrap_or_default();
            let check = cloud
                .with(&call.region, |elb, context| ec2::check_delete_security_group(elb, group, context));
            match check {
                Err(Refusal { code, message }) => {
                    return Ok(Answer::error(Protocol::Ec2, code, &message, 400));
                }
                Ok(()) => forward(cloud, call, request).await?,
            }
        }
        ("ec2", "AllocateAddress") => {
            let mut answer = forward(cloud, call, request).await?;
            if let Some(address) = ec2::allocated(&String::from_utf8_lossy(&answer.body)) {
                let renamed = cloud.rename_elastic(address);
                answer.body =
                    ec2::rename(&String::from_utf8_lossy(&answer.body), &[(address, renamed)]).into();
            }
            answer
        }
        // To moto a resource may have several web ACLs, and no subscription is needed for a protection.
        ("wafv2", "AssociateWebACL") => {
            let resource = json!({"ResourceArn": call.body["ResourceArn"]});
            let target = "AWSWAF_20190729.DisassociateWebACL";
            moto::json(moto::ADDRESS, "wafv2", &call.region, target, resource).await?;
            forward(cloud, call, request).await?
        }
        ("shield", "CreateProtection") => {
            let target = "AWSShield_20160616.DescribeSubscription";
            if moto::json(moto::ADDRESS, "shield", &call.region, target, json!({})).await.is_err() {
                let (code, message) = ("ResourceNotFoundException", "The subscription does not exist.");
                return Ok(Answer::error(Protocol::Json, code, message, 400));
            }
            forward(cloud, call, request).await?
        }
        ("acm", "DeleteCertificate") => {
            let arn = call.parameter("CertificateArn").unwrap_or_default();
            if cloud.with(&call.region, |elb, _| elb.certificates_in_use().contains(arn)) {
                let message = format!("Certificate {arn} is in use by a load balancer");
                return Ok(Answer::error(Protocol::Json, "ResourceInUseException", &message, 400));
            }
            forward(cloud, call, request).await?
        }
        ("acm", "ListCertificates") => {
            let facts = cloud.facts(&call.region).await?;
            let in_use = cloud.with(&call.region, |elb, _| elb.certificates_in_use());
            let mut answer = forward(cloud, call, request).await?;
            if let Ok(mut list) = serde_json::from_slice::<Value>(&answer.body) {
                certificates::complete_list(&mut list, &facts, &in_use);
                answer.body = list.to_string().into();
            }
            answer
        }
        ("acm", "ImportCertificate") => {
            let answer = forward(cloud, call, request).await?;
            let given: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
            if let Some(arn) = given["CertificateArn"].as_str() {
                cloud.keep(arn, Material::imported(&call.body)?);
            }
            answer
        }
        _ => forward(cloud, call, request).await?,
    };
    let parts = Part::changed_by(&call.service, &call.action);
    if !parts.is_empty() {
        cloud.outdate(&call.region, &parts);
        // The data plane follows instances, security groups and certificates too.
        if cloud.facts(&call.region).await.is_ok() {
            cloud.changed();
        }
    }
    Ok(answer)
}

/// Load balancers are ours alone.
async fn elb(cloud: &Arc<Cloud>, call: &Call, small_page: bool) -> anyhow::Result<Answer> {
    let mut input = match cloud.model.input(&call.action, &call.parameters) {
        Ok(input) => input,
        Err(refusal) => return Ok(refused(cloud, &refusal)),
    };
    if small_page {
        input["PageSize"] = json!(1);
    }
    cloud.facts(&call.region).await?;
    let Some(result) = cloud.with(&call.region, |elb, context| elb.call(&call.action, &input, context))
    else {
        let message = format!("the bed has no {}", call.action);
        return Ok(Answer::error(Protocol::Query, "InvalidAction", &message, 400));
    };
    if !Elb::is_read(&call.action) {
        cloud.changed();
    }
    Ok(match result {
        Ok(result) => {
            if let Some(member) = cloud.model.unknown_member(&call.action, &result) {
                anyhow::bail!("the answer to {} has {member}, which AWS's has not", call.action);
            }
            Answer::new(200, "text/xml", xml::answer(&call.action, cloud.model.namespace(), &result))
        }
        Err(refusal) => refused(cloud, &refusal),
    })
}

fn refused(cloud: &Cloud, refusal: &Refusal) -> Answer {
    Answer::error(Protocol::Query, refusal.code, &refusal.message, cloud.model.status(refusal.code))
}

async fn get_resources(cloud: &Arc<Cloud>, call: &Call) -> anyhow::Result<Answer> {
    let mut all = std::collections::BTreeMap::new();
    let mut page = json!({"ResourcesPerPage": 100});
    loop {
        let target = "ResourceGroupsTaggingAPI_20170126.GetResources";
        let answer = moto::json(moto::ADDRESS, "tagging", &call.region, target, page.clone()).await?;
        all.extend(tagging::of_moto(&answer));
        match answer["PaginationToken"].as_str().unwrap_or_default() {
            "" => break,
            token => page["PaginationToken"] = json!(token),
        }
    }
    let facts = cloud.facts(&call.region).await?;
    all.extend(cloud.with(&call.region, |elb, _| tagging::own(elb, &facts)));
    Ok(match tagging::get_resources(&call.body, &all) {
        Ok(answer) => Answer::json(&answer),
        Err(refusal) => Answer::error(Protocol::Json, refusal.code, &refusal.message, 400),
    })
}

fn is_for_elb(call: &Call) -> bool {
    let mut arns = call.body["ResourceARNList"].as_array().into_iter().flatten().filter_map(Value::as_str);
    arns.any(|arn| arn.contains(":elasticloadbalancing:"))
}

/// Tags of load balancers and what belongs to them, set through the tagging API.
fn tag(cloud: &Arc<Cloud>, call: &Call) -> anyhow::Result<Answer> {
    let (action, rest) = match call.action.as_str() {
        "TagResources" => {
            let tags = call.body["Tags"].as_object().into_iter().flatten();
            (
                "AddTags",
                json!({"Tags": tags.map(|(key, value)| json!({"Key": key, "Value": value})).collect::<Vec<_>>()}),
            )
        }
        _ => ("RemoveTags", json!({"TagKeys": call.body["TagKeys"]})),
    };
    let mut failed = serde_json::Map::new();
    for arn in call.body["ResourceARNList"].as_array().into_iter().flatten() {
        let mut input = rest.clone();
        input["ResourceArns"] = json!([arn]);
        if let Some(Err(refusal)) = cloud.with(&call.region, |elb, context| elb.call(action, &input, context))
        {
            let why = json!({"ErrorCode": "InvalidParameterException", "ErrorMessage": refusal.message, "StatusCode": 400});
            failed.insert(arn.as_str().unwrap_or_default().to_owned(), why);
        }
    }
    Ok(Answer::json(&json!({"FailedResourcesMap": failed})))
}

/// Passes a request on to moto, with the addresses that moto has for the bed's instances.
async fn forward(cloud: &Cloud, call: &Call, request: &Request<Bytes>) -> anyhow::Result<Answer> {
    let pairs = if call.service == "ec2" { cloud.renamed() } else { Vec::new() };
    let inverse: Vec<_> = pairs.iter().map(|(moto, bed)| (*bed, *moto)).collect();
    let body = match std::str::from_utf8(request.body()) {
        Ok(text) if !pairs.is_empty() => ec2::rename(text, &inverse).into(),
        _ => request.body().clone(),
    };
    let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
    let mut onward = Request::builder().method(request.method()).uri(target).body(Whole::from(body))?;
    for (name, value) in request.headers() {
        if !matches!(name.as_str(), "content-length" | "connection" | "transfer-encoding" | "expect") {
            onward.headers_mut().append(name, value.clone());
        }
    }
    if !request.headers().contains_key("authorization") {
        onward
            .headers_mut()
            .insert("authorization", moto::authorization(&call.service, &call.region).parse()?);
    }
    let (head, body) = wire::send(moto::ADDRESS, onward).await?.into_parts();
    let text = String::from_utf8_lossy(&body);
    let mut answer = Answer {
        status: head.status.as_u16(),
        headers: head.headers,
        body: body.clone(),
        code: String::new(),
    };
    for name in ["content-length", "connection", "transfer-encoding", "x-amz-crc32"] {
        answer.headers.remove(name);
    }
    if !pairs.is_empty() && !text.is_empty() {
        answer.body = ec2::rename(&text, &pairs).into();
    }
    if answer.status >= 400 {
        answer.code = code_in(&text);
    }
    Ok(answer)
}

/// The error code in a body of moto's, XML or JSON.
fn code_in(body: &str) -> String {
    let in_xml = body
        .split_once("<Code>")
        .and_then(|(_, rest)| rest.split_once("</Code>"))
        .map(|(code, _)| code.to_owned());
    let in_json = || {
        let value: Value = serde_json::from_str(body).ok()?;
        Some(value["__type"].as_str()?.to_owned())
    };
    in_xml.or_else(in_json).unwrap_or_default()
}
