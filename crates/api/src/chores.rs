//! What the server does by itself: the first command of a new store, and moving what dead agents
//! served, as far as the settings say so.

use std::{sync::Arc, time::Duration};

use intent::Timestamp;
use ledger::{Actor, Command};
use tokio::sync::watch;

use crate::{Api, agents::elsewhere, hub::now, identity::Identity, writer::Role};

/// How often it is looked whether agents died.
const LOOK: Duration = Duration::from_secs(10);

pub(crate) async fn run(api: Arc<Api>, mut stop: watch::Receiver<bool>) {
    let mut role = api.hub.handle.role();
    let mut was_writer = false;
    loop {
        let is_writer = matches!(*role.borrow_and_update(), Role::Writer { .. });
        if is_writer && !was_writer {
            // Whoever writes now has heard nobody yet.
            let grace = i64::from(api.hub.config().agent_down_time);
            api.hub.grace(Timestamp(now().0 + grace));
            submit(&api, Command::Found).await;
            if let Identity::Embedded(service) = &api.identity
                && let Err(fault) = service.begin().await
            {
                tracing::error!(?fault, "the first user can't be made");
            }
        }
        was_writer = is_writer;
        tokio::select! {
            changed = role.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(LOOK) => if is_writer {
                submit(&api, Command::Reschedule).await;
            } else {
                elsewhere::learn(&api).await;
            },
            () = stopped(&mut stop) => return,
        }
    }
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    // The one who would tell is gone: that is telling enough.
    let _ = stop.wait_for(|stop| *stop).await;
}

async fn submit(api: &Api, command: Command) {
    if let Err(fault) = api.hub.submit(Actor::system(), command).await {
        tracing::warn!(?fault, "a chore was not done");
    }
}
