//! A PostgreSQL server out of Debian's package, started by hand on loopback.
//!
//! Its data are a copy of a template that is made once and kept with the build, so that a test has
//! a server of its own in half a second. The server refuses to be root, so it runs as `postgres`
//! or `nobody` then. A shell stands between: it ends the server when its standard input closes, so
//! that nothing is left behind by a test that is killed.

use std::{
    fs::{self, File, Permissions},
    io,
    net::{Ipv4Addr, TcpListener, TcpStream},
    os::unix::{
        fs::{PermissionsExt, chown},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use tempfile::TempDir;

/// The shell that watches over the server.
const WATCH: &str = r#"
"$@" </dev/null >>"$LOG" 2>&1 &
server=$!
read -r _
kill -QUIT "$server"
wait "$server"
"#;

const PATIENCE: Duration = Duration::from_secs(30);

/// A running server, or one that [`stop`](Server::stop) stopped. Its data go with it.
#[derive(Debug)]
pub struct Server {
    folder: TempDir,
    port: u16,
    watch: Option<Child>,
}

impl Server {
    /// Starts a new empty server.
    ///
    /// # Panics
    /// When PostgreSQL is not installed or does not start.
    pub fn start() -> Self {
        let template = template().expect("a template of PostgreSQL's data");
        let folder = tempfile::tempdir().expect("a folder for PostgreSQL");
        give(folder.path()).expect("the folder is PostgreSQL's");
        let data = folder.path().join("data");
        run(Command::new("cp").arg("-a").arg(&template).arg(&data)).expect("a copy of the data");
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let port = free.local_addr().expect("its number").port();
        drop(free);
        let mut this = Self {
            folder,
            port,
            watch: None,
        };
        this.go_on();
        this
    }

    /// The URL of a database of the server that is made when it is not there.
    pub fn url(&self) -> String {
        self.url_at(self.port)
    }

    /// The same through a proxy's port.
    pub fn url_at(&self, port: u16) -> String {
        format!("postgres://postgres@127.0.0.1:{port}/postgres")
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Ends the server at once, as a crash would.
    pub fn stop(&mut self) {
        if let Some(mut watch) = self.watch.take() {
            drop(watch.stdin.take());
            let _ = watch.wait();
        }
    }

    /// Starts it again on the same data.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn go_on(&mut self) {
        let data = self.folder.path().join("data");
        let mut command = Command::new("sh");
        command
            .args(["-c", WATCH, "watch"])
            .arg(binaries().join("postgres"))
            .arg("-D")
            .arg(&data)
            .args(["-h", "127.0.0.1", "-k", "", "-p"])
            .arg(self.port.to_string())
            .args(["-c", "max_connections=100", "-c", "shared_buffers=64MB"])
            .env("LOG", self.folder.path().join("log"))
            .stdin(Stdio::piped());
        as_postgres(&mut command);
        self.watch = Some(command.spawn().expect("PostgreSQL starts"));
        let begun = Instant::now();
        while !self.is_up() {
            assert!(
                begun.elapsed() < PATIENCE,
                "PostgreSQL is not up: {}",
                self.log()
            );
            sleep(Duration::from_millis(20));
        }
    }

    /// Has it speak TLS with a certificate, ask clients for theirs and check these by `clients`,
    /// and believe whom a line of `pg_hba.conf` says.
    ///
    /// # Panics
    /// When a file can't be copied, or the server does not take it.
    pub fn encrypt(&self, [certificate, key, clients]: [&Path; 3], believed: &str) {
        let data = self.folder.path().join("data");
        for (from, name) in [
            (certificate, "server.crt"),
            (key, "server.key"),
            (clients, "root.crt"),
        ] {
            let to = data.join(name);
            fs::copy(from, &to).expect("a file for PostgreSQL");
            fs::set_permissions(&to, Permissions::from_mode(0o600)).expect("its own");
            give(&to).expect("PostgreSQL's");
        }
        self.psql("ALTER SYSTEM SET ssl_ca_file = 'root.crt'");
        self.psql("ALTER SYSTEM SET ssl = on");
        fs::write(data.join("pg_hba.conf"), format!("{believed}\n")).expect("written");
        self.psql("SELECT pg_reload_conf()");
    }

    fn is_up(&self) -> bool {
        TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_ok()
            && run(Command::new(binaries().join("pg_isready")).args([
                "-q",
                "-h",
                "127.0.0.1",
                "-p",
                &self.port.to_string(),
            ]))
            .is_ok()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Runs statements through `psql`, the way an operator would, and returns what it prints.
    ///
    /// # Panics
    /// When psql fails.
    pub fn psql(&self, statements: &str) -> String {
        let output = Command::new(binaries().join("psql"))
            .args([
                "-XAtq",
                "-v",
                "ON_ERROR_STOP=1",
                "-c",
                statements,
                &self.url(),
            ])
            .output()
            .expect("psql runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "psql: {said}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Debian keeps the programs of each version in a folder of its own.
fn binaries() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").expect("the package postgresql");
    let newest = versions
        .flatten()
        .map(|entry| entry.path().join("bin"))
        .max();
    newest.expect("a version of PostgreSQL")
}

/// A template of a server's data, made by whoever needs it first.
fn template() -> io::Result<PathBuf> {
    let folder = std::env::temp_dir().join("nucleon-postgres-template");
    fs::create_dir_all(&folder)?;
    give(&folder)?;
    let lock = File::create(folder.join("lock"))?;
    lock.lock()?;
    let data = folder.join("data");
    if !data.exists() {
        let fresh = folder.join("fresh");
        let _ = fs::remove_dir_all(&fresh);
        let mut initdb = Command::new(binaries().join("initdb"));
        initdb
            .args(["-D"])
            .arg(&fresh)
            .args(["-U", "postgres", "-A", "trust", "-E", "UTF8"]);
        initdb.args(["--no-sync", "--locale=C"]);
        as_postgres(&mut initdb);
        run(&mut initdb)?;
        fs::rename(fresh, &data)?;
    }
    Ok(data)
}

/// Who runs the server: nobody else than us unless we are root.
fn user() -> Option<(u32, u32)> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let uid = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    if uid.split_whitespace().nth(1) != Some("0") {
        return None;
    }
    let users = fs::read_to_string("/etc/passwd").ok()?;
    let find = |name: &str| {
        let line = users
            .lines()
            .find(|line| line.split(':').next() == Some(name))?;
        let mut fields = line.split(':').skip(2);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    };
    find("postgres").or_else(|| find("nobody"))
}

fn as_postgres(command: &mut Command) {
    command.current_dir("/");
    if let Some((uid, gid)) = user() {
        command.uid(uid).gid(gid);
    }
}

fn give(path: &Path) -> io::Result<()> {
    match user() {
        Some((uid, gid)) => chown(path, Some(uid), Some(gid)),
        None => Ok(()),
    }
}

fn run(command: &mut Command) -> io::Result<()> {
    let output = command.output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(io::Error::other(said))
}
