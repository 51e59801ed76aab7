//! The audit log: each change writes exactly one entry, in its own transaction. A refused change writes none, and no
//! entry contains a secret.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use latchkey::accounts::{EmailAddress, Password};
use latchkey::domain::AuditAction;
use latchkey::model::{OrganisationId, Role};
use sha2::{Digest, Sha256};
use sqlx::Connection;

use crate::app::{Engine, TestApp, on_both_engines};
use crate::hooksentry::{self, PASSWORD, Tenant, tenant};
use crate::story::{Answer, Call, someone};

/// A row of `audit_entries`.
#[derive(Debug, sqlx::FromRow)]
pub struct Row {
    id: i64,
    organisation_id: Option<i64>,
    at: i64,
    actor_type: String,
    actor_id: String,
    actor_label: String,
    pub action: String,
    target_type: String,
    pub target_id: String,
    target_label: String,
    address: Option<String>,
    user_agent: Option<String>,
    request_id: Option<String>,
    before: Option<String>,
    after: Option<String>,
}

/// Reads all rows.
pub async fn all(app: &TestApp) -> Vec<Row> {
    const ALL: &str = "SELECT * FROM audit_entries ORDER BY action, target_label, id";
    match app.engine {
        Engine::Sqlite => {
            let mut db = sqlx::SqliteConnection::connect(&app.url).await.expect("the file opens");
            sqlx::query_as(ALL).fetch_all(&mut db).await.expect("rows")
        }
        Engine::Postgres => {
            let mut db = sqlx::PgConnection::connect(&app.url).await.expect("the server answers");
            sqlx::query_as(ALL).fetch_all(&mut db).await.expect("rows")
        }
    }
}

/// The audit entries of a test, step by step.
pub struct Log<'a> {
    app: &'a TestApp,
    seen: BTreeSet<i64>,
    text: String,
}

impl<'a> Log<'a> {
    pub fn of(app: &'a TestApp) -> Self {
        Self { app, seen: BTreeSet::new(), text: String::new() }
    }

    /// Adds the entries since the last step, and asserts that they have these actions.
    #[track_caller]
    fn step(&mut self, step: &str, rows: Vec<Row>, actions: &[&str]) {
        let new: Vec<Row> = rows.into_iter().filter(|row| self.seen.insert(row.id)).collect();
        let found: Vec<&str> = new.iter().map(|row| row.action.as_str()).collect();
        assert_eq!(found, actions, "{step}: {new:#?}");
        let _ = writeln!(self.text, "# {step}");
        for row in new {
            let chain = row.organisation_id.map_or_else(|| "server".to_owned(), |id| OrganisationId(id).to_string());
            let _ = writeln!(
                self.text,
                "{} {chain} at {} by {} {} {:?} to {} {} {:?}",
                row.action,
                row.at,
                row.actor_type,
                row.actor_id,
                row.actor_label,
                row.target_type,
                row.target_id,
                row.target_label
            );
            let shown = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
            let (address, agent, request) = (shown(&row.address), shown(&row.user_agent), shown(&row.request_id));
            let _ = writeln!(self.text, "  from {address} {agent:?} request {request}");
            for (name, fields) in [("before", row.before), ("after", row.after)] {
                let Some(fields) = fields else { continue };
                let fields: BTreeMap<String, serde_json::Value> = serde_json::from_str(&fields).expect("an object");
                let _ = writeln!(self.text, "  {name} {}", serde_json::json!(fields));
            }
        }
        let _ = writeln!(self.text);
    }

    /// Asserts that a change has written exactly these entries, by action.
    pub async fn has(&mut self, step: &str, actions: &[&str]) {
        let rows = all(self.app).await;
        self.step(step, rows, actions);
    }

    /// Leaves out the entries written so far.
    pub async fn skip(&mut self) {
        self.seen.extend(all(self.app).await.iter().map(|row| row.id));
    }

    /// Compares all steps with the snapshot.
    #[track_caller]
    pub fn is(&self, name: &str) {
        insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
            insta::assert_snapshot!(name, self.text);
        });
    }

    /// Asserts that a refused request, or one without effect, has written no entry.
    pub async fn is_silent(&mut self, step: &str) {
        self.has(step, &[]).await;
    }
}

async fn log_in(app: &TestApp, password: &str) -> Answer {
    let body = format!(r#"{{"email": "ada@example.com", "password": "{password}"}}"#);
    Call::new(app, "POST", "/v1/auth/login").header("user-agent", "story\t/1").json(&body).send().await
}

async fn retention(app: &TestApp, ada: &Tenant, version: &str, days: &str) -> Answer {
    let body = format!("version={version}&event_days={days}&event_limit=100");
    let call = Call::new(app, "POST", &ada.who.retention()).cookie(&ada.who.cookie);
    call.header("content-type", "application/x-www-form-urlencoded").body(body).send().await
}

on_both_engines! {
    async fn each_change_of_an_account_has_one_entry(app) {
        let mut log = Log::of(&app);
        let ada = tenant(&app, "ada@example.com").await;
        log.has("a registration and a sign-in for tokens", &[
            "account.created", "organisation.created", "session.created", "tokens.created",
        ]).await;
        let taken = r#"{"email": "ada@example.com", "password": "another password"}"#;
        assert_eq!(Call::new(&app, "POST", "/v1/auth/register").json(taken).send().await.status, 400);
        log.is_silent("a registration of a taken address").await;
        assert_eq!(log_in(&app, "a wrong password").await.status, 401);
        log.is_silent("a wrong password").await;
        let session = log_in(&app, PASSWORD).await.cookie();
        log.has("a sign-in", &["session.created"]).await;
        let again = Call::new(&app, "POST", "/v1/auth/login").cookie(&session);
        let body = format!(r#"{{"email": "ada@example.com", "password": "{PASSWORD}"}}"#);
        let other = again.json(&body).send().await.cookie();
        log.has("a sign-in over a session", &["session.created", "session.ended"]).await;
        for actions in [&["session.ended"][..], &[]] {
            assert_eq!(Call::new(&app, "POST", "/v1/auth/logout").cookie(&other).send().await.status, 204);
            log.has("a sign-out", actions).await;
        }
        let renewed = hooksentry::refresh(&app, &ada.refresh).await;
        assert_eq!(renewed.status, 200);
        log.is_silent("a refresh of the tokens").await;
        let [access, refresh] = ["/accessToken", "/refreshToken"].map(|field| renewed.field(field));
        assert_eq!(hooksentry::log_out(&app, &access, &refresh).await.status, 204);
        log.has("a sign-out of tokens", &["tokens.ended"]).await;
        let stolen = hooksentry::log_in(&app, "ada@example.com", None).await.field("/refreshToken");
        log.has("a sign-in for tokens", &["tokens.created"]).await;
        assert_eq!(hooksentry::refresh(&app, &stolen).await.status, 200);
        for actions in [&["tokens.ended"][..], &[]] {
            assert_eq!(hooksentry::refresh(&app, &stolen).await.status, 401);
            log.has("a refresh token that is used again", actions).await;
        }

        for (version, days, status) in [("7+1000000", "3", 303), ("3+100", "3", 303), ("7+1000000", "9", 409), ("", "x", 400)] {
            assert_eq!(retention(&app, &ada, version, days).await.status, status);
            let actions: &[&str] = if (version, days) == ("7+1000000", "3") { &["retention.changed"] } else { &[] };
            log.has(&format!("retention of {days} days, over {version}: {status}"), actions).await;
        }

        let eve = EmailAddress::parse("eve@example.com").expect("an address");
        let password = || Password::new("a password of eve".to_owned()).expect("a password");
        let accounts = &app.services.accounts;
        let user = accounts.add(&eve, password()).await.expect("an account");
        log.has("latchkey user add", &["account.created", "organisation.created"]).await;
        assert!(accounts.add(&eve, password()).await.is_err());
        log.is_silent("latchkey user add, again").await;
        let ada_address = EmailAddress::parse("ada@example.com").expect("an address");
        assert!(accounts.reset_password(&ada_address, password()).await.expect("an answer"));
        log.has("latchkey user reset-password", &["account.password_reset"]).await;
        let nobody = EmailAddress::parse("nobody@example.com").expect("an address");
        assert!(!accounts.reset_password(&nobody, password()).await.expect("an answer"));
        log.is_silent("latchkey user reset-password of an unknown account").await;

        let organisation: OrganisationId = ada.who.org.parse().expect("an id");
        let entry = || crate::story::member_entry(&app, AuditAction::MemberAdded, user, organisation);
        app.db.insert_membership(user, organisation, Role::Member, app.clock.now(), entry()).await.expect("a member");
        log.has("a new member", &["member.added"]).await;
        let again = app.db.insert_membership(user, organisation, Role::Member, app.clock.now(), entry()).await;
        assert!(again.is_err());
        log.is_silent("a member already").await;
        for actions in [&["member.removed"][..], &[]] {
            let entry = crate::story::member_entry(&app, AuditAction::MemberRemoved, user, organisation);
            app.db.delete_membership(user, organisation, entry).await.expect("an answer");
            log.has("the end of a membership", actions).await;
        }
        app.clock.advance(31 * 24 * 3600 * 1000);
        accounts.delete_ended_sessions().await.expect("an answer");
        accounts.delete_ended_tokens().await.expect("an answer");
        accounts.delete_old_networks().await.expect("an answer");
        app.services.events.delete_old_events().await.expect("an answer");
        log.is_silent("expired sessions and tokens are deleted").await;

        log.is("audit_of_accounts");
        let sessions = [&ada.who.cookie, &session, &other].map(|cookie| cookie.rsplit('=').next().expect("a value"));
        let secrets = [&ada.access, &ada.refresh, &access, &refresh, &stolen].map(String::as_str);
        let passwords = [PASSWORD, "a wrong password", "another password", "a password of eve"];
        has_no_secret(&app, &[&sessions[..], &secrets, &passwords].concat()).await;
    }

    async fn a_change_and_its_entry_are_stored_together_or_not_at_all(app) {
        let ada = someone(&app, "ada@example.com").await;
        let counts = async || {
            let mut counts = Vec::new();
            for table in TABLES {
                counts.push(app.number(table).await);
            }
            counts
        };
        let before = counts().await;
        let register = r#"{"email": "bob@example.com", "password": "correct horse battery"}"#;
        let sign_in = r#"{"email": "ada@example.com", "password": "correct horse battery"}"#;
        for (table, body, path) in [
            ("audit_entries", register, "/v1/auth/register"),
            ("memberships", register, "/v1/auth/register"),
            ("audit_entries", sign_in, "/v1/auth/login"),
            ("audit_entries", sign_in, "/api/v1/auth/login"),
            ("tokens", sign_in, "/api/v1/auth/login"),
        ] {
            refuse_inserts(&app, table).await;
            let answer = Call::new(&app, "POST", path).json(body).send().await;
            assert_eq!(answer.status, 503, "{path} without {table}: {}", answer.text());
            allow_inserts(&app, table).await;
            assert_eq!(counts().await, before, "{path} without {table}");
        }
        refuse_inserts(&app, "audit_entries").await;
        let out = Call::new(&app, "POST", "/v1/auth/logout").cookie(&ada.cookie).send().await;
        assert_eq!(out.status, 503, "{}", out.text());
        allow_inserts(&app, "audit_entries").await;
        assert_eq!(counts().await, before, "a sign-out");
    }
}

/// The row counts of the tables that the changes write.
const TABLES: [&str; 6] = [
    "SELECT count(*) FROM audit_entries",
    "SELECT count(*) FROM users",
    "SELECT count(*) FROM organisations",
    "SELECT count(*) FROM sessions",
    "SELECT count(*) FROM token_families",
    "SELECT count(*) FROM keys",
];

/// Makes each insert into a table fail.
pub async fn refuse_inserts(app: &TestApp, table: &str) {
    let trigger = match app.engine {
        Engine::Sqlite => {
            format!("CREATE TRIGGER refuse_insert BEFORE INSERT ON {table} BEGIN SELECT RAISE(ABORT, 'refused'); END")
        }
        Engine::Postgres => format!(
            "CREATE FUNCTION refuse_insert() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'refused'; END $$;
             CREATE TRIGGER refuse_insert BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION refuse_insert()"
        ),
    };
    app.execute(&trigger).await;
}

/// Undoes [`refuse_inserts`].
pub async fn allow_inserts(app: &TestApp, table: &str) {
    app.execute(&match app.engine {
        Engine::Sqlite => "DROP TRIGGER refuse_insert".to_owned(),
        Engine::Postgres => format!("DROP TRIGGER refuse_insert ON {table}; DROP FUNCTION refuse_insert()"),
    })
    .await;
}

/// Asserts that no entry contains a secret or the hash of one.
pub async fn has_no_secret(app: &TestApp, secrets: &[&str]) {
    let text = format!("{:?}", all(app).await);
    for secret in secrets {
        assert!(secret.len() > 8 && !text.contains(secret), "a secret is in an entry");
        let hash = hex::encode(Sha256::digest(secret));
        assert!(!text.contains(&hash[..16]), "the hash of a secret is in an entry");
    }
    assert!(!text.contains("$argon2"), "the hash of a password is in an entry");
}

/// The functions of the store that write without an audit entry; `src/store/audit.rs` has the reasons.
const EXCEPTIONS: [&str; 28] = [
    "begin_history",
    "check_writable",
    "delete_changes_before",
    "delete_ended_invitations",
    "delete_ended_sessions",
    "delete_ended_tokens",
    "delete_events_before",
    "delete_hours_before",
    "delete_idempotency_keys_before",
    "delete_old_idempotency_keys",
    "delete_old_networks",
    "erase_rest",
    "erase_some_events",
    "erase_some_keys",
    "give_back_quotas",
    "insert_events",
    "insert_in_steps",
    "keep_log_short",
    "migrate",
    "note_network",
    "register_node",
    "remove_dead_node",
    "remove_node",
    "renew_node",
    "replace_password_hash",
    "save_session",
    "take_quota",
    "touch_session",
];
/// The functions of the store that write usage counts.
const COUNTS: [&str; 2] = ["try_empty_usage_log", "try_write"];
/// The functions of the store that write jobs.
const JOBS: [&str; 7] =
    ["claim_jobs", "delete_ended_jobs", "extend_job", "insert_job", "plan_jobs", "pull_back_jobs", "settle_job"];

/// Returns the functions of the store that write, and whether each writes an audit entry.
fn writing_functions() -> BTreeMap<String, bool> {
    let store = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store");
    let files = [store.join("migrate_data/mod.rs")]
        .into_iter()
        .chain(std::fs::read_dir(store).expect("a folder").map(|entry| entry.expect("an entry").path()));
    let mut found = BTreeMap::new();
    for file in files.filter(|file| file.extension().is_some_and(|kind| kind == "rs")) {
        let source = std::fs::read_to_string(file).expect("its text");
        let source = source.split("#[cfg(test)]\nmod tests").next().expect("a first part");
        for function in source.split("async fn ").skip(1) {
            let name: String = function.chars().take_while(|char| char.is_alphanumeric() || *char == '_').collect();
            if ["writing!(", "writer.acquire()"].iter().any(|writing| function.contains(writing)) {
                let has_entry = ["write_audit!(", "audit::rows("].iter().any(|audit| function.contains(audit));
                found.insert(name, has_entry);
            }
        }
    }
    found
}

#[test]
fn every_writing_function_takes_an_entry_or_is_an_exception() {
    let functions = writing_functions();
    assert!(functions.len() > 30, "too few functions were found");
    let without: Vec<&str> =
        functions.iter().filter(|(_, has_entry)| !**has_entry).map(|(name, _)| name.as_str()).collect();
    let mut excepted = [&EXCEPTIONS[..], &COUNTS, &JOBS].concat();
    excepted.sort_unstable();
    assert_eq!(without, excepted, "a change without an audit entry, or an exception without its function");
}
