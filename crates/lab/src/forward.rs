//! Carries connections from a listening socket to an address.
//!
//! The lab's API answers on its management network, where the machine itself has no foot. A
//! socket that listens on the machine's loopback device is handed to this process, which runs
//! inside the controller: a socket stays in the namespace that it was made in.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;
use tracing::warn;

/// Serves until the process ends. A connection that fails is logged and is nobody else's matter.
pub fn forward(listener: &TcpListener, to: SocketAddr) -> io::Result<()> {
    loop {
        let (client, from) = listener.accept()?;
        thread::spawn(move || {
            if let Err(error) = join(&client, to) {
                warn!(%from, %to, %error, "connection not carried");
            }
        });
    }
}

fn join(client: &TcpStream, to: SocketAddr) -> io::Result<()> {
    let server = TcpStream::connect(to)?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    thread::scope(|scope| {
        let up = scope.spawn(|| copy(client, &server));
        let down = copy(&server, client);
        up.join().unwrap_or(Ok(())).and(down)
    })
}

fn copy(mut from: &TcpStream, mut to: &TcpStream) -> io::Result<()> {
    let copied = io::copy(&mut from, &mut to);
    // The other side may have closed already; then there is nothing left to end.
    let _ = to.shutdown(Shutdown::Write);
    copied.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    #[test]
    fn both_directions_are_carried_and_ended() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = server.local_addr().unwrap();
        let entrance = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = entrance.local_addr().unwrap();
        thread::spawn(move || forward(&entrance, to));
        let serving = thread::spawn(move || {
            let mut heard = String::new();
            let mut stream = server.accept().unwrap().0;
            stream.read_to_string(&mut heard).unwrap();
            stream.write_all(heard.to_uppercase().as_bytes()).unwrap();
        });
        let mut client = TcpStream::connect(at).unwrap();
        client.write_all(b"hello").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let mut said = String::new();
        client.read_to_string(&mut said).unwrap();
        assert_eq!(said, "HELLO");
        serving.join().unwrap();
    }
}
