//! Settings of the kernel's network, as files under `/proc/sys`, which show those of the namespace
//! of the thread that opens them.
use std::path::PathBuf;

use host::NsName;
use host::diff::diff;
use host::netns::{Netns, Sysctl};

use crate::machine::Problem;

/// `net.ipv4.ip_forward` as a path; a device's name may have dots, written as slashes.
fn path(key: &str) -> PathBuf {
    let swapped: String = key
        .chars()
        .map(|c| match c {
            '.' => '/',
            '/' => '.',
            c => c,
        })
        .collect();
    PathBuf::from("/proc/sys").join(swapped)
}

/// The value of a setting where this thread is; none when there is no such setting.
pub(crate) fn read(key: &str) -> Option<String> {
    let text = std::fs::read_to_string(path(key)).ok()?;
    Some(text.trim().replace('\t', " "))
}

pub(crate) fn write(key: &str, value: &str) -> std::io::Result<()> {
    std::fs::write(path(key), value)
}

/// Read the settings that are wanted in this thread's namespace.
pub(crate) fn observe(want: Option<&Netns>, seen: &mut Netns) {
    for key in want.into_iter().flat_map(|want| want.sysctls.keys()) {
        if let Some(value) = read(key) {
            seen.sysctls.insert(
                key.clone(),
                Sysctl {
                    value,
                    ..Sysctl::default()
                },
            );
        }
    }
}

/// A setting could not be written.
#[derive(Debug, thiserror::Error)]
#[error("setting {key} of namespace {netns} can't be set to '{value}'")]
pub(crate) struct SysctlError {
    pub(crate) key: String,
    pub(crate) value: String,
    pub(crate) netns: NsName,
    #[source]
    pub(crate) source: std::io::Error,
}

/// Write the settings that differ, in this thread's namespace.
pub(crate) fn apply(
    netns: &NsName,
    have: Option<&Netns>,
    want: &Netns,
    problems: &mut Vec<Problem>,
) {
    let none = Netns::default();
    for put in diff(&have.unwrap_or(&none).sysctls, &want.sysctls).put {
        if let Err(source) = write(put.key, &put.new.value) {
            let (key, value) = (put.key.clone(), put.new.value.clone());
            let error = SysctlError {
                key,
                value,
                netns: netns.clone(),
                source,
            };
            problems.push(Problem {
                text: crate::chain(&error),
                why: put.new.why.clone(),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_a_path() {
        assert_eq!(
            path("net.ipv4.ip_forward"),
            PathBuf::from("/proc/sys/net/ipv4/ip_forward")
        );
        assert_eq!(
            path("net.ipv4.conf.eth0/1.rp_filter"),
            PathBuf::from("/proc/sys/net/ipv4/conf/eth0.1/rp_filter")
        );
        assert!(read("kernel.ostype").is_some_and(|kind| kind == "Linux"));
    }
}
