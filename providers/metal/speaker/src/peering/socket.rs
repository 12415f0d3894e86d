//! TCP connections and listeners of BGP. I/O; decides nothing.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::task::{Context, Poll};

use causeway_metal::bgp::Password;
use causeway_sys::{set_md5_password, set_minimum_ttl};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpStream};

use super::target::Target;
use crate::bgp::{ConnId, NextHops};

/// DSCP CS6, internetwork control (RFC 4594 §3.1): what routers mark BGP with.
const CONTROL: u32 = 0xc0;
/// Connections that may wait to be accepted.
const BACKLOG: i32 = 16;
/// Octets taken from one connection before the others have their turn.
const SHARE: usize = 64 * 1024;

/// A TCP connection, or the attempt at one.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) id: ConnId,
    /// Where it leads.
    to: SocketAddr,
    stream: TcpStream,
    pub(super) connecting: bool,
    unsent: Vec<u8>,
    /// Of `unsent`, this much is sent.
    sent: usize,
    pub(super) next_hops: NextHops,
}

/// What was read.
pub(super) enum Read {
    /// So many octets.
    Octets(usize),
    /// Nothing is there.
    Nothing,
    /// The connection has ended, and why.
    End(String),
}

impl Connection {
    /// Begins to connect.
    pub(super) fn dial(id: ConnId, target: &Target, to: SocketAddr) -> Result<Self, String> {
        let stream = connect(target, to).map_err(|(what, error)| format!("{what}: {error}"))?;
        Ok(Self::new(id, to, stream, true))
    }

    /// One that the peer opened.
    pub(super) fn accept(id: ConnId, stream: TcpStream, target: &Target) -> io::Result<Self> {
        let from = stream.peer_addr()?;
        set_hops(&SockRef::from(&stream), from.is_ipv6(), target)?;
        stream.set_nodelay(true)?;
        Ok(Self::new(id, from, stream, false))
    }

    fn new(id: ConnId, to: SocketAddr, stream: TcpStream, connecting: bool) -> Self {
        let next_hops = NextHops::default();
        Connection { id, to, stream, connecting, unsent: Vec::new(), sent: 0, next_hops }
    }

    /// Our end and the peer's.
    pub(super) fn ends(&self) -> io::Result<(SocketAddr, SocketAddr)> {
        Ok((self.stream.local_addr()?, self.stream.peer_addr()?))
    }

    /// Asks to be woken when something can be done, and answers whether it can now.
    pub(super) fn poll_ready(&self, context: &mut Context<'_>) -> bool {
        let ready = |poll: Poll<io::Result<()>>| poll.is_ready();
        if self.connecting {
            return ready(self.stream.poll_write_ready(context));
        }
        let readable = ready(self.stream.poll_read_ready(context));
        readable | (!self.is_empty() && ready(self.stream.poll_write_ready(context)))
    }

    /// Whether the attempt succeeded; nothing while it is on its way.
    pub(super) fn connected(&mut self) -> Option<Result<(SocketAddr, SocketAddr), String>> {
        match self.stream.take_error() {
            Ok(None) => {}
            Ok(Some(error)) | Err(error) => return Some(Err(format!("{}: {error}", self.to))),
        }
        let ends = self.ends().ok()?;
        self.connecting = false;
        Some(Ok(ends))
    }

    /// Reads what is there. `really` asks the kernel even if the runtime does not know of anything yet.
    pub(super) fn read(&mut self, buffer: &mut [u8], really: bool) -> Read {
        let read = match self.stream.try_read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && really => {
                io::Read::read(&mut &*SockRef::from(&self.stream), buffer)
            }
            read => read,
        };
        match read {
            Ok(0) => Read::End("the peer closed the connection".to_owned()),
            Ok(length) => Read::Octets(length),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Read::Nothing,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Read::Nothing,
            Err(error) => Read::End(error.to_string()),
        }
    }

    /// Appends to what is to be sent.
    pub(super) fn push(&mut self, octets: Vec<u8>) {
        if self.is_empty() {
            (self.unsent, self.sent) = (octets, 0);
        } else {
            self.unsent.extend(octets);
        }
    }

    fn is_empty(&self) -> bool {
        self.sent == self.unsent.len()
    }

    /// Sends what the kernel takes; answers whether that is everything that there was.
    pub(super) fn flush(&mut self) -> io::Result<bool> {
        while !self.is_empty() {
            match self.stream.try_write(&self.unsent[self.sent..]) {
                Ok(length) => self.sent += length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        // The memory of a large table is not kept.
        (self.unsent, self.sent) = (Vec::new(), 0);
        Ok(true)
    }

    /// Whether something waits for the kernel to take it.
    pub(super) fn is_blocked(&self) -> bool {
        !self.connecting && !self.is_empty()
    }

    /// Nothing is sent any more. What is still on its way to the peer arrives only if the socket is not dropped while something from
    /// the peer is unread: see [`Connection::drain`].
    pub(super) fn shut(&mut self) {
        // What cannot be sent now is lost, and an end that nobody hears needs none.
        let _sent = self.flush();
        (self.unsent, self.sent) = (Vec::new(), 0);
        let _shut = SockRef::from(&self.stream).shutdown(std::net::Shutdown::Write);
    }

    /// Reads what comes after [`Connection::shut`]; answers whether that is the end.
    pub(super) fn drain(&mut self, buffer: &mut [u8]) -> bool {
        for _ in 0..SHARE / buffer.len().max(1) {
            match self.read(buffer, false) {
                Read::Octets(_) => {}
                Read::Nothing => return false,
                Read::End(_) => return true,
            }
        }
        false
    }
}

/// How often [`Connection::read`] may be called in one turn with a buffer of this length.
pub(super) fn turns(buffer: usize) -> usize {
    SHARE / buffer.max(1)
}

fn connect(target: &Target, to: SocketAddr) -> Result<TcpStream, (String, io::Error)> {
    let step = |what: &str| {
        let what = what.to_owned();
        move |error| (what, error)
    };
    let ipv6 = to.is_ipv6();
    let socket =
        Socket::new(Domain::for_address(to), Type::STREAM.nonblocking().cloexec(), Some(Protocol::TCP))
            .map_err(step("no socket"))?;
    set_class(&socket, ipv6).map_err(step("class of service"))?;
    set_hops(&SockRef::from(&socket), ipv6, target).map_err(step("TTL"))?;
    socket.set_tcp_nodelay(true).map_err(step("no delay"))?;
    if let Some(password) = &target.password {
        set_md5_password(&socket, to.ip(), password.as_bytes()).map_err(step("TCP MD5 password"))?;
    }
    if let Some(source) = target.source {
        let place = format!("source address {source}");
        socket.bind(&SocketAddr::new(source, 0).into()).map_err(step(&place))?;
    }
    match socket.connect(&to.into()) {
        Ok(()) => {}
        Err(error) if error.raw_os_error() == Some(IN_PROGRESS) => {}
        Err(error) => return Err((to.to_string(), error)),
    }
    TcpStream::from_std(socket.into()).map_err(step("runtime"))
}

/// EINPROGRESS: what connect(2) answers on a socket that does not block.
const IN_PROGRESS: i32 = 115;

fn set_class(socket: &Socket, ipv6: bool) -> io::Result<()> {
    if ipv6 { socket.set_tclass_v6(CONTROL) } else { socket.set_tos_v4(CONTROL) }
}

fn set_hops(socket: &SockRef<'_>, ipv6: bool, target: &Target) -> io::Result<()> {
    let ttl = u32::from(target.ttl);
    if ipv6 {
        socket.set_unicast_hops_v6(ttl)?
    } else {
        socket.set_ttl_v4(ttl)?
    }
    match target.minimum_ttl {
        Some(minimum) => set_minimum_ttl(&**socket, ipv6, minimum),
        None => Ok(()),
    }
}

/// A listener on one local address.
#[derive(Debug)]
pub(super) struct Listener {
    socket: TcpListener,
    /// The passwords that the kernel knows.
    passwords: Vec<(IpAddr, Password)>,
}

impl Listener {
    pub(super) fn open(address: SocketAddr) -> io::Result<Self> {
        let ipv6 = address.is_ipv6();
        let kind = Type::STREAM.nonblocking().cloexec();
        let socket = Socket::new(Domain::for_address(address), kind, Some(Protocol::TCP))?;
        if ipv6 {
            socket.set_only_v6(true)?;
        }
        // A restart is not to wait for what is left of old connections.
        socket.set_reuse_address(true)?;
        set_class(&socket, ipv6)?;
        // The answer to the first packet is the kernel's, before it is known whether the peer checks the TTL (RFC 5082).
        if ipv6 {
            socket.set_unicast_hops_v6(255)?
        } else {
            socket.set_ttl_v4(255)?
        }
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        Ok(Listener { socket: TcpListener::from_std(socket.into())?, passwords: Vec::new() })
    }

    /// Any local address of a family.
    pub(super) fn everywhere(ipv6: bool, port: u16) -> SocketAddr {
        let any: IpAddr = if ipv6 { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
        SocketAddr::new(any, port)
    }

    pub(super) fn poll_accept(&self, context: &mut Context<'_>) -> Poll<io::Result<(TcpStream, SocketAddr)>> {
        self.socket.poll_accept(context)
    }

    /// These are the passwords of peers from now on. One that the kernel does not take is left out: see [`Listener::knows`].
    pub(super) fn set_passwords(&mut self, wanted: &[(IpAddr, Password)]) {
        let ipv6 = self.socket.local_addr().is_ok_and(|address| address.is_ipv6());
        let wanted: Vec<_> = wanted.iter().filter(|(peer, _)| peer.is_ipv6() == ipv6).cloned().collect();
        for (peer, _) in
            self.passwords.iter().filter(|(peer, _)| wanted.iter().all(|(other, _)| other != peer))
        {
            let _gone = set_md5_password(&self.socket, *peer, &[]);
        }
        let mut known = Vec::new();
        for (peer, password) in wanted {
            let has = self.passwords.iter().any(|(other, old)| *other == peer && *old == password);
            match if has { Ok(()) } else { set_md5_password(&self.socket, peer, password.as_bytes()) } {
                Ok(()) => known.push((peer, password)),
                Err(error) => {
                    tracing::warn!(%peer, %error, "the kernel does not take the password of a peer")
                }
            }
        }
        self.passwords = known;
    }

    /// Whether the kernel checks the password of this peer.
    pub(super) fn knows(&self, peer: IpAddr) -> bool {
        self.passwords.iter().any(|(known, _)| *known == peer)
    }
}
