//! TLS as every part of this house speaks it: whom to believe, what to show, what is in the files.
//!
//! Whoever connects to others takes a configuration from [`client`], or an HTTP client with one
//! from [`http`]; whoever listens takes an [`acceptor`].

mod believe;
mod files;
pub mod http;
#[cfg(feature = "rig")]
pub mod rig;
mod system;

use std::{path::Path, path::PathBuf, sync::Arc};

pub use rustls::{ClientConfig, pki_types::ServerName};
use rustls::{
    ConfigBuilder, ConfigSide, RootCertStore, ServerConfig, WantsVerifier, crypto::CryptoProvider,
    pki_types::pem, server::VerifierBuilderError, server::WebPkiClientVerifier,
};
pub use tokio_rustls::{
    TlsAcceptor, TlsConnector, client::TlsStream as ClientStream, server::TlsStream as ServerStream,
};

use believe::{Believer, Check};

#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("{} can't be read", path.display())]
    File { path: PathBuf, source: pem::Error },
    #[error("{} holds no certificate", .0.display())]
    NoCertificate(PathBuf),
    #[error("{} holds no private key that can be used", .0.display())]
    NoKey(PathBuf),
    #[error("{} stands alone: a certificate and its key are set together", .0.display())]
    Alone(PathBuf),
    #[error("{} holds a certificate that can't be used", path.display())]
    Certificate {
        path: PathBuf,
        source: rustls::Error,
    },
    #[error("the certificate in {} and the key in {} can't be used together", certificate.display(), key.display())]
    Pair {
        certificate: PathBuf,
        key: PathBuf,
        source: rustls::Error,
    },
    #[error("this machine's authorities are in none of {}: name a file of authorities", .0.join(", "))]
    NoSystem(&'static [&'static str]),
    #[error("the authorities in {} can't be used", path.display())]
    Authorities {
        path: PathBuf,
        source: VerifierBuilderError,
    },
    #[error("TLS can't be set up")]
    Setup(#[source] rustls::Error),
}

/// Which peers a client believes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trust {
    /// Those with their name in a certificate that an authority in the file signed.
    File(PathBuf),
    /// The same with the authorities that this machine believes for everything.
    System,
    /// Those whom an authority in the file signed, whatever their name.
    AnyNameOf(PathBuf),
    /// Whoever answers: what is said can't be read by others, but it may be said to anybody.
    Anyone,
    /// None: where TLS is not expected.
    Nobody,
}

impl Trust {
    /// For the peer at a URL, and the file of authorities that an operator may name for it.
    pub fn for_url(url: &str, authority: Option<&Path>) -> Self {
        match authority.filter(|path| !path.as_os_str().is_empty()) {
            Some(path) => Self::File(path.to_owned()),
            None if url.starts_with("https://") => Self::System,
            None => Self::Nobody,
        }
    }

    /// Where it comes from, for people.
    fn named(&self) -> String {
        match self {
            Self::File(path) | Self::AnyNameOf(path) => path.display().to_string(),
            Self::System => "this machine's authorities".to_owned(),
            Self::Anyone => "no authority".to_owned(),
            Self::Nobody => "no authority: none is named in the settings".to_owned(),
        }
    }

    fn believer(&self, provider: &Arc<CryptoProvider>) -> Result<Believer, TlsError> {
        let check = match self {
            Self::File(path) => Check::Name(files::verifier(path, provider)?),
            Self::AnyNameOf(path) => Check::Authority(files::verifier(path, provider)?),
            Self::System => Check::Name(system::verifier(provider)?),
            Self::Anyone => Check::Nothing,
            Self::Nobody => Check::Refuse,
        };
        Ok(Believer::new(check, self.named(), provider))
    }
}

/// A certificate to show, with those that sign it, and its private key; both PEM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shown<'a> {
    pub certificate: &'a Path,
    pub key: &'a Path,
}

impl<'a> Shown<'a> {
    /// What settings say of both: neither, or the two; an empty name is none.
    pub fn of(
        certificate: Option<&'a Path>,
        key: Option<&'a Path>,
    ) -> Result<Option<Self>, TlsError> {
        let named = |path: Option<&'a Path>| path.filter(|path| !path.as_os_str().is_empty());
        match (named(certificate), named(key)) {
            (None, None) => Ok(None),
            (Some(certificate), Some(key)) => Ok(Some(Self { certificate, key })),
            (Some(alone), None) | (None, Some(alone)) => Err(TlsError::Alone(alone.to_owned())),
        }
    }

    fn failed(self) -> impl Fn(rustls::Error) -> TlsError {
        move |source| TlsError::Pair {
            certificate: self.certificate.to_owned(),
            key: self.key.to_owned(),
            source,
        }
    }
}

fn begin<S: ConfigSide>(
    builder: ConfigBuilder<S, rustls::WantsVersions>,
) -> Result<ConfigBuilder<S, WantsVerifier>, TlsError> {
    builder
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Setup)
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// What a client needs: whom it believes, and what it shows when it is asked who it is.
pub fn client(trust: &Trust, shown: Option<Shown<'_>>) -> Result<ClientConfig, TlsError> {
    let provider = provider();
    let believer = trust.believer(&provider)?;
    let builder = begin(ClientConfig::builder_with_provider(provider))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(believer));
    match shown {
        None => Ok(builder.with_no_client_auth()),
        Some(shown) => {
            let chain = files::certificates(shown.certificate)?;
            let key = files::key(shown.key)?;
            builder
                .with_client_auth_cert(chain, key)
                .map_err(shown.failed())
        }
    }
}

/// An acceptor that shows a certificate; `authority` has clients prove who they are, if they will.
pub fn acceptor(shown: Shown<'_>, authority: Option<&Path>) -> Result<TlsAcceptor, TlsError> {
    let provider = provider();
    let builder = begin(ServerConfig::builder_with_provider(provider.clone()))?;
    let builder = match authority {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let roots: RootCertStore = files::roots(path)?;
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .allow_unauthenticated()
                .build();
            builder.with_client_cert_verifier(verifier.map_err(|source| TlsError::Authorities {
                path: path.to_owned(),
                source,
            })?)
        }
    };
    let chain = files::certificates(shown.certificate)?;
    let config = builder
        .with_single_cert(chain, files::key(shown.key)?)
        .map_err(shown.failed())?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}
