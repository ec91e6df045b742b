//! Commands tried on a ledger as requests bring them: a folder of stories, one rig.

#![expect(
    clippy::needless_pass_by_value,
    reason = "a test writes what it asks for where it asks"
)]

mod addresses;
mod distributed;
mod groups;
mod remnants;
mod rig;
mod routing;
mod scheduling;
mod sharing;
