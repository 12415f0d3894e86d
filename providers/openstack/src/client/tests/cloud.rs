//! A small cloud on loopback: a Keystone, and whatever a test answers for the other services.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// What came.
#[derive(Clone, Debug)]
pub struct Got {
    pub method: String,
    /// With its query.
    pub path: String,
    pub token: String,
    pub body: Value,
    headers: Vec<(String, String)>,
}

impl Got {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }
}

/// What goes back.
#[derive(Clone)]
pub struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    body: String,
    after: Duration,
    cut: bool,
}

impl Reply {
    pub fn text(status: u16, body: &str) -> Self {
        Self { status, headers: Vec::new(), body: body.to_owned(), after: Duration::ZERO, cut: false }
    }

    pub fn json(status: u16, body: &Value) -> Self {
        Self::text(status, &body.to_string())
    }

    /// The connection is cut after the request was read.
    pub fn cut() -> Self {
        Self { cut: true, ..Self::text(200, "") }
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn after(self, milliseconds: u64) -> Self {
        Self { after: Duration::from_millis(milliseconds), ..self }
    }
}

type Answer = Box<dyn Fn(&Got, usize) -> Reply + Send + Sync>;
type Keystone = Box<dyn Fn(&Got) -> Option<Reply> + Send + Sync>;

struct Inner {
    url: String,
    log: Mutex<Vec<Got>>,
    calls: AtomicUsize,
    logins: AtomicUsize,
    life: AtomicU64,
    catalog: Mutex<Option<String>>,
    keystone: Mutex<Keystone>,
    answer: Answer,
}

/// The cloud; ends when it is dropped.
pub struct Cloud {
    inner: Arc<Inner>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Cloud {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Cloud {
    /// `answer` is given what came, and how many came before.
    pub async fn start(answer: impl Fn(&Got, usize) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let inner = Arc::new(Inner {
            url: format!("http://{}", listener.local_addr().expect("an address")),
            log: Mutex::default(),
            calls: AtomicUsize::new(0),
            logins: AtomicUsize::new(0),
            life: AtomicU64::new(3600),
            catalog: Mutex::default(),
            keystone: Mutex::new(Box::new(|_| None)),
            answer: Box::new(answer),
        });
        let serving = Arc::clone(&inner);
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, Arc::clone(&serving)));
            }
        });
        Self { inner, task }
    }

    pub fn url(&self) -> String {
        self.inner.url.clone()
    }

    /// How Keystone answers; `None`: with a token.
    pub fn keystone(&self, answer: impl Fn(&Got) -> Option<Reply> + Send + Sync + 'static) {
        *self.inner.keystone.lock().expect("no panic") = Box::new(answer);
    }

    /// Seconds that tokens are good for from now on.
    pub fn life(&self, seconds: u64) {
        self.inner.life.store(seconds, Ordering::SeqCst);
    }

    /// The catalog names services elsewhere.
    pub fn catalog_at(&self, url: &str) {
        *self.inner.catalog.lock().expect("no panic") = Some(url.to_owned());
    }

    pub fn logins(&self) -> usize {
        self.inner.logins.load(Ordering::SeqCst)
    }

    /// Everything that came.
    pub fn log(&self) -> Vec<Got> {
        self.inner.log.lock().expect("no panic").clone()
    }

    /// What came, but for logins.
    pub fn calls(&self) -> Vec<Got> {
        self.log().into_iter().filter(|got| !got.path.ends_with("/auth/tokens")).collect()
    }
}

async fn serve(stream: TcpStream, cloud: Arc<Inner>) {
    let mut stream = BufReader::new(stream);
    while let Some(got) = receive(&mut stream).await {
        cloud.log.lock().expect("no panic").push(got.clone());
        let reply = if got.path.ends_with("/auth/tokens") {
            let number = cloud.logins.fetch_add(1, Ordering::SeqCst) + 1;
            let said = (cloud.keystone.lock().expect("no panic"))(&got);
            said.unwrap_or_else(|| token(&cloud, number))
        } else {
            (cloud.answer)(&got, cloud.calls.fetch_add(1, Ordering::SeqCst))
        };
        tokio::time::sleep(reply.after).await;
        if reply.cut {
            return;
        }
        let mut head = format!("HTTP/1.1 {} X\r\ncontent-length: {}\r\n", reply.status, reply.body.len());
        for (name, value) in &reply.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        let whole = format!("{head}\r\n{}", reply.body);
        if stream.get_mut().write_all(whole.as_bytes()).await.is_err() {
            return;
        }
    }
}

fn token(cloud: &Inner, number: usize) -> Reply {
    let base = cloud.catalog.lock().expect("no panic").clone().unwrap_or_else(|| cloud.url.clone());
    let service = |kind: &str| {
        let endpoint = json!({"interface": "public", "region_id": "R", "url": format!("{base}/{kind}/v2.0")});
        json!({"type": kind, "endpoints": [endpoint]})
    };
    let now = Timestamp::now();
    let life = i64::try_from(cloud.life.load(Ordering::SeqCst)).expect("small");
    let end = now + jiff::SignedDuration::from_secs(life);
    let body = json!({"token": {
        "issued_at": now.to_string(), "expires_at": end.to_string(), "project": {"id": "p"},
        "catalog": [service("load-balancer"), service("network")]}});
    Reply::json(201, &body).header("x-subject-token", &format!("t{number}"))
}

async fn receive(stream: &mut BufReader<TcpStream>) -> Option<Got> {
    let mut line = String::new();
    stream.read_line(&mut line).await.ok().filter(|n| *n > 0)?;
    let mut words = line.split_whitespace();
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.ok().filter(|n| *n > 0)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let header = |name: &str| headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone());
    let length = header("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    let token = header("x-auth-token").unwrap_or_default();
    let body = serde_json::from_slice(&body).unwrap_or_default();
    Some(Got { method, path, token, body, headers })
}
