//! Authorities and certificates for tests, made by the `openssl` command as an operator makes them.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

use crate::Shown;

/// Both uses, since some hosts are clients and servers at once.
const EXTENSIONS: &str = "[req]\ndistinguished_name = name\n[name]\n\
    [authority]\nbasicConstraints = critical, CA:TRUE\nkeyUsage = critical, keyCertSign\n\
    [peer]\nbasicConstraints = critical, CA:FALSE\n\
    extendedKeyUsage = serverAuth, clientAuth\nsubjectAltName = ";

/// Who signs certificates. Its files go with it.
#[derive(Debug)]
pub struct Authority {
    folder: TempDir,
}

/// A certificate and its key.
#[derive(Debug, Clone)]
pub struct Certificate {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl Certificate {
    pub fn shown(&self) -> Shown<'_> {
        Shown {
            certificate: &self.certificate,
            key: &self.key,
        }
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

impl Authority {
    /// # Panics
    /// When `openssl` is not there, or fails.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let this = Self { folder };
        this.run("authority", "authority", "DNS:authority", &[]);
        this
    }

    /// Whom to believe.
    pub fn file(&self) -> PathBuf {
        self.path("authority.pem")
    }

    /// A folder that goes with the authority.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A certificate for alternative names as openssl writes them: `DNS:c1`, `IP:127.0.0.1`.
    ///
    /// # Panics
    /// When `openssl` fails.
    pub fn issue(&self, file: &str, names: &str) -> Certificate {
        let (authority, key) = (self.file(), self.path("authority.key"));
        let signed = ["-CA".as_ref(), authority.as_path(), "-CAkey".as_ref(), &key];
        self.run(file, "peer", names, &signed);
        Certificate {
            certificate: self.path(&format!("{file}.pem")),
            key: self.path(&format!("{file}.key")),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn run(&self, file: &str, extensions: &str, names: &str, more: &[&Path]) {
        let config = self.path(&format!("{file}.cnf"));
        fs::write(&config, format!("{EXTENSIONS}{names}\n")).expect("written");
        let of = self.folder().file_name().unwrap_or_default();
        let of = of.to_string_lossy();
        let output = Command::new("openssl")
            .args(["req", "-x509", "-days", "30", "-noenc", "-newkey", "ec"])
            .args(["-pkeyopt", "ec_paramgen_curve:prime256v1", "-config"])
            .arg(&config)
            .args(["-extensions", extensions, "-subj"])
            // No two authorities have the same name.
            .arg(format!("/O={of}/CN={file}"))
            .arg("-keyout")
            .arg(self.path(&format!("{file}.key")))
            .arg("-out")
            .arg(self.path(&format!("{file}.pem")))
            .args(more)
            .output()
            .expect("openssl runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "openssl: {said}");
    }
}
