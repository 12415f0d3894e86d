//! A network namespace of the bed as a place to do things from: run commands, make HTTP requests, watch packets. I/O.
//!
//! Commands run inside the bed's process tree, so they end with it. Sockets are made by a thread of the owner that has moved into the
//! namespace; no process is started for those.

use std::future::Future;
use std::io::{BufRead, BufReader};
use std::net::{IpAddr, SocketAddr};
use std::process::{Child, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use std::{fs, thread};

use anyhow::{Context, Result, anyhow, bail, ensure};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream, UdpSocket};

use crate::init::Init;
use crate::process;

/// A network namespace of a bed.
#[derive(Clone, Debug)]
pub struct Namespace {
    pub(crate) init: Init,
    pub(crate) name: String,
}

/// An HTTP response.
#[derive(Clone, Debug)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// Header fields, names in lower case, in order.
    pub headers: Vec<(String, String)>,
    /// The body, undecoded bytes that are no UTF-8 replaced.
    pub body: String,
}

impl Response {
    /// First header field of that name (lower case).
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_str())
    }
}

impl Namespace {
    /// Its name: `cp`, `lan`, `client`, `router`, `remote`, `e2e`, `node<i>`, `router2` or `far`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A command in this namespace and in the bed's process tree and mounts; add the program and its arguments.
    pub fn command(&self) -> std::process::Command {
        self.init.command(Some(&self.name))
    }

    /// Runs a program to its end, at most `timeout`, whatever its exit status.
    pub fn output(&self, program: &[&str], timeout: Duration) -> Result<Output> {
        self.command()
            .args(["timeout", "--kill-after=1", &format!("{:.3}", timeout.as_secs_f64())])
            .args(program)
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("running {program:?} in {}", self.name))
    }

    /// Runs a program for at most 30 s and returns what it printed; a failure says what it complained about.
    pub fn run(&self, program: &[&str]) -> Result<String> {
        let output = self.output(program, Duration::from_secs(30))?;
        ensure!(
            output.status.success(),
            "{} in {}: {}: {}{}",
            program.join(" "),
            self.name,
            output.status,
            String::from_utf8_lossy(&output.stderr),
            String::from_utf8_lossy(&output.stdout)
        );
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Runs `work` on a thread inside this namespace: every socket it makes belongs here, also when used elsewhere later.
    pub fn inside<T: Send + 'static>(&self, work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
        self.spawn_inside(work)?
            .join()
            .map_err(|_| anyhow!("a thread in namespace {} panicked", self.name))?
    }

    /// As [`Namespace::inside`], without waiting.
    pub fn spawn_inside<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<thread::JoinHandle<Result<T>>> {
        let path = self.init.path(&format!("/run/netns/{}", self.name));
        let file = fs::File::open(&path).with_context(|| format!("opening {}", path.display()))?;
        let name = format!("{}/{}", self.init.name, self.name);
        let entered = move || {
            move_into_link_name_space(std::os::fd::AsFd::as_fd(&file), Some(LinkNameSpaceType::Network))
                .context("entering a network namespace")?;
            work()
        };
        thread::Builder::new().name(name).spawn(entered).context("starting a thread")
    }

    /// As [`Namespace::inside`], for asynchronous work that ends within `timeout`.
    pub async fn inside_async<T, F>(
        &self,
        timeout: Duration,
        work: impl FnOnce() -> F + Send + 'static,
    ) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>>,
    {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        self.spawn_inside(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let result = runtime.block_on(async {
                tokio::time::timeout(timeout, work())
                    .await
                    .map_err(|_| anyhow!("timed out after {timeout:?}"))
            });
            // The asker may have given up.
            let _ = sender.send(result.and_then(|result| result));
            Ok(())
        })?;
        receiver.await.map_err(|_| anyhow!("the thread in namespace {} ended without a result", self.name))?
    }

    /// `GET http://TARGET/PATH` on a connection of its own, from `source` or the address that the kernel picks.
    pub async fn http_get(
        &self,
        target: impl Into<SocketAddr>,
        path: &str,
        source: Option<IpAddr>,
        timeout: Duration,
    ) -> Result<Response> {
        let (target, path) = (target.into(), path.to_owned());
        let what = format!("GET http://{target}{path} from {}", self.name);
        self.inside_async(timeout, move || async move { http_get(target, &path, source).await })
            .await
            .with_context(|| what)
    }

    /// Sends a UDP datagram, again each second as a resolver does, and waits for one answer.
    pub async fn udp_exchange(
        &self,
        target: impl Into<SocketAddr>,
        message: &str,
        source: Option<IpAddr>,
        timeout: Duration,
    ) -> Result<String> {
        let (target, message) = (target.into(), message.to_owned());
        let what = format!("UDP to {target} from {}", self.name);
        self.inside_async(timeout, move || async move {
            let any: IpAddr = if target.is_ipv4() { [0, 0, 0, 0].into() } else { [0u16; 8].into() };
            let socket = UdpSocket::bind(SocketAddr::new(source.unwrap_or(any), 0)).await?;
            socket.connect(target).await?;
            let mut answer = vec![0; 65536];
            let mut again = tokio::time::interval(Duration::from_secs(1));
            loop {
                again.tick().await;
                // An error is an ICMP message about an earlier datagram.
                let _unreachable = socket.send(message.as_bytes()).await;
                tokio::select! {
                    Ok(length) = socket.recv(&mut answer) => {
                        return Ok(String::from_utf8_lossy(&answer[..length]).into_owned());
                    }
                    () = tokio::time::sleep(again.period()) => {}
                }
            }
        })
        .await
        .with_context(|| what)
    }

    /// Starts tcpdump on `device` with a filter of pcap-filter(7); returns once it listens.
    pub fn capture(&self, device: &str, filter: &str) -> Result<Capture> {
        let mut child = self
            .command()
            .args(["tcpdump", "-l", "-n", "-e", "-tt", "--immediate-mode", "-i", device, filter])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("starting tcpdump (package tcpdump)")?;
        let lines = Arc::new(Mutex::new(Vec::new()));
        let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
            bail!("tcpdump has no output");
        };
        let mut complaints = BufReader::new(stderr);
        let mut said = String::new();
        let mut line = String::new();
        while complaints.read_line(&mut line)? > 0 && !line.starts_with("listening on") {
            said.push_str(&std::mem::take(&mut line));
        }
        ensure!(line.starts_with("listening on"), "tcpdump -i {device} {filter:?} in {}: {said}", self.name);
        let collected = lines.clone();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if let Ok(mut collected) = collected.lock() {
                    collected.push(line);
                }
            }
        });
        Ok(Capture { child, _complaints: complaints, lines })
    }

    /// The MAC address that this namespace's kernel has for a neighbour, learnt by ARP or NDP; none if it has none or gave up.
    pub fn neighbour(&self, address: impl Into<IpAddr>) -> Result<Option<String>> {
        let text = self.run(&["ip", "neigh", "show", &address.into().to_string()])?;
        let mut words = text.split_whitespace().skip_while(|word| *word != "lladdr").skip(1);
        Ok(words.next().map(str::to_owned))
    }

    /// Makes the kernel ask for its neighbours anew.
    pub fn forget_neighbours(&self) -> Result<()> {
        self.run(&["ip", "neigh", "flush", "dev", "eth0"])?;
        Ok(())
    }

    /// Starts counting the packets that arrive in this namespace and match an nft expression, such as `ip saddr 10.77.0.100 tcp dport 80`.
    /// They are counted before conntrack and NAT.
    pub fn count_arriving(&self, label: &str, expression: &str) -> Result<Counter> {
        ensure!(
            label.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'),
            "a counter's label is one word: {label:?}"
        );
        let table = format!("count_{label}");
        let rules = format!(
            "table inet {table} {{ chain arriving {{ type filter hook prerouting priority -500; {expression} counter; }}; }}"
        );
        self.run(&["nft", &rules])?;
        Ok(Counter { namespace: self.clone(), table })
    }
}

async fn http_get(target: SocketAddr, path: &str, source: Option<IpAddr>) -> Result<Response> {
    let socket = if target.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if let Some(source) = source {
        socket.bind(SocketAddr::new(source, 0))?;
    }
    let mut stream: TcpStream = socket.connect(target).await.context("connecting")?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {target}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.context("asking")?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.context("waiting for the answer")?;
    parse_response(&bytes)
}

/// Parses a whole HTTP/1.1 response on a connection that the server closed (RFC 9112 section 6.3); pure.
fn parse_response(bytes: &[u8]) -> Result<Response> {
    let end = bytes
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .context("the response has no end of headers")?;
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut lines = head.split("\r\n");
    let status_line = lines.next().unwrap_or_default();
    let status = status_line
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok())
        .with_context(|| format!("no HTTP status line: {status_line:?}"))?;
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.trim().to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let body = &bytes[end + 4..];
    let chunked = headers
        .iter()
        .any(|(name, value)| name == "transfer-encoding" && value.eq_ignore_ascii_case("chunked"));
    let body = if chunked { unchunk(body)? } else { body.to_vec() };
    Ok(Response { status, headers, body: String::from_utf8_lossy(&body).into_owned() })
}

/// Decodes the chunked transfer coding (RFC 9112 section 7.1); pure.
fn unchunk(mut rest: &[u8]) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = rest.windows(2).position(|two| two == b"\r\n").context("a chunk without a size line")?;
        let line = std::str::from_utf8(&rest[..end]).context("a chunk size that is no text")?;
        let size = line.split(';').next().unwrap_or_default().trim();
        let size = usize::from_str_radix(size, 16).with_context(|| format!("chunk size {size:?}"))?;
        rest = &rest[end + 2..];
        if size == 0 {
            return Ok(body);
        }
        body.extend_from_slice(rest.get(..size).context("a chunk that is cut short")?);
        rest = rest.get(size + 2..).context("a chunk without its end")?;
    }
}

/// A running tcpdump; dropping it ends it.
#[derive(Debug)]
pub struct Capture {
    child: Child,
    /// Held open so that tcpdump can write its statistics.
    _complaints: BufReader<std::process::ChildStderr>,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Capture {
    /// One line per packet so far: seconds since 1970, MAC addresses, what it is (`tcpdump -tt -e -n`).
    pub fn lines(&self) -> Vec<String> {
        self.lines.lock().map(|lines| lines.clone()).unwrap_or_default()
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        // nsenter does not pass signals on: the tree below it is what has to end.
        let _ = process::kill_tree(self.child.id() as i32);
        let _ = self.child.wait();
    }
}

/// A packet counter in a namespace; dropping it removes it.
#[derive(Debug)]
pub struct Counter {
    namespace: Namespace,
    table: String,
}

impl Counter {
    /// How many packets matched so far.
    pub fn packets(&self) -> Result<u64> {
        let text = self.namespace.run(&["nft", "-j", "list", "table", "inet", &self.table])?;
        let listing: serde_json::Value = serde_json::from_str(&text).context("nft -j")?;
        listing["nftables"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|entry| entry["rule"]["expr"].as_array())
            .flatten()
            .find_map(|expression| expression["counter"]["packets"].as_u64())
            .with_context(|| format!("no counter in {text}"))
    }
}

impl Drop for Counter {
    fn drop(&mut self) {
        let _ = self.namespace.run(&["nft", "delete", "table", "inet", &self.table]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_response_is_parsed() {
        let response =
            parse_response(b"HTTP/1.1 503 Service Unavailable\r\nX-Weight: 0\r\n\r\nno\r\n").unwrap();
        assert_eq!(response.status, 503);
        assert_eq!(response.header("x-weight"), Some("0"));
        assert_eq!(response.body, "no\r\n");
    }

    #[test]
    fn a_chunked_response_is_put_together() {
        let bytes =
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n";
        assert_eq!(parse_response(bytes).unwrap().body, "abcde");
    }

    #[test]
    fn half_a_response_is_an_error() {
        assert!(parse_response(b"HTTP/1.1 200 OK\r\n").is_err());
        assert!(parse_response(b"SSH-2.0\r\n\r\n").is_err());
        assert!(parse_response(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc").is_err());
    }
}
