//! One connection that speaks as much HTTP/1.1 as a load needs, made again when it breaks. It is
//! lean on purpose: on a machine that server and load share, what the load takes the server lacks.

use std::{io, io::Write, net::SocketAddr, time::Duration};

use bytes::Bytes;
use http::{Method, StatusCode};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// Longer than any answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A client of one server.
#[derive(Debug)]
pub struct Client {
    server: SocketAddr,
    connection: Option<TcpStream>,
    /// What is being sent, and then what comes.
    buffer: Vec<u8>,
}

/// What a server answered.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: StatusCode,
    /// The server could not prove that it is fresh.
    pub stale: bool,
    pub body: Bytes,
}

impl Answer {
    /// The body as JSON; null when it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }
}

impl Client {
    pub fn new(server: SocketAddr) -> Self {
        Self {
            server,
            connection: None,
            buffer: Vec::new(),
        }
    }

    pub async fn get(&mut self, path: &str) -> io::Result<Answer> {
        self.call(Method::GET, path, Bytes::new()).await
    }

    pub async fn post(&mut self, path: &str, body: &Value) -> io::Result<Answer> {
        self.call(Method::POST, path, body.to_string().into()).await
    }

    pub async fn put(&mut self, path: &str, body: &Value) -> io::Result<Answer> {
        self.call(Method::PUT, path, body.to_string().into()).await
    }

    pub async fn delete(&mut self, path: &str) -> io::Result<Answer> {
        self.call(Method::DELETE, path, Bytes::new()).await
    }

    /// One request and its answer. An error leaves open whether the server did it.
    pub async fn call(&mut self, method: Method, path: &str, body: Bytes) -> io::Result<Answer> {
        let asked = timeout(PATIENCE, self.ask(&method, path, &body)).await;
        let answer = asked.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        if answer.is_err() {
            self.connection = None;
        }
        answer
    }

    async fn ask(&mut self, method: &Method, path: &str, body: &[u8]) -> io::Result<Answer> {
        self.buffer.clear();
        write!(
            self.buffer,
            "{method} {path} HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n",
            self.server,
            body.len()
        )?;
        self.buffer.extend_from_slice(body);
        let idle = self.connection.take();
        let mut connection = match idle.filter(is_open) {
            Some(connection) => connection,
            None => {
                let connection = TcpStream::connect(self.server).await?;
                connection.set_nodelay(true)?;
                connection
            }
        };
        connection.write_all(&self.buffer).await?;
        self.buffer.clear();
        let head = loop {
            if let Some(head) = head(&self.buffer)? {
                break head;
            }
            if connection.read_buf(&mut self.buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        };
        let end = head.length + head.body;
        self.buffer.reserve(end.saturating_sub(self.buffer.len()));
        while self.buffer.len() < end {
            if connection.read_buf(&mut self.buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        if !head.closes {
            self.connection = Some(connection);
        }
        Ok(Answer {
            status: head.status,
            stale: head.stale,
            body: Bytes::copy_from_slice(&self.buffer[head.length..end]),
        })
    }
}

/// As far as is known already: the other end has not closed it while nothing was asked.
fn is_open(connection: &TcpStream) -> bool {
    let read = connection.try_read(&mut [0]);
    matches!(read, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
}

/// An answer's head, as far as it matters.
#[derive(Debug, PartialEq, Eq)]
struct Head {
    status: StatusCode,
    stale: bool,
    closes: bool,
    /// Bytes of the head itself, and of what follows.
    length: usize,
    body: usize,
}

/// Reads the head of an answer; nothing while it is not whole. The servers asked say how long
/// every body is.
fn head(bytes: &[u8]) -> io::Result<Option<Head>> {
    const END: &[u8] = b"\r\n\r\n";
    let Some(length) = bytes.windows(END.len()).position(|window| window == END) else {
        return Ok(None);
    };
    let bad = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let text = str::from_utf8(&bytes[..length]).map_err(|_| bad("a head that is no text"))?;
    let mut lines = text.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1));
    let status = status.and_then(|status| status.parse().ok());
    let mut head = Head {
        status: status.ok_or_else(|| bad("a head without a status"))?,
        stale: false,
        closes: false,
        length: length + END.len(),
        body: 0,
    };
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        let value = value.trim();
        if name.eq_ignore_ascii_case("content-length") {
            head.body = value.parse().map_err(|_| bad("a length that is none"))?;
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            return Err(bad("a body of unknown length"));
        } else if name.eq_ignore_ascii_case("warning") {
            head.stale = true;
        } else if name.eq_ignore_ascii_case("connection") {
            head.closes = value.eq_ignore_ascii_case("close");
        }
    }
    Ok(Some(head))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_when_it_is_whole() {
        let text = b"HTTP/1.1 201 Created\r\nContent-Length: 3\r\nwarning: 110 x\r\n\r\n{}\n";
        for cut in 0..text.len() - 3 {
            assert_eq!(head(&text[..cut]).expect("no error"), None, "{cut}");
        }
        let whole = head(text).expect("no error").expect("whole");
        assert_eq!(whole.status, StatusCode::CREATED);
        assert_eq!((whole.length + whole.body, whole.stale), (text.len(), true));
        assert!(!whole.closes);
        let gone = head(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n");
        let gone = gone.expect("no error").expect("whole");
        assert_eq!((gone.body, gone.closes), (0, true));
        assert!(head(b"HTTP/1.1\r\n\r\n").is_err());
        assert!(head(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").is_err());
    }
}
