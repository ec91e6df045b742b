//! What a flow does with a packet, typed. Different spellings of one write (`set_field`, `load`,
//! `mod_dl_src`) are one action that remembers how it was written, without comparing it.
use super::field::Field;
use super::matches::PortRef;
use crate::Shown;

/// Bits of a field: `NXM_OF_VLAN_TCI[0..11]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subfield {
    pub field: Field,
    /// The lowest bit.
    pub start: u32,
    /// How many bits.
    pub bits: u32,
}

impl Subfield {
    /// All bits of a field.
    pub fn whole(field: Field) -> Subfield {
        Subfield {
            field,
            start: 0,
            bits: field.info().bits,
        }
    }

    /// Some bits of a field, both ends included.
    pub fn bits(field: Field, first: u32, last: u32) -> Subfield {
        Subfield {
            field,
            start: first,
            bits: last.saturating_sub(first) + 1,
        }
    }
}

/// How a write was spelled: shown, never compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Spelling {
    /// `set_field:1->reg0`
    #[default]
    SetField,
    /// `load:0x1->NXM_NX_REG0[]`
    Load,
    /// `mod_dl_src:…`, `set_tunnel:…`: a verb of its own.
    Verb,
}

/// One action.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// Out of a port; the reserved ports are here too: `NORMAL`, `FLOOD`, `IN_PORT`, `LOCAL`.
    Output(PortRef),
    /// `output:NXM_NX_REG0[0..15]`
    OutputField(Subfield),
    /// `output(port=1,max_len=100)`
    OutputTruncated {
        port: PortRef,
        max_len: u32,
    },
    /// `enqueue:1:2`
    Enqueue {
        port: PortRef,
        queue: u32,
    },
    /// `CONTROLLER:65535`, `controller(…)`; what is in the brackets, as it stood.
    Controller(String),
    Resubmit {
        port: Option<PortRef>,
        table: Option<u8>,
        /// `resubmit(,1,ct)`: with the fields of connection tracking swapped.
        ct: bool,
    },
    GotoTable(u8),
    /// `set_field`, `load`, `mod_…`, `set_tunnel`: write bits of a field.
    Set {
        field: Field,
        value: u128,
        mask: u128,
        spelling: Shown<Spelling>,
    },
    Move {
        src: Subfield,
        dst: Subfield,
    },
    /// Tag a frame: change its tag, or give it one.
    ModVlanVid(u16),
    ModVlanPcp(u8),
    /// Take the outer tag off; `strip_vlan` when it was spelled as a verb.
    PopVlan(Shown<Spelling>),
    PushVlan(u16),
    PushMpls(u16),
    PopMpls(u16),
    DecTtl,
    DecMplsTtl,
    SetQueue(u32),
    PopQueue,
    Push(Subfield),
    Pop(Subfield),
    Learn(Box<Learn>),
    Ct(Box<Ct>),
    CtClear,
    /// `nat` on its own, inside `ct`'s or of an established connection.
    Nat(Nat),
    Conjunction {
        id: u32,
        clause: u8,
        of: u8,
    },
    Group(u32),
    Meter(u32),
    Note(String),
    ClearActions,
    WriteActions(Vec<Action>),
    WriteMetadata {
        value: u64,
        mask: u64,
    },
    Clone(Vec<Action>),
    Exit,
    /// An action this version does not know, as it stood.
    Unknown(String),
}

/// Where connection tracking takes its zone from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Zone {
    Number(u16),
    Field(Subfield),
}

/// `ct(…)`: send through connection tracking.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ct {
    pub commit: bool,
    pub force: bool,
    pub table: Option<u8>,
    pub zone: Option<Zone>,
    pub nat: Option<Nat>,
    pub alg: Option<String>,
    pub exec: Vec<Action>,
    /// Parts that this version does not know, as they stood.
    pub unknown: Vec<String>,
}

/// `nat`, `nat(src=…)`: which side to rewrite, to what.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nat {
    /// `src`, or `dst`; neither restores what an earlier `nat` did.
    pub side: Option<NatSide>,
    /// An address, or a range of them, with ports, as it stood: `10.0.0.1-10.0.0.9:1-99`.
    pub range: String,
    /// `persistent`, `hash`, `random`.
    pub flags: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NatSide {
    Src,
    Dst,
}

/// `learn(…)`: make a flow out of this packet.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Learn {
    pub table: u8,
    pub priority: Option<u16>,
    pub cookie: u64,
    pub idle_timeout: u16,
    pub hard_timeout: u16,
    pub fin_idle_timeout: u16,
    pub fin_hard_timeout: u16,
    pub send_flow_rem: bool,
    pub delete_learned: bool,
    pub limit: Option<u32>,
    pub result_dst: Option<Subfield>,
    /// What the learned flow matches and does, in order.
    pub specs: Vec<LearnSpec>,
    /// Parts that this version does not know, as they stood.
    pub unknown: Vec<String>,
}

/// One part of what is learned.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LearnSpec {
    /// The learned flow matches these bits.
    Match { dst: Subfield, src: LearnSource },
    /// The learned flow writes these bits.
    Load { dst: Subfield, src: LearnSource },
    /// The learned flow outputs to the port that this field holds now.
    Output(Subfield),
}

/// Where a learned value comes from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LearnSource {
    Field(Subfield),
    Value(u128),
}

/// Building actions, for `plan`.
impl Action {
    pub fn normal() -> Action {
        Action::Output(PortRef::Normal)
    }

    pub fn output(port: impl Into<String>) -> Action {
        Action::Output(PortRef::Name(port.into()))
    }

    pub fn resubmit(table: u8) -> Action {
        Action::Resubmit {
            port: None,
            table: Some(table),
            ct: false,
        }
    }

    /// Write all bits of a field.
    pub fn set(field: Field, value: u128) -> Action {
        Action::set_masked(field, value, field.full_mask())
    }

    /// Write some bits of a field.
    pub fn set_masked(field: Field, value: u128, mask: u128) -> Action {
        Action::Set {
            field,
            value: value & mask,
            mask,
            spelling: Shown(Spelling::SetField),
        }
    }

    /// Give a frame a tag it does not have.
    pub fn tag(vlan: u16) -> [Action; 2] {
        let tci = u128::from(super::matches::VLAN_PRESENT | vlan);
        [Action::PushVlan(0x8100), Action::set(Field::VlanVid, tci)]
    }

    pub fn pop_vlan() -> Action {
        Action::PopVlan(Shown(Spelling::SetField))
    }

    pub fn copy(src: Field, dst: Field) -> Action {
        Action::Move {
            src: Subfield::whole(src),
            dst: Subfield::whole(dst),
        }
    }
}
