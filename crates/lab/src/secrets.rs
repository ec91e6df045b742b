//! What the lab's server and agents know each other by: an authority of the lab's own, the
//! server's certificate, and a token for every host.

use crate::command::{CommandError, Place};
use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use uuid::Uuid;

/// The files, below the lab's folder.
#[derive(Debug)]
pub(crate) struct Secrets {
    dir: PathBuf,
}

#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    #[error("{path} could not be written")]
    Write { path: PathBuf, source: io::Error },
    #[error("no certificate was made")]
    Certificate { source: CommandError },
}

const EXTENSIONS: &str = "[req]\ndistinguished_name = name\n[name]\n\
    [authority]\nbasicConstraints = critical, CA:TRUE\nkeyUsage = critical, keyCertSign\n\
    [server]\nbasicConstraints = critical, CA:FALSE\nextendedKeyUsage = serverAuth\nsubjectAltName = IP:";

impl Secrets {
    pub(crate) fn of(lab: &Path) -> Self {
        Self {
            dir: lab.join("secrets"),
        }
    }

    pub(crate) fn authority(&self) -> PathBuf {
        self.dir.join("authority.pem")
    }

    pub(crate) fn certificate(&self) -> PathBuf {
        self.dir.join("server.pem")
    }

    pub(crate) fn key(&self) -> PathBuf {
        self.dir.join("server.key")
    }

    /// `HOST TOKEN` a line, for the server.
    pub(crate) fn tokens(&self) -> PathBuf {
        self.dir.join("tokens")
    }

    /// One host's token, for its agent.
    pub(crate) fn token(&self, host: &str) -> PathBuf {
        self.dir.join(format!("{host}.token"))
    }

    /// What signs an instance's id on its way to Nova's metadata service.
    pub(crate) fn metadata(&self) -> PathBuf {
        self.dir.join("metadata")
    }

    /// Makes all of them anew, for a server at `address`.
    pub(crate) fn make<'a>(
        &self,
        address: Ipv4Addr,
        hosts: impl Iterator<Item = &'a str>,
    ) -> Result<(), SecretError> {
        fs::create_dir_all(&self.dir)
            .and_then(|()| fs::set_permissions(&self.dir, fs::Permissions::from_mode(0o700)))
            .map_err(|source| SecretError::Write {
                path: self.dir.clone(),
                source,
            })?;
        self.certify(address)?;
        write(self.metadata(), &random())?;
        let mut tokens = String::new();
        for host in hosts {
            let token = random();
            tokens.push_str(&format!("{host} {token}\n"));
            write(self.token(host), &token)?;
        }
        write(self.tokens(), &tokens)
    }

    fn certify(&self, address: Ipv4Addr) -> Result<(), SecretError> {
        let config = self.dir.join("openssl.cnf");
        write(config.clone(), &format!("{EXTENSIONS}{address}\n"))?;
        let (config, authority_key) = (shown(&config), shown(&self.dir.join("authority.key")));
        let (authority, certificate, key) = (
            shown(&self.authority()),
            shown(&self.certificate()),
            shown(&self.key()),
        );
        let issue = |kind: [&str; 4], more: &[&str]| {
            let [extensions, subject, key, out] = kind;
            let mut argv = vec![
                "openssl", "req", "-x509", "-config", &config, "-days", "3650", "-noenc",
            ];
            argv.extend(["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]);
            argv.extend([
                "-extensions",
                extensions,
                "-subj",
                subject,
                "-keyout",
                key,
                "-out",
                out,
            ]);
            argv.extend(more);
            Place::here()
                .run(&argv)
                .map_err(|source| SecretError::Certificate { source })
        };
        issue(
            ["authority", "/CN=authority", &authority_key, &authority],
            &[],
        )?;
        issue(
            ["server", "/CN=server", &key, &certificate],
            &["-CA", &authority, "-CAkey", &authority_key],
        )?;
        Ok(())
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

fn random() -> String {
    Uuid::new_v4().simple().to_string()
}

fn write(path: PathBuf, text: &str) -> Result<(), SecretError> {
    fs::write(&path, text).map_err(|source| SecretError::Write { path, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_servers_certificate_is_the_authoritys_and_every_host_has_a_token() {
        let dir = tempfile::tempdir().unwrap();
        let secrets = Secrets::of(dir.path());
        secrets
            .make(Ipv4Addr::new(10, 20, 0, 11), ["net", "c1"].into_iter())
            .unwrap();
        let verified = Place::here()
            .run(&[
                "openssl",
                "verify",
                "-verify_ip",
                "10.20.0.11",
                "-CAfile",
                &shown(&secrets.authority()),
                &shown(&secrets.certificate()),
            ])
            .unwrap();
        assert!(verified.contains("OK"), "{verified}");
        let tokens = fs::read_to_string(secrets.tokens()).unwrap();
        let of_c1 = fs::read_to_string(secrets.token("c1")).unwrap();
        assert!(
            tokens.lines().any(|line| line == format!("c1 {of_c1}")),
            "{tokens}"
        );
        assert_eq!(tokens.lines().count(), 2);
    }
}
