//! A namespace's devices, addresses, routes, rules and permanent neighbours, read and changed by
//! talking to the kernel itself: no program is started for it.
mod decode;
mod encode;
#[cfg(test)]
mod tests;

pub use encode::{
    Indexes, Order, add_rule, connected, link, moved, pair, put_addr, put_neighbour, put_route,
    remove_addr, remove_neighbour, remove_route, remove_rule,
};

use std::io;
use std::sync::atomic::{AtomicU32, Ordering};

use host::netns::Netns;
use netlink_packet_core::{NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::address::AddressMessage;
use netlink_packet_route::link::{LinkAttribute, LinkExtentMask, LinkMessage};
use netlink_packet_route::neighbour::NeighbourMessage;
use netlink_packet_route::route::RouteMessage;
use netlink_packet_route::rule::RuleMessage;
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::{Socket, protocols::NETLINK_ROUTE};

/// Something changed while it was listed: the list is asked for again, so many times.
const TRIES: usize = 5;
/// The kernel's word for a list that something changed under.
const INTERRUPTED: u16 = 0x10;

/// So many orders are given at once: the kernel's answers to all of them have to find room.
const AT_ONCE: usize = 64;

/// An order was not carried out.
#[derive(Debug, thiserror::Error)]
#[error("cannot {what}")]
pub struct OrderError {
    what: String,
    #[source]
    source: io::Error,
}

/// A socket that asks in the namespace that it was opened in.
#[derive(Debug)]
pub struct Asker {
    socket: Socket,
    asked: AtomicU32,
}

impl Asker {
    /// In the namespace of this thread.
    pub fn open() -> io::Result<Asker> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        Ok(Asker {
            socket,
            asked: AtomicU32::new(0),
        })
    }

    /// All that is there.
    pub fn read(&self) -> io::Result<Netns> {
        let mut said = self.list(&links())?;
        for question in others() {
            said.extend(self.list(&question)?);
        }
        Ok(decode::netns(&said))
    }

    /// The devices that are there, by name.
    pub fn indexes(&self) -> io::Result<Indexes> {
        let links = decode::netns(&self.list(&links())?).links;
        let indexes = links
            .iter()
            .map(|(name, link)| (name.clone(), link.index.0));
        Ok(indexes.collect())
    }

    /// Have these carried out, one after the other; what failed. One that fails does not keep the
    /// others from being done.
    pub fn order(&self, orders: &[Order]) -> Vec<OrderError> {
        let mut failed = Vec::new();
        for orders in orders.chunks(AT_ONCE) {
            if let Err(source) = self.order_some(orders, &mut failed) {
                let what = format!("know what came of {} orders", orders.len());
                failed.push(OrderError { what, source });
            }
        }
        failed
    }

    fn order_some(&self, orders: &[Order], failed: &mut Vec<OrderError>) -> io::Result<()> {
        let count = u32::try_from(orders.len()).unwrap_or_default();
        let first = self.asked.fetch_add(count, Ordering::Relaxed);
        let mut bytes = Vec::new();
        for (number, order) in (0..).zip(orders) {
            let flags = NLM_F_REQUEST | NLM_F_ACK | order.flags;
            let message = order.message.clone();
            bytes.extend(written(message, flags, first.wrapping_add(number)));
        }
        self.socket.send(&bytes, 0)?;
        let mut answered = 0;
        while answered < orders.len() {
            let (bytes, _) = self.socket.recv_from_full()?;
            for message in messages(&bytes) {
                let message = message?;
                let number = message.header.sequence_number.wrapping_sub(first);
                let (Some(order), NetlinkPayload::Error(error)) =
                    (orders.get(number as usize), message.payload)
                else {
                    continue;
                };
                answered += 1;
                if error.code.is_some() && !order.is_done_by(&error.to_io()) {
                    let (what, source) = (order.what.clone(), error.to_io());
                    failed.push(OrderError { what, source });
                }
            }
        }
        Ok(())
    }

    fn list(&self, question: &RouteNetlinkMessage) -> io::Result<Vec<RouteNetlinkMessage>> {
        for _ in 0..TRIES {
            if let Some(list) = self.list_once(question)? {
                return Ok(list);
            }
        }
        Err(io::Error::other("it changes faster than it can be listed"))
    }

    /// None where something changed meanwhile.
    fn list_once(
        &self,
        question: &RouteNetlinkMessage,
    ) -> io::Result<Option<Vec<RouteNetlinkMessage>>> {
        let number = self.asked.fetch_add(1, Ordering::Relaxed);
        let flags = NLM_F_REQUEST | NLM_F_DUMP;
        let bytes = written(question.clone(), flags, number);
        self.socket.send(&bytes, 0)?;
        let (mut list, mut is_whole) = (Vec::new(), true);
        loop {
            let (bytes, _) = self.socket.recv_from_full()?;
            for message in messages(&bytes) {
                let message = message?;
                // The rest of an answer that was given up.
                if message.header.sequence_number != number {
                    continue;
                }
                is_whole &= message.header.flags & INTERRUPTED == 0;
                match message.payload {
                    NetlinkPayload::Done(_) => return Ok(is_whole.then_some(list)),
                    NetlinkPayload::Error(error) => return Err(error.to_io()),
                    NetlinkPayload::InnerMessage(message) => list.push(message),
                    _ => {}
                }
            }
        }
    }
}

fn links() -> RouteNetlinkMessage {
    let mut links = LinkMessage::default();
    // Nobody here looks at counters.
    let without = LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]);
    links.attributes.push(without);
    RouteNetlinkMessage::GetLink(links)
}

fn others() -> Vec<RouteNetlinkMessage> {
    let mut questions = vec![
        RouteNetlinkMessage::GetAddress(AddressMessage::default()),
        RouteNetlinkMessage::GetNeighbour(NeighbourMessage::default()),
    ];
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        let (mut routes, mut rules) = (RouteMessage::default(), RuleMessage::default());
        routes.header.address_family = family;
        rules.header.family = family;
        questions.push(RouteNetlinkMessage::GetRoute(routes));
        questions.push(RouteNetlinkMessage::GetRule(rules));
    }
    questions
}

fn written(message: RouteNetlinkMessage, flags: u16, number: u32) -> Vec<u8> {
    let mut message = NetlinkMessage::from(message);
    message.header.flags = flags;
    message.header.sequence_number = number;
    message.finalize();
    // The next one begins at a multiple of four.
    let mut bytes = vec![0; message.buffer_len().next_multiple_of(4)];
    message.serialize(&mut bytes);
    bytes
}

/// The messages of one datagram.
fn messages(
    mut bytes: &[u8],
) -> impl Iterator<Item = io::Result<NetlinkMessage<RouteNetlinkMessage>>> {
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(bytes);
        let length = message.as_ref().map_or(bytes.len(), |message| {
            // Each begins at a multiple of four.
            (message.header.length as usize).next_multiple_of(4)
        });
        bytes = bytes.get(length..).unwrap_or_default();
        Some(message.map_err(io::Error::other))
    })
}
