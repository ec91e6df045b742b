//! A connection that sends any bytes, and reads answers as far as they are HTTP.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    time::timeout,
};

use crate::{chance::Chance, request::Asked};

/// An answer that takes longer is a hang.
const HANG: Duration = Duration::from_secs(40);

#[derive(Debug)]
pub(crate) struct Wire(BufReader<TcpStream>);

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

impl Wire {
    pub(crate) async fn open(at: SocketAddr) -> Self {
        let stream = TcpStream::connect(at).await.expect("a connection");
        stream.set_nodelay(true).expect("a socket");
        Self(BufReader::new(stream))
    }

    /// The server may have closed the connection already.
    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        let _ = self.0.get_mut().write_all(bytes).await;
    }

    /// Nothing more is sent.
    pub(crate) async fn end(&mut self) {
        let _ = self.0.get_mut().shutdown().await;
    }

    /// The next answer; none when the connection is closed.
    pub(crate) async fn answer(&mut self, without_body: bool) -> Option<Answer> {
        loop {
            let answer = timeout(HANG, self.read(without_body)).await;
            let answer = answer.expect("an answer, or the end");
            // One that only says that the body may come is none yet.
            if answer.as_ref().is_none_or(|answer| answer.status != 100) {
                return answer;
            }
        }
    }

    async fn read(&mut self, without_body: bool) -> Option<Answer> {
        let first = self.line().await?;
        let status: u16 = first.split(' ').nth(1)?.parse().ok()?;
        let mut length = 0;
        loop {
            let line = self.line().await?.to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().ok()?;
            }
        }
        let is_empty = without_body || matches!(status, 100 | 204);
        let mut body = vec![0; if is_empty { 0 } else { length }];
        self.0.read_exact(&mut body).await.ok()?;
        Some(Answer { status, body })
    }

    async fn line(&mut self) -> Option<String> {
        let mut line = Vec::new();
        let read = self.0.read_until(b'\n', &mut line).await.ok()?;
        let text = String::from_utf8_lossy(&line);
        (read > 0).then(|| text.trim_end().to_owned())
    }
}

/// A request that is not HTTP as it should be.
pub(crate) fn broken(chance: &mut Chance, asked: &Asked) -> Vec<u8> {
    let lie = |length: &str| asked.with_length(Some(length));
    let long = asked.body.len() + 1 + chance.below(100_000);
    match chance.below(12) {
        0 => lie(&long.to_string()),
        1 => lie(&(asked.body.len() / 2).to_string()),
        2 => {
            let odd = ["-1", "x", "", "99999999999999999999", "1, 2", "+3", "0x10"];
            lie(odd[chance.below(odd.len())])
        }
        3 => {
            let mut bytes = asked.with_length(None);
            bytes.extend_from_slice(&asked.body);
            bytes
        }
        4 => {
            let mut doubled = asked.clone();
            let own = format!("{}", asked.body.len() + 1);
            doubled
                .headers
                .push(("content-length".to_owned(), own.into_bytes()));
            doubled.bytes()
        }
        5 => chunked(chance, asked),
        6 => {
            let mut both = asked.clone();
            let kind = b"chunked".to_vec();
            both.headers.push(("transfer-encoding".to_owned(), kind));
            both.bytes()
        }
        7 => {
            let mut flood = asked.clone();
            for number in 0..200 {
                flood.headers.push((format!("x-{number}"), b"y".to_vec()));
            }
            flood.bytes()
        }
        8 => {
            let mut long = asked.clone();
            long.path = format!("{}?{}", asked.path, "a=b&".repeat(chance.below(30_000)));
            long.bytes()
        }
        9 => {
            let bytes = asked.bytes();
            let end = chance.below(bytes.len());
            bytes[..end].to_vec()
        }
        10 => (0..chance.below(2_000))
            .map(|_| chance.bits().to_le_bytes()[0])
            .collect(),
        _ => scrambled(chance, asked.bytes()),
    }
}

fn chunked(chance: &mut Chance, asked: &Asked) -> Vec<u8> {
    let mut headed = asked.clone();
    let kind = b"chunked".to_vec();
    headed.headers.push(("transfer-encoding".to_owned(), kind));
    let mut bytes = headed.with_length(None);
    let size = match chance.below(4) {
        0 => "zz".to_owned(),
        1 => "ffffffffffffffff".to_owned(),
        2 => format!("{:x};ext=1", asked.body.len()),
        _ => format!("{:x}", asked.body.len()),
    };
    bytes.extend_from_slice(size.as_bytes());
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(&asked.body);
    bytes.extend_from_slice(b"\r\n0\r\n\r\n");
    bytes
}

/// Some bytes changed, taken out, put in or said twice.
pub(crate) fn scrambled(chance: &mut Chance, mut bytes: Vec<u8>) -> Vec<u8> {
    for _ in 0..=chance.below(6) {
        if bytes.is_empty() {
            break;
        }
        let at = chance.below(bytes.len());
        let byte = chance.bits().to_le_bytes()[0];
        match chance.below(4) {
            0 => bytes[at] = byte,
            1 => drop(bytes.remove(at)),
            2 => bytes.insert(at, byte),
            _ => {
                let end = bytes.len().min(at + chance.below(40));
                let part = bytes[at..end].to_vec();
                bytes.splice(at..at, part);
            }
        }
    }
    bytes
}
