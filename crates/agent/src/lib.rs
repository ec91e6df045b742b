//! Makes one host hold what the plan says: observe, compile, diff, apply, read back, report.
//! The only crate that touches a machine; it decides nothing.
mod announce;
pub mod config;
pub mod drift;
pub mod exec;
pub mod filters;
pub mod findings;
pub mod machine;
pub mod metadata;
pub mod metrics;
pub mod netns;
pub mod numbers;
pub mod openflow;
pub mod ours;
mod ours_netns;
pub mod ovsdb;
pub mod ports;
pub mod questions;
pub mod report;
pub mod rtnetlink;
pub mod run;
pub mod server;
pub mod services;
pub mod switches;
mod sysctl;
mod watchers;

/// An error and what caused it, on one line: errors are rendered once, where they are logged or
/// reported.
pub fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |line, cause| format!("{line}: {cause}"))
}
