//! `docs/configuration.md` says what the settings' declarations say: it is made out of them.
//!
//! `BLESS=1 cargo test -p api --test configuration` writes it anew.

use std::fmt::Write;

use api::config::Config;

const SERVER: &str = include_str!("../src/config.rs");
const LEDGER: &str = include_str!("../../ledger/src/config.rs");
const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/configuration.md");

/// A struct's own words, and its fields with theirs.
struct Section<'a> {
    about: Vec<&'a str>,
    fields: Vec<(&'a str, Vec<&'a str>)>,
}

fn section<'a>(source: &'a str, name: &str) -> Section<'a> {
    let start = format!("pub struct {name} {{");
    let at = source
        .find(&start)
        .unwrap_or_else(|| panic!("{name} is declared"));
    let before = source[..at].lines().rev();
    let mut about: Vec<&str> = before
        .take_while(|line| line.starts_with("///") || line.starts_with("#["))
        .filter_map(|line| line.strip_prefix("/// "))
        .collect();
    about.reverse();
    let (mut fields, mut words) = (Vec::new(), Vec::new());
    for line in source[at..].lines().skip(1).map(str::trim) {
        if line == "}" {
            break;
        } else if let Some(word) = line.strip_prefix("///") {
            words.push(word.trim());
        } else if let Some(field) = line.strip_prefix("pub ") {
            let field = field.split(':').next().unwrap_or_default();
            fields.push((field, std::mem::take(&mut words)));
        }
    }
    Section { about, fields }
}

/// The tables that are sections of their own, and the structs that declare them.
const TABLES: [(&str, &str); 7] = [
    ("tls", "Tls"),
    ("limits", "Limits"),
    ("agents", "Agents"),
    ("embedded", "Embedded"),
    ("keystone", "Keystone"),
    ("nova", "Nova"),
    ("metadata", "Metadata"),
];

/// A default as one types it into a file.
fn typed(value: &toml::Value) -> String {
    match value {
        toml::Value::Table(table) => {
            let pairs: Vec<String> = table.iter().map(|(k, v)| format!("{k} = {v}")).collect();
            format!("`{{ {} }}`", pairs.join(", ")).replace("{  }", "{}")
        }
        value => format!("`{value}`"),
    }
}

/// Leaves out the tables that are sections of their own.
fn write(out: &mut String, title: &str, section: &Section<'_>, defaults: &toml::Table) {
    let about = section.about.join(" ");
    let _ = write!(
        out,
        "## {title}\n\n{about}\n\n| setting | default | |\n|---|---|---|\n"
    );
    for (field, words) in &section.fields {
        if is_section(field) {
            continue;
        }
        let default = defaults
            .get(*field)
            .map_or_else(|| "none".to_owned(), typed);
        let _ = writeln!(out, "| `{field}` | {default} | {} |", words.join(" "));
    }
    out.push('\n');
}

fn is_section(field: &str) -> bool {
    field == "ledger" || TABLES.iter().any(|(table, _)| *table == field)
}

fn document() -> String {
    let defaults = toml::Table::try_from(Config::default()).expect("TOML");
    let none = toml::Table::new();
    let mut out =
        "# Settings of `nucleon server`\n\nMade out of the declarations in the code. One TOML \
                   file, given by `--config`; everything in it may be left out.\n\n"
            .to_owned();
    write(
        &mut out,
        "At the top",
        &section(SERVER, "Config"),
        &defaults,
    );
    for (table, name) in TABLES {
        let of_table = defaults.get(table).and_then(toml::Value::as_table);
        let declared = section(SERVER, name);
        write(
            &mut out,
            &format!("`[{table}]`"),
            &declared,
            of_table.unwrap_or(&none),
        );
    }
    let ledger = defaults["ledger"].as_table().expect("a table");
    write(&mut out, "`[ledger]`", &section(LEDGER, "Config"), ledger);
    out
}

#[test]
fn the_document_is_what_the_declarations_say() {
    let document = document();
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(FILE, &document).expect("written");
    }
    let kept = std::fs::read_to_string(FILE).expect("docs/configuration.md");
    assert!(
        kept == document,
        "docs/configuration.md is not current: BLESS=1 writes it"
    );
}

#[test]
fn every_setting_has_words() {
    let declared = [(SERVER, "Config"), (LEDGER, "Config")];
    let tables = TABLES.map(|(_, name)| (SERVER, name));
    for (source, name) in declared.into_iter().chain(tables) {
        let section = section(source, name);
        assert!(!section.fields.is_empty(), "{name}");
        for (field, words) in section.fields {
            let said = is_section(field) || !words.is_empty();
            assert!(said, "{name}: nothing is said about {field}");
        }
    }
}
