//! Namespaces of services: DHCP servers and routers.
use host::HostState;

use crate::config::Config;
use crate::machine::Problem;

pub struct Services;

impl Services {
    pub fn new(_config: &Config) -> Services {
        Services
    }

    pub fn doubt(&mut self) {}

    pub async fn observe(
        &mut self,
        _want: &HostState,
        _seen: &mut HostState,
        _problems: &mut Vec<Problem>,
    ) {
    }

    pub async fn prepare(
        &mut self,
        _have: &HostState,
        _want: &HostState,
        _problems: &mut Vec<Problem>,
    ) {
    }

    pub async fn apply(
        &mut self,
        _have: &HostState,
        _want: &HostState,
        _problems: &mut Vec<Problem>,
    ) -> usize {
        0
    }
}
