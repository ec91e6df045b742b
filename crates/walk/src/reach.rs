//! Who reaches whom: a walk for every pair of guests, or, where there are many, for every pair of
//! classes of guests that no rule tells apart.
use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZero;
use std::thread::{self, available_parallelism};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::cloud::Port;
use crate::question::{Question, plan};
use crate::report::Verdict;
use crate::run::ends;
use crate::world::World;

/// What to ask.
#[derive(Clone, Debug, Default)]
pub struct Wish {
    /// Names, ids or networks of senders; all guests when empty.
    pub from: Vec<String>,
    pub to: Vec<String>,
    pub proto: Option<String>,
    pub port: Option<u16>,
    /// Ask every pair, however many there are.
    pub every_pair: bool,
}

/// One row: does `from` reach `to`, and the answer come back?
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Row {
    pub from: String,
    pub to: String,
    /// `yes`, `no`, `one-way` (delivered, but the answer is lost), `unknown`.
    pub reaches: Reaches,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reaches {
    Yes,
    No,
    OneWay,
    Unknown,
}

impl Reaches {
    pub fn word(self) -> &'static str {
        match self {
            Reaches::Yes => "yes",
            Reaches::No => "no",
            Reaches::OneWay => "one-way",
            Reaches::Unknown => "unknown",
        }
    }
}

/// A row that is different in two answers to the same question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Changed {
    pub from: String,
    pub to: String,
    pub before: Option<Reaches>,
    pub after: Option<Reaches>,
}

/// Up to this many guests every pair is asked by itself.
const FEW: usize = 40;

/// What makes two guests alike on the way between them: network and subnets, and the guest's
/// switch. Where a host is not as it should be, its guests are like those of no other.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    network: String,
    subnets: BTreeSet<String>,
    up: bool,
    /// The host, where that matters; the port, where each is asked by itself.
    alone: Option<String>,
}

/// What makes two guests alike to every filter: groups, and the ranges of addresses that rules
/// speak of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Guard {
    groups: BTreeSet<String>,
    filtered: bool,
    within: BTreeSet<String>,
}

/// The numbers of two guests' places, and of their guards.
type Pair = (usize, usize);

/// Guests that nothing tells apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Class {
    place: usize,
    guard: usize,
    alone: bool,
}

/// The table of who reaches whom.
pub fn reach(world: &World, wish: &Wish) -> Vec<Row> {
    let senders = chosen(world, &wish.from);
    let targets = chosen(world, &wish.to);
    let apart = wish.every_pair || senders.len().max(targets.len()) <= FEW;
    table(world, wish, (&senders, &targets), apart)
}

fn table(
    world: &World,
    wish: &Wish,
    (senders, targets): (&[&Port], &[&Port]),
    apart: bool,
) -> Vec<Row> {
    let mut classes = Classes::new(world, apart);
    let mut classed =
        |ports: &[&Port]| -> Vec<usize> { ports.iter().map(|port| classes.of(port)).collect() };
    let (down, across) = (classed(senders), classed(targets));
    let pairs = || {
        let senders = senders.iter().zip(&down).enumerate();
        senders.flat_map(|(n, (from, row))| {
            let targets = targets.iter().zip(&across).enumerate();
            let others = targets.filter(move |(_, (to, _))| to.id != from.id);
            others.map(move |(m, (to, column))| ((n, *from, *row), (m, *to, *column)))
        })
    };
    // The first pair of two classes speaks for all.
    let width = classes.all.len();
    let mut speakers = vec![None; width * width];
    for ((_, from, row), (_, to, column)) in pairs() {
        speakers[row * width + column].get_or_insert((from, to));
    }
    let known = ask_all(world, wish, &classes.all, &speakers);
    let names = |ports: &[&Port]| -> Vec<String> {
        ports.iter().map(|port| world.cloud.call(port)).collect()
    };
    let (from_names, to_names) = (names(senders), names(targets));
    let row = |((n, _, row), (m, _, column)): (Guest<'_>, Guest<'_>)| Row {
        from: from_names[n].clone(),
        to: to_names[m].clone(),
        reaches: known[row * width + column].unwrap_or(Reaches::Unknown),
    };
    pairs().map(row).collect()
}

/// A guest by its number, and the number of its class.
type Guest<'w> = (usize, &'w Port, usize);

/// The classes of a world's guests.
struct Classes<'w> {
    apart: bool,
    /// Hosts of which it is known that they are as they should be.
    sound: BTreeSet<&'w str>,
    /// The ranges that rules name.
    ranges: BTreeSet<IpNet>,
    /// Rules name groups of addresses: then each address is one by itself.
    listed: bool,
    places: BTreeMap<Place, usize>,
    guards: BTreeMap<Guard, usize>,
    numbers: BTreeMap<Class, usize>,
    all: Vec<Class>,
}

impl<'w> Classes<'w> {
    fn new(world: &'w World, apart: bool) -> Classes<'w> {
        let differences = world.differences();
        let ill: BTreeSet<&str> = differences.iter().map(|d| d.host.as_str()).collect();
        let told = |host: &&str| world.is_as_wanted() || world.wanted.contains_key(*host);
        let hosts = world.hosts.keys().map(String::as_str);
        let rules = world.cloud.rules.values();
        let ranges = rules
            .clone()
            .filter_map(|rule| rule.remote_ip_prefix.as_deref()?.parse().ok());
        Classes {
            apart,
            sound: hosts
                .filter(told)
                .filter(|host| !ill.contains(host))
                .collect(),
            ranges: ranges.collect(),
            listed: rules
                .clone()
                .any(|rule| rule.remote_address_group_id.is_some()),
            places: BTreeMap::new(),
            guards: BTreeMap::new(),
            numbers: BTreeMap::new(),
            all: Vec::new(),
        }
    }

    fn of(&mut self, port: &Port) -> usize {
        let sound = self.sound.contains(port.host.as_str());
        let place = Place {
            network: port.network_id.clone(),
            subnets: port.fixed_ips.iter().map(|f| f.subnet_id.clone()).collect(),
            up: port.admin_state_up.unwrap_or(true),
            alone: match (self.apart, sound) {
                (true, _) => Some(port.id.clone()),
                (false, false) => Some(port.host.clone()),
                (false, true) => None,
            },
        };
        let own = |range: &&IpNet| {
            let mut addresses = port.fixed_ips.iter().map(|f| f.ip_address);
            addresses.any(|address| range.contains(&address))
        };
        let mut within: BTreeSet<String> = self
            .ranges
            .iter()
            .filter(own)
            .map(IpNet::to_string)
            .collect();
        if self.listed {
            within.extend(port.fixed_ips.iter().map(|f| f.ip_address.to_string()));
        }
        let guard = Guard {
            groups: port.security_groups.iter().cloned().collect(),
            filtered: port.port_security_enabled.unwrap_or(true),
            within,
        };
        let alone = place.alone.is_some();
        let (next_place, next_guard) = (self.places.len(), self.guards.len());
        let class = Class {
            place: *self.places.entry(place).or_insert(next_place),
            guard: *self.guards.entry(guard).or_insert(next_guard),
            alone,
        };
        let all = &mut self.all;
        *self.numbers.entry(class).or_insert_with(|| {
            all.push(class);
            all.len() - 1
        })
    }
}

/// Who speaks for each pair of classes, where there is a pair.
type Speaker<'w> = Option<(&'w Port, &'w Port)>;

/// Ask for each pair of classes. Between hosts that are as they should be, the way does not depend
/// on groups, nor what filters say on the way: of these each is asked once, and not each of one
/// with each of the other. All others are asked one by one.
fn ask_all(
    world: &World,
    wish: &Wish,
    classes: &[Class],
    speakers: &[Speaker<'_>],
) -> Vec<Option<Reaches>> {
    let pair = |at: usize| (classes[at / classes.len()], classes[at % classes.len()]);
    let spoken = speakers.iter().enumerate();
    let spoken = spoken.filter_map(|(at, speaker)| Some((at, (*speaker)?)));
    let (single, alike): (Vec<_>, Vec<_>) = spoken.partition(|(at, _)| {
        let (from, to) = pair(*at);
        from.alone || to.alone
    });
    let mut known = vec![None; speakers.len()];
    for (at, reaches) in ask_each(world, wish, &single) {
        known[at] = Some(reaches);
    }
    let mut facts = Facts::default();
    for (at, (from, to)) in alike {
        let (one, other) = pair(at);
        let (way, filter) = ((one.place, other.place), (one.guard, other.guard));
        let reaches = facts.follows(way, filter).unwrap_or_else(|| {
            let reaches = ask(world, wish, from, to);
            facts.learn(way, filter, reaches);
            reaches
        });
        known[at] = Some(reaches);
    }
    known
}

/// What is known of ways, given that filters let a packet through, and of filters, given a way.
#[derive(Default)]
struct Facts {
    ways: BTreeMap<Pair, Reaches>,
    filters: BTreeMap<Pair, Reaches>,
    /// What did not get through, when neither was known.
    doubtful: Vec<(Pair, Pair, Reaches)>,
}

impl Facts {
    /// What follows from what is known already.
    fn follows(&self, way: Pair, filter: Pair) -> Option<Reaches> {
        match (self.ways.get(&way), self.filters.get(&filter)) {
            (Some(Reaches::No), _) | (_, Some(Reaches::No)) => Some(Reaches::No),
            (Some(Reaches::Yes), Some(known)) | (Some(known), Some(Reaches::Yes)) => Some(*known),
            _ => None,
        }
    }

    /// A packet that got through shows that the way and the filters are open; one that did not
    /// shows which of them is not, if the other is known to be.
    fn learn(&mut self, way: Pair, filter: Pair, reaches: Reaches) {
        self.doubtful.push((way, filter, reaches));
        if reaches == Reaches::Yes {
            self.ways.insert(way, reaches);
            self.filters.insert(filter, reaches);
        }
        for (way, filter, reaches) in std::mem::take(&mut self.doubtful) {
            if self.ways.get(&way) == Some(&Reaches::Yes) {
                self.filters.insert(filter, reaches);
            } else if self.filters.get(&filter) == Some(&Reaches::Yes) {
                self.ways.insert(way, reaches);
            } else {
                self.doubtful.push((way, filter, reaches));
            }
        }
    }
}

/// Every question is one of its own: they are shared out among the processor's cores.
fn ask_each(
    world: &World,
    wish: &Wish,
    pairs: &[(usize, (&Port, &Port))],
) -> Vec<(usize, Reaches)> {
    let cores = available_parallelism().map_or(1, NonZero::get);
    let shares = pairs.chunks(pairs.len().div_ceil(cores).max(1));
    thread::scope(|scope| {
        let answer = |(at, (from, to)): &(usize, (&Port, &Port))| (*at, ask(world, wish, from, to));
        let answers: Vec<_> = shares
            .map(|share| scope.spawn(move || share.iter().map(answer).collect::<Vec<_>>()))
            .collect();
        let joined = answers.into_iter().map(|answer| match answer.join() {
            Ok(answers) => answers,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        joined.flatten().collect()
    })
}

fn chosen<'w>(world: &'w World, names: &[String]) -> Vec<&'w Port> {
    let cloud = &world.cloud;
    let wanted = |port: &Port| {
        names.is_empty()
            || names.iter().any(|name| {
                let network = cloud.networks.get(&port.network_id);
                *name == port.name
                    || port.id.starts_with(name.as_str())
                    || network.is_some_and(|n| n.name == *name || n.id == *name)
            })
    };
    cloud
        .ports
        .values()
        .filter(|p| p.is_guest() && wanted(p))
        .collect()
}

fn ask(world: &World, wish: &Wish, from: &Port, to: &Port) -> Reaches {
    let question = Question {
        from: from.id.clone(),
        to: to.id.clone(),
        proto: wish.proto.clone(),
        port: wish.port,
        ..Question::default()
    };
    let Ok(plan) = plan(world, &question) else {
        return Reaches::Unknown;
    };
    match ends(world, &plan) {
        (Verdict::Delivered, true) => Reaches::Yes,
        (Verdict::Delivered, false) => Reaches::OneWay,
        (Verdict::Dropped, _) => Reaches::No,
        (Verdict::Unknown, _) => Reaches::Unknown,
    }
}

/// What changed between two tables: what did a change open, what did it close?
pub fn compare(before: &[Row], after: &[Row]) -> Vec<Changed> {
    let table = |rows: &[Row]| -> BTreeMap<(String, String), Reaches> {
        rows.iter()
            .map(|r| ((r.from.clone(), r.to.clone()), r.reaches))
            .collect()
    };
    let (before, after) = (table(before), table(after));
    let keys: BTreeSet<_> = before.keys().chain(after.keys()).cloned().collect();
    keys.into_iter()
        .map(|key| Changed {
            before: before.get(&key).copied(),
            after: after.get(&key).copied(),
            from: key.0,
            to: key.1,
        })
        .filter(|changed| changed.before != changed.after)
        .collect()
}

#[cfg(test)]
mod tests;
