//! Searches answers, log and database for plaintext key strings, passwords and session tokens. A key's string is only
//! in the answer that created it (docs/CONTRACTS.md, "Key strings").

use crate::app::{Engine, TestApp, on_both_engines};
use crate::story::{Answer, Call, create, someone};

const PASSWORD: &str = "a password for the hunt";

/// A secret, in every encoding in which it could be found.
struct Secret {
    name: &'static str,
    forms: Vec<Vec<u8>>,
}

impl Secret {
    fn of(name: &'static str, text: &str) -> Self {
        let mut forms = vec![text.as_bytes().to_vec(), hex::encode(text).into_bytes()];
        if let Ok(bytes) = hex::decode(text) {
            forms.push(bytes);
        }
        Self { name, forms }
    }

    /// Checks like [`is_not_in`](Self::is_not_in), but fast enough for the log of all tests.
    #[track_caller]
    fn is_not_in_text(&self, place: &str, text: &str) {
        for form in self.forms.iter().filter_map(|form| std::str::from_utf8(form).ok()) {
            assert!(!text.contains(form), "the {} is in {place}", self.name);
        }
    }

    #[track_caller]
    fn is_not_in(&self, place: &str, bytes: &[u8]) {
        for form in &self.forms {
            let found = bytes.windows(form.len()).any(|window| window == form.as_slice());
            assert!(!found, "the {} is in {place}", self.name);
        }
    }
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

/// Returns the whole content of the database, as bytes.
async fn everything(app: &TestApp) -> Vec<(String, Vec<u8>)> {
    match app.engine {
        Engine::Sqlite => std::fs::read_dir(app.folder())
            .expect("the folder")
            .map(|entry| entry.expect("an entry").path())
            .map(|path| (path.display().to_string(), std::fs::read(&path).expect("a file")))
            .collect(),
        Engine::Postgres => {
            let pool = sqlx::PgPool::connect(&app.url).await.expect("the server answers");
            let tables: Vec<String> =
                sqlx::query_scalar("SELECT tablename::text FROM pg_tables WHERE schemaname = current_schema()")
                    .fetch_all(&pool)
                    .await
                    .expect("tables");
            let mut all = Vec::new();
            for table in tables {
                let dump =
                    sqlx::AssertSqlSafe(format!("SELECT coalesce(string_agg(t::text, chr(10)), '') FROM {table} t"));
                let text: String = sqlx::query_scalar(dump).fetch_one(&pool).await.expect("its rows");
                all.push((table, text.into_bytes()));
            }
            all
        }
    }
}

on_both_engines! {
    async fn a_secret_is_only_in_the_answer_that_created_it(app) {
        let mut later: Vec<Answer> = Vec::new();
        let credentials = format!(r#"{{"email": "hunted@example.com", "password": "{PASSWORD}"}}"#);
        let registered = Call::new(&app, "POST", "/v1/auth/register").json(&credentials).send().await;
        assert_eq!(registered.status, 201);
        let cookie = registered.cookie();
        let created = create(&app, &cookie, r#"{"name": "hunted", "metadata": {"team": "hunters"}}"#).await;
        let (id, key) = (created.field("/id"), created.field("/key"));
        let token = cookie.trim_start_matches("session=").to_owned();
        later.push(registered);

        let delete = format!("/v1/auth/api-keys/{id}");
        let spoilt = format!("{}{}", &key[..71], if key.ends_with('0') { '1' } else { '0' });
        let twice = format!("Bearer {key}");
        for call in [
            Call::new(&app, "GET", "/v1/whoami").key(&key),
            Call::new(&app, "GET", "/v1/whoami").header("authorization", &twice),
            Call::new(&app, "GET", &format!("/v1/whoami?key={key}")),
            Call::new(&app, "GET", &format!("/v1/{key}")),
            Call::new(&app, "DELETE", &format!("/v1/auth/api-keys/{key}")).cookie(&cookie),
            Call::new(&app, "GET", "/v1/whoami").key(&spoilt),
            Call::new(&app, "GET", "/v1/auth/api-keys").key(&key),
            Call::new(&app, "POST", "/v1/auth/api-keys").key(&key).json(r#"{"name": "child"}"#),
            Call::new(&app, "GET", "/v1/auth/api-keys").cookie(&cookie),
            Call::new(&app, "GET", "/v1/auth/me").cookie(&cookie),
            Call::new(&app, "POST", "/v1/auth/register").json(&credentials),
            Call::new(&app, "POST", "/v1/auth/login").json(&credentials.replace("hunted@", "nobody@")),
            Call::new(&app, "POST", "/v1/auth/login").json(&credentials.replace("email", "e-mail")),
            Call::new(&app, "POST", "/v1/auth/login").body(credentials.clone()),
            Call::new(&app, "DELETE", &delete).cookie(&cookie),
            Call::new(&app, "GET", "/v1/whoami").key(&key),
            Call::new(&app, "GET", "/v1/auth/api-keys").cookie(&cookie),
            Call::new(&app, "POST", "/v1/auth/logout").cookie(&cookie),
            Call::new(&app, "GET", "/v1/auth/me").cookie(&cookie),
            Call::new(&app, "GET", "/v1/auth/me").header("authorization", &format!("Bearer {token}")),
        ] {
            later.push(call.send().await);
        }
        app.services.usage.flush().await.unwrap();

        let secrets = [
            Secret::of("key", &key),
            Secret::of("key's digits", &key[8..]),
            Secret::of("key's random digits", &key[8..64]),
            Secret::of("password", PASSWORD),
        ];
        let session = {
            let id: tower_sessions::session::Id = token.parse().expect("an id");
            let mut secret = Secret::of("session token", &token);
            secret.forms.extend([id.0.to_string().into_bytes(), hex::encode(id.0.to_le_bytes()).into_bytes()]);
            secret.forms.extend([id.0.to_le_bytes().to_vec(), hex::encode(id.0.to_be_bytes()).into_bytes()]);
            secret
        };

        let log = crate::app::log();
        assert!(log.contains("TRACE") && log.contains(&id), "the log has no TRACE lines of the requests");
        for secret in secrets.iter().chain([&session]) {
            secret.is_not_in_text("the log", &log);
        }
        let stored = everything(&app).await;
        assert!(stored.iter().any(|(_, bytes)| contains(bytes, &key[..12])), "the search does not find the stored prefix");
        assert!(stored.iter().any(|(_, bytes)| contains(bytes, "hunted@example.com")));
        for (place, bytes) in &stored {
            secrets.iter().chain([&session]).for_each(|secret| secret.is_not_in(place, bytes));
        }
        for (n, answer) in later.iter().enumerate() {
            let head = format!("{:?}", answer.headers);
            for secret in &secrets {
                secret.is_not_in(&format!("answer {n}: {}", answer.text()), &answer.body);
                secret.is_not_in(&format!("the head of answer {n}"), head.as_bytes());
            }
            session.is_not_in(&format!("answer {n}"), &answer.body);
            if n > 0 {
                session.is_not_in(&format!("the head of answer {n}"), head.as_bytes());
            }
        }
    }

    async fn the_debug_form_of_a_secret_is_redacted(app) {
        let ada = someone(&app, "ada@example.com").await;
        let created = create(&app, &ada.cookie, r#"{"name": "key"}"#).await;
        let read: latchkey::model::wire::CreatedApiKey = serde_json::from_slice(&created.body).expect("its type");
        Secret::of("key", &created.field("/key")).is_not_in("its debug form", format!("{read:?}").as_bytes());
    }
}
