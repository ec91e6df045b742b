//! A metadata service that stands where Nova's would, and remembers what it was asked.

use lab::Machine;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How long a request hangs that asks for it: longer than anybody waits.
const HANGS: Duration = Duration::from_secs(90);

/// One request: its first line, and its headers in small letters.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) line: String,
    pub(crate) headers: Vec<(String, String)>,
}

impl Asked {
    /// All values of a header.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        let headers = self.headers.iter().filter(|(it, _)| it == name);
        headers.map(|(_, value)| value.as_str()).collect()
    }
}

/// Runs until it is dropped.
pub(crate) struct Nova {
    asked: Arc<Mutex<Vec<Asked>>>,
    ended: Arc<AtomicBool>,
    address: SocketAddr,
    machine: Machine,
}

impl Nova {
    /// Listens inside a host.
    pub(crate) fn listen(machine: &Machine, address: SocketAddr) -> Self {
        let listener = within(machine, move || {
            TcpListener::bind(address).expect("it listens")
        });
        let (asked, ended) = (Arc::default(), Arc::new(AtomicBool::new(false)));
        let (remember, over) = (Arc::clone(&asked), Arc::clone(&ended));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if over.load(Ordering::SeqCst) {
                    return;
                }
                let remember = Arc::clone(&remember);
                std::thread::spawn(move || stream.is_ok_and(|stream| serve(&stream, &remember)));
            }
        });
        Self {
            asked,
            ended,
            address,
            machine: machine.clone(),
        }
    }

    /// What it was asked since the last time.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

impl Drop for Nova {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        // Wakes up who waits for a connection; without one it ends at the next.
        let address = self.address;
        let _ = within(&self.machine, move || TcpStream::connect(address));
    }
}

/// A socket belongs to the network of the thread that opens it.
fn within<T: Send + 'static>(machine: &Machine, open: impl FnOnce() -> T + Send + 'static) -> T {
    let netns = format!("/proc/{}/ns/net", machine.process.pid);
    let opened = std::thread::spawn(move || {
        let netns = File::open(netns).expect("the host runs");
        nix::sched::setns(netns, nix::sched::CloneFlags::CLONE_NEWNET).expect("root joins it");
        open()
    });
    opened.join().expect("a socket")
}

/// Answers the one request of a connection: with the instance's id, or what the path asks for.
fn serve(stream: &TcpStream, remember: &Mutex<Vec<Asked>>) -> bool {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    if reader.read_line(&mut line).is_ok_and(|read| read > 0) {
        let mut asked = Asked {
            line: line.trim_end().to_owned(),
            headers: Vec::new(),
        };
        let mut header = String::new();
        while reader.read_line(&mut header).is_ok() && !header.trim_end().is_empty() {
            if let Some((name, value)) = header.trim_end().split_once(": ") {
                asked.headers.push((name.to_lowercase(), value.to_owned()));
            }
            header.clear();
        }
        let length = asked
            .all("content-length")
            .first()
            .and_then(|it| it.parse().ok());
        let mut body = vec![0; length.unwrap_or(0)];
        if reader.read_exact(&mut body).is_err() {
            return false;
        }
        let instance = asked.all("x-instance-id").concat();
        let says = match asked.line.split(' ').nth(1) {
            Some("/broken") => return false,
            Some("/hanging") => {
                std::thread::sleep(HANGS);
                return false;
            }
            Some("/endless") => "x".repeat(17 * 1024 * 1024),
            _ => instance,
        };
        remember.lock().unwrap().push(asked);
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\nContent-Length: ";
        let answer = format!("{head}{}\r\n\r\n{says}", says.len());
        return (&mut &*stream).write_all(answer.as_bytes()).is_ok();
    }
    false
}
