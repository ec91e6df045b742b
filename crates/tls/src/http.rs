//! An HTTP client for one peer's URLs, `http://` and `https://` alike.

use std::{path::Path, time::Duration};

use bytes::Bytes;
use http_body_util::Full;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{self, connect::HttpConnector},
    rt::TokioExecutor,
};
use rustls::ClientConfig;

use crate::{TlsError, Trust, client as configuration};

pub type Client = legacy::Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// How long connecting may take, where nobody says otherwise.
const CONNECT: Duration = Duration::from_secs(5);

/// For the peer at `url`, whose certificate is judged by the authorities in a file or, without
/// one, by this machine's own.
pub fn for_peer(url: &str, authority: Option<&Path>) -> Result<Client, TlsError> {
    let trust = Trust::for_url(url, authority);
    Ok(client(configuration(&trust, None)?, CONNECT))
}

/// A client with a configuration of its own.
pub fn client(tls: ClientConfig, connect: Duration) -> Client {
    let mut http = HttpConnector::new();
    http.enforce_http(false);
    http.set_nodelay(true);
    http.set_connect_timeout(Some(connect));
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_or_http()
        .enable_http1()
        .wrap_connector(http);
    legacy::Client::builder(TokioExecutor::new()).build(connector)
}
