//! A guest's request on its way to the metadata service and back.

use std::{fmt, net::IpAddr, path::Path, str::FromStr, time::Duration};

use hmac::{Hmac, KeyInit, Mac};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Request, Response, StatusCode, Uri,
    body::{Body, Bytes, Incoming},
    header::{CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue},
};
use hyper_util::client::legacy;
use sha2::Sha256;
use tls::{Shown, TlsError, Trust, http as https};

use super::{
    Shared,
    guest::{Guest, Serves, find},
};

/// What a guest may send, and what it may be answered.
const REQUEST_BYTES: usize = 64 * 1024;
const ANSWER_BYTES: usize = 16 * 1024 * 1024;
/// How long it may take to reach the metadata service.
const CONNECT_TIME: Duration = Duration::from_secs(5);
/// How long the metadata service may take.
const ANSWER_TIME: Duration = Duration::from_secs(30);

/// What a guest must not say of itself: we say it.
const OURS: [&str; 6] = [
    "x-instance-id",
    "x-instance-id-signature",
    "x-tenant-id",
    "x-forwarded-for",
    "x-neutron-router-id",
    "x-neutron-network-id",
];

/// What belongs to one connection and is not passed on.
const OF_THE_CONNECTION: [&str; 7] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Where the metadata service is, whom it is believed by, and what it is shown.
#[derive(Clone, Copy, Debug, Default)]
pub struct Place<'a> {
    pub url: &'a str,
    pub ca: Option<&'a Path>,
    pub certificate: Option<&'a Path>,
    pub key: Option<&'a Path>,
}

/// The metadata service, and the secret that it knows us by.
#[derive(Clone)]
pub struct Target {
    /// Scheme and authority of its URLs.
    base: String,
    secret: Vec<u8>,
    client: https::Client,
}

/// The target is not a place to send requests to.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    #[error("metadata target '{0}' is not of the form http://HOST:PORT or https://HOST:PORT")]
    Form(String),
    #[error("TLS to the metadata service can't be set up")]
    Tls(#[source] TlsError),
}

impl Target {
    pub fn new(place: Place<'_>, secret: impl Into<Vec<u8>>) -> Result<Target, TargetError> {
        let bad = || TargetError::Form(place.url.to_owned());
        let uri = Uri::from_str(place.url).map_err(|_| bad())?;
        let (Some(scheme @ ("http" | "https")), Some(authority)) =
            (uri.scheme_str(), uri.authority())
        else {
            return Err(bad());
        };
        let trust = Trust::for_url(place.url, place.ca);
        let client = Shown::of(place.certificate, place.key)
            .and_then(|shown| tls::client(&trust, shown))
            .map_err(TargetError::Tls)?;
        Ok(Target {
            base: format!("{scheme}://{authority}"),
            secret: secret.into(),
            client: https::client(client, CONNECT_TIME),
        })
    }

    /// What proves that it was us who named the instance.
    fn signature(&self, instance: &str) -> String {
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.secret) else {
            return String::new();
        };
        mac.update(instance.as_bytes());
        let bytes = mac.finalize().into_bytes();
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// The secret is never shown.
impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target")
            .field("base", &self.base)
            .finish_non_exhaustive()
    }
}

/// The answer to one request: always an answer, whatever is away.
pub(super) async fn answer(
    shared: &Shared,
    serves: Serves,
    from: IpAddr,
    request: Request<Incoming>,
) -> Response<Full<Bytes>> {
    let guest = find(&shared.view.borrow(), serves, from);
    let Some(guest) = guest else {
        tracing::warn!(%from, ?serves, "metadata was asked for by nobody that we know");
        return plain(
            StatusCode::NOT_FOUND,
            "no instance with this address is known here\n",
        );
    };
    if !shared.admits(guest.port) {
        return plain(
            StatusCode::TOO_MANY_REQUESTS,
            "too many requests; ask again in a moment\n",
        );
    }
    let Some(target) = &shared.settings.target else {
        return plain(
            StatusCode::SERVICE_UNAVAILABLE,
            "there is no metadata service here\n",
        );
    };
    let asked = match asked(target, &guest, request).await {
        Ok(asked) => asked,
        Err(refusal) => return *refusal,
    };
    match tokio::time::timeout(ANSWER_TIME, fetch(&target.client, asked)).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => {
            tracing::warn!(%error, instance = %guest.instance, "the metadata service did not answer");
            plain(
                StatusCode::SERVICE_UNAVAILABLE,
                "the metadata service is away; ask again later\n",
            )
        }
        Err(_) => plain(
            StatusCode::GATEWAY_TIMEOUT,
            "the metadata service took too long\n",
        ),
    }
}

/// The request as the metadata service gets it.
async fn asked(
    target: &Target,
    guest: &Guest,
    request: Request<Incoming>,
) -> Result<Request<Full<Bytes>>, Box<Response<Full<Bytes>>>> {
    let bad = |text| Box::new(plain(StatusCode::BAD_REQUEST, text));
    let (head, body) = request.into_parts();
    if body.size_hint().lower() > REQUEST_BYTES as u64 {
        return Err(Box::new(plain(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too large\n",
        )));
    }
    let body = Limited::new(body, REQUEST_BYTES).collect().await;
    let body = body.map_err(|_| Box::new(plain(StatusCode::PAYLOAD_TOO_LARGE, "too large\n")))?;
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    let uri = format!("{}{path}", target.base);
    let mut asked = Request::builder()
        .method(head.method)
        .uri(uri)
        .body(Full::new(body.to_bytes()))
        .map_err(|_| bad("not a path\n"))?;
    *asked.headers_mut() =
        headers(target, guest, &head.headers).ok_or_else(|| bad("not a name\n"))?;
    Ok(asked)
}

/// The guest's headers without what it may not say, and what we say of it.
fn headers(target: &Target, guest: &Guest, sent: &HeaderMap) -> Option<HeaderMap> {
    let mut headers = HeaderMap::new();
    for (name, value) in sent {
        let kept = !OURS.contains(&name.as_str()) && !OF_THE_CONNECTION.contains(&name.as_str());
        if kept && name != HOST {
            headers.append(name, value.clone());
        }
    }
    for (name, value) in [
        ("x-forwarded-for", guest.address.to_string()),
        ("x-instance-id", guest.instance.to_string()),
        ("x-tenant-id", guest.project.to_string()),
        ("x-instance-id-signature", target.signature(&guest.instance)),
    ] {
        let value = HeaderValue::from_str(&value).ok()?;
        headers.insert(HeaderName::from_static(name), value);
    }
    Some(headers)
}

/// The service gave no answer that can be passed on.
#[derive(Debug, thiserror::Error)]
enum FetchError {
    #[error("it is not reached: {}", reason(.0))]
    Away(#[source] legacy::Error),
    #[error("its answer broke off or is too long: {0}")]
    Broken(Box<dyn std::error::Error + Send + Sync>),
}

/// What lies under an error of the client's, which says of itself only where it happened.
fn reason(error: &legacy::Error) -> String {
    let mut error: &dyn std::error::Error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

async fn fetch(
    client: &https::Client,
    asked: Request<Full<Bytes>>,
) -> Result<Response<Full<Bytes>>, FetchError> {
    let answer = client.request(asked).await.map_err(FetchError::Away)?;
    let (mut head, body) = answer.into_parts();
    let body = Limited::new(body, ANSWER_BYTES)
        .collect()
        .await
        .map_err(FetchError::Broken)?;
    for name in OF_THE_CONNECTION {
        head.headers.remove(name);
    }
    Ok(Response::from_parts(head, Full::new(body.to_bytes())))
}

fn plain(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
    *answer.status_mut() = status;
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    answer.headers_mut().insert(CONTENT_TYPE, kind);
    answer
}

#[cfg(test)]
mod tests {
    use super::*;
    use intent::PortId;
    use tls::rig::Authority;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    fn target(url: &str, secret: &str) -> Result<Target, TargetError> {
        let place = Place {
            url,
            ..Place::default()
        };
        Target::new(place, secret)
    }

    fn guest() -> Guest {
        Guest {
            port: PortId::new(uuid::Uuid::nil()),
            instance: "67cecbba-3a17-471b-aeea-d17336e66b41".into(),
            project: "tenantred".into(),
            address: "10.1.0.11".parse().expect("an address"),
        }
    }

    #[test]
    fn what_a_guest_says_of_itself_is_replaced() {
        let target = target("http://10.20.0.11:8775", "secret").expect("a target");
        let mut sent = HeaderMap::new();
        for name in OURS {
            sent.append(name, HeaderValue::from_static("forged"));
        }
        sent.append("accept", HeaderValue::from_static("*/*"));
        sent.append("connection", HeaderValue::from_static("keep-alive"));
        let headers = headers(&target, &guest(), &sent).expect("headers");
        assert_eq!(headers.len(), 5, "{headers:?}");
        assert_eq!(headers["x-tenant-id"], "tenantred");
        assert!(headers.values().all(|value| value != "forged"));
    }

    #[test]
    fn the_signature_is_the_one_that_the_service_computes() {
        // RFC 4231, test case 2: the key "Jefe".
        let target = target("http://localhost:1", "Jefe").expect("a target");
        let signed = target.signature("what do ya want for nothing?");
        assert_eq!(
            signed,
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
        assert!(!format!("{target:?}").contains("Jefe"));
    }

    #[tokio::test]
    async fn a_service_behind_tls_is_asked_when_it_is_believed() {
        let (ours, other) = (Authority::new(), Authority::new());
        let own = ours.issue("nova", "IP:127.0.0.1");
        let acceptor = tls::acceptor(own.shown(), None).expect("an acceptor");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("https://{}", listener.local_addr().expect("bound"));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                if let Ok(mut stream) = acceptor.accept(stream).await {
                    let answer = b"HTTP/1.1 204 No Content\r\n\r\n";
                    if stream.read(&mut [0; 1024]).await.is_ok_and(|read| read > 0) {
                        stream.write_all(answer).await.expect("answered");
                    }
                }
            }
        });
        let ask = async |ca: &Path| {
            let place = Place {
                url: &url,
                ca: Some(ca),
                ..Place::default()
            };
            let target = Target::new(place, "").expect("a target");
            let asked = Request::get(format!("{}/", target.base)).body(Full::default());
            fetch(&target.client, asked.expect("a request")).await
        };
        let answer = ask(&ours.file()).await.expect("believed");
        assert_eq!(answer.status(), StatusCode::NO_CONTENT);
        let error = ask(&other.file()).await.expect_err("not believed");
        assert!(error.to_string().contains("UnknownIssuer"), "{error}");
    }

    #[test]
    fn a_target_is_a_place() {
        for bad in ["", "10.0.0.1:8775", "ftp://x", "http://"] {
            assert!(target(bad, "").is_err(), "{bad}");
        }
    }
}
