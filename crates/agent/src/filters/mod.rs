//! iptables and ipset of one namespace: read whole, changed by one `restore` each.
pub mod script;

use std::collections::BTreeMap;

use host::ipset::{Ipset, read_ipsets};
use host::iptables::{Iptables, read_iptables};
use host::netns::Family;
use host::{NsName, ParseError};

use crate::exec::{ExecError, Program};

/// The filters of a namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filters {
    pub iptables: BTreeMap<Family, Iptables>,
    pub ipsets: BTreeMap<String, Ipset>,
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

/// Read everything.
pub async fn observe(netns: &NsName) -> Result<Filters, FilterError> {
    let [(v4, save4, _), (v6, save6, _)] = FAMILIES;
    let save = |program| run(netns, Program::new([program]));
    let (text4, text6, sets) = tokio::join!(save(save4), save(save6), observe_ipsets(netns));
    let read = |program, text: String| {
        read_iptables(&text).map_err(|source| FilterError::Parse {
            netns: netns.clone(),
            program,
            source,
        })
    };
    let iptables = BTreeMap::from([(v4, read(save4, text4?)?), (v6, read(save6, text6?)?)]);
    Ok(Filters {
        iptables,
        ipsets: sets?,
    })
}

/// Read the sets only: they raise no event when somebody changes them.
pub async fn observe_ipsets(netns: &NsName) -> Result<BTreeMap<String, Ipset>, FilterError> {
    let text = run(netns, Program::new(["ipset", "save"])).await?;
    read_ipsets(&text).map_err(|source| FilterError::Parse {
        netns: netns.clone(),
        program: "ipset save",
        source,
    })
}

/// Turn what is ours of the filters (`have`) into what is wanted. Sets come before the rules that
/// name them, and go after. Each program stands for itself: one that fails does not keep the others
/// away. What failed is given back.
pub async fn apply(netns: &NsName, have: &Filters, want: &Filters) -> Vec<FilterError> {
    let sets = script::ipsets(&have.ipsets, &want.ipsets);
    let mut failed = Vec::new();
    failed.extend(restore_sets(netns, sets.before).await.err());
    let none = Iptables::new();
    let write = |(family, _, program): (Family, &str, &'static str)| {
        let of = |filters: &Filters| filters.iptables.get(&family).unwrap_or(&none).clone();
        let script = script::iptables(&of(have), &of(want));
        async move {
            if script.is_empty() {
                return Ok(());
            }
            let program = Program::new([program, "--noflush", "--wait"]).reading(script);
            run(netns, program).await.map(drop)
        }
    };
    let [v4, v6] = FAMILIES.map(write);
    let (v4, v6) = tokio::join!(v4, v6);
    failed.extend([v4, v6].into_iter().filter_map(Result::err));
    // Sets that a rule may still name can't go.
    if failed.is_empty() {
        failed.extend(restore_sets(netns, sets.after).await.err());
    }
    failed
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
    let zone = zone.to_string();
    let argv = ["conntrack", "-D", "-w", &zone].map(str::to_owned);
    let program = Program::new(argv.into_iter().chain(filter.iter().cloned()));
    match run(netns, program).await {
        // It fails when there was nothing to delete.
        Err(FilterError::Exec {
            source: ExecError::Failed { stderr, .. },
            ..
        }) if stderr.contains("0 flow entries") => Ok(()),
        result => result.map(drop),
    }
}
