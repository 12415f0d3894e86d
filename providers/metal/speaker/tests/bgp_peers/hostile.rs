//! A BGP peer that wants to do harm, as a thread in a namespace.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Result;
use causeway_bed::Namespace;
use causeway_speaker::bgp::{Capabilities, FAMILIES, Open, keepalive};

/// What it does once a session is up.
#[derive(Debug, Clone, Copy)]
pub enum Manner {
    /// UPDATEs of 4096 octets, as fast as they are taken.
    Flood,
    /// It reads nothing, and says that it lives.
    Deaf,
    /// Octets that are no messages.
    Nonsense,
}

/// Listens for BGP; counts the calls.
pub fn listen(namespace: &Namespace, asn: u32, manner: Manner) -> Result<Arc<AtomicUsize>> {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let listener = namespace.inside(|| Ok(TcpListener::bind(("0.0.0.0", 179))?))?;
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            counted.fetch_add(1, Ordering::Relaxed);
            // Until it is thrown out.
            let _thrown_out = misbehave(stream, asn, manner);
        }
    });
    Ok(calls)
}

fn misbehave(mut stream: TcpStream, asn: u32, manner: Manner) -> std::io::Result<()> {
    let capabilities = Capabilities {
        families: FAMILIES.into(),
        multiprotocol: true,
        four_octet_asn: Some(asn),
        ..Capabilities::default()
    };
    let open = Open { asn: asn as u16, hold: 0, identifier: [192, 0, 2, 250].into(), capabilities };
    stream.write_all(&open.encode())?;
    let mut first = [0; 19];
    stream.read_exact(&mut first)?;
    stream.write_all(&keepalive())?;
    let mut update = vec![0xff; 4096];
    update[16..19].copy_from_slice(&[0x10, 0, 2]);
    match manner {
        Manner::Flood => {
            let mut sink = stream.try_clone()?;
            std::thread::spawn(move || std::io::copy(&mut sink, &mut std::io::sink()));
            loop {
                stream.write_all(&update)?;
            }
        }
        Manner::Deaf => loop {
            stream.write_all(&keepalive())?;
            std::thread::park_timeout(std::time::Duration::from_millis(20));
        },
        Manner::Nonsense => {
            update[3] = 0;
            stream.write_all(&update)?;
            std::io::copy(&mut stream, &mut std::io::sink()).map(drop)
        }
    }
}
