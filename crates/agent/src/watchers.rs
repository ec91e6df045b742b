//! Ears that are no connection of their own use: the kernel's notices of changed filters, and of
//! namespaces that lost their names.
use std::io;

use netlink_sys::{
    AsyncSocket, AsyncSocketExt, SocketAddr, TokioSocket, protocols::NETLINK_NETFILTER,
};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use tokio::sync::mpsc;

use crate::run::Event;

/// The multicast group of nf_tables, where iptables' changes are told.
const NFNLGRP_NFTABLES: u32 = 7;

/// Tell of every change of the filters in this namespace, by whomever. Where the kernel does not
/// tell (iptables of the legacy kind), the slow timer finds it.
pub(crate) fn filters(events: mpsc::UnboundedSender<Event>) {
    let socket = match listen() {
        Ok(socket) => socket,
        Err(error) => {
            tracing::warn!(%error, "changes of iptables are not told; they will be looked for");
            return;
        }
    };
    tokio::spawn(hear(socket, events));
}

fn listen() -> io::Result<TokioSocket> {
    let mut socket = TokioSocket::new(NETLINK_NETFILTER)?;
    socket.socket_mut().bind(&SocketAddr::new(0, 0))?;
    socket.socket_mut().add_membership(NFNLGRP_NFTABLES)?;
    Ok(socket)
}

async fn hear(socket: TokioSocket, events: mpsc::UnboundedSender<Event>) {
    loop {
        // What is said does not matter, and an overrun says that something was.
        let _ = socket.recv_from_full().await;
        if events.send(Event::Filters).is_err() {
            return;
        }
    }
}

/// Tell of every namespace that loses its name, by whomever.
pub(crate) fn namespaces(events: mpsc::UnboundedSender<Event>) {
    let names = match watch_names() {
        Ok(names) => names,
        Err(error) => {
            tracing::warn!(%error, "deleted namespaces are not told; they will be looked for");
            return;
        }
    };
    std::thread::spawn(move || {
        // What is said does not matter: the names are listed.
        while names.read_events().is_ok() && events.send(Event::Namespaces).is_ok() {}
    });
}

fn watch_names() -> io::Result<Inotify> {
    std::fs::create_dir_all(crate::netns::FOLDER)?;
    let inotify = Inotify::init(InitFlags::IN_CLOEXEC)?;
    let gone = AddWatchFlags::IN_DELETE | AddWatchFlags::IN_MOVED_FROM;
    inotify.add_watch(crate::netns::FOLDER, gone)?;
    Ok(inotify)
}
