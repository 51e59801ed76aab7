//! Requests as bytes on real connections: every form of a request line, heads that RFC 9112 does not allow, bodies that
//! arrive slowly, and more bodies than there is memory for.

mod body_memory;
mod heads;
mod raw;
#[path = "../served/mod.rs"]
mod served;
mod slow_bodies;
mod targets;

/// The log of a server.
fn log(folder: &std::path::Path) -> String {
    std::fs::read_to_string(folder.join("log")).unwrap_or_default()
}
