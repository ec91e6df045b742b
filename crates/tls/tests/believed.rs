//! Who is believed and who is not, over real handshakes; and what is said of files that are wrong.

use std::{error::Error, fs, path::Path, sync::Arc};

use rustls::pki_types::ServerName;
use tls::{TlsConnector, Trust, acceptor, client, rig::Authority};
use tokio::net::{TcpListener, TcpStream};

/// Shakes hands with a server that calls itself by `names`; what the client says of it.
async fn shake(authority: &Authority, names: &str, trust: &Trust) -> Result<(), String> {
    let own = authority.issue("server", names);
    let acceptor = acceptor(own.shown(), None).expect("an acceptor");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let at = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.expect("a client");
        let _ = acceptor.accept(stream).await;
    });
    let connector = TlsConnector::from(Arc::new(client(trust, None).expect("a client")));
    let stream = TcpStream::connect(at).await.expect("connected");
    let name = ServerName::try_from("db.example").expect("a name");
    let shaken = connector.connect(name, stream).await;
    shaken.map(drop).map_err(|error| error.to_string())
}

#[tokio::test]
async fn a_server_is_believed_as_far_as_it_proves_itself() {
    let (ours, other) = (Authority::new(), Authority::new());
    let (right, wrong) = ("DNS:db.example", "DNS:other.example");
    for (names, trust, why_not) in [
        (right, Trust::File(ours.file()), None),
        (wrong, Trust::File(ours.file()), Some("not valid for name")),
        (right, Trust::File(other.file()), Some("UnknownIssuer")),
        (wrong, Trust::AnyNameOf(ours.file()), None),
        (right, Trust::AnyNameOf(other.file()), Some("UnknownIssuer")),
        (wrong, Trust::Anyone, None),
        (right, Trust::Nobody, Some("UnknownIssuer")),
    ] {
        let shaken = shake(&ours, names, &trust).await;
        match why_not {
            None => assert_eq!(shaken, Ok(()), "{names} {trust:?}"),
            Some(why) => {
                let said = shaken.expect_err("not believed");
                assert!(said.contains(why), "{names} {trust:?}: {said}");
            }
        }
    }
}

fn whole(error: &dyn Error) -> String {
    let more = error.source().map(whole);
    more.map_or(error.to_string(), |more| format!("{error}: {more}"))
}

fn said(trust: &Path) -> String {
    let error = client(&Trust::File(trust.to_owned()), None).expect_err("refused");
    whole(&error)
}

#[test]
fn a_file_that_is_wrong_is_named_with_what_is_wrong() {
    let authority = Authority::new();
    let missing = authority.folder().join("missing.pem");
    let text = said(&missing);
    assert!(
        text.contains("missing.pem") && text.contains("No such file"),
        "{text}"
    );

    let empty = authority.folder().join("empty.pem");
    fs::write(&empty, "not PEM\n").expect("written");
    let text = said(&empty);
    assert!(text.ends_with("empty.pem holds no certificate"), "{text}");

    let broken = authority.folder().join("broken.pem");
    let (begin, end) = ("-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----");
    fs::write(&broken, format!("{begin}\nAAAA\n{end}\n")).expect("written");
    let text = said(&broken);
    assert!(
        text.contains("broken.pem holds a certificate that can't be used: "),
        "{text}"
    );

    let (one, two) = (
        authority.issue("one", "DNS:one"),
        authority.issue("two", "DNS:two"),
    );
    let mut mixed = one.shown();
    mixed.key = &two.key;
    let error = client(&Trust::Anyone, Some(mixed)).expect_err("refused");
    let text = whole(&error);
    assert!(
        text.contains("one.pem") && text.contains("two.key"),
        "{text}"
    );
    mixed.key = &empty;
    let error = client(&Trust::Anyone, Some(mixed)).expect_err("refused");
    assert!(
        error.to_string().contains("empty.pem holds no private key"),
        "{error}"
    );
}
