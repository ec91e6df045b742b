//! Compiles: the part of intent that one host needs → the host state that is wanted.
//!
//! [`compile`] never fails: what is broken or incomplete in intent becomes a [`Note`], and the rest
//! of the host is planned all the same. Everything that is emitted says why. A pipeline is a list
//! ([`STAGES`]), a stage is a file.
//!
//! What the kernel adds by itself (link-local addresses, connected routes, table `local`) is never
//! in a plan, and never taken for drift.

pub mod dhcp;
pub mod draft;
mod holders;
pub mod l2;
pub mod l3;
mod memo;
mod numbers;
mod rules;
mod settings;
pub mod sg;

pub use draft::{Draft, Note};
pub use numbers::{GivenBack, Numbers, Pool};
pub use settings::{AgentMode, DhcpSettings, MetadataSettings, Settings};

use std::collections::BTreeSet;

use host::{HostState, NsName};
use intent::View;

/// What one host should hold.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    pub want: HostState,
    pub numbers: Numbers,
    pub given_back: GivenBack,
    pub notes: Vec<Note>,
    /// Namespaces that another host may still have, with the same addresses and MACs.
    pub contested: BTreeSet<NsName>,
}

/// One step of the compiler: reads the view, writes its part of the draft.
type Stage = fn(&mut Draft<'_>);

/// The compiler's steps, in the order in which they are taken.
/// Services come first: layer 2 gives their ports tags, as all ports of br-int.
const STAGES: &[(&str, Stage)] = &[
    ("dhcp", dhcp::emit),
    ("routers", l3::emit),
    ("layer 2", l2::emit),
    ("security groups", sg::emit),
];

/// What `view` asks of the host that `settings` describe and that holds `numbers`.
pub fn compile(view: &View, settings: &Settings, numbers: &Numbers) -> Plan {
    Compiler::default().compile(view, settings, numbers)
}

/// For who compiles again and again: says the same as [`compile`], and works out only what changed
/// of what costs most.
#[derive(Debug, Default)]
pub struct Compiler {
    memo: draft::Memo,
}

impl Compiler {
    pub fn compile(&mut self, view: &View, settings: &Settings, numbers: &Numbers) -> Plan {
        let mut draft = Draft::new(view, settings, numbers.clone());
        draft.memo = std::mem::take(&mut self.memo);
        for (_, stage) in STAGES {
            stage(&mut draft);
        }
        self.memo = std::mem::take(&mut draft.memo);
        draft.finish()
    }
}
