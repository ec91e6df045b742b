//! The agent as a network node: routers and DHCP servers.

use std::{io, path::Path};

pub(crate) fn run(_binary: &Path) -> io::Result<()> {
    Ok(())
}
