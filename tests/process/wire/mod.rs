//! Requests as bytes on real connections: every form of a request line, heads that RFC 9112 does not allow, bodies that
//! arrive slowly, and more bodies than there is memory for.

mod body_memory;
mod heads;
mod raw;
mod slow_bodies;
mod targets;
