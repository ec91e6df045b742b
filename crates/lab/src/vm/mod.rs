//! Guests that are real virtual machines: Debian's cloud kernel under qemu, with virtio on the tap.
//!
//! Software emulation everywhere: nested KVM is often there and hangs. A boot takes some seconds.

pub mod serial;

use crate::command::{CommandError, Place};
use crate::machine::Machine;
use crate::plug::Port;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

/// The kernel and the initramfs, made once on a machine and shared by its labs.
const IMAGE: &str = "/var/cache/nucleon/guest";

/// A machine's files: its consoles and what it was started with.
#[derive(Debug)]
pub(crate) struct Vm<'a> {
    machine: &'a Machine,
    name: &'a str,
}

#[derive(Debug, thiserror::Error)]
pub enum VmError {
    #[error("guest {guest}: {what}")]
    File {
        guest: String,
        what: &'static str,
        source: io::Error,
    },
    #[error("guest {guest}: no kernel and initramfs could be made in {IMAGE}")]
    Image {
        guest: String,
        source: Box<CommandError>,
    },
    #[error("guest {guest}: qemu could not be started (package qemu-system-x86)")]
    Start {
        guest: String,
        source: Box<CommandError>,
    },
    #[error("guest {guest} did not boot")]
    Boot { guest: String, source: io::Error },
}

impl<'a> Vm<'a> {
    pub(crate) fn of(machine: &'a Machine, name: &'a str) -> Self {
        Self { machine, name }
    }

    fn file(&self, ending: &str) -> PathBuf {
        self.machine.dir.join(format!("{}.{ending}", self.name))
    }

    /// The first serial port, for people.
    pub(crate) fn console(&self) -> PathBuf {
        self.file("console")
    }

    /// The second, for commands.
    pub(crate) fn commands(&self) -> PathBuf {
        self.file("commands")
    }

    fn pid_file(&self) -> String {
        format!("/run/lab-vm-{}.pid", self.name)
    }

    /// Starts the machine on the port's tap and waits until it has booted.
    pub(crate) fn start(&self, binary: &Path, port: &Port, tap: &str) -> Result<(), VmError> {
        let guest = || self.name.to_owned();
        let init = self.write("init.sh", include_str!("init.sh"))?;
        let image = self.write("image.sh", include_str!("image.sh"))?;
        let dhcp = self.machine.dir.join("udhcpc.sh");
        let argv = [
            "sh".as_ref(),
            image.as_os_str(),
            IMAGE.as_ref(),
            init.as_os_str(),
            dhcp.as_os_str(),
        ];
        let initramfs = Place::here().run(&argv).map_err(|source| VmError::Image {
            guest: guest(),
            source: source.into(),
        })?;

        let binary = binary.display().to_string();
        let log = self.file("log").display().to_string();
        let pid_file = self.pid_file();
        let mut argv = vec![
            binary.as_str(),
            "lab-init",
            "detach",
            "--log",
            &log,
            "--pid-file",
            &pid_file,
            "--",
        ];
        let qemu = self.qemu(port, tap, initramfs.trim());
        argv.extend(qemu.iter().map(String::as_str));
        self.machine
            .place
            .run_with(&argv, Stdio::null())
            .map_err(|source| VmError::Start {
                guest: guest(),
                source: source.into(),
            })?;
        self.await_socket()
            .and_then(|()| serial::await_boot(&self.commands()))
            .map_err(|source| VmError::Boot {
                guest: guest(),
                source,
            })
    }

    fn qemu(&self, port: &Port, tap: &str, initramfs: &str) -> Vec<String> {
        let serial = |path: PathBuf| format!("unix:{},server=on,wait=off", path.display());
        let append = format!("console=ttyS0 quiet panic=-1 lab.name={}", self.name);
        // The userspace datapath passes packets on without the checksums that a guest left out.
        let offload = if port.userspace {
            ",csum=off,gso=off,guest_csum=off"
        } else {
            ""
        };
        let card = format!(
            "virtio-net-pci,netdev=net,mac={},host_mtu={}{offload}",
            port.mac, port.mtu
        );
        let netdev = format!("tap,id=net,ifname={tap},script=no,downscript=no");
        let mut argv = [
            "qemu-system-x86_64",
            "-accel",
            "tcg",
            "-m",
            "192",
            "-display",
            "none",
            "-no-reboot",
        ]
        .map(str::to_owned)
        .to_vec();
        for (option, value) in [
            ("-kernel", format!("{IMAGE}/vmlinuz")),
            ("-initrd", initramfs.to_owned()),
            ("-append", append),
            ("-serial", serial(self.console())),
            ("-serial", serial(self.commands())),
            ("-netdev", netdev),
            ("-device", card),
        ] {
            argv.extend([option.to_owned(), value]);
        }
        argv
    }

    /// Ends the machine without a goodbye.
    pub(crate) fn end(&self) -> Result<(), CommandError> {
        let place = &self.machine.place;
        let pid = place.run(&["cat", &self.pid_file()]).unwrap_or_default();
        if !pid.is_empty() && place.run(&["kill", "-0", pid.trim()]).is_ok() {
            place.run(&["kill", "-9", pid.trim()])?;
        }
        Ok(())
    }

    fn write(&self, name: &str, text: &str) -> Result<PathBuf, VmError> {
        let path = self.machine.dir.join(name);
        fs::write(&path, text).map_err(|source| VmError::File {
            guest: self.name.to_owned(),
            what: "a script was not written",
            source,
        })?;
        Ok(path)
    }

    fn await_socket(&self) -> io::Result<()> {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !self.commands().exists() {
            if Instant::now() > deadline {
                let said = fs::read_to_string(self.file("log")).unwrap_or_default();
                return Err(io::Error::other(format!("qemu said: {}", said.trim())));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}
