//! What concerns projects as a whole: RBAC policies and quotas.

use serde_json::Value;

use super::{Import, read::*};
use crate::{noun::*, state::*};

impl Import {
    pub(super) fn rbac_policy(&mut self, item: &Value) -> Option<()> {
        // Policies of kinds of objects that we don't have (QoS, say) share nothing that we have.
        let Some(object_type) = parsed(item, "object_type") else {
            return Some(());
        };
        self.state.put(Object::from(RbacPolicy {
            id: parsed(item, "id")?,
            project_id: project(item),
            object_type,
            object_id: parsed(item, "object_id")?,
            action: parsed(item, "action")?,
            target_project: text(item, "target_tenant")?.into(),
        }));
        Some(())
    }

    /// A project's quotas are shown with all limits, those that nobody set as well.
    pub(super) fn quota(&mut self, item: &Value) -> Option<()> {
        let limits = item.as_object()?.iter();
        let limits = limits.filter_map(|(name, limit)| Some((name.clone(), limit.as_i64()?)));
        self.state.put(Object::from(Quota {
            project_id: project(item),
            limits: limits.collect(),
        }));
        Some(())
    }
}
