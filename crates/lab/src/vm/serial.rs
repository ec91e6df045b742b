//! Runs commands in a virtual machine through its second serial port, and joins a person to the
//! first. `init.sh` is the other end.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use nix::fcntl::{Flock, FlockArg};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::Duration;

/// What a command said, output and error as one, and how it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    pub said: Vec<u8>,
    pub code: u8,
}

/// How long a machine under software emulation may be busy before it is given up.
const PATIENCE: Duration = Duration::from_secs(120);

/// Waits until the machine has booted: its first line.
pub(crate) fn await_boot(socket: &Path) -> io::Result<()> {
    let mut stream = connect(socket)?;
    let mut line = String::new();
    BufReader::new(&mut stream).read_line(&mut line)?;
    match line.trim() {
        "ready" => Ok(()),
        other => Err(io::Error::other(format!(
            "the machine said {other:?} instead of ready"
        ))),
    }
}

/// Runs `argv` in the machine. One command at a time: others wait for the lock beside the socket.
pub fn run(socket: &Path, argv: &[String], input: &[u8]) -> io::Result<Ended> {
    let lock = File::create(socket.with_extension("lock"))?;
    let _lock =
        Flock::lock(lock, FlockArg::LockExclusive).map_err(|(_, errno)| io::Error::from(errno))?;
    let mut stream = connect(socket)?;
    let script = argv
        .iter()
        .map(|word| quote(word))
        .collect::<Vec<_>>()
        .join(" ");
    writeln!(stream, "{} {}", BASE64.encode(script), BASE64.encode(input))?;
    let mut line = String::new();
    BufReader::new(&mut stream).read_line(&mut line)?;
    parse(&line).ok_or_else(|| io::Error::other(format!("the machine answered {line:?}")))
}

fn connect(socket: &Path) -> io::Result<UnixStream> {
    let stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

fn parse(line: &str) -> Option<Ended> {
    let (said, code) = line.trim_end().rsplit_once(' ')?;
    Some(Ended {
        said: BASE64.decode(said.trim()).ok()?,
        code: code.parse().ok()?,
    })
}

/// A word as a shell reads it whole.
fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Joins standard input and output to the console until one side ends. Control-] leaves, as in
/// telnet.
pub fn console(socket: &Path) -> io::Result<()> {
    let mut from = UnixStream::connect(socket)?;
    let mut to = from.try_clone()?;
    thread::spawn(move || io::copy(&mut from, &mut io::stdout()));
    to.write_all(b"\n")?;
    let mut byte = [0];
    let mut input = io::stdin();
    while input.read(&mut byte)? == 1 && byte[0] != 0x1d {
        to.write_all(&byte)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_output_and_exit_code() {
        let ended = parse("aGVsbG8K 3\r\n").unwrap();
        assert_eq!(
            ended,
            Ended {
                said: b"hello\n".to_vec(),
                code: 3
            }
        );
        assert_eq!(parse(" 0\n").unwrap().said, b"");
        assert_eq!(parse("hello"), None);
    }

    #[test]
    fn words_stay_words() {
        assert_eq!(quote("it's"), r"'it'\''s'");
        let out = std::process::Command::new("sh")
            .args(["-c", &format!("printf %s {}", quote("a b'c\"$d"))])
            .output()
            .unwrap();
        assert_eq!(out.stdout, b"a b'c\"$d");
    }
}
