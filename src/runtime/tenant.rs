//! Tenants: the senders that share a resource.

use std::net::IpAddr;

use super::Network;
use crate::model::OrganisationId;

/// The sender that a request is charged to. A name that a request claims without proof is not a tenant: otherwise a
/// stranger could use up the share of another organisation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Tenant {
    /// The organisation of a checked key or session.
    Organisation(OrganisationId),
    /// The network (IPv4 address, IPv6 /64) of a request with an unknown sender.
    Network(IpAddr),
}

impl Tenant {
    /// Returns the tenant of a client address: its network.
    pub fn network(address: Option<IpAddr>) -> Self {
        Self::Network(Network::of(address).narrow)
    }
}

impl Default for Tenant {
    /// Returns the network of a request without an address.
    fn default() -> Self {
        Self::network(None)
    }
}
