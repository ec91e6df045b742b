//! A PostgreSQL that speaks TLS: who is believed by which `sslmode`, and what is shown to it.

use std::{error::Error, path::Path, time::Duration};

use store::{Store, rig::Server};
use tls::rig::{Authority, Certificate};

/// A server that lets in who speaks TLS and fulfils `more`.
fn encrypted(authority: &Authority, more: &str) -> Server {
    let server = Server::start();
    let own = authority.issue("database", "IP:127.0.0.1");
    let files = [&*own.certificate, &own.key, &authority.file()];
    server.encrypt(files, &format!("hostssl all all 127.0.0.1/32 {more}"));
    server
}

fn whole(error: &dyn Error) -> String {
    let more = error.source().map(whole);
    more.map_or(error.to_string(), |more| format!("{error}: {more}"))
}

/// What becomes of opening the store at a URL with such options. The server needs a moment to hear
/// that its settings were changed, so what is expected to work has a few tries.
async fn open(url: &str, options: &str) -> Result<Store, String> {
    let opened = Store::open(&format!("{url}?{options}")).await;
    opened.map_err(|error| whole(&error))
}

async fn insist(url: &str, options: &str) -> Store {
    for _ in 0..50 {
        if let Ok(store) = open(url, options).await {
            return store;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{options}: {:?}", open(url, options).await.err());
}

fn root(path: &Path) -> String {
    format!("sslrootcert={}", path.display())
}

#[tokio::test]
async fn a_mode_decides_which_database_is_believed() {
    let (ours, other) = (Authority::new(), Authority::new());
    let server = encrypted(&ours, "trust");
    let url = server.url();
    let store = insist(&url, "sslmode=require").await;
    store.position().await.expect("read");
    let in_tls = "SELECT count(*) > 0 FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
                  WHERE application_name = 'nucleon' AND ssl";
    assert_eq!(server.psql(in_tls).trim(), "t");

    // The same server under a name that its certificate does not hold.
    let named = format!("postgres://postgres@db.example:{}/postgres", server.port());
    let here = "hostaddr=127.0.0.1";
    let (right, wrong) = (root(&ours.file()), root(&other.file()));
    let missing = root(&ours.folder().join("missing.pem"));
    for (url, options, why_not) in [
        (&url, String::new(), None),
        (&url, "sslmode=disable".into(), Some("no encryption")),
        (&url, format!("sslmode=verify-full&{right}"), None),
        (
            &url,
            format!("sslmode=verify-full&{wrong}"),
            Some("UnknownIssuer"),
        ),
        (
            &url,
            format!("sslmode=verify-ca&{wrong}"),
            Some("UnknownIssuer"),
        ),
        (
            &url,
            format!("sslmode=require&{wrong}"),
            Some("UnknownIssuer"),
        ),
        (
            &named,
            format!("sslmode=verify-full&{right}&{here}"),
            Some("not valid for name"),
        ),
        (&named, format!("sslmode=verify-ca&{right}&{here}"), None),
        (
            &url,
            format!("sslmode=verify-full&{missing}"),
            Some("missing.pem can't be read"),
        ),
    ] {
        let opened = open(url, &options).await;
        match why_not {
            None => drop(opened.expect(&options)),
            Some(why) => {
                let said = opened.expect_err(&options);
                assert!(said.contains(why), "{options}: {said}");
            }
        }
    }
}

#[tokio::test]
async fn a_database_that_asks_is_shown_a_certificate() {
    let (ours, other) = (Authority::new(), Authority::new());
    let server = encrypted(&ours, "trust clientcert=verify-ca");
    let shown = |it: &Certificate| {
        let (certificate, key) = (it.certificate.display(), it.key.display());
        format!(
            "sslmode=verify-full&{}&sslcert={certificate}&sslkey={key}",
            root(&ours.file())
        )
    };
    let (url, good) = (server.url(), ours.issue("server", "DNS:server"));
    drop(insist(&url, &shown(&good)).await);
    let bad = other.issue("server", "DNS:server");
    open(&url, &shown(&bad))
        .await
        .expect_err("another's certificate");
    let bare = format!("sslmode=verify-full&{}", root(&ours.file()));
    open(&url, &bare).await.expect_err("no certificate");
    let half = format!("{bare}&sslcert={}", good.certificate.display());
    let said = open(&url, &half).await.expect_err("no key");
    assert!(said.contains("server.pem stands alone"), "{said}");
}
