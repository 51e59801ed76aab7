//! The contracts, as whole answers: status, headers and body, with a fixed clock and seeded
//! randomness. Every story runs on SQLite and on PostgreSQL, against the same snapshot.

mod app;
mod story;

mod accounts;
mod keys;
mod whoami;
