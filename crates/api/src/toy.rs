//! Rules small enough to see through, for the tests of the writer and of replicas: numbers under
//! names.

use std::collections::BTreeMap;

use store::{Store, rig};

use crate::{
    replica::{Member, Replica},
    writer::{BadDocument, Decide, Decided, WriteError},
};

#[derive(Debug)]
pub(crate) struct Toy;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Numbers {
    pub(crate) of: BTreeMap<String, u64>,
    pub(crate) revision: u64,
}

#[derive(Debug, Clone)]
pub(crate) enum Wish {
    /// Refused when there is one of that name.
    Create(String),
    /// One more, from nothing; answers with the number.
    Count(String),
    Delete(String),
    /// Changes nothing.
    Read(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum No {
    Exists,
    NotFound,
}

#[derive(Debug, Clone)]
pub(crate) struct Set(String, Option<u64>);

impl Decide for Toy {
    type State = Numbers;
    type Command = Wish;
    type Answer = u64;
    type Refusal = No;
    type Change = Set;

    fn decide(&self, state: &Numbers, wish: Wish, next: u64) -> Result<Decided<Self>, No> {
        let find = |name: &String| state.of.get(name).copied().ok_or(No::NotFound);
        let (answer, changes) = match wish {
            Wish::Create(name) => match state.of.get(&name) {
                Some(_) => return Err(No::Exists),
                None => (0, vec![Set(name, Some(0))]),
            },
            Wish::Count(name) => {
                let number = find(&name).unwrap_or(0) + 1;
                (number, vec![Set(name, Some(number))])
            }
            Wish::Delete(name) => (find(&name)?, vec![Set(name, None)]),
            Wish::Read(name) => (find(&name)?, vec![]),
        };
        let mut state = state.clone();
        for change in &changes {
            self.apply(&mut state, change);
            state.revision = next;
        }
        Ok(Decided {
            answer,
            changes,
            state,
        })
    }

    fn empty(&self) -> Numbers {
        Numbers::default()
    }

    fn apply(&self, state: &mut Numbers, Set(name, number): &Set) {
        match number {
            Some(number) => state.of.insert(name.clone(), *number),
            None => state.of.remove(name),
        };
    }

    fn set_revision(&self, state: &mut Numbers, revision: u64) {
        state.revision = revision;
    }

    fn encode(&self, Set(name, number): &Set) -> store::Change {
        store::Change {
            kind: "number".into(),
            id: name.clone(),
            project: None,
            document: number.map(|n| n.to_string()),
        }
    }

    fn decode(&self, kind: &str, id: &str, document: Option<&str>) -> Result<Set, BadDocument> {
        let number = document.map(str::parse).transpose();
        let number = number.map_err(|source| BadDocument {
            kind: kind.to_owned(),
            id: id.to_owned(),
            source: Box::new(source),
        })?;
        Ok(Set(id.to_owned(), number))
    }
}

pub(crate) async fn start(name: &str, url: &str) -> Replica<Toy> {
    let store = Store::open(url).await.expect("the store opens");
    let member = Member::new(name.to_owned(), format!("http://{name}.test"), None);
    Replica::start(Toy, store, member.expect("a member"))
        .await
        .expect("the server starts")
}

/// A PostgreSQL and a proxy before it.
pub(crate) async fn rig() -> (rig::Server, rig::Proxy) {
    let server = rig::Server::start();
    let proxy = rig::Proxy::start(server.port()).await.expect("a proxy");
    (server, proxy)
}

pub(crate) fn count(name: &str) -> Wish {
    Wish::Count(name.to_owned())
}

/// Asks again for as long as nobody writes, and tells how it ended.
pub(crate) async fn insist(replica: &Replica<Toy>, wish: Wish) -> Result<u64, WriteError<No>> {
    let begun = std::time::Instant::now();
    loop {
        match replica.handle.submit(wish.clone()).await {
            Err(WriteError::NotWriter | WriteError::Unavailable)
                if begun.elapsed().as_secs() < 20 =>
            {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
            answer => return answer,
        }
    }
}
