//! Whether a server's certificate is believed, and a line in the log that says why not.

use std::sync::Arc;

use rustls::{
    CertificateError, DigitallySignedStruct, Error, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{
        CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
    },
    pki_types::{CertificateDer, ServerName, UnixTime},
};

/// What is looked at. That the peer holds the certificate's key is always checked.
#[derive(Debug)]
pub(crate) enum Check {
    /// Who signed it, and that it is made out to the peer's name.
    Name(Arc<WebPkiServerVerifier>),
    /// Who signed it.
    Authority(Arc<WebPkiServerVerifier>),
    Nothing,
    Refuse,
}

#[derive(Debug)]
pub(crate) struct Believer {
    check: Check,
    /// Whose word is taken, for people.
    authority: String,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Believer {
    pub(crate) fn new(check: Check, authority: String, provider: &CryptoProvider) -> Self {
        Self {
            check,
            authority,
            algorithms: provider.signature_verification_algorithms,
        }
    }
}

/// The name is looked at last, so an error about it means that all else was right.
fn is_about_the_name(error: &Error) -> bool {
    matches!(
        error,
        Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }
        )
    )
}

impl ServerCertVerifier for Believer {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified = match &self.check {
            Check::Name(verifier) => {
                verifier.verify_server_cert(certificate, between, name, ocsp, now)
            }
            Check::Authority(verifier) => {
                match verifier.verify_server_cert(certificate, between, name, ocsp, now) {
                    Err(error) if is_about_the_name(&error) => Ok(ServerCertVerified::assertion()),
                    verified => verified,
                }
            }
            Check::Nothing => Ok(ServerCertVerified::assertion()),
            Check::Refuse => Err(Error::InvalidCertificate(CertificateError::UnknownIssuer)),
        };
        if let Err(error) = &verified {
            let (peer, authority) = (name.to_str(), &self.authority);
            tracing::warn!(%peer, %authority, %error, "a server's certificate is not believed");
        }
        verified
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
