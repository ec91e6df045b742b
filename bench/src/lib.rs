//! Drives a built server from outside: a process to start and kill, connections that speak HTTP to
//! it, and what a load of them measures. The benchmarks stand on it, and the tests that kill
//! servers under load.

mod client;
mod load;
mod server;

pub use client::{Answer, Client};
pub use load::{Figures, measure};
pub use server::{Server, Settings, cpu_of};
