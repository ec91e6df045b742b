//! The authorities that a machine believes for everything.

use std::{path::Path, sync::Arc};

use rustls::{RootCertStore, client::WebPkiServerVerifier, crypto::CryptoProvider};

use crate::{TlsError, files};

/// Where distributions keep them: Debian's and Arch's, Red Hat's, SUSE's.
const BUNDLES: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
];

pub(crate) fn verifier(
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<WebPkiServerVerifier>, TlsError> {
    let there = BUNDLES.iter().map(Path::new).find(|path| path.exists());
    let path = there.ok_or(TlsError::NoSystem(BUNDLES))?;
    let mut roots = RootCertStore::empty();
    // A distribution's oddities are not the operator's to mend: what can be used is.
    roots.add_parsable_certificates(files::certificates(path)?);
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .build()
        .map_err(|source| TlsError::Authorities {
            path: path.to_owned(),
            source,
        })
}
