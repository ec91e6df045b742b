//! Neutron's v2.0 API: from a request whose caller is known to an answer or a [`Fault`].
//!
//! A path is looked up in the resource tables ([`route`]), a body is read through them into a
//! draft, policy judges action and attributes, the ledger decides, and the answer is written
//! through the tables again, without what policy hides.

mod asked;
mod binding;
mod collection;
mod computed;
mod filter;
mod hosting;
mod listed;
mod member;
mod page;
mod query;
mod quota;
mod route;
mod scene;
mod scope;
mod tags;
mod target;
mod versions;

use http::Method;
use intent::attrs::{AUTO_TOPOLOGY, Table};

pub use asked::{Asked, Reply};
pub(crate) use listed::listed;
pub use query::{Query, decode};
use route::{Ref, Route, route};
use scene::Scene;

use crate::{Api, fault::Fault};

/// `GET /`, which needs no caller.
pub fn versions(base: &str) -> Reply {
    versions::versions(base)
}

/// Answers a request whose path is below `/v2.0`.
pub async fn answer(api: &Api, asked: &Asked) -> Result<Reply, Fault> {
    let below = asked.path.strip_prefix("/v2.0").ok_or_else(Fault::no_api)?;
    let mut scene = Scene::new(api, asked);
    let scene = &mut scene;
    match route(below)? {
        Route::Root => reading(asked).map(|()| versions::root(asked)),
        Route::Extensions => reading(asked).map(|()| versions::extensions(api.filter_validation)),
        Route::Extension(alias) => {
            reading(asked)?;
            versions::one_extension(&alias, api.filter_validation)
        }
        Route::Collection(Ref(table)) => on_collection(scene, table).await,
        Route::Member(Ref(table), id) => on_member(scene, table, &id).await,
        Route::Action(Ref(table), id, action) => match asked.method {
            Method::PUT => member::act(scene, table, &id, &action).await,
            _ => Err(Fault::method_not_allowed()),
        },
        Route::Tags(Ref(table), id) => on_tags(scene, table, &id).await,
        Route::Tag(Ref(table), id, tag) => match asked.method {
            Method::GET => tags::show(scene, table, &id, &tag),
            Method::PUT => tags::add_one(scene, table, &id, &tag).await,
            Method::DELETE => tags::remove_one(scene, table, &id, &tag).await,
            _ => Err(Fault::method_not_allowed()),
        },
        Route::Bindings(_) | Route::Binding(..) | Route::ActivateBinding(..) => {
            on_bindings(scene, route(below)?).await
        }
        Route::Hosted(..) | Route::HostedOne(..) | Route::Hosting(..) => {
            on_schedule(scene, route(below)?).await
        }
        other => on_quotas(scene, other).await,
    }
}

fn reading(asked: &Asked) -> Result<(), Fault> {
    match asked.method {
        Method::GET | Method::HEAD => Ok(()),
        _ => Err(Fault::method_not_allowed()),
    }
}

async fn on_collection(scene: &mut Scene<'_>, table: &'static Table) -> Result<Reply, Fault> {
    match scene.asked.method {
        Method::GET | Method::OPTIONS => collection::list(scene, table).await,
        Method::POST => collection::create(scene, table).await,
        Method::PUT | Method::DELETE => Err(member::no_member(table)),
        _ => Err(Fault::method_not_allowed()),
    }
}

async fn on_member(scene: &mut Scene<'_>, table: &'static Table, id: &str) -> Result<Reply, Fault> {
    match scene.asked.method {
        Method::GET if table.name == AUTO_TOPOLOGY.name => computed::topology(scene, id).await,
        Method::GET => member::show(scene, table, id),
        Method::PUT => member::update(scene, table, id).await,
        Method::DELETE => member::delete(scene, table, id).await,
        _ => Err(Fault::method_not_allowed()),
    }
}

async fn on_tags(scene: &mut Scene<'_>, table: &'static Table, id: &str) -> Result<Reply, Fault> {
    match scene.asked.method {
        Method::GET => tags::list(scene, table, id),
        Method::PUT => tags::replace(scene, table, id).await,
        Method::POST => tags::add(scene, table, id).await,
        Method::DELETE => tags::remove_all(scene, table, id).await,
        _ => Err(Fault::method_not_allowed()),
    }
}

async fn on_bindings(scene: &mut Scene<'_>, route: Route) -> Result<Reply, Fault> {
    match (&scene.asked.method, route) {
        (&Method::GET, Route::Bindings(port)) => binding::list(scene, &port),
        (&Method::POST, Route::Bindings(port)) => binding::create(scene, &port).await,
        (&Method::GET, Route::Binding(port, host)) => binding::show(scene, &port, &host),
        (&Method::PUT, Route::Binding(port, host)) => binding::update(scene, &port, &host).await,
        (&Method::DELETE, Route::Binding(port, host)) => binding::delete(scene, &port, &host).await,
        (&Method::PUT, Route::ActivateBinding(port, host)) => {
            binding::activate(scene, &port, &host).await
        }
        _ => Err(Fault::method_not_allowed()),
    }
}

async fn on_schedule(scene: &mut Scene<'_>, route: Route) -> Result<Reply, Fault> {
    match (&scene.asked.method, route) {
        (&Method::GET, Route::Hosted(agent, what)) => hosting::hosted(scene, &agent, what),
        (&Method::POST, Route::Hosted(agent, what)) => hosting::schedule(scene, &agent, what).await,
        (&Method::DELETE, Route::HostedOne(agent, what, id)) => {
            hosting::unschedule(scene, &agent, what, &id).await
        }
        (&Method::GET, Route::Hosting(what, id)) => hosting::hosting(scene, what, &id),
        _ => Err(Fault::method_not_allowed()),
    }
}

async fn on_quotas(scene: &mut Scene<'_>, route: Route) -> Result<Reply, Fault> {
    match (&scene.asked.method, route) {
        (&Method::GET, Route::Quotas) => quota::list(scene),
        (&Method::GET, Route::Quota(project)) => quota::show(scene, &project),
        (&Method::GET, Route::QuotaDefault(project)) => quota::defaults(scene, &project),
        (&Method::GET, Route::QuotaDetails(project)) => quota::details(scene, &project),
        (&Method::PUT, Route::Quota(project)) => quota::set(scene, &project).await,
        (&Method::DELETE, Route::Quota(project)) => quota::reset(scene, &project).await,
        _ => Err(Fault::method_not_allowed()),
    }
}
