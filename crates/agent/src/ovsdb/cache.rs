//! A copy of the tables that the agent reads, kept by the differences that the server sends.
use std::collections::{BTreeMap, BTreeSet};

use host::Shared;
use serde_json::{Map, Value as Json, json};
use uuid::Uuid;

use super::value::{Atom, BadValue, Value};

/// How the server tells a change of a column (ovsdb-server(7), `update2`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// At most one: the new value is told.
    One,
    /// What came and what went is told.
    Set,
    /// The pairs that came, went, or changed are told.
    Map,
}

/// The tables and columns that are watched.
const WATCHED: &[(&str, &[(&str, Kind)])] = &[
    (
        "Open_vSwitch",
        &[
            ("bridges", Kind::Set),
            ("external_ids", Kind::Map),
            ("other_config", Kind::Map),
            ("ovs_version", Kind::One),
            ("datapath_types", Kind::Set),
            ("iface_types", Kind::Set),
        ],
    ),
    (
        "Bridge",
        &[
            ("name", Kind::One),
            ("ports", Kind::Set),
            ("datapath_type", Kind::One),
            ("datapath_id", Kind::One),
            ("fail_mode", Kind::One),
            ("protocols", Kind::Set),
            ("controller", Kind::Set),
            ("other_config", Kind::Map),
            ("external_ids", Kind::Map),
        ],
    ),
    (
        "Port",
        &[
            ("name", Kind::One),
            ("interfaces", Kind::Set),
            ("tag", Kind::One),
            ("vlan_mode", Kind::One),
            ("trunks", Kind::Set),
            ("other_config", Kind::Map),
            ("external_ids", Kind::Map),
        ],
    ),
    (
        "Interface",
        &[
            ("name", Kind::One),
            ("type", Kind::One),
            ("options", Kind::Map),
            ("other_config", Kind::Map),
            ("external_ids", Kind::Map),
            ("mac", Kind::One),
            ("mac_in_use", Kind::One),
            ("mtu", Kind::One),
            ("mtu_request", Kind::One),
            ("ofport", Kind::One),
            ("ofport_request", Kind::One),
            ("error", Kind::One),
            ("admin_state", Kind::One),
            ("link_state", Kind::One),
        ],
    ),
    ("Controller", &[("target", Kind::One)]),
];

/// One row: columns by name. A column that is not there is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Row(BTreeMap<&'static str, Value>);

impl Row {
    fn set(&self, column: &str) -> impl Iterator<Item = &Atom> {
        match self.0.get(column) {
            Some(Value::Set(set)) => Some(set.iter()),
            _ => None,
        }
        .into_iter()
        .flatten()
    }

    pub fn text(&self, column: &str) -> Option<&str> {
        self.set(column)
            .next()
            .and_then(Atom::text)
            .filter(|text| !text.is_empty())
    }

    pub fn number(&self, column: &str) -> Option<i64> {
        self.numbers(column).next()
    }

    pub fn numbers(&self, column: &str) -> impl Iterator<Item = i64> {
        self.set(column).filter_map(|atom| match atom {
            Atom::Int(int) => Some(*int),
            _ => None,
        })
    }

    pub fn texts(&self, column: &str) -> BTreeSet<String> {
        self.set(column)
            .filter_map(|atom| atom.text().map(str::to_owned))
            .collect()
    }

    pub fn references(&self, column: &str) -> impl Iterator<Item = Uuid> {
        self.set(column).filter_map(|atom| match atom {
            Atom::Uuid(id) => Some(*id),
            _ => None,
        })
    }

    pub fn map(&self, column: &str) -> BTreeMap<String, String> {
        let Some(Value::Map(map)) = self.0.get(column) else {
            return BTreeMap::new();
        };
        let pairs = map.iter().filter_map(|(k, v)| Some((k.text()?, v.text()?)));
        pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
    }
}

/// The watched tables.
#[derive(Clone, Debug, Default)]
pub struct Cache {
    tables: BTreeMap<&'static str, BTreeMap<Uuid, Shared<Row>>>,
    /// Whether the first answer has come and the connection stands.
    pub live: bool,
}

impl Cache {
    /// The rows of a table.
    pub fn rows(&self, table: &str) -> impl Iterator<Item = (Uuid, &Row)> {
        self.tables
            .get(table)
            .into_iter()
            .flatten()
            .map(|(id, row)| (*id, &**row))
    }

    /// A row stays the same one as long as nothing of it changes.
    pub fn row(&self, table: &str, id: Uuid) -> Option<&Shared<Row>> {
        self.tables.get(table)?.get(&id)
    }

    /// The row whose `name` this is. Names are unique in each table that has them.
    pub fn named(&self, table: &str, name: &str) -> Option<(Uuid, &Row)> {
        self.rows(table)
            .find(|(_, row)| row.text("name") == Some(name))
    }

    /// Forget everything: the server sends it anew.
    pub fn clear(&mut self) {
        self.tables.clear();
    }

    /// What a monitor asks for.
    pub fn monitor_requests() -> Json {
        let table = |(name, columns): &(&str, &[(&str, Kind)])| {
            let columns: Vec<_> = columns.iter().map(|(column, _)| *column).collect();
            ((*name).to_owned(), json!([{ "columns": columns }]))
        };
        Json::Object(WATCHED.iter().map(table).collect())
    }

    /// Follow `table-updates2`.
    pub fn follow(&mut self, updates: &Json) -> Result<(), BadValue> {
        for (table, rows) in object(updates)? {
            let Some((table, columns)) = WATCHED.iter().find(|(name, _)| name == table) else {
                continue;
            };
            for (id, update) in object(rows)? {
                let id = id.parse().map_err(|_| BadValue(id.clone()))?;
                self.follow_row(table, columns, id, object(update)?)?;
            }
        }
        Ok(())
    }

    fn follow_row(
        &mut self,
        table: &'static str,
        columns: &[(&'static str, Kind)],
        id: Uuid,
        update: &Map<String, Json>,
    ) -> Result<(), BadValue> {
        let rows = self.tables.entry(table).or_default();
        for (word, content) in update {
            match word.as_str() {
                "initial" | "insert" => {
                    let mut row = Row::default();
                    change(&mut row, columns, object(content)?)?;
                    rows.insert(id, row.into());
                }
                "modify" => change(rows.entry(id).or_default(), columns, object(content)?)?,
                "delete" => {
                    rows.remove(&id);
                }
                _ => return Err(BadValue(word.clone())),
            }
        }
        Ok(())
    }
}

/// Apply a row's difference. On an empty row a difference is the content.
fn change(
    row: &mut Row,
    columns: &[(&'static str, Kind)],
    changes: &Map<String, Json>,
) -> Result<(), BadValue> {
    for (column, kind) in columns {
        let Some(json) = changes.get(*column) else {
            continue;
        };
        let new = Value::read(json)?;
        match (kind, row.0.get_mut(column), new) {
            (Kind::Set, Some(Value::Set(old)), Value::Set(new)) => {
                *old = old.symmetric_difference(&new).cloned().collect();
            }
            (Kind::Map, Some(Value::Map(old)), Value::Map(new)) => change_map(old, new),
            (_, _, new) => {
                row.0.insert(column, new);
            }
        }
    }
    Ok(())
}

/// A pair that is there as told went; any other came or changed.
fn change_map(map: &mut BTreeMap<Atom, Atom>, changes: BTreeMap<Atom, Atom>) {
    for (key, value) in changes {
        if map.get(&key) == Some(&value) {
            map.remove(&key);
        } else {
            map.insert(key, value);
        }
    }
}

fn object(json: &Json) -> Result<&Map<String, Json>, BadValue> {
    json.as_object().ok_or_else(|| BadValue(json.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "018677df-b93b-451b-8e8e-51deaa6c6854";
    const OTHER: &str = "01e329ec-7e78-43aa-a86f-81a268e79abe";

    fn follow(cache: &mut Cache, row: &Json) {
        cache
            .follow(&json!({"Bridge": {ID: row}}))
            .expect("an update");
    }

    #[test]
    fn differences_lead_to_the_row() {
        let mut cache = Cache::default();
        follow(
            &mut cache,
            &json!({"initial": {"name": "br-int", "ports": ["uuid", ID],
                "other_config": ["map", [["a", "1"], ["b", "2"]]]}}),
        );
        follow(
            &mut cache,
            &json!({"modify": {"ports": ["set", [["uuid", ID], ["uuid", OTHER]]],
                "fail_mode": "secure", "other_config": ["map", [["a", "1"], ["b", "3"]]]}}),
        );
        let (_, row) = cache.named("Bridge", "br-int").expect("a bridge");
        assert_eq!(
            row.references("ports")
                .map(|id| id.to_string())
                .collect::<Vec<_>>(),
            [OTHER]
        );
        assert_eq!(
            row.map("other_config"),
            BTreeMap::from([("b".into(), "3".into())])
        );
        assert_eq!(row.text("fail_mode"), Some("secure"));
        follow(&mut cache, &json!({"modify": {"fail_mode": ["set", []]}}));
        assert_eq!(
            cache
                .named("Bridge", "br-int")
                .and_then(|(_, r)| r.text("fail_mode")),
            None
        );
        follow(&mut cache, &json!({"delete": null}));
        assert!(cache.named("Bridge", "br-int").is_none());
    }

    #[test]
    fn other_tables_are_passed_over_and_nonsense_is_refused() {
        let mut cache = Cache::default();
        assert_eq!(
            cache.follow(&json!({"Mirror": {ID: {"initial": {}}}})),
            Ok(())
        );
        assert!(
            cache
                .follow(&json!({"Bridge": {"x": {"initial": {}}}}))
                .is_err()
        );
        assert!(cache.follow(&json!([])).is_err());
    }
}
