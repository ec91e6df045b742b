//! The database's forms say the same; damaged ones never panic.
use super::*;
use proptest::prelude::*;

const SHOW: &str = "    Bridge br-int
        Controller \"tcp:127.0.0.1:6633\"
        fail_mode: secure
        datapath_type: netdev
        Port patch-tun
            Interface patch-tun
                type: patch
                options: {peer=patch-int}
        Port qvo1
            tag: 1
            Interface qvo1
        Port vxlan-0a1e000b
            trunks: [3, 4]
            Interface vxlan-0a1e000b
                type: vxlan
                options: {df_default=\"true\", in_key=flow, local_ip=\"10.30.0.12\"}
                error: \"no device\"
";

#[test]
fn show_is_printed_as_it_was_read() {
    let bridges = read_show(SHOW).unwrap();
    assert_eq!(print_show(&bridges), SHOW);
    let port = &bridges["br-int"].ports["vxlan-0a1e000b"];
    assert_eq!(
        port.interfaces["vxlan-0a1e000b"].options["local_ip"],
        "10.30.0.12"
    );
    let old = "Bridge br-int\n    Port \"qvo7c\"\n        tag: 1\n        Interface \"qvo7c\"\n";
    assert_eq!(
        read_show(old).unwrap()["br-int"].ports["qvo7c"].tag,
        Some(1)
    );
    assert!(read_show("Bridge b\nPort p\ntag: x\n").is_err());
}

const PORTS: &str = r#"{"headings":["_uuid","name","tag","trunks","interfaces","other_config"],"data":[[["uuid","p1"],"qvo1",1,["set",[3,4]],["uuid","i1"],["map",[["tag","1"],["net_uuid","n"]]]]]}"#;
const BRIDGES: &str = r#"{"headings":["_uuid","name","ports","fail_mode","protocols","controller"],"data":[[["uuid","b1"],"br-int",["set",[["uuid","p1"]]],"secure",["set",["OpenFlow10","OpenFlow13"]],["set",[]]]]}"#;
const INTERFACES: &str = r#"{"headings":["_uuid","name","ofport","mac_in_use","error","mtu"],"data":[[["uuid","i1"],"qvo1",4,"b6:12:70:08:c1:d5",["set",[]],1450]]}"#;

#[test]
fn rows_are_put_together() {
    let tables = Tables {
        bridges: read_table_json(BRIDGES).unwrap(),
        ports: read_table_json(PORTS).unwrap(),
        interfaces: read_table_json(INTERFACES).unwrap(),
        controllers: Vec::new(),
    };
    let bridges = tables.bridges();
    let bridge = &bridges["br-int"];
    assert_eq!(bridge.protocols.len(), 2);
    let port = &bridge.ports["qvo1"];
    assert_eq!(
        (port.tag, port.other_config["net_uuid"].as_str()),
        (Some(1), "n")
    );
    assert_eq!(port.trunks.iter().copied().collect::<Vec<_>>(), [3, 4]);
    let interface = &port.interfaces["qvo1"];
    assert_eq!(
        (interface.ofport.0, interface.mtu.0, &interface.error.0),
        (Some(4), Some(1450), &None)
    );
}

#[test]
fn listings_say_what_json_says() {
    let text = "name : qvo1\ntag : 1\ntrunks : [3, 4]\nother_config : {net_uuid=n, tag=\"1\"}\n\nname : \"x y\"\nexternal_ids : {}\n";
    let rows = read_table_text(text).unwrap();
    assert_eq!(rows.len(), 2);
    assert_eq!(
        rows[0]["other_config"],
        read_table_json(PORTS).unwrap()[0]["other_config"]
    );
    assert_eq!(rows[1]["name"].atom(), Some("x y"));
    let Value::Map(map) = &rows[0]["other_config"] else {
        panic!("not a map");
    };
    assert_eq!(print_map(map), "{net_uuid=n, tag=\"1\"}");
    assert!(read_table_text("no colon").is_err());
    assert!(read_table_json("{}").is_err() && read_table_json("[").is_err());
}

proptest! {
    #[test]
    fn no_text_makes_them_panic(text in any::<String>()) {
        let _ = (read_show(&text), read_table_text(&text), read_table_json(&text));
    }

    #[test]
    fn damaged_rows_are_read_or_refused(at: prop::sample::Index, with in "[\\[\\]{}\",0-9a-z]{0,2}") {
        let mut text = PORTS.to_owned();
        let at = at.index(text.len());
        text.replace_range(at..(at + 2).min(PORTS.len()), &with);
        if let Ok(ports) = read_table_json(&text) {
            let _ = Tables { ports, ..Tables::default() }.bridges();
        }
    }
}
