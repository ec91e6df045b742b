//! Makes one host hold what the plan says: observe, compile, diff, apply, read back, report.
//! The only crate that touches a machine; it decides nothing.
pub mod config;
pub mod exec;
pub mod metadata;
pub mod netns;
pub mod openflow;
pub mod ovsdb;
pub mod server;

/// An error and what caused it, on one line: errors are rendered once, where they are logged or
/// reported.
pub fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |line, cause| format!("{line}: {cause}"))
}
