//! What is left when the power goes: everything that was acknowledged.
//!
//! A killed process loses nothing that the kernel holds, so this goes further. A store is written
//! to under `strace`, and the record of its writes and syncs is played onto a disk that keeps what
//! was synced and, of the rest, whatever chance wants: whole writes, parts of them in sectors of
//! 512 bytes, or nothing; names too, where their folder was not synced. At many moments the power
//! goes, the store is opened from what is left, and all that had been said to be durable by then
//! has to be there. As a control the same disk once ignores syncs, and must be found out.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use store::Store;

const ROUNDS: u32 = 4;
const SECTOR: usize = 512;

/// What the record says, in order.
#[derive(Debug)]
enum Event {
    Create(String),
    Write {
        file: String,
        at: usize,
        bytes: Vec<u8>,
    },
    Truncate {
        file: String,
        length: usize,
    },
    Sync(String),
    Unlink(String),
    /// The store said that a revision is durable.
    Said(u64),
}

/// A file: what the disk surely holds, and what it may hold besides.
#[derive(Debug, Clone, Default)]
struct Kept {
    synced: Vec<u8>,
    loose: Vec<(usize, Vec<u8>)>,
    /// As the process sees it.
    seen: Vec<u8>,
    name_synced: bool,
}

#[derive(Debug, Default, Clone)]
struct Disk {
    files: BTreeMap<String, Kept>,
    /// Removed, but the folder was not synced since.
    removed: BTreeMap<String, Kept>,
    syncs_work: bool,
}

/// Chance, the same every time (splitmix64).
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % bound as u64) as usize
    }
}

fn put(content: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    if content.len() < at + bytes.len() {
        content.resize(at + bytes.len(), 0);
    }
    content[at..at + bytes.len()].copy_from_slice(bytes);
}

impl Disk {
    fn take(&mut self, event: &Event) {
        match event {
            Event::Create(name) => {
                self.removed.remove(name);
                self.files.entry(name.clone()).or_default();
            }
            Event::Write { file, at, bytes } => {
                let kept = self.files.get_mut(file).expect("written files were opened");
                put(&mut kept.seen, *at, bytes);
                kept.loose.push((*at, bytes.clone()));
            }
            Event::Truncate { file, length } => {
                let kept = self.files.get_mut(file).expect("cut files were opened");
                kept.seen.resize(*length, 0);
                // Lengths are metadata that the file system's journal keeps in order.
                kept.synced.truncate(*length);
                kept.loose.retain(|(at, bytes)| at + bytes.len() <= *length);
            }
            Event::Sync(_) if !self.syncs_work => {}
            Event::Sync(name) => match self.files.get_mut(name) {
                Some(kept) => {
                    kept.synced = kept.seen.clone();
                    kept.loose.clear();
                }
                // Not a file: the folder.
                None => {
                    self.removed.clear();
                    for kept in self.files.values_mut() {
                        kept.name_synced = true;
                    }
                }
            },
            Event::Unlink(name) => {
                if let Some(kept) = self.files.remove(name)
                    && kept.name_synced
                {
                    self.removed.insert(name.clone(), kept);
                }
            }
            Event::Said(_) => {}
        }
    }

    /// What is found when the power is back.
    fn after_power_loss(&self, chance: &mut Chance) -> BTreeMap<String, Vec<u8>> {
        let mut left = BTreeMap::new();
        for (name, kept) in &self.files {
            if kept.name_synced || chance.below(2) == 0 {
                left.insert(name.clone(), kept.content(chance));
            }
        }
        for (name, kept) in &self.removed {
            if !left.contains_key(name) && chance.below(2) == 0 {
                left.insert(name.clone(), kept.content(chance));
            }
        }
        left
    }
}

impl Kept {
    fn content(&self, chance: &mut Chance) -> Vec<u8> {
        let mut content = self.synced.clone();
        // Now and then all is lost, or nothing.
        let mood = chance.below(4);
        for (at, bytes) in &self.loose {
            match if mood < 2 { mood } else { chance.below(3) } {
                0 => {}
                1 => put(&mut content, *at, bytes),
                _ => {
                    for (n, sector) in bytes.chunks(SECTOR).enumerate() {
                        if chance.below(2) == 0 {
                            put(&mut content, at + n * SECTOR, sector);
                        }
                    }
                }
            }
        }
        content
    }
}

/// Runs the example under strace, and reads the record.
fn record() -> Vec<Event> {
    let folder = tempfile::tempdir().expect("a folder");
    let program = std::env::current_exe().expect("this test's path");
    let program = program
        .parent()
        .and_then(Path::parent)
        .expect("target/debug");
    let (file, log) = (folder.path().join("db"), folder.path().join("strace"));
    for rounds in 0..ROUNDS {
        let output = Command::new("strace")
            .args(["-f", "-y", "-xx", "-s", "1000000", "-A", "-o"])
            .arg(&log)
            .args([
                "-e",
                "trace=openat,write,pwrite64,ftruncate,fsync,fdatasync,unlink,lseek",
            ])
            .arg(program.join("examples/append"))
            .arg(&file)
            .arg((1 + rounds % 2 * 2).to_string())
            .output()
            .expect("strace (Debian's package) runs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
    }
    let text = fs::read_to_string(&log).expect("the record");
    let mut reader = Reader::new(file.to_str().expect("a plain path"));
    text.lines().filter_map(|line| reader.line(line)).collect()
}

/// Reads strace's lines: `PID call(arguments) = result`, in two parts when another thread's call
/// came in between.
struct Reader {
    file: String,
    folder: String,
    unfinished: BTreeMap<String, String>,
    known: BTreeSet<String>,
    places: BTreeMap<String, usize>,
}

impl Reader {
    fn new(file: &str) -> Self {
        let folder = Path::new(file)
            .parent()
            .map(PathBuf::from)
            .unwrap_or_default();
        Self {
            file: file.to_owned(),
            folder: folder.to_string_lossy().into_owned(),
            unfinished: BTreeMap::new(),
            known: BTreeSet::new(),
            places: BTreeMap::new(),
        }
    }

    fn line(&mut self, line: &str) -> Option<Event> {
        let (pid, call) = line.split_once(' ')?;
        let call = call.trim_start();
        if let Some(begun) = call.strip_suffix("<unfinished ...>") {
            self.unfinished.insert(pid.to_owned(), begun.to_owned());
            return None;
        }
        let whole = match call.strip_prefix("<... ") {
            Some(rest) => {
                let (_, rest) = rest.split_once("resumed>")?;
                self.unfinished.remove(pid)? + rest
            }
            None => call.to_owned(),
        };
        let (call, result) = whole.rsplit_once(" = ")?;
        if result.starts_with('-') {
            return None;
        }
        let (name, arguments) = call.split_once('(')?;
        let arguments = arguments.trim_end().strip_suffix(')').unwrap_or(arguments);
        self.call(name, arguments, result)
    }

    fn call(&mut self, name: &str, arguments: &str, result: &str) -> Option<Event> {
        let parts: Vec<&str> = arguments.split(", ").collect();
        if name == "openat" {
            let file = self.ours(&text(parts.get(1)?))?;
            self.places.insert(file.clone(), 0);
            let new = parts.get(2)?.contains("O_CREAT") && self.known.insert(file.clone());
            return new.then_some(Event::Create(file));
        }
        if name == "unlink" {
            let file = self.ours(&text(parts.first()?))?;
            self.known.remove(&file);
            return Some(Event::Unlink(file));
        }
        let (fd, path) = parts.first()?.split_once('<')?;
        if name == "write" && fd == "1" {
            return Some(Event::Said(text(parts.get(1)?).trim().parse().ok()?));
        }
        let path = text(path.strip_suffix('>')?);
        if name.ends_with("sync") && path == self.folder {
            return Some(Event::Sync(path));
        }
        let file = self.ours(&path)?;
        let number = |at: usize| parts.get(at)?.parse::<usize>().ok();
        match name {
            "pwrite64" => Some(Event::Write {
                file,
                at: number(3)?,
                bytes: bytes(parts.get(1)?),
            }),
            "lseek" => {
                self.places
                    .insert(file, result.split(' ').next()?.parse().ok()?);
                None
            }
            "write" => {
                let bytes = bytes(parts.get(1)?);
                let place = self.places.entry(file.clone()).or_default();
                let at = *place;
                *place += bytes.len();
                Some(Event::Write { file, at, bytes })
            }
            "ftruncate" => Some(Event::Truncate {
                file,
                length: number(1)?,
            }),
            "fsync" | "fdatasync" => Some(Event::Sync(file)),
            other => panic!("{other} is not expected here"),
        }
    }

    /// The files of the database, without the index that is in memory in truth.
    fn ours(&self, path: &str) -> Option<String> {
        let rest = path.strip_prefix(&self.file)?;
        matches!(rest, "" | "-wal" | "-journal").then(|| rest.to_owned())
    }
}

/// A string as strace writes it, all in `\xNN`.
fn bytes(quoted: &str) -> Vec<u8> {
    let inner = quoted.trim_matches('"');
    if !inner.starts_with("\\x") {
        return inner.as_bytes().to_vec();
    }
    let digits = inner.split("\\x").skip(1);
    digits
        .map(|two| u8::from_str_radix(two, 16).expect("two hexadecimal digits"))
        .collect()
}

fn text(quoted: &str) -> String {
    String::from_utf8_lossy(&bytes(quoted)).into_owned()
}

/// Opens what is left, and tells what is wrong with it, if anything is.
async fn judge(left: &BTreeMap<String, Vec<u8>>, said: u64) -> Result<(), String> {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("db");
    for (name, content) in left {
        fs::write(format!("{}{name}", file.display()), content).expect("written");
    }
    let url = format!("sqlite:{}", file.display());
    let store = Store::open(&url)
        .await
        .map_err(|e| format!("it does not open: {e:?}"))?;
    let mut snapshot = store
        .load()
        .await
        .map_err(|e| format!("it can't be read: {e:?}"))?;
    let mut found = BTreeMap::new();
    while let Some(piece) = snapshot
        .next()
        .await
        .map_err(|e| format!("it ends: {e:?}"))?
    {
        found.extend(piece.into_iter().map(|r| (r.id, r.document)));
    }
    let last = snapshot.revision;
    if last < said {
        return Err(format!("{said} was said to be durable, it holds {last}"));
    }
    for revision in 1..=last {
        let number = |id: &str| found.get(id)?.split(' ').next()?.parse::<u64>().ok();
        if number(&format!("own-{revision}")) != Some(revision) {
            return Err(format!("revision {revision} of {last} is not there"));
        }
        if number("shared") != Some(last) {
            return Err(format!("the shared document is not that of {last}"));
        }
    }
    drop(store);
    let sqlite = rusqlite::Connection::open(&file).map_err(|e| e.to_string())?;
    let check = "PRAGMA integrity_check";
    let verdict: String = sqlite
        .query_row(check, [], |row| row.get(0))
        .map_err(|e| e.to_string())?;
    if verdict == "ok" {
        Ok(())
    } else {
        Err(verdict)
    }
}

/// Loses power after every few events, and gathers what was wrong afterwards.
async fn lose_power(events: &[Event], syncs_work: bool, every: usize) -> (usize, Vec<String>) {
    let mut disk = Disk {
        syncs_work,
        ..Disk::default()
    };
    let (mut said, mut losses, mut wrong) = (0, 0, Vec::new());
    let mut chance = Chance(42);
    for (n, event) in events.iter().enumerate() {
        disk.take(event);
        if let Event::Said(revision) = event {
            said = *revision;
        }
        if n % every == 0 {
            losses += 1;
            let left = disk.after_power_loss(&mut chance);
            if let Err(error) = judge(&left, said).await {
                wrong.push(format!("after event {n}: {error}"));
            }
        }
    }
    (losses, wrong)
}

#[tokio::test]
async fn nothing_acknowledged_is_among_what_was_not_synced() {
    let events = record();
    let said = events
        .iter()
        .filter(|e| matches!(e, Event::Said(_)))
        .count();
    let syncs = events
        .iter()
        .filter(|e| matches!(e, Event::Sync(_)))
        .count();
    assert!(
        said >= 60 && syncs > said,
        "{said} said, {syncs} syncs: the record is not whole"
    );
    let (losses, wrong) = lose_power(&events, true, 7).await;
    assert!(
        losses > 100,
        "only {losses} losses were tried in {} events",
        events.len()
    );
    assert_eq!(wrong, Vec::<String>::new());
    // The control: on a disk that ignores syncs this must not go well.
    let (_, wrong) = lose_power(&events, false, 29).await;
    assert!(
        !wrong.is_empty(),
        "a disk that ignores syncs was not found out"
    );
}
