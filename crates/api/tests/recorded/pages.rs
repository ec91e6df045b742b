//! Pages without a sort key: they come in the order of ids, which are random. The recorded page is
//! dealt anew as that server would have dealt it, had its ids had the order of ours: where it shows
//! the third of all, the one is expected that is the third here.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::{RECORDED, compare::Known};

/// Which recorded resource stands here where another stood there.
type Deal = BTreeMap<String, String>;

fn is_unordered_page(request: &Value) -> bool {
    let path = request["path"].as_str().unwrap_or_default();
    let pages = path.contains("limit=") && !path.contains("limit=0") && request["status"] == 200;
    pages && !path.contains("sort_key")
}

/// The last whole list of the collection that the caller was shown before.
fn whole(request: &Value) -> Vec<Value> {
    let path = request["path"].as_str().unwrap_or_default();
    let path = path.split('?').next().unwrap_or_default();
    let earlier = RECORDED.lines().map(|line| {
        let earlier: Value = serde_json::from_str(line).expect("JSON");
        earlier
    });
    let earlier = earlier.take_while(|it| it["n"] != request["n"]);
    let same = earlier.filter(|it| it["path"] == path && it["as"] == request["as"]);
    let list = same.filter(|it| it["method"] == "GET").last();
    let list = list.expect("a whole list").to_owned();
    let answer = list["response"].as_object().expect("a list");
    let items = answer.values().next().and_then(Value::as_array);
    items.expect("a list").clone()
}

fn id(item: &Value) -> &str {
    item["id"].as_str().unwrap_or_default()
}

fn deal(whole: &[Value], known: &Known) -> Deal {
    let mut there: Vec<&str> = whole.iter().map(id).collect();
    let mut here = there.clone();
    there.sort_unstable();
    here.sort_by_key(|id| known.ours(id));
    let pairs = there.into_iter().zip(here);
    pairs
        .map(|(there, here)| (there.to_owned(), here.to_owned()))
        .collect()
}

fn dealt(text: &str, deal: &Deal) -> String {
    let named = deal.iter().find(|(there, _)| text.contains(*there));
    named.map_or_else(
        || text.to_owned(),
        |(there, here)| text.replace(there, here),
    )
}

/// The path to ask for: a page's marker stands where the recorded one stood.
pub(crate) fn path(request: &Value, known: &Known) -> String {
    let path = request["path"].as_str().unwrap_or_default();
    match is_unordered_page(request) {
        true => dealt(path, &deal(&whole(request), known)),
        false => path.to_owned(),
    }
}

/// The recorded answer; of a page, as it would have been in the order of ours.
pub(crate) fn dealt_anew(request: &Value, known: &Known) -> Value {
    let recorded = &request["response"];
    if !is_unordered_page(request) {
        return recorded.clone();
    }
    let whole = whole(request);
    let deal = deal(&whole, known);
    let item = |item: &Value| match item["href"].as_str() {
        Some(href) => serde_json::json!({"rel": item["rel"], "href": dealt(href, &deal)}),
        // A page of ids only, or of the whole resources.
        None if item.as_object().is_some_and(|it| it.len() == 1) => {
            serde_json::json!({"id": deal[id(item)]})
        }
        None => {
            let here = whole.iter().find(|it| id(it) == deal[id(item)]);
            here.expect("in the list").clone()
        }
    };
    let lists = recorded.as_object().expect("a page").iter();
    let lists = lists.map(|(name, items)| {
        let items = items.as_array().expect("a list").iter();
        (name.clone(), items.map(item).collect())
    });
    Value::Object(lists.collect())
}
