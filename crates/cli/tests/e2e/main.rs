//! End-to-end tests: the built `nucleon` binary in labs of namespaces. They need root, Open
//! vSwitch and the other Debian packages that `make test` installs.

mod breaks;
mod clouds;
mod distributed;
mod external;
mod faults;
mod frames;
mod groups;
mod lab_itself;
mod leases;
mod live;
mod long;
mod looks;
mod metadata;
mod migrated;
mod nova;
mod operators;
mod reach;
mod recorded;
#[path = "../../../plan/tests/reference/mod.rs"]
mod reference;
mod restarts;
mod rig;
mod routed;
mod routers;
mod services;
mod spoofing;
mod stock;
mod takeover;
mod underlay;
