//! Sets of addresses, as `ipset save` writes them.
use std::collections::{BTreeMap, BTreeSet};

use crate::text::{Word, Words, lines};
use crate::{Merge, ParseError, Shared, Shown, Why};

/// A set. Sizes and seeds that the kernel chose are shown, never compared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ipset {
    /// `hash:net`, `hash:ip`, …
    pub kind: String,
    /// `inet` or `inet6`; empty for kinds without addresses.
    pub family: String,
    /// `hashsize`, `maxelem`, `bucketsize`, `initval`, … with their values, as they stood.
    pub options: Shown<Vec<String>>,
    pub members: BTreeMap<String, Member>,
    pub why: Why,
}

/// A member's own options (`timeout 0`, `nomatch`) and its reasons.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Member {
    pub options: BTreeSet<String>,
    pub why: Why,
}

impl Merge for Ipset {
    fn why_mut(&mut self) -> &mut Why {
        &mut self.why
    }
}

impl Merge for Member {
    fn why_mut(&mut self) -> &mut Why {
        &mut self.why
    }
}

/// Sets by name.
pub type Ipsets = BTreeMap<String, Shared<Ipset>>;

/// Read `ipset save`, or `ipset list`.
pub fn read_ipsets(text: &str) -> Result<Ipsets, ParseError> {
    match text.trim_start().starts_with("Name:") {
        true => read_list(text),
        false => read_save(text),
    }
}

fn read_save(text: &str) -> Result<Ipsets, ParseError> {
    let mut sets = Ipsets::new();
    for (number, line) in lines(text) {
        let mut words = Words::new(line);
        let here = |e: ParseError| e.on_line(number);
        let verb = words.need("a command").map_err(here)?;
        let name = words.need("a set").map_err(here)?;
        match verb.text {
            "create" => {
                let kind = words.need("a kind").map_err(here)?.text;
                let mut set = sets.remove(name.text).unwrap_or_default();
                kind.clone_into(&mut set.kind);
                read_options(&mut set, &mut words);
                sets.insert(name.text.to_owned(), set);
            }
            "add" => {
                let member = words.need("a member").map_err(here)?;
                let options = words.map(|w| w.text.to_owned()).collect();
                add(&mut sets, name, member, options).map_err(here)?;
            }
            other => return Err(here(verb.error(format!("'{other}' is not create or add")))),
        }
    }
    Ok(sets)
}

fn add(
    sets: &mut Ipsets,
    set: Word<'_>,
    member: Word<'_>,
    options: BTreeSet<String>,
) -> Result<(), ParseError> {
    let Some(found) = sets.get_mut(set.text) else {
        return Err(set.error(format!("the set '{}' was not created", set.text)));
    };
    let member = canonical(member.text);
    let why = Why::none();
    found.members.insert(member, Member { options, why });
    Ok(())
}

/// A network that holds one address is that address: the kernel prints it so.
fn canonical(member: &str) -> String {
    match member.parse::<ipnet::IpNet>() {
        Ok(net) if net.prefix_len() == net.max_prefix_len() => net.addr().to_string(),
        Ok(net) => net.trunc().to_string(),
        Err(_) => member.to_owned(),
    }
}

fn read_options(set: &mut Ipset, words: &mut Words<'_>) {
    while let Some(word) = words.next() {
        match word.text {
            "family" => set.family = words.next().map_or("", |w| w.text).to_owned(),
            text => set.options.0.push(text.to_owned()),
        }
    }
}

fn read_list(text: &str) -> Result<Ipsets, ParseError> {
    let mut sets = Ipsets::new();
    let mut name = String::new();
    for (number, line) in lines(text) {
        let set = match line.split_once(':') {
            Some(("Name", text)) => {
                text.trim().clone_into(&mut name);
                sets.entry(name.clone()).or_default();
                continue;
            }
            _ => sets.get_mut(&name),
        };
        let Some(set) = set else {
            return Err(ParseError::new(
                number,
                0,
                "no set was named before this line",
            ));
        };
        match line.split_once(": ") {
            Some(("Type", kind)) => kind.trim().clone_into(&mut set.kind),
            Some(("Header", header)) => read_options(set, &mut Words::new(header)),
            Some((head, _)) if head.starts_with(|c: char| c.is_ascii_uppercase()) => {}
            _ if line.starts_with("Members:") => {}
            _ => {
                let mut words = Words::new(line);
                if let Some(member) = words.next() {
                    let options = words.map(|w| w.text.to_owned()).collect();
                    let why = Why::none();
                    set.members
                        .insert(canonical(member.text), Member { options, why });
                }
            }
        }
    }
    Ok(sets)
}

impl Ipset {
    /// A set of networks of one version of IP, as Neutron makes them.
    pub fn networks(family: crate::netns::Family, why: Why) -> Ipset {
        let family = match family {
            crate::netns::Family::V4 => "inet",
            crate::netns::Family::V6 => "inet6",
        };
        Ipset {
            kind: "hash:net".to_owned(),
            family: family.to_owned(),
            why,
            ..Ipset::default()
        }
    }

    /// Add a member in the spelling the kernel has for it; reasons of an equal one are merged.
    pub fn insert(&mut self, member: &str, why: Why) {
        let entry = self.members.entry(canonical(member)).or_default();
        entry.why.merge(why);
    }
}

/// The set's line of `ipset save`.
pub fn print_create(name: &str, set: &Ipset) -> String {
    let mut words = vec!["create", name, &set.kind];
    if !set.family.is_empty() {
        words.extend(["family", &set.family]);
    }
    words.extend(set.options.0.iter().map(String::as_str));
    words.join(" ")
}

/// A member's line of `ipset save`.
pub fn print_add(name: &str, member: &str, options: &Member) -> String {
    let mut words = vec!["add", name, member];
    words.extend(options.options.iter().map(String::as_str));
    words.join(" ")
}

/// Sets as `ipset restore` takes them.
pub fn print_ipsets(sets: &Ipsets) -> String {
    let mut out = String::new();
    for (name, set) in sets {
        out.push_str(&print_create(name, set));
        out.push('\n');
        for (member, options) in &set.members {
            out.push_str(&print_add(name, member, options));
            out.push('\n');
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SAVE: &str = "create NIPv45ec hash:net family inet hashsize 1024 maxelem 65536\nadd NIPv45ec 10.2.2.11\nadd NIPv45ec 10.9.0.0/16 nomatch\ncreate NIPv65ec hash:net family inet6 hashsize 1024\n";

    #[test]
    fn sets_read_as_they_are_written() {
        let sets = read_ipsets(SAVE).unwrap();
        assert_eq!(print_ipsets(&sets), SAVE);
        assert_eq!(sets["NIPv45ec"].members.len(), 2);
    }

    #[test]
    fn listings_say_the_same() {
        let list = "Name: NIPv45ec\nType: hash:net\nRevision: 7\nHeader: family inet hashsize 1024\nSize in memory: 1\nReferences: 3\nNumber of entries: 2\nMembers:\n10.2.2.11\n10.9.0.0/16 nomatch\n\nName: NIPv65ec\nType: hash:net\nHeader: family inet6 hashsize 1024\nMembers:\n";
        assert_eq!(read_ipsets(list).unwrap(), read_ipsets(SAVE).unwrap());
        let v6 = "Name: s\nType: hash:net\nHeader: family inet6\nMembers:\nfd00::1\n";
        assert!(
            read_ipsets(v6).unwrap()["s"]
                .members
                .contains_key("fd00::1")
        );
    }

    #[test]
    fn members_have_one_spelling() {
        let mut set = Ipset::networks(crate::netns::Family::V4, Why::base());
        set.insert("10.0.0.1/32", Why::of("port", "a"));
        set.insert("10.0.0.1", Why::of("port", "b"));
        assert_eq!(set.members["10.0.0.1"].why.to_string(), "port a, port b");
        let error = read_ipsets("add x 10.0.0.1").unwrap_err();
        assert_eq!(
            error.to_string(),
            "line 1, column 5: the set 'x' was not created"
        );
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in any::<String>()) {
            let _ = read_ipsets(&text);
            let _ = read_ipsets(&format!("Name: x\n{text}"));
        }
    }
}
