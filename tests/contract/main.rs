//! The contracts, as whole answers: status, headers and body, with a fixed clock and seeded
//! randomness. Every story runs on SQLite and on PostgreSQL, against the same snapshot.

mod app;
mod story;

mod accounts;
mod create;
mod credentials;
mod cross_site;
mod descendants;
mod edit;
mod errors;
mod events_page;
mod forward_auth;
mod headers;
mod hooksentry;
mod hooksentry_errors;
mod hooksentry_events;
mod hooksentry_ingest;
mod hooksentry_keys;
mod hooksentry_marks;
mod hooksentry_model;
mod hooksentry_plans;
mod hooksentry_tokens;
mod hunt;
mod key_in_address;
mod key_page;
mod keys;
mod list;
mod live_places;
mod managers;
mod names;
mod nodes;
mod openapi;
mod password_reset;
mod register;
mod revocations;
mod revoke;
mod sessions;
mod sign_in;
mod stale_forms;
mod store;
mod usage;
mod verify;
mod went_back;
mod whoami;
