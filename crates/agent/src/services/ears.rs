//! What the kernel tells of one namespace's devices, addresses, routes and rules: as long as it told
//! nothing, what was read once need not be read again.
use host::NsName;
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

/// rtnetlink's groups: devices, neighbours, then addresses, routes and rules of both versions of IP.
const LINKS: u32 = 1;
const NEIGHBOURS: u32 = 3;
const OTHERS: [u32; 6] = [5, 7, 8, 9, 11, 19];

/// A socket that listens in a namespace; none could be opened where the kernel would not.
#[derive(Debug)]
pub(super) struct Ears {
    socket: Option<Socket>,
}

impl Ears {
    /// Neighbours come and go all the time: they are listened to where some are ours.
    pub(super) fn of(name: &NsName, with_neighbours: bool) -> Ears {
        let open = move || {
            let mut socket = Socket::new(NETLINK_ROUTE)?;
            socket.bind(&SocketAddr::new(0, 0))?;
            socket.set_non_blocking(true)?;
            let neighbours = with_neighbours.then_some(NEIGHBOURS);
            for group in OTHERS.into_iter().chain([LINKS]).chain(neighbours) {
                socket.add_membership(group)?;
            }
            Ok(socket)
        };
        let socket = match crate::netns::within(name, open) {
            Ok(socket) => Some(socket),
            Err(error) => {
                tracing::warn!(
                    error = crate::chain(&error),
                    "changes in it are not told; it will be read again and again"
                );
                None
            }
        };
        Ears { socket }
    }

    /// Whether anything was told since this was asked last.
    pub(super) fn heard(&self) -> bool {
        let Some(socket) = &self.socket else {
            return true;
        };
        let mut heard = false;
        loop {
            match socket.recv_from_full() {
                Ok(_) => heard = true,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return heard,
                // More was told than there was room for.
                Err(_) => return true,
            }
        }
    }
}
