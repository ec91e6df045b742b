//! The `nucleon` binary.

fn main() {}
