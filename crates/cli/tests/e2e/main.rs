//! End-to-end tests: the built `nucleon` binary in labs of namespaces. They need root, Open
//! vSwitch and the other Debian packages that `make test` installs.

mod lab_itself;
mod rig;
mod underlay;
