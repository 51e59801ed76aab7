//! Recognises requests from the server's own machine.

use std::net::IpAddr;

use axum::http::HeaderMap;
use axum::http::header::HOST;
use axum::http::request::Parts;

use super::Site;
use super::client_address::Peer;
use crate::accounts::SetUpRight;

/// Headers that proxies add. A request with any of these did not come directly from its client.
const FORWARDING_HEADERS: [&str; 11] = [
    "cdn-loop",
    "client-ip",
    "fastly-client-ip",
    "fly-client-ip",
    "forwarded",
    "true-client-ip",
    "via",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-proxyuser-ip",
    "x-real-ip",
];
/// Prefixes of further headers that proxies add.
const FORWARDING_PREFIXES: [&str; 6] = ["cf-", "x-amz", "x-azure-", "x-envoy-", "x-forwarded", "x-original-"];

/// Whether a request comes from this machine: the peer and the `Host` are loopback, and no forwarding header is set.
/// With a public URL that is not loopback no request is local: a proxy may run on this machine and add no header.
pub fn is_local(parts: &Parts, site: &Site) -> bool {
    let peer_is_local = parts.extensions.get().is_some_and(|Peer(peer)| peer.ip().to_canonical().is_loopback());
    let url_is_local = site.public_url.as_deref().is_none_or(|url| {
        let authority = url.split_once("://").map_or("", |(_, authority)| authority);
        is_loopback(host_of(authority))
    });
    let target_is_local = parts.uri.host().is_none_or(|host| is_loopback(host_of(host)));
    peer_is_local && url_is_local && target_is_local && host_is_local(&parts.headers) && !is_forwarded(&parts.headers)
}

/// Returns the proof that a request offers for the right to create the first account.
pub fn set_up_right<'a>(parts: &Parts, site: &Site, token: Option<&'a str>) -> SetUpRight<'a> {
    if is_local(parts, site) { SetUpRight::SameMachine } else { SetUpRight::Token(token) }
}

fn host_is_local(headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(HOST).iter();
    let host = hosts.next().and_then(|host| host.to_str().ok());
    hosts.next().is_none() && host.is_some_and(|host| is_loopback(host_of(host)))
}

fn is_forwarded(headers: &HeaderMap) -> bool {
    headers.keys().map(axum::http::HeaderName::as_str).any(|name| {
        FORWARDING_HEADERS.contains(&name) || FORWARDING_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
    })
}

/// Returns the host of an authority, without the port and without the brackets of an IPv6 address.
pub fn host_of(authority: &str) -> &str {
    let name = match authority.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => authority,
    };
    name.trim_start_matches('[').trim_end_matches(']')
}

/// Whether a host is `localhost` or a loopback address.
pub fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local(site: &Site, peer: &str, target: &str, headers: &[(&str, &str)]) -> bool {
        let mut request = axum::http::Request::post(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut parts = request.body(()).unwrap().into_parts().0;
        parts.extensions.insert(Peer(peer.parse().unwrap()));
        is_local(&parts, site)
    }

    #[test]
    fn peer_host_and_headers_must_all_be_loopback() {
        let (site, host) = (Site::default(), ("host", "127.0.0.1:3000"));
        let at = |peer: &str, headers: &[(&str, &str)]| local(&site, peer, "/register", headers);
        assert!(at("127.0.0.1:5", &[host]) && at("[::1]:5", &[("host", "[::1]:3000")]));
        assert!(at("[::ffff:127.0.0.1]:5", &[("host", "LOCALHOST")]));
        assert!(!at("192.0.2.1:5", &[host]), "the peer");
        for host in ["keys.example.com", "127.0.0.1.example.com", "localhost.example.com:80", "192.0.2.1", ""] {
            assert!(!at("127.0.0.1:5", &[("host", host)]), "{host}");
        }
        assert!(!at("127.0.0.1:5", &[]) && !at("127.0.0.1:5", &[host, ("host", "keys.example.com")]));
        for name in
            FORWARDING_HEADERS.iter().chain(&["x-forwarded-for", "x-forwarded-host", "cf-ray", "x-amzn-trace-id"])
        {
            assert!(!at("127.0.0.1:5", &[host, (name, "127.0.0.1")]), "{name}");
        }
        assert!(!local(&site, "127.0.0.1:5", "http://keys.example.com/register", &[host]));
    }

    #[test]
    fn no_request_is_local_with_a_remote_public_url() {
        let site = |url: &str| Site { public_url: Some(url.to_owned()), ..Site::default() };
        let host = [("host", "127.0.0.1:3000")];
        assert!(!local(&site("https://keys.example.com"), "127.0.0.1:5", "/register", &host));
        assert!(local(&site("http://localhost:3000"), "127.0.0.1:5", "/register", &host));
    }
}
