//! The security log: each event names actor, client and target, in every contract, and contains no secret.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU8, Ordering};

use latchkey::keys::Policy;

use crate::app::{Settings, TestApp, on_both_engines};
use crate::hooksentry::{self, PASSWORD};
use crate::stale_forms::current_version;
use crate::story::{Answer, Call, create};

/// Returns a distinct client for each test, because all tests share one log.
fn client() -> &'static str {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let network = NEXT.fetch_add(1, Ordering::SeqCst);
    Box::leak(format!("198.18.{network}.7:50000").into_boxed_str())
}

/// The lines of the security log about requests of a client. Ids are replaced by names.
struct Lines<'a> {
    client: &'a str,
    names: Vec<(String, String)>,
}

impl<'a> Lines<'a> {
    fn of(client: &'a str) -> Self {
        Self { client: client.split_once(':').expect("a port").0, names: Vec::new() }
    }

    fn name(&mut self, id: &str, name: &str) {
        self.names.push((id.to_owned(), name.to_owned()));
    }

    fn text(&self) -> String {
        let mut text = String::new();
        let client = format!("client={:?}", self.client);
        for line in crate::app::log().lines().filter(|line| line.contains(&format!("{client} "))) {
            let Some((_, line)) = line.split_once("latchkey::security: security event ") else { continue };
            let mut line = line.replace(&client, "client=it");
            for (id, name) in &self.names {
                line = line.replace(id, name);
            }
            let id = line.split_once("request_id=\"").map(|(_, rest)| rest[..16].to_owned()).expect("a request's id");
            let _ = writeln!(text, "{}", line.replace(&id, "0011223344556677"));
        }
        text
    }
}

async fn post(app: &TestApp, client: &'static str, path: &str, body: &str) -> Answer {
    Call::new(app, "POST", path).from(client).json(body).send().await
}

async fn form(app: &TestApp, client: &'static str, cookie: &str, path: &str, body: &str) -> Answer {
    let kind = "application/x-www-form-urlencoded";
    let call = Call::new(app, "POST", path).from(client).header("content-type", kind).cookie(cookie);
    call.body(body.to_owned()).send().await
}

fn credentials(password: &str) -> String {
    format!(r#"{{"email": "ada@example.com", "password": "{password}"}}"#)
}

on_both_engines! {
    async fn signing_in_and_out_is_logged_by_every_contract(app) {
        let it = client();
        let mut lines = Lines::of(it);
        let registered = post(&app, it, "/v1/auth/register", &credentials(PASSWORD)).await;
        lines.name(&registered.field("/user/id"), "ada");
        post(&app, it, "/v1/auth/register", &credentials(PASSWORD)).await;
        for path in ["/v1/auth/login", "/api/v1/auth/login"] {
            assert_eq!(post(&app, it, path, &credentials("a wrong password")).await.status, 401);
        }
        let typed = "email=ada%40example.com&password=";
        assert_eq!(form(&app, it, "", "/sign-in", &format!("{typed}a+wrong+password")).await.status, 401);
        let nobody = r#"{"email": "nobody@example.com", "password": "a wrong password"}"#;
        assert_eq!(post(&app, it, "/v1/auth/login", nobody).await.status, 401);
        let session = post(&app, it, "/v1/auth/login", &credentials(PASSWORD)).await.cookie();
        let tokens = post(&app, it, "/api/v1/auth/login", &credentials(PASSWORD)).await;
        let page = form(&app, it, "", "/sign-in", &format!("{typed}correct+horse+battery")).await.cookie();
        let (access, refresh) = (tokens.field("/accessToken"), tokens.field("/refreshToken"));
        let renew = format!(r#"{{"refreshToken": "{refresh}"}}"#);
        let renewed = post(&app, it, "/api/v1/auth/refresh", &renew).await;
        let (access, next) = (renewed.field("/accessToken"), (access, renewed.field("/refreshToken")));
        let bearer = format!("Bearer {access}");
        let out = Call::new(&app, "POST", "/api/v1/auth/logout").from(it).header("authorization", &bearer);
        assert_eq!(out.json(&format!(r#"{{"refreshToken": "{}"}}"#, next.1)).send().await.status, 204);
        let tokens = post(&app, it, "/api/v1/auth/login", &credentials(PASSWORD)).await;
        let renew = format!(r#"{{"refreshToken": "{}"}}"#, tokens.field("/refreshToken"));
        // The second use of a refresh token ends the tokens, once.
        for status in [200, 401, 401] {
            assert_eq!(post(&app, it, "/api/v1/auth/refresh", &renew).await.status, status);
        }
        let out = Call::new(&app, "POST", "/v1/auth/logout").from(it).cookie(&session).send().await;
        assert_eq!(out.status, 204);
        assert_eq!(form(&app, it, &page, "/sign-out", "").await.status, 303);
        insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
            insta::assert_snapshot!("security_log_of_signing_in", lines.text());
        });
        let log = crate::app::log();
        for secret in [&session, &page, &access, &refresh, &next.0, &next.1] {
            let secret = secret.rsplit('=').next().expect("a value");
            assert!(!log.contains(secret), "a session or token is in the log");
        }
        assert!(!log.contains("a wrong password") && !log.contains("a+wrong+password"));
    }

    async fn a_refused_sign_in_is_logged_by_every_contract(app) {
        let it = client();
        let typed = "email=nobody%40example.com&password=a+wrong+password";
        let nobody = r#"{"email": "nobody@example.com", "password": "a wrong password"}"#;
        for _ in 0..10 {
            post(&app, it, "/v1/auth/login", nobody).await;
        }
        for path in ["/v1/auth/login", "/api/v1/auth/login"] {
            assert_eq!(post(&app, it, path, nobody).await.status, 429);
        }
        assert_eq!(form(&app, it, "", "/sign-in", typed).await.status, 429);
        let text = Lines::of(it).text();
        let line = |outcome: &str, reason: &str| {
            format!("event=\"sign_in\" outcome=\"{outcome}\" reason=\"{reason}\" actor=none client=it \
                target_id=\"unknown\" request_id=\"0011223344556677\"\n")
        };
        assert_eq!(text, line("failed", "credentials").repeat(10) + &line("refused", "throttled").repeat(3));
        assert!(!text.contains("nobody"), "an email address is personal data");
    }

    async fn keys_are_logged_by_every_contract(app, Settings {
        policy: Policy { keys_may_manage_keys: true, ..Policy::default() },
        ..Settings::default()
    }) {
        let it = client();
        let mut lines = Lines::of(it);
        let ada = hooksentry::tenant(&app, "ada@example.com").await;
        lines.name(&ada.who.user, "ada");
        lines.name(&ada.who.org, "org");
        lines.name(&ada.who.live, "live");
        let cookie = ada.who.cookie.as_str();
        let mut secrets = vec![cookie.rsplit('=').next().expect("a value").to_owned(), ada.access.clone()];
        let bearer = format!("Bearer {}", ada.access);
        let call = |method: &str, path: &str| Call::new(&app, method, path).from(it);

        let named = r#"{"name": "parent", "scopes": "api-keys:write a:x"}"#;
        let parent = call("POST", "/v1/auth/api-keys").cookie(cookie).json(named).send().await;
        let parent_key = parent.field("/key");
        let child = r#"{"name": "child", "scopes": "a:x"}"#;
        let child = call("POST", "/v1/auth/api-keys").key(&parent_key).json(child).send().await;
        let tenant = call("POST", "/api/v1/apikeys").header("authorization", &bearer).json(r#"{"name": "t"}"#).send().await;
        let tenant_id = tenant.field("/id");
        let (parent_id, child_id) = (parent.field("/id"), child.field("/id"));
        lines.name(&parent_id, "parent");
        lines.name(&child_id, "child");
        let other = create(&app, cookie, r#"{"name": "other"}"#).await;
        let other_id = other.field("/id");
        lines.name(&other_id, "other");
        secrets.extend([parent_key.clone(), child.field("/key"), tenant.field("/key"), other.field("/key")]);

        let path = format!("/v1/keys/{parent_id}");
        for body in [r#"{"name": "renamed", "scopes": "api-keys:write a:x"}"#, r#"{"enabled": false}"#, r#"{"enabled": true}"#] {
            assert_eq!(call("PATCH", &path).cookie(cookie).json(body).send().await.status, 200);
        }
        let page = form(&app, it, cookie, &ada.who.page(&format!("keys/{other_id}/enabled")), "enabled=false&version=").await;
        assert_eq!(page.status, 303);
        let path_of_other = ada.who.page(&format!("keys/{other_id}"));
        let version = current_version(&app, cookie, &path_of_other).await.expect("a form");
        let fields = [("version", version.as_str()), ("name", "another")];
        let fields = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        assert_eq!(form(&app, it, cookie, &path_of_other, &fields).await.status, 303);
        assert_eq!(form(&app, it, cookie, &ada.who.page(&format!("keys/{other_id}/revoke")), "").await.status, 303);
        let gone = call("DELETE", &format!("/api/v1/apikeys/{tenant_id}")).header("authorization", &bearer).send().await;
        assert_eq!(gone.status, 200);
        let itself = r#"{"name": "itself", "scopes": "api-keys:write a:x"}"#;
        let itself = call("POST", "/v1/auth/api-keys").cookie(cookie).json(itself).send().await;
        lines.name(&itself.field("/id"), "itself");
        let itself = itself.field("/key");
        assert_eq!(call("DELETE", "/v1/auth/api-keys/current").key(&itself).send().await.status, 200);
        for _ in 0..2 {
            let revoked = call("POST", &format!("{path}/revoke")).cookie(cookie).send().await;
            assert_eq!(revoked.status, 200);
        }
        let gone = call("DELETE", &format!("/v1/auth/api-keys/{child_id}")).cookie(cookie).send().await;
        assert_eq!(gone.status, 200);
        let retention = "version=7+1000000&event_days=3&event_limit=100";
        assert_eq!(form(&app, it, cookie, &ada.who.retention(), retention).await.status, 303);
        let tenant_key = app.number("SELECT id FROM keys WHERE name = 't'").await;
        lines.name(&latchkey::model::KeyId(tenant_key).to_string(), "tenant_key");
        insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
            insta::assert_snapshot!("security_log_of_keys", lines.text());
        });
        let log = crate::app::log();
        secrets.push(itself);
        assert!(secrets.iter().all(|secret| !log.contains(secret)), "a key, session or token is in the log");
    }

    /// The client disconnects before the key is stored; the key is created anyway.
    async fn a_key_whose_client_disconnects_is_logged(app) {
        let ada = crate::story::someone(&app, "ada@example.com").await;
        let it = client();
        let body = r#"{"name": "unseen"}"#;
        let call = Call::new(&app, "POST", "/v1/auth/api-keys").from(it).cookie(&ada.cookie).json(body);
        let mut call = Box::pin(call.send());
        let mut outcome = "unknown";
        while app.number("SELECT count(*) FROM keys").await == 0 {
            if futures::poll!(call.as_mut()).is_ready() {
                // The key was stored and answered between two polls.
                outcome = "succeeded";
                break;
            }
        }
        drop(call);
        let text = Lines::of(it).text();
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(text.starts_with(&format!("event=\"key.created\" outcome=\"{outcome}\"")), "{text}");
    }

    async fn the_operator_is_the_actor_of_commands(app) {
        let email = latchkey::accounts::EmailAddress::parse("eve@example.com").expect("an address");
        let password = || latchkey::accounts::Password::new(PASSWORD.to_owned()).expect("a password");
        let user = app.services.accounts.add(&email, password()).await.expect("an account");
        assert!(app.services.accounts.reset_password(&email, password()).await.expect("an answer"));
        for event in ["account.added", "account.password_reset"] {
            let line = format!(
                "event=\"{event}\" outcome=\"succeeded\" actor=operator client=\"none\" target_id=\"{user}\""
            );
            assert!(crate::app::log().contains(&line), "{line}");
        }
    }
}
