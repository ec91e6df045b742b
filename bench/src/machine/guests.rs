//! Guests' devices as os-vif makes them (`tap`, `qbr`, `qvb`, `qvo`), many at once, and guests that
//! can be pinged: a namespace at the other end of the tap.

use std::{
    collections::BTreeSet,
    fmt::Write,
    io::{self, BufRead, BufReader},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use lab::plug::{Names, hybrid_lines};

use super::{Machine, PATIENCE, cloud::Port, feed, run};

/// What guests' cards carry.
const MTU: u32 = 1500;

fn names(port: &Port) -> Names {
    Names::of(&port.id)
}

/// A guest's namespace.
fn guest(port: &Port) -> String {
    format!("g-{}", &port.id[..11])
}

/// Every guest's own devices, and the Linux bridge up to `qvo`; nothing of the switch.
pub(crate) fn devices(ports: &[Port]) -> io::Result<()> {
    let mut lines = String::new();
    for port in ports {
        let (names, guest, mac) = (names(port), guest(port), &port.mac);
        run(&["ip", "netns", "add", &guest])?;
        for line in hybrid_lines(&names, MTU) {
            let _ = writeln!(lines, "{line}");
        }
        let Names { tap, qbr, .. } = names;
        let _ = write!(
            lines,
            "link add {tap} type veth peer name eth0 address {mac} netns {guest}\n\
             link set {tap} master {qbr} up\nlink set {qbr} up\n"
        );
    }
    feed(&["ip", "-batch", "-"], &lines)?;
    Ok(())
}

pub(crate) fn remove_devices(ports: &[Port]) -> io::Result<()> {
    for port in ports {
        let Names { tap, qbr, qvb, .. } = names(port);
        for device in [&tap, &qvb, &qbr] {
            run(&["ip", "link", "del", device])?;
        }
        run(&["ip", "netns", "del", &guest(port)])?;
    }
    Ok(())
}

/// Gives a guest its address, and the MACs of others: nobody waits for ARP.
pub(crate) fn address(port: &Port, others: &[&Port]) -> io::Result<()> {
    let guest = guest(port);
    let mut lines = format!(
        "link set lo up\nlink set eth0 up\naddr replace {}/16 dev eth0\n",
        port.address
    );
    for other in others {
        let _ = writeln!(
            lines,
            "neigh replace {} lladdr {} dev eth0 nud permanent",
            other.address, other.mac
        );
    }
    feed(&["ip", "-n", &guest, "-batch", "-"], &lines)?;
    // A userspace switch can't finish checksums.
    run(&[
        "ip", "netns", "exec", &guest, "ethtool", "-K", "eth0", "tx", "off",
    ])?;
    Ok(())
}

/// Puts all of them into br-int, in one transaction; when it was begun.
pub(crate) fn plug(machine: &Machine, ports: &[Port]) -> io::Result<Instant> {
    let mut args: Vec<String> = vec!["--no-wait".to_owned()];
    for port in ports {
        let Names { qvo, .. } = names(port);
        let set = |key: &str, value: &str| format!("external_ids:{key}=\"{value}\"");
        args.extend(
            [
                "--",
                "add-port",
                "br-int",
                &qvo,
                "--",
                "set",
                "Interface",
                &qvo,
            ]
            .map(str::to_owned),
        );
        args.extend([
            set("iface-id", &port.id),
            set("iface-status", "active"),
            set("attached-mac", &port.mac),
        ]);
    }
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let begun = Instant::now();
    machine.vsctl(&args)?;
    Ok(begun)
}

pub(crate) fn unplug(machine: &Machine, ports: &[Port]) -> io::Result<()> {
    let mut args = vec!["--no-wait".to_owned()];
    for port in ports {
        args.extend(["--", "del-port", "br-int", &names(port).qvo].map(str::to_owned));
    }
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    machine.vsctl(&args).map(drop)
}

/// A ping that goes on from one guest to an address.
pub(crate) struct Ping {
    child: Child,
}

impl Ping {
    pub(crate) fn start(from: &Port, to: &str, every: Duration) -> io::Result<Ping> {
        let guest = guest(from);
        Ping::run(&["ip", "netns", "exec", &guest], to, every)
    }

    /// From the host itself.
    pub(crate) fn outside(to: &str, every: Duration) -> io::Result<Ping> {
        Ping::run(&[], to, every)
    }

    fn run(within: &[&str], to: &str, every: Duration) -> io::Result<Ping> {
        let every = format!("{:.3}", every.as_secs_f64());
        let ping = ["ping", "-n", "-i", &every, "-W", "1", to];
        let argv = [within, &ping[..]].concat();
        let child = Command::new(argv[0])
            .args(&argv[1..])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        Ok(Ping { child })
    }

    /// When the first answer came.
    pub(crate) fn first(mut self) -> io::Result<Instant> {
        let stdout = self.child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let (send, receive) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let answered = BufReader::new(stdout)
                .lines()
                .map_while(Result::ok)
                .any(|line| line.contains("bytes from"));
            // Nobody may be waiting any more.
            let _ = send.send(answered.then(Instant::now));
        });
        let first = receive.recv_timeout(PATIENCE).ok().flatten();
        first.ok_or_else(|| io::Error::other("no ping was answered"))
    }

    /// Ends it; how many were sent and how many of them were lost.
    pub(crate) fn end(mut self) -> io::Result<(usize, usize)> {
        run(&["kill", "-INT", &self.child.id().to_string()])?;
        let stdout = self.child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let text = io::read_to_string(stdout)?;
        Pings::read(&text)
            .map(|pings| (pings.sent, pings.lost()))
            .ok_or_else(|| io::Error::other("ping said nothing"))
    }
}

/// Pings that may be under way when it is ended: they are neither answered nor lost.
const UNDER_WAY: usize = 3;

/// What ping printed.
struct Pings {
    sent: usize,
    answered: BTreeSet<usize>,
}

impl Pings {
    fn read(text: &str) -> Option<Pings> {
        let number = |text: &str, after: &str| {
            let (_, rest) = text.split_once(after)?;
            let end = rest.find(|c: char| !c.is_ascii_digit());
            rest[..end.unwrap_or(rest.len())].parse::<usize>().ok()
        };
        let sent = text
            .lines()
            .find(|line| line.contains("packets transmitted"))?;
        let answers = text.lines().filter(|line| line.contains("bytes from"));
        Some(Pings {
            sent: number(sent, "")?,
            answered: answers
                .filter_map(|line| number(line, "icmp_seq="))
                .collect(),
        })
    }

    /// Those that a later one overtook, and those that nothing came after for too long.
    fn lost(&self) -> usize {
        let last = self.answered.last().copied().unwrap_or(0);
        let silent = self.sent.saturating_sub(last);
        last - self.answered.len() + if silent > UNDER_WAY { silent } else { 0 }
    }
}

impl Drop for Ping {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pings(sent: usize, answered: &[usize]) -> Pings {
        let mut text = String::new();
        for n in answered {
            let _ = writeln!(
                text,
                "64 bytes from 10.1.0.3: icmp_seq={n} ttl=64 time=0.1 ms"
            );
        }
        let received = answered.len();
        let _ = writeln!(
            text,
            "\n{sent} packets transmitted, {received} received, 9% packet loss, time 20ms"
        );
        Pings::read(&text).expect("what ping prints")
    }

    #[test]
    fn one_that_is_under_way_at_the_end_is_not_lost() {
        assert_eq!(pings(4, &[1, 2, 3]).lost(), 0);
        assert_eq!(pings(4, &[1, 3]).lost(), 1, "a later one overtook it");
        assert_eq!(pings(9, &[1, 2, 3]).lost(), 6, "nothing came any more");
        assert_eq!(pings(9, &[]).lost(), 9);
    }
}
