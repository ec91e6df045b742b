//! Reaching the server: over TLS, a unix socket, or plainly on this machine.
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use tls::{ServerName, Shown, TlsConnector, TlsError, Trust};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use crate::config::Config;

/// A connection stands after this long, or is tried anew: by itself the kernel goes on asking less
/// and less often, and would notice a minute late that the way is there again.
const CONNECT: Duration = Duration::from_secs(3);

/// The server can't be reached.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    #[error("'{0}' is no address of a server: it begins with https://, unix: or http://127.0.0.1")]
    Address(String),
    #[error("{path} can't be read")]
    File {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("TLS to {server} can't be set up")]
    Tls {
        server: String,
        #[source]
        source: Box<TlsError>,
    },
    #[error("{server} can't be reached")]
    Connect {
        server: String,
        #[source]
        source: std::io::Error,
    },
    #[error("{server} does not answer as a server does")]
    Http {
        server: String,
        #[source]
        source: hyper::Error,
    },
    #[error("{path} can't be asked for")]
    Request {
        path: String,
        #[source]
        source: hyper::http::Error,
    },
    #[error("{server} answered {path} with {status}")]
    Status {
        server: String,
        path: String,
        status: hyper::StatusCode,
    },
}

enum Target {
    Unix(PathBuf),
    Plain(String),
    Tls(String, TlsConnector, ServerName<'static>),
}

/// How to reach the server, and by which name this host goes there.
pub struct Dial {
    server: String,
    target: Target,
    token: Option<String>,
}

trait Stream: AsyncRead + AsyncWrite + Send {}
impl<T: AsyncRead + AsyncWrite + Send> Stream for T {}

impl Dial {
    pub fn new(config: &Config) -> Result<Dial, DialError> {
        let token = match &config.token_file {
            None => None,
            Some(path) => {
                let text = std::fs::read_to_string(path).map_err(|source| DialError::File {
                    path: path.clone(),
                    source,
                })?;
                text.lines().next().map(|line| line.trim().to_owned())
            }
        };
        let bad = || DialError::Address(config.server.clone());
        let target = if let Some(path) = config.server.strip_prefix("unix:") {
            Target::Unix(path.into())
        } else if let Some(address) = config.server.strip_prefix("http://") {
            let address = address.trim_end_matches('/');
            let local = ["127.", "localhost:", "[::1]:"]
                .iter()
                .any(|name| address.starts_with(name));
            // A token in the clear would travel over a network.
            if !local {
                return Err(bad());
            }
            Target::Plain(address.to_owned())
        } else if let Some(address) = config.server.strip_prefix("https://") {
            let address = address.trim_end_matches('/');
            let (name, _) = address.rsplit_once(':').ok_or_else(bad)?;
            let name = name.trim_matches(['[', ']']).to_owned();
            let name = ServerName::try_from(name).map_err(|_| bad())?;
            Target::Tls(address.to_owned(), connector(config)?, name)
        } else {
            return Err(bad());
        };
        Ok(Dial {
            server: config.server.clone(),
            target,
            token,
        })
    }

    pub fn server(&self) -> &str {
        &self.server
    }

    async fn stream(&self) -> std::io::Result<Pin<Box<dyn Stream>>> {
        Ok(match &self.target {
            Target::Unix(path) => Box::pin(UnixStream::connect(path).await?),
            Target::Plain(address) => Box::pin(quick(TcpStream::connect(address).await?)?),
            Target::Tls(address, connector, name) => {
                let stream = quick(TcpStream::connect(address).await?)?;
                Box::pin(connector.connect(name.clone(), stream).await?)
            }
        })
    }

    /// One request on a connection of its own; the answer's head, when it is a good one.
    pub async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Vec<u8>,
    ) -> Result<Response<Incoming>, DialError> {
        let server = || self.server.clone();
        let stream = tokio::time::timeout(CONNECT, self.stream()).await;
        let stream = stream.unwrap_or_else(|late| Err(late.into()));
        let stream = stream.map_err(|source| DialError::Connect {
            server: server(),
            source,
        })?;
        let http = |source| DialError::Http {
            server: server(),
            source,
        };
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(http)?;
        tokio::spawn(connection);
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "nucleon")
            .header("content-type", "application/json");
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let request = request
            .body(Full::new(Bytes::from(body)))
            .map_err(|source| DialError::Request {
                path: path.to_owned(),
                source,
            })?;
        let answer = sender.send_request(request).await.map_err(http)?;
        if !answer.status().is_success() {
            let (path, status) = (path.to_owned(), answer.status());
            return Err(DialError::Status {
                server: server(),
                path,
                status,
            });
        }
        Ok(answer)
    }
}

/// Reports are small and urgent.
fn quick(stream: TcpStream) -> std::io::Result<TcpStream> {
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn connector(config: &Config) -> Result<TlsConnector, DialError> {
    let trust = Trust::for_url(&config.server, config.server_ca.as_deref());
    let client = Shown::of(
        config.client_certificate.as_deref(),
        config.client_key.as_deref(),
    )
    .and_then(|shown| tls::client(&trust, shown))
    .map_err(|source| DialError::Tls {
        server: config.server.clone(),
        source: source.into(),
    })?;
    Ok(TlsConnector::from(Arc::new(client)))
}

#[cfg(test)]
mod tests {
    use tls::rig::Authority;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{TcpListener, UnixListener},
    };

    use super::*;

    const ANSWER: &[u8] = b"HTTP/1.1 204 No Content\r\n\r\n";

    /// Answers what is asked, when it is asked.
    async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
        let mut head = [0; 1024];
        if stream.read(&mut head).await.is_ok_and(|read| read > 0) {
            stream.write_all(ANSWER).await.expect("answered");
        }
    }

    async fn asked(text: &str) -> Result<hyper::StatusCode, DialError> {
        let config = toml::from_str(text).expect("a configuration");
        let answer = Dial::new(&config)?
            .ask(Method::GET, "/", Vec::new())
            .await?;
        Ok(answer.status())
    }

    #[tokio::test]
    async fn a_server_on_this_machine_is_reached_by_its_socket() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("agents");
        let listener = UnixListener::bind(&path).expect("a socket");
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.expect("an agent");
            answer(stream).await;
        });
        let text = format!("host = 'c1'\nserver = 'unix:{}'", path.display());
        assert_eq!(asked(&text).await.expect("reached"), 204);
    }

    #[tokio::test]
    async fn a_server_that_is_believed_is_shown_the_hosts_certificate() {
        let (ours, other) = (Authority::new(), Authority::new());
        let (own, host) = (
            ours.issue("agents", "IP:127.0.0.1"),
            ours.issue("c1", "DNS:c1"),
        );
        let acceptor = tls::acceptor(own.shown(), Some(&ours.file())).expect("an acceptor");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let at = listener.local_addr().expect("bound");
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let Ok(stream) = acceptor.accept(stream).await else {
                    continue;
                };
                // Who shows none is not answered.
                if stream.get_ref().1.peer_certificates().is_some() {
                    answer(stream).await;
                }
            }
        });
        let by = |authority: &Authority| {
            let ca = authority.file();
            format!("host = 'c1'\nserver = 'https://{at}'\nserver_ca = {ca:?}\n")
        };
        let shows = format!(
            "client_certificate = {:?}\nclient_key = {:?}",
            host.certificate, host.key
        );
        let good = asked(&(by(&ours) + &shows)).await;
        assert_eq!(good.expect("reached"), 204);
        asked(&by(&ours)).await.expect_err("not answered");
        let error = asked(&(by(&other) + &shows))
            .await
            .expect_err("not believed");
        let DialError::Connect { source, .. } = error else {
            panic!("another error: {error}");
        };
        assert!(source.to_string().contains("UnknownIssuer"), "{source}");
    }

    #[tokio::test]
    async fn a_connection_that_does_not_come_about_is_given_up() {
        let authority = Authority::new();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let at = listener.local_addr().expect("bound");
        // The kernel takes the connection; nobody says a word of TLS.
        let ca = authority.file();
        let text = format!("host = 'c1'\nserver = 'https://{at}'\nserver_ca = {ca:?}\n");
        let asked = tokio::time::timeout(CONNECT * 3, asked(&text)).await;
        let error = asked.expect("given up").expect_err("not reached");
        let DialError::Connect { source, .. } = error else {
            panic!("another error: {error}");
        };
        assert_eq!(source.kind(), std::io::ErrorKind::TimedOut);
        drop(listener);
    }

    #[test]
    fn plain_is_for_this_machine_only() {
        let authority = Authority::new();
        let ca = authority.file();
        let config = |server: &str| -> Config {
            let text = format!("host = 'c1'\nserver = '{server}'\nserver_ca = {ca:?}");
            toml::from_str(&text).expect("a configuration")
        };
        for good in [
            "http://127.0.0.1:9697",
            "unix:/run/x",
            "https://10.0.0.1:9697",
            "http://[::1]:1",
        ] {
            assert!(Dial::new(&config(good)).is_ok(), "{good}");
        }
        for bad in ["http://10.0.0.1:9697", "10.0.0.1", "https://10.0.0.1"] {
            assert!(
                matches!(Dial::new(&config(bad)), Err(DialError::Address(_))),
                "{bad}"
            );
        }
    }
}
