//! `nucleon import` as an operator meets it: what it says, how it ends, and when it writes.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use bench::{Server, Settings};

/// What it printed, on both outputs, and the code that it ended with.
fn import(server: &Server, folder: &Path, more: &[&str]) -> (String, Option<i32>) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nucleon"));
    command.args(["import", "--from", &format!("http://{}", server.address())]);
    command.arg("--config").arg(folder.join("server.toml"));
    let Output {
        status,
        stdout,
        stderr,
    } = command.args(more).output().expect("it runs");
    let said = String::from_utf8_lossy(&stdout).into_owned() + &String::from_utf8_lossy(&stderr);
    (said, status.code())
}

#[tokio::test]
async fn nothing_is_written_while_anything_is_in_the_way() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let own = format!("sqlite:{}", folder.join("db").display());
    let settings = Settings {
        binary: env!("CARGO_BIN_EXE_nucleon").into(),
        store: own.clone(),
        config: String::new(),
        log: folder.join("log"),
    };
    let server = Server::start(settings).await.expect("it starts");
    let new = folder.join("new.db");
    let config = format!(
        "store = \"sqlite:{}\"\n[ledger]\ndefault_quotas = {{ port = 7 }}\n",
        new.display()
    );
    fs::write(folder.join("server.toml"), config).expect("written");

    let (said, code) = import(&server, folder, &["--dry-run"]);
    let wanted = "default_quotas: a setting under [ledger]: port = 500 there, 7 here";
    assert!(
        said.contains(wanted) && said.ends_with("a dry run: nothing was written\n"),
        "{said}"
    );
    assert_eq!((code, new.exists()), (Some(1), false));

    let (said, code) = import(&server, folder, &[]);
    assert!(said.ends_with("\nnothing was written\n"), "{said}");
    assert_eq!(code, Some(1));

    let accepted = ["--leave-out", "default_quotas"];
    let (said, code) = import(&server, folder, &accepted);
    assert!(said.ends_with("\neverything was written\n"), "{said}");
    assert_eq!(code, Some(0));

    let (said, code) = import(&server, folder, &accepted);
    assert!(said.contains("the store is not empty: it holds"), "{said}");
    assert_eq!(code, Some(1));

    let (said, code) = import(&server, folder, &["--store", &own]);
    assert!(said.contains("in use by another server"), "{said}");
    assert_eq!(code, Some(1));

    let macs = folder.join("macs");
    fs::write(&macs, "c1 fa:16:3f:00:00:01\nc2\n").expect("written");
    let macs = macs.display().to_string();
    let (said, code) = import(&server, folder, &["--dry-run", "--dvr-macs", &macs]);
    assert_eq!(
        (said.as_str(), code),
        ("nucleon: 'c2' is not a host and its MAC\n", Some(1))
    );
}
