//! TLS by certificate files.

use std::{io, path::Path, path::PathBuf, sync::Arc};

use rustls::{RootCertStore, ServerConfig, server::WebPkiClientVerifier};
use tokio_rustls::TlsAcceptor;

#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("{} can't be read", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("{} holds no private key", .0.display())]
    NoKey(PathBuf),
    #[error("the certificate and its key can't be used")]
    Config(#[source] rustls::Error),
    #[error("the clients' authority can't be used")]
    Authority(#[source] rustls::server::VerifierBuilderError),
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|source| file(path, source))
}

fn file(path: &Path, source: io::Error) -> TlsError {
    TlsError::File {
        path: path.to_owned(),
        source,
    }
}

/// An acceptor for a certificate chain and its key; `authority` has clients prove who they are.
pub fn acceptor(
    certificate: &Path,
    key: &Path,
    authority: Option<&Path>,
) -> Result<TlsAcceptor, TlsError> {
    let chain = rustls_pemfile::certs(&mut &*read(certificate)?)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|source| file(certificate, source))?;
    let private = rustls_pemfile::private_key(&mut &*read(key)?)
        .map_err(|source| file(key, source))?
        .ok_or_else(|| TlsError::NoKey(key.to_owned()))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Config)?;
    let builder = match authority {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for root in rustls_pemfile::certs(&mut &*read(path)?) {
                let root = root.map_err(|source| file(path, source))?;
                roots.add(root).map_err(TlsError::Config)?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .allow_unauthenticated()
                .build()
                .map_err(TlsError::Authority)?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let config = builder
        .with_single_cert(chain, private)
        .map_err(TlsError::Config)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}
