//! Reaching the server: over TLS, a unix socket, or plainly on this machine.
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

use crate::config::Config;

/// The server can't be reached.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    #[error("'{0}' is no address of a server: it begins with https://, unix: or http://127.0.0.1")]
    Address(String),
    #[error("{path} can't be read")]
    File {
        path: PathBuf,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
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

fn file_error<E: Into<Box<dyn std::error::Error + Send + Sync>>>(
    path: &Path,
) -> impl Fn(E) -> DialError {
    let path = path.to_owned();
    move |source| DialError::File {
        path: path.clone(),
        source: source.into(),
    }
}

impl Dial {
    pub fn new(config: &Config) -> Result<Dial, DialError> {
        let token = match &config.token_file {
            None => None,
            Some(path) => {
                let text = std::fs::read_to_string(path).map_err(file_error(path))?;
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
            Target::Tls(address.to_owned(), tls(config)?, name)
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
        let stream = self.stream().await;
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

fn tls(config: &Config) -> Result<TlsConnector, DialError> {
    let mut roots = rustls::RootCertStore::empty();
    if let Some(path) = &config.server_ca {
        for certificate in certificates(path)? {
            roots.add(certificate).map_err(file_error(path))?;
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let address = || DialError::Address(config.server.clone());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|_| address())?
        .with_root_certificates(roots);
    let used = |path: &Option<PathBuf>| path.clone().filter(|path| !path.as_os_str().is_empty());
    let client = match used(&config.client_certificate).zip(used(&config.client_key)) {
        None => builder.with_no_client_auth(),
        Some((certificate, key_path)) => {
            let key = PrivateKeyDer::from_pem_file(&key_path).map_err(file_error(&key_path))?;
            let chain = certificates(&certificate)?;
            builder
                .with_client_auth_cert(chain, key)
                .map_err(file_error(&certificate))?
        }
    };
    Ok(TlsConnector::from(Arc::new(client)))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, DialError> {
    let certificates = CertificateDer::pem_file_iter(path).map_err(file_error(path))?;
    certificates
        .collect::<Result<_, _>>()
        .map_err(file_error(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_is_for_this_machine_only() {
        let config = |server: &str| -> Config {
            toml::from_str(&format!("host = 'c1'\nserver = '{server}'")).expect("a configuration")
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
