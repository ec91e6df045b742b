//! Lists and creations: what a collection answers to GET and POST.

use std::sync::Arc;

use intent::{
    Key, Kind, Network, Object, ProjectId, SecurityGroup, State, SubnetId,
    attrs::{Cx, Draft, Json, Table, Verb, Verbs},
};
use ledger::{Answer as Outcome, Command};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::{
    asked::Reply,
    filter::{self, Filter},
    page::{self, Page},
    scene::{Columns, Scene, missing},
    scope::{Scoped, on_kind},
    target::{Stored, Wanted},
};
use crate::{
    fault::Fault,
    policy::{Answer, action_rule, explicit_rule},
};

/// `GET` of a collection.
pub(super) async fn list(scene: &mut Scene<'_>, table: &'static Table) -> Result<Reply, Fault> {
    if table.kind == Some(Kind::SecurityGroup) || table.kind == Some(Kind::SecurityGroupRule) {
        ensure_default_group(scene).await?;
    }
    on_kind!(table.kind, R => list_of::<R>(scene), else super::computed::list(scene, table))
}

/// A project's group `default` is made when its groups are first looked at.
async fn ensure_default_group(scene: &mut Scene<'_>) -> Result<(), Fault> {
    let project = ProjectId::from(scene.caller().project());
    let default = (project.clone(), "default".to_owned());
    if project.is_empty() || scene.state().index.groups_of_name.any(&default) {
        return Ok(());
    }
    scene
        .submit(Command::EnsureDefaultGroup { project })
        .await
        .map(|_| ())
}

fn list_of<R: Scoped>(scene: &Scene<'_>) -> Result<Reply, Fault> {
    let query = &scene.asked.query;
    let filters = filter::read(R::TABLE, query, scene.api.filter_validation)?;
    let page = Page::read(R::TABLE, query)?;
    let cx = scene.cx(Verb::List);
    let mut found = select::<R>(scene, &cx, &filters);
    page::order(
        &mut found,
        &page.sort,
        &Cx {
            filtering: true,
            ..cx
        },
    );
    let found = page::cut(found, &page).map_err(|marker| missing(R::TABLE, &marker))?;

    let columns = scene.columns(R::TABLE, Verb::List);
    let mut out = Json::with_room();
    out.open(b'{');
    out.key(R::TABLE.plural);
    out.list(&found, |out, object| {
        scene.write(*object, &cx, &columns, out)
    });
    if page.limit.is_some() {
        let keys: Vec<String> = found
            .iter()
            .map(|object| object.key().to_string())
            .collect();
        let links = page::links(&page, &scene.asked.url(), query, &keys);
        out.key(&format!("{}_links", R::TABLE.plural));
        out.list(links, |out, (rel, href)| {
            out.open(b'{');
            out.key("rel");
            out.text(rel);
            out.key("href");
            out.text(&href);
            out.close(b'}');
        });
    }
    out.close(b'}');
    Ok(Reply::json(out))
}

/// Those that exist for the caller, that policy shows and that all filters ask for.
fn select<'s, R: Scoped>(scene: &'s Scene<'_>, cx: &Cx<'_>, filters: &[Filter]) -> Vec<&'s R> {
    let rule = action_rule("get", R::TABLE);
    let readable = scene.api.policy.ask(&rule, &scene.caller().credentials);
    if readable == Answer::No {
        return Vec::new();
    }
    let comparing = Cx {
        filtering: true,
        ..*cx
    };
    let mut scratch = Json::new();
    candidates::<R>(scene, filters)
        .into_iter()
        .map(|object| &**object)
        .filter(|object| scene.caller().sees_all || object.is_visible(cx))
        .filter(|object| {
            filters
                .iter()
                .all(|filter| filter.is_met(*object, &comparing, &mut scratch))
        })
        .filter(|object| {
            readable == Answer::Yes
                || scene.allows(
                    &rule,
                    &Stored {
                        object: *object,
                        cx,
                    },
                )
        })
        .collect()
}

/// All that may be asked for, found by an index where there is one, in the order of their keys.
fn candidates<'s, R: Scoped>(scene: &'s Scene<'_>, filters: &[Filter]) -> Vec<&'s Arc<R>> {
    let all = R::table(scene.state());
    let of_ids = |mut ids: Vec<Uuid>| {
        ids.sort_unstable();
        ids.dedup();
        let keys = ids.into_iter().filter_map(R::Key::of_id);
        keys.filter_map(|key| all.get(&key)).collect::<Vec<_>>()
    };
    let wanted = |name: &str| filters.iter().find_map(|filter| filter.values_of(name));
    if let Some(keys) = wanted(R::TABLE.primary_key()) {
        return of_ids(keys.iter().filter_map(|key| key.parse().ok()).collect());
    }
    if let Some(ids) = by_index(scene, R::KIND, filters) {
        return of_ids(ids);
    }
    let owner = match scene.caller().sees_all {
        true => wanted("tenant_id").or_else(|| wanted("project_id")),
        false if R::PRIVATE => Some(vec![scene.caller().project().to_owned()]),
        false => None,
    };
    match owner {
        Some(projects) if all.len() > 100 => {
            let owned = projects.iter().flat_map(|project| {
                let key = (R::KIND, ProjectId::from(project.as_str()));
                let owned = scene.state().index.by_project.of(&key);
                owned.copied().collect::<Vec<_>>()
            });
            of_ids(owned.collect())
        }
        _ => all.values().collect(),
    }
}

/// Ids out of the state's indexes for the filters that clients use most.
fn by_index(scene: &Scene<'_>, kind: Kind, filters: &[Filter]) -> Option<Vec<Uuid>> {
    let index = &scene.state().index;
    let wanted = |name: &str| filters.iter().find_map(|filter| filter.values_of(name));
    macro_rules! through {
        ($attr:literal, $relation:ident) => {
            if let Some(values) = wanted($attr) {
                let mut found = Vec::new();
                for value in values.iter().filter_map(|value| value.parse().ok()) {
                    found.extend(index.$relation.of(&value).map(|id| id.uuid()));
                }
                return Some(found);
            }
        };
    }
    match kind {
        Kind::Port => {
            through!("device_id", ports_of_device);
            if let Some(ids) = ports_by_subnet(scene, filters) {
                return Some(ids);
            }
            through!("security_groups", ports_of_group);
            through!("binding:host_id", ports_of_host);
            through!("network_id", ports_of_network);
        }
        Kind::Subnet => through!("network_id", subnets_of_network),
        Kind::Segment => through!("network_id", segments_of_network),
        Kind::SecurityGroupRule => through!("security_group_id", rules_of_group),
        Kind::FloatingIp => {
            through!("port_id", floating_ips_of_port);
            through!("router_id", floating_ips_of_router);
            through!("floating_network_id", floating_ips_of_network);
        }
        Kind::RbacPolicy => through!("object_id", rbac_of_object),
        _ => {}
    }
    None
}

fn ports_by_subnet(scene: &Scene<'_>, filters: &[Filter]) -> Option<Vec<Uuid>> {
    let subnets = filters
        .iter()
        .find_map(|filter| filter.pairs_of("fixed_ips", "subnet_id"))?;
    let mut found = Vec::new();
    for subnet in subnets.iter().filter_map(|id| id.parse::<SubnetId>().ok()) {
        let addresses = scene.state().index.address_in_subnet.of(&subnet);
        found.extend(addresses.map(|(_, port)| port.uuid()));
    }
    Some(found)
}

/// `POST` to a collection: one, or many at once.
pub(super) async fn create(scene: &mut Scene<'_>, table: &'static Table) -> Result<Reply, Fault> {
    let Some(kind) = table.kind.filter(|_| table.verbs != Verbs::ReadOnly) else {
        return Err(Fault::method_not_allowed());
    };
    let mut body = scene.asked.json()?;
    let (bodies, many) = bodies(table, &mut body)?;
    let mut drafts = Vec::with_capacity(bodies.len());
    for body in bodies {
        drafts.push(draft(scene, table, body)?);
    }
    let cx = scene.cx(Verb::Create);
    let action = action_rule("create", table);
    for draft in &drafts {
        find_parent(scene, table, draft)?;
        let rule = explicit_rule(&action, table, draft, true);
        let target = Wanted {
            draft,
            was: None,
            cx: &cx,
        };
        scene.require(&rule, &target)?;
    }
    if table.verbs == Verbs::NoCreate {
        return Err(Fault::neutron(
            http::StatusCode::BAD_REQUEST,
            "BadRequest",
            format!(
                "Bad {} request: Agent creation using API is not supported..",
                table.plural
            ),
        ));
    }
    let outcome = scene.submit(Command::Create { kind, drafts }).await?;
    let Outcome::Objects(objects) = outcome else {
        return Err(Fault::internal());
    };
    Ok(Reply::created(shown(scene, table, &objects, many).bytes))
}

/// Resources in one request: the writer decides them in one go, and others wait meanwhile.
const MANY: usize = 5_000;

/// The bodies below the root, and whether they came as a list.
fn bodies(
    table: &Table,
    body: &mut Map<String, Value>,
) -> Result<(Vec<Map<String, Value>>, bool), Fault> {
    let required = || Fault::bad_request("Resources required");
    if let Some(many) = body.remove(table.plural) {
        let items = many.as_array().filter(|items| !items.is_empty());
        let items = items.ok_or_else(required)?;
        if items.len() > MANY {
            return Err(Fault::bad_request(format!(
                "No more than {MANY} {} can be created at once",
                table.plural
            )));
        }
        let maps = items.iter().map(|item| match item {
            Value::Object(map) => Ok(map.clone()),
            _ => Err(invalid_object(table)),
        });
        return Ok((maps.collect::<Result<_, _>>()?, true));
    }
    match body.remove(table.name) {
        Some(Value::Object(map)) => Ok((vec![map], false)),
        Some(_) => Err(invalid_object(table)),
        None => Err(no_root(table)),
    }
}

pub(super) fn no_root(table: &Table) -> Fault {
    Fault::bad_request(format!("Unable to find '{}' in request body", table.name))
}

pub(super) fn invalid_object(table: &Table) -> Fault {
    Fault::bad_request(format!("Object '{}' contains invalid data", table.name))
}

fn draft(scene: &Scene<'_>, table: &Table, body: Map<String, Value>) -> Result<Draft, Fault> {
    let project = scene.caller().project();
    let foreign = ["project_id", "tenant_id"].into_iter().find(|name| {
        let given = body.get(*name);
        given.is_some_and(|given| given != project)
    });
    let draft = table.read_create(body, project);
    if foreign.is_some() && !scene.caller().is_admin && table.owner().is_some() {
        return Err(Fault::bad_request(
            "Specifying 'project_id' other than the authenticated project in request is not \
             allowed for the current user.",
        ));
    }
    Ok(draft?)
}

/// What the new resource is to belong to is there, which comes before what policy says. A port's
/// network must be one that the caller sees; of the others policy says whose they may be.
fn find_parent(scene: &Scene<'_>, table: &Table, draft: &Draft) -> Result<(), Fault> {
    let given = |attr: &str| draft.get(attr).and_then(Value::as_str);
    let network = given("network_id");
    let state = scene.state();
    match table.kind {
        Some(Kind::Port) => {
            let network = network.map(|id| scene.find::<Network>(id));
            network.transpose().map(|_| ())
        }
        Some(Kind::Subnet) => exists::<Network>(state, network),
        Some(Kind::SecurityGroupRule) => exists::<SecurityGroup>(state, given("security_group_id")),
        _ => Ok(()),
    }
}

fn exists<R: Scoped>(state: &State, id: Option<&str>) -> Result<(), Fault> {
    let is_there = |id: &str| id.parse().is_ok_and(|key| state.get::<R>(&key).is_some());
    match id.filter(|id| !is_there(id)) {
        Some(id) => Err(missing(R::TABLE, id)),
        None => Ok(()),
    }
}

fn shown(scene: &Scene<'_>, table: &'static Table, objects: &[Object], many: bool) -> Json {
    let columns = scene.columns(table, Verb::Create);
    let cx = scene.cx(Verb::Create);
    let mut out = Json::with_room();
    out.open(b'{');
    if many {
        out.key(table.plural);
        out.list(objects, |out, object| {
            write_object(scene, object, &cx, &columns, out)
        });
    } else if let Some(object) = objects.first() {
        out.key(table.name);
        write_object(scene, object, &cx, &columns, &mut out);
    }
    out.close(b'}');
    out
}

/// Writes whichever kind of resource it is.
pub(super) fn write_object(
    scene: &Scene<'_>,
    object: &Object,
    cx: &Cx<'_>,
    columns: &Columns<'_>,
    out: &mut Json,
) {
    macro_rules! write {
        ($($type:ident),*) => {
            match object {
                $(Object::$type(it) => scene.write(&**it, cx, columns, out),)*
                _ => out.null(),
            }
        };
    }
    write!(
        Network,
        Subnet,
        SubnetPool,
        Port,
        Router,
        FloatingIp,
        SecurityGroup,
        SecurityGroupRule,
        DefaultRule,
        AddressGroup,
        AddressScope,
        RbacPolicy,
        Agent,
        Segment
    );
}
