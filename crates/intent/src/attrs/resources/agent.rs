//! Agents.

use super::prelude::*;

pub static AGENT: Table = Table {
    kind: Some(Kind::Agent),
    name: "agent",
    plural: "agents",
    path: "agents",
    parent: None,
    attrs: ROWS,
    actions: &[],
    verbs: Verbs::NoCreate,
    extension: "agent",
    tagged: false,
    pagination: true,
    missing: ("AgentNotFound", "Agent {} could not be found."),
};

const ROWS: &[Attr] = &[
    Attr::new("id").is(Is::Uuid).filter().sort().shown(),
    Attr::new("agent_type").filter().sort().shown(),
    Attr::new("binary").filter().sort().shown(),
    Attr::new("topic").filter().sort().shown(),
    Attr::new("host").filter().sort().shown(),
    Attr::new("admin_state_up")
        .put()
        .to(To::Boolean)
        .filter()
        .sort()
        .shown(),
    Attr::new("created_at").sort().shown(),
    Attr::new("started_at").sort().shown(),
    Attr::new("heartbeat_timestamp").sort().shown(),
    Attr::new("alive").filter().sort().shown(),
    Attr::new("configurations").shown(),
    Attr::new("description")
        .put()
        .is(Is::TextOrNone(255))
        .filter()
        .sort()
        .shown(),
    Attr::new("availability_zone").filter().shown(),
    Attr::new("resources_synced").unset().shown(),
];

impl Shown for Agent {
    const TABLE: &'static Table = &AGENT;

    fn show(&self, cx: &Cx<'_>, attr: &str, out: &mut Json) -> bool {
        match attr {
            "id" => out.show(self.id),
            "agent_type" => out.text(self.agent_type.as_str()),
            "binary" => out.text(self.agent_type.binary()),
            "topic" => out.text(self.agent_type.topic()),
            "host" => out.text(&self.host),
            "admin_state_up" => out.bool(self.admin_state_up),
            "created_at" => out.text(&self.created_at.spaced()),
            "started_at" => out.text(&self.started_at.spaced()),
            "heartbeat_timestamp" => out.text(&cx.soft.heartbeat(self).spaced()),
            "alive" => out.bool(cx.soft.is_alive(self)),
            "configurations" => out.value(&self.configurations),
            "description" => out.text_or_null(self.description.as_deref()),
            "availability_zone" => out.text_or_null(self.availability_zone.as_deref()),
            "resources_synced" => out.null(),
            _ => return false,
        }
        true
    }
}
