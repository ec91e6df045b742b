//! iptables and ipset of one namespace: read whole, changed by one `restore` each.
mod generation;
mod known;
pub mod script;

pub use known::{Known, Sets};

use std::collections::BTreeMap;

use host::ipset::{Ipsets, read_ipsets};
use host::iptables::{Iptables, read_iptables};
use host::netns::Family;
use host::{NsName, ParseError};

use crate::exec::{ExecError, Program};

/// The filters of a namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filters {
    pub iptables: BTreeMap<Family, Iptables>,
    pub ipsets: Ipsets,
}

/// The filters could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum FilterError {
    #[error("filters of namespace {netns} can't be read or written")]
    Exec {
        netns: NsName,
        #[source]
        source: ExecError,
    },
    #[error("what {program} of namespace {netns} prints can't be read")]
    Parse {
        netns: NsName,
        program: &'static str,
        #[source]
        source: ParseError,
    },
}

const FAMILIES: [(Family, &str, &str); 2] = [
    (Family::V4, "iptables-save", "iptables-restore"),
    (Family::V6, "ip6tables-save", "ip6tables-restore"),
];

async fn run(netns: &NsName, program: Program) -> Result<String, FilterError> {
    let result = program.within(netns).run().await;
    result.map_err(|source| FilterError::Exec {
        netns: netns.clone(),
        source,
    })
}

/// Read the rules.
async fn observe_rules(netns: &NsName) -> Result<BTreeMap<Family, Iptables>, FilterError> {
    let [(v4, save4, _), (v6, save6, _)] = FAMILIES;
    let save = |program| run(netns, Program::new([program]));
    let (text4, text6) = tokio::join!(save(save4), save(save6));
    let read = |program, text: String| {
        read_iptables(&text).map_err(|source| FilterError::Parse {
            netns: netns.clone(),
            program,
            source,
        })
    };
    Ok(BTreeMap::from([
        (v4, read(save4, text4?)?),
        (v6, read(save6, text6?)?),
    ]))
}

/// Read the sets: they raise no event when somebody changes them.
async fn observe_ipsets(netns: &NsName) -> Result<Ipsets, FilterError> {
    let text = run(netns, Program::new(["ipset", "save"])).await?;
    read_ipsets(&text).map_err(|source| FilterError::Parse {
        netns: netns.clone(),
        program: "ipset save",
        source,
    })
}

/// What came of writing.
#[derive(Default)]
struct Written {
    /// How many tables were written, each at once for every packet.
    tables: u32,
    failed: Vec<FilterError>,
}

/// Turn what is ours of the filters (`have`) into what is wanted. Sets come before the rules that
/// name them, and go after. Each program stands for itself: one that fails does not keep the others
/// away.
async fn write(netns: &NsName, have: &Filters, want: &Filters) -> Written {
    let sets = script::ipsets(&have.ipsets, &want.ipsets);
    let mut done = Written::default();
    done.failed
        .extend(restore_sets(netns, sets.before).await.err());
    let write = |(family, _, program): (Family, &str, &'static str)| {
        let of = |filters: &'_ Filters| filters.iptables.get(&family).cloned().unwrap_or_default();
        let script = script::iptables(&of(have), &of(want));
        async move {
            if script.is_empty() {
                return Ok(0);
            }
            let tables = script.lines().filter(|line| *line == "COMMIT").count();
            let program = Program::new([program, "--noflush", "--wait"]).reading(script);
            run(netns, program).await.map(|_| tables as u32)
        }
    };
    let [v4, v6] = FAMILIES.map(write);
    let (v4, v6) = tokio::join!(v4, v6);
    for result in [v4, v6] {
        match result {
            Ok(tables) => done.tables += tables,
            Err(error) => done.failed.push(error),
        }
    }
    // Sets that a rule may still name can't go.
    if done.failed.is_empty() {
        done.failed
            .extend(restore_sets(netns, sets.after).await.err());
    }
    done
}

async fn restore_sets(netns: &NsName, script: String) -> Result<(), FilterError> {
    if script.is_empty() {
        return Ok(());
    }
    run(
        netns,
        Program::new(["ipset", "restore", "-!"]).reading(script),
    )
    .await
    .map(drop)
}

/// End the tracked connections of a zone, those of one protocol or all.
pub async fn forget_connections(
    netns: &NsName,
    zone: u16,
    filter: &[String],
) -> Result<(), FilterError> {
    let zone = ["-w".to_owned(), zone.to_string()];
    let filter = zone.into_iter().chain(filter.iter().cloned());
    end_connections(netns, filter).await
}

/// End the tracked connections that fit conntrack's filter.
pub async fn end_connections(
    netns: &NsName,
    filter: impl IntoIterator<Item = String>,
) -> Result<(), FilterError> {
    let argv = ["conntrack", "-D"].map(str::to_owned);
    let program = Program::new(argv.into_iter().chain(filter));
    match run(netns, program).await {
        // It fails when there was nothing to delete.
        Err(FilterError::Exec {
            source: ExecError::Failed { stderr, .. },
            ..
        }) if stderr.contains("0 flow entries") => Ok(()),
        result => result.map(drop),
    }
}
