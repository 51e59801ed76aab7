//! Other programs that check API keys (`benches/peers`).

use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;

use crate::served::request;
use crate::verify::Template;

/// A peer of `benches/peers`, started by `tools/peers`.
pub struct Peer(&'static str);

impl Peer {
    pub fn name(&self) -> &'static str {
        self.0
    }

    /// Starts the peer. Returns `None`, and prints the reason, when it does not start.
    pub fn start(name: &'static str) -> Option<(Self, SocketAddr, Template, Arc<Vec<String>>)> {
        let out = Command::new("tools/peers").args([name, "start"]).output().expect("the script runs");
        if !out.status.success() {
            eprintln!("{}", String::from_utf8_lossy(&out.stderr));
            return None;
        }
        let peer = Self(name);
        let said = String::from_utf8_lossy(&out.stdout).into_owned();
        let line = |name: &str| said.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim();
        let url = line("url ").trim_start_matches("http://");
        let (address, path) = url.split_once('/').expect("a path");
        let keys: Vec<String> =
            std::fs::read_to_string(line("keys ")).expect("keys").lines().map(str::to_owned).collect();
        // All keys have the same length.
        let placeholder = "?".repeat(keys[0].len());
        let body = line("body ").replace("KEY", &placeholder);
        let header = line("header ").replace("KEY", &placeholder);
        let header = if header.starts_with("Content-Type") { Vec::new() } else { vec![header.as_str()] };
        let bytes = request("POST", &format!("/{path}"), &header, &body);
        let template = Template::with_placeholder(bytes, &placeholder);
        Some((peer, address.parse().expect("an address"), template, Arc::new(keys)))
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = Command::new("tools/peers").args([self.0, "stop"]).output();
    }
}
