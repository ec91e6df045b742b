//! Processes and files that belong to a network: dnsmasq with its files, keepalived, radvd.
use std::collections::BTreeMap;

use crate::text::{Words, lines};
use crate::{Merge, NsName, ParseError, Shown, Why};

/// A process, wanted or seen. Wanted ones are found again by the key they stand under in
/// [`HostState::processes`](crate::HostState::processes).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Process {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// The namespace it runs in, when that is known: `ps` does not say.
    pub netns: Shown<Option<NsName>>,
    pub pid: Shown<Option<u32>>,
    pub ppid: Shown<Option<u32>>,
    pub user: Shown<Option<String>>,
    pub why: Why,
}

/// A file, line by line, each with its reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct File {
    pub lines: Vec<Line>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Line {
    pub text: String,
    pub why: Why,
}

impl Merge for Process {
    fn why_mut(&mut self) -> &mut Why {
        &mut self.why
    }
}

impl File {
    /// A file as it was read.
    pub fn read(text: &str) -> File {
        let lines = text.lines().map(|line| Line {
            text: line.to_owned(),
            why: Why::none(),
        });
        File {
            lines: lines.collect(),
        }
    }

    pub fn push(&mut self, text: impl Into<String>, why: Why) {
        self.lines.push(Line {
            text: text.into(),
            why,
        });
    }

    /// The file as it is written: every line ends.
    pub fn print(&self) -> String {
        self.lines.iter().map(|l| format!("{}\n", l.text)).collect()
    }
}

/// By what a process is found again: the program, and the network or router whose files it
/// reads. Programs that are none of ours have no such key.
pub fn key(argv: &[String]) -> Option<String> {
    let program = argv.first()?.rsplit('/').next()?;
    let option = |name: &str| {
        let attached = argv
            .iter()
            .find_map(|arg| arg.strip_prefix(name)?.strip_prefix('='));
        attached.or_else(|| {
            let at = argv.iter().position(|arg| arg == name)?;
            argv.get(at + 1).map(String::as_str)
        })
    };
    let path = match program {
        "dnsmasq" => option("--pid-file")?,
        "haproxy" => option("-f")?,
        "keepalived" => option("-f").or_else(|| option("--use-file"))?,
        "radvd" => option("-C").or_else(|| option("--config"))?,
        _ => return None,
    };
    let owner = path.split('/').find_map(|part| {
        let id = part.split('.').next().unwrap_or(part);
        let is_uuid = id.len() == 36 && id.chars().all(|c| c.is_ascii_hexdigit() || c == '-');
        is_uuid.then_some(id)
    })?;
    Some(format!("{program} {owner}"))
}

/// Read `ps` with a head (`PID PPID … COMMAND`), or `ps -fe` without one. Processes stand under
/// [`key`], others under their number.
pub fn read_ps(text: &str) -> Result<BTreeMap<String, Process>, ParseError> {
    let mut columns: Vec<String> = ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]
        .map(str::to_owned)
        .to_vec();
    let mut processes = BTreeMap::new();
    for (number, line) in lines(text) {
        let words: Vec<&str> = line.split_whitespace().collect();
        if words.contains(&"PID") {
            columns = words.iter().map(|word| (*word).to_owned()).collect();
            continue;
        }
        let process = read_process(&columns, line).map_err(|e| e.on_line(number))?;
        let pid = process.pid.0.unwrap_or_default();
        let key = key(&process.argv).unwrap_or_else(|| pid.to_string());
        // A master and its helper have the same arguments: the first one counts.
        processes.entry(key).or_insert(process);
    }
    Ok(processes)
}

fn read_process(columns: &[String], line: &str) -> Result<Process, ParseError> {
    let mut process = Process::default();
    let mut words = Words::new(line);
    for column in columns.iter().take(columns.len().saturating_sub(1)) {
        let word = words.need(column)?;
        match column.as_str() {
            "PID" => process.pid.0 = Some(word.parse("a process")?),
            "PPID" => process.ppid.0 = Some(word.parse("a process")?),
            "USER" | "UID" => process.user.0 = Some(word.text.to_owned()),
            _ => {}
        }
    }
    process.argv = words.map(|w| w.text.to_owned()).collect();
    Ok(process)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn processes_are_found_by_what_they_serve() {
        let id = "4b523b2a-5921-4e8b-9e64-7b668c4aab85";
        let text = format!(
            "    PID    PPID   RSS USER     COMMAND\n      1       0  3244 root     bash -c x\n  38720       1  2144 nobody   dnsmasq --no-hosts --pid-file=/var/lib/neutron/dhcp/{id}/pid\n     40       1  6288 root     haproxy -f /var/lib/neutron/ns-metadata-proxy/{id}.conf\n"
        );
        let processes = read_ps(&text).unwrap();
        let dnsmasq = &processes[&format!("dnsmasq {id}")];
        assert_eq!(dnsmasq.pid.0, Some(38720));
        assert!(processes.contains_key(&format!("haproxy {id}")));
        assert!(processes.contains_key("1"));
        let old = format!(
            "nobody   23195     1  0 Oct26 ?        00:00:00 dnsmasq --pid-file=/x/{id}/pid"
        );
        assert_eq!(
            read_ps(&old).unwrap()[&format!("dnsmasq {id}")].pid.0,
            Some(23195)
        );
        let error = read_ps("PID CMD\nx y").unwrap_err();
        assert_eq!(error.to_string(), "line 2, column 1: 'x' is not a process");
    }

    #[test]
    fn files_are_written_as_they_were_read() {
        let text = "a\n\nb\n";
        assert_eq!(File::read(text).print(), text);
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in any::<String>()) {
            let _ = read_ps(&text);
            let _ = read_ps(&format!("PID PPID CMD\n{text}"));
        }
    }
}
