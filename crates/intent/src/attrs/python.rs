//! Python's way to print values: Neutron's messages quote what was sent as Python shows it.

use serde_json::Value;

/// As `str(value)`.
pub fn str(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => repr(other),
    }
}

/// As `repr(value)`.
pub fn repr(value: &Value) -> String {
    match value {
        Value::Null => "None".to_owned(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => quoted(text),
        Value::Array(items) => list(items.iter()),
        Value::Object(map) => {
            let pairs: Vec<String> = map
                .iter()
                .map(|(key, value)| format!("{}: {}", quoted(key), repr(value)))
                .collect();
            format!("{{{}}}", pairs.join(", "))
        }
    }
}

/// As `repr` of a list.
fn list<'a>(items: impl Iterator<Item = &'a Value>) -> String {
    let items: Vec<String> = items.map(repr).collect();
    format!("[{}]", items.join(", "))
}

fn quoted(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') {
        '"'
    } else {
        '\''
    };
    let mut out = String::with_capacity(text.len() + 2);
    out.push(quote);
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c == quote => {
                out.push('\\');
                out.push(c);
            }
            c => out.push(c),
        }
    }
    out.push(quote);
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    #[test]
    fn values_read_as_python_prints_them() {
        let value = json!({"a": [1, null, true], "b": "it's"});
        assert_eq!(super::repr(&value), "{'a': [1, None, True], 'b': \"it's\"}");
        assert_eq!(super::str(&json!("x")), "x");
        assert_eq!(super::str(&json!(["x"])), "['x']");
    }
}
