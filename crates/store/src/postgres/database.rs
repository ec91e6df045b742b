//! Where the database is and how it is reached: libpq's URL, with libpq's words for TLS.
//!
//! | `sslmode` | TLS | whom it believes |
//! |---|---|---|
//! | `disable` | never | |
//! | `prefer`, and none | when the database has it | with `sslrootcert` as `verify-ca`, else anyone |
//! | `require` | always | likewise |
//! | `verify-ca` | always | whom an authority in `sslrootcert` signed |
//! | `verify-full` | always | the same under its own name; without `sslrootcert`, or with `system`, by this machine's authorities |
//!
//! `sslcert` and `sslkey` are what is shown when the database asks who we are. Channel binding is
//! not spoken.

use std::{
    io,
    path::PathBuf,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use percent_encoding::percent_decode_str;
use tls::{ClientConfig, ClientStream, ServerName, Shown, TlsConnector, Trust};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::{
    Client, Config, Connection, Socket,
    config::SslMode,
    tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream},
};

use super::failed;
use crate::types::StoreError;

const CONNECT: Duration = Duration::from_secs(2);
/// What PostgreSQL calls its protocol inside of TLS.
const PROTOCOL: &[u8] = b"postgresql";
/// The `sslrootcert` that is no file.
const SYSTEM: &str = "system";

#[derive(Debug, Clone)]
pub(super) struct Database {
    config: Config,
    secure: Secure,
}

impl Database {
    pub(super) fn parse(url: &str) -> Result<Self, StoreError> {
        let (rest, asked) = Asked::take(url)?;
        let mut config: Config = rest.parse().map_err(StoreError::PostgresUrl)?;
        config.application_name("nucleon");
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT);
        }
        let (mode, trust) = asked.mode()?;
        config.ssl_mode(mode);
        let shown = Shown::of(asked.certificate.as_deref(), asked.key.as_deref());
        let mut client = shown
            .and_then(|shown| tls::client(&trust, shown))
            .map_err(StoreError::Tls)?;
        client.alpn_protocols = vec![PROTOCOL.to_vec()];
        Ok(Self {
            config,
            secure: Secure(Arc::new(client)),
        })
    }

    pub(super) async fn connect(
        &self,
    ) -> Result<(Client, Connection<Socket, Encrypted<Socket>>), StoreError> {
        let connected = self.config.connect(self.secure.clone()).await;
        connected.map_err(failed("be reached"))
    }
}

/// What a URL says of TLS.
#[derive(Debug, Default, PartialEq)]
struct Asked {
    mode: Option<String>,
    root: Option<String>,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
}

impl Asked {
    /// Takes what is about TLS out of a URL; the rest of it stays as it is.
    fn take(url: &str) -> Result<(String, Self), StoreError> {
        let mut asked = Self::default();
        // Before the @ a question mark may be part of a password.
        let from = url.find('@').unwrap_or(0);
        let Some(at) = url[from..].find('?').map(|at| from + at) else {
            return Ok((url.to_owned(), asked));
        };
        let mut rest = Vec::new();
        for option in url[at + 1..].split('&') {
            let (name, value) = option.split_once('=').unwrap_or((option, ""));
            let value = percent_decode_str(value).decode_utf8();
            let value = value.map_err(|_| StoreError::UrlOption(name.to_owned()))?;
            match name {
                "sslmode" => asked.mode = Some(value.into()),
                "sslrootcert" => asked.root = Some(value.into()),
                "sslcert" => asked.certificate = Some(value.as_ref().into()),
                "sslkey" => asked.key = Some(value.as_ref().into()),
                _ => rest.push(option),
            }
        }
        let mut kept = url[..at].to_owned();
        if !rest.is_empty() {
            kept = format!("{kept}?{}", rest.join("&"));
        }
        Ok((kept, asked))
    }

    fn mode(&self) -> Result<(SslMode, Trust), StoreError> {
        let root = self.root.as_deref().filter(|root| !root.is_empty());
        let by_system = root == Some(SYSTEM);
        let mode = self.mode.as_deref();
        let mode = mode.unwrap_or(if by_system { "verify-full" } else { "prefer" });
        let file = root.filter(|_| !by_system).map(PathBuf::from);
        let unless_named = |trust| file.clone().map_or(trust, Trust::AnyNameOf);
        match mode {
            "verify-full" => {
                let trust = file.map_or(Trust::System, Trust::File);
                Ok((SslMode::Require, trust))
            }
            // Anybody can have some name signed by the authorities that everybody believes.
            "prefer" | "require" | "verify-ca" if by_system => Err(StoreError::WeakMode),
            "disable" => Ok((SslMode::Disable, Trust::Nobody)),
            "prefer" => Ok((SslMode::Prefer, unless_named(Trust::Anyone))),
            "require" => Ok((SslMode::Require, unless_named(Trust::Anyone))),
            "verify-ca" => match file {
                Some(file) => Ok((SslMode::Require, Trust::AnyNameOf(file))),
                None => Err(StoreError::NoRoot),
            },
            other => Err(StoreError::SslMode(other.to_owned())),
        }
    }
}

/// TLS as the client library takes it.
#[derive(Debug, Clone)]
struct Secure(Arc<ClientConfig>);

/// TLS to one host; without a name, as on a unix socket, there is none.
struct SecureTo(TlsConnector, Option<ServerName<'static>>);

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> MakeTlsConnect<S> for Secure {
    type Stream = Encrypted<S>;
    type TlsConnect = SecureTo;
    type Error = io::Error;

    fn make_tls_connect(&mut self, host: &str) -> io::Result<SecureTo> {
        let name = ServerName::try_from(host.to_owned()).ok();
        Ok(SecureTo(TlsConnector::from(self.0.clone()), name))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> TlsConnect<S> for SecureTo {
    type Stream = Encrypted<S>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Encrypted<S>>> + Send>>;

    fn connect(self, stream: S) -> Self::Future {
        Box::pin(async move {
            let Self(connector, name) = self;
            let name = name.ok_or_else(|| io::Error::other("the host's name is none for TLS"))?;
            connector.connect(name, stream).await.map(Encrypted)
        })
    }
}

/// A connection inside of TLS.
#[derive(Debug)]
pub(super) struct Encrypted<S>(ClientStream<S>);

impl<S: AsyncRead + AsyncWrite + Unpin> TlsStream for Encrypted<S> {
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Encrypted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Encrypted<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn taken(options: &str) -> (String, Asked) {
        Asked::take(&format!("postgres://u:p?1@db/n{options}")).expect("taken")
    }

    #[test]
    fn what_is_about_tls_is_taken_out_of_the_url() {
        let plain = "postgres://u:p?1@db/n";
        assert_eq!(taken(""), (plain.to_owned(), Asked::default()));
        let (rest, asked) = taken("?sslmode=require&port=1&sslcert=%2fa%20b&sslkey=/k");
        assert_eq!(rest, format!("{plain}?port=1"));
        assert_eq!(asked.mode.as_deref(), Some("require"));
        assert_eq!(asked.certificate.as_deref(), Some(Path::new("/a b")));
        assert_eq!(asked.key.as_deref(), Some(Path::new("/k")));
        assert_eq!(taken("?sslrootcert=/ca").0, plain);
    }

    #[test]
    fn a_mode_says_whether_tls_is_spoken_and_whom_it_believes() {
        let file = || PathBuf::from("/ca");
        for (options, expected) in [
            ("", (SslMode::Prefer, Trust::Anyone)),
            ("?sslmode=disable", (SslMode::Disable, Trust::Nobody)),
            ("?sslmode=require", (SslMode::Require, Trust::Anyone)),
            (
                "?sslmode=require&sslrootcert=/ca",
                (SslMode::Require, Trust::AnyNameOf(file())),
            ),
            (
                "?sslmode=verify-ca&sslrootcert=/ca",
                (SslMode::Require, Trust::AnyNameOf(file())),
            ),
            (
                "?sslmode=verify-full&sslrootcert=/ca",
                (SslMode::Require, Trust::File(file())),
            ),
            ("?sslmode=verify-full", (SslMode::Require, Trust::System)),
            ("?sslrootcert=system", (SslMode::Require, Trust::System)),
        ] {
            assert_eq!(taken(options).1.mode().expect(options), expected);
        }
        for options in [
            "?sslmode=verify-ca",
            "?sslmode=require&sslrootcert=system",
            "?sslmode=allow",
        ] {
            assert!(taken(options).1.mode().is_err(), "{options}");
        }
    }
}
