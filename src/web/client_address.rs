//! The client address of a request, behind trusted proxies too (docs/CONTRACTS.md, "Client address").

use std::net::{IpAddr, SocketAddr};

use axum::http::request::Parts;
use axum::http::{Extensions, HeaderMap, HeaderName};

use super::Site;
use crate::domain::Ask;
use crate::model::KeyId;
use crate::runtime::Tenant;
use crate::security_log::limit::{Kind, LogLimit, Repeated};

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The address of the other end of the connection, as the listener saw it.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub SocketAddr);

/// The address of the client that sent a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientAddress {
    /// The client's address.
    Known(IpAddr),
    /// The address of a peer that is not a trusted proxy, on a request that says that it was forwarded. The peer may be
    /// a proxy that the operator forgot to name, so this address is not used for allowlists.
    Untrusted(IpAddr),
    /// There is no connection (in a test).
    Unknown,
}

impl ClientAddress {
    /// Finds the client address: the peer or, behind trusted proxies, the right-most hop that is not a trusted proxy.
    pub fn of(parts: &Parts, site: &Site) -> Self {
        Self::of_request(&parts.extensions, &parts.headers, site)
    }

    /// Like [`Self::of`], from the extensions and headers of a whole request.
    pub fn of_request(extensions: &Extensions, headers: &HeaderMap, site: &Site) -> Self {
        Self::of_peer(extensions.get().copied(), headers, site)
    }

    /// Like [`Self::of`], for a peer that is not in the extensions.
    pub fn of_peer(peer: Option<Peer>, headers: &HeaderMap, site: &Site) -> Self {
        peer.map_or(Self::Unknown, |Peer(peer)| Self::find(peer.ip().to_canonical(), headers, site))
    }

    fn find(peer: IpAddr, headers: &HeaderMap, site: &Site) -> Self {
        let trusted = |address: IpAddr| site.trusted_proxies.iter().any(|network| network.contains(&address));
        let forwarded = headers.get_all(&FORWARDED_FOR);
        if !trusted(peer) {
            return if forwarded.iter().next().is_some() { Self::Untrusted(peer) } else { Self::Known(peer) };
        }
        // As bytes: a hop that is not text must not hide the other hops.
        let hops: Vec<&[u8]> =
            forwarded.iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b',')).collect();
        let mut last = peer;
        for hop in hops.into_iter().rev() {
            // A trusted proxy writes addresses only.
            let Some(address) = std::str::from_utf8(hop).ok().and_then(|hop| parse_hop(hop.trim())) else {
                return Self::Untrusted(last);
            };
            last = address;
            if !trusted(address) {
                break;
            }
        }
        Self::Known(last)
    }

    /// Returns the address for IP allowlists; `None` if it could be wrong.
    pub fn for_allowlist(self) -> Option<IpAddr> {
        match self {
            Self::Known(address) => Some(address),
            Self::Untrusted(_) | Self::Unknown => None,
        }
    }

    /// Returns an [`Ask`] for a key that is presented from this address.
    pub fn ask<'a>(self) -> Ask<'a> {
        Ask { address: self.for_allowlist(), tenant: self.tenant(), ..Ask::default() }
    }

    /// Logs the setting that may be missing (`--trusted-proxies`) when a key's IP allowlist refused this address.
    pub fn explain_refusal(self, key: KeyId, limit: &LogLimit) {
        let repeated = Repeated { event: "request", code: "403", subject: "ip_allowlist" };
        if let Self::Untrusted(peer) = self
            && limit.admit(Kind::Request, self.for_throttle(), repeated, "")
        {
            tracing::warn!(
                %key, %peer,
                "a key with an IP allowlist was refused: the request was forwarded by a peer that is not trusted; if that is your proxy, name it in --trusted-proxies"
            );
        }
    }

    /// Returns the network that the request is charged to.
    pub fn tenant(self) -> Tenant {
        Tenant::network(self.for_throttle())
    }

    /// Returns the address for throttling, trusted or not.
    pub fn for_throttle(self) -> Option<IpAddr> {
        match self {
            Self::Known(address) | Self::Untrusted(address) => Some(address),
            Self::Unknown => None,
        }
    }
}

/// Parses an address as proxies write it: bare, with a port, or IPv6 in brackets.
fn parse_hop(hop: &str) -> Option<IpAddr> {
    hop.parse::<IpAddr>()
        .or_else(|_| hop.parse::<SocketAddr>().map(|socket| socket.ip()))
        .or_else(|_| hop.trim_start_matches('[').trim_end_matches(']').parse())
        .ok()
        .map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(peer: &str, forwarded: &[&str], trusted: &[&str]) -> ClientAddress {
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append("x-forwarded-for", value.parse().unwrap());
        }
        let site = Site {
            trusted_proxies: trusted.iter().map(|network| network.parse().unwrap()).collect(),
            ..Site::default()
        };
        ClientAddress::find(peer.parse().unwrap(), &headers, &site)
    }

    fn known(address: &str) -> ClientAddress {
        ClientAddress::Known(address.parse().unwrap())
    }

    #[test]
    fn without_trusted_proxies_the_peer_is_the_client() {
        assert_eq!(find("203.0.113.9", &[], &[]), known("203.0.113.9"));
    }

    #[test]
    fn the_right_most_untrusted_hop_is_the_client() {
        let trusted = ["10.0.0.0/8"];
        assert_eq!(find("10.0.0.1", &["1.1.1.1, 203.0.113.9, 10.0.0.2"], &trusted), known("203.0.113.9"));
        assert_eq!(find("10.0.0.1", &["1.1.1.1", "203.0.113.9:4711"], &trusted), known("203.0.113.9"));
        assert_eq!(find("10.0.0.1", &["[2001:db8::1]"], &trusted), known("2001:db8::1"));
        assert_eq!(find("10.0.0.1", &[], &trusted), known("10.0.0.1"));
    }

    #[test]
    fn a_forwarded_request_from_an_untrusted_peer_has_no_address_for_allowlists() {
        let address = find("203.0.113.9", &["10.0.0.1"], &["10.0.0.0/8"]);
        assert_eq!(address.for_allowlist(), None);
        assert_eq!(address.for_throttle(), Some("203.0.113.9".parse().unwrap()));
        assert_eq!(find("10.0.0.1", &["1.1.1.1, junk"], &["10.0.0.0/8"]).for_allowlist(), None);
    }
}
