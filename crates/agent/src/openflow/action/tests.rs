//! Actions through the bytes that are sent, and back.
use super::*;
use host::ovs::{Learn, LearnSource, LearnSpec};

fn learned() -> Learn {
    let vlan = Subfield::bits(Field::VlanTci, 0, 11);
    let to = Subfield::whole(Field::EthDst);
    Learn {
        table: 20,
        priority: Some(1),
        cookie: 7,
        hard_timeout: 300,
        specs: vec![
            LearnSpec::Match {
                dst: vlan,
                src: LearnSource::Field(vlan),
            },
            LearnSpec::Match {
                dst: to,
                src: LearnSource::Field(Subfield::whole(Field::EthSrc)),
            },
            LearnSpec::Load {
                dst: Subfield::whole(Field::VlanTci),
                src: LearnSource::Value(0),
            },
            LearnSpec::Output(Subfield::whole(Field::InPortOxm)),
        ],
        ..Learn::default()
    }
}

fn all() -> Vec<Action> {
    let [push, set] = Action::tag(5);
    vec![
        Action::Meter(3),
        push,
        set,
        Action::pop_vlan(),
        Action::set(Field::TunId, 0x26e),
        Action::set_masked(Field::Reg5, 0x100, 0xff00),
        Action::copy(Field::ArpSha, Field::ArpTha),
        Action::Learn(Box::new(learned())),
        Action::Ct(Box::new(Ct {
            commit: true,
            table: Some(72),
            zone: Some(Zone::Field(Subfield::bits(Field::Reg6, 0, 15))),
            exec: vec![Action::set(Field::CtMark, 1)],
            nat: Some(Nat::default()),
            ..Ct::default()
        })),
        Action::Ct(Box::new(Ct {
            zone: Some(Zone::Number(9)),
            ..Ct::default()
        })),
        Action::Conjunction {
            id: 9,
            clause: 1,
            of: 2,
        },
        Action::OutputField(Subfield::bits(Field::Reg0, 0, 15)),
        Action::resubmit(4),
        Action::Clone(vec![Action::DecTtl]),
        Action::set(Field::NdReserved, 0xe000_0000),
        Action::output("p1"),
        Action::Output(PortRef::InPort),
        Action::normal(),
        Action::GotoTable(60),
    ]
}

#[test]
fn actions_survive_the_wire() {
    let ports = Ports::new([("p1".to_owned(), 1)]);
    let mut out = Writer::default();
    write_instructions(&all(), &ports, &mut out).expect("sayable");
    assert_eq!(out.len() % 8, 0);
    assert_eq!(read_instructions(Reader(&out.0), &ports), Ok(all()));
}

#[test]
fn what_cannot_be_said_is_refused_and_what_is_not_known_is_kept() {
    let ports = Ports::default();
    let mut out = Writer::default();
    let unknown = Action::Unknown("bundle(…)".to_owned());
    assert!(write(&unknown, &ports, &mut out).is_err());
    let strange = [0, 99, 0, 8, 1, 2, 3, 4];
    let read = read_all(Reader(&strange), &ports);
    assert_eq!(
        read,
        Ok(vec![Action::Unknown("0063000801020304".to_owned())])
    );
    assert!(read_all(Reader(&strange[..6]), &ports).is_err());
}
