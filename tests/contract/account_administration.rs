//! Operators of the server disable and enable accounts, and make other accounts operators (`latchkey user …`).

use latchkey::accounts::{AccountChange, Changed, EmailAddress, Operator};
use sqlx::{Connection, Executor, PgConnection, SqliteConnection};

use crate::app::{Engine, TestApp, on_both_engines};
use crate::hooksentry::{log_in, opens, refresh, tenant};
use crate::story::{Answer, Call, register};

const ADA: &str = "ada@example.com";
const SIGN_IN: &str = r#"{"email": "ada@example.com", "password": "correct horse battery"}"#;

async fn change(app: &TestApp, email: &str, change: AccountChange) -> Changed {
    let email = EmailAddress::parse(email).expect("an address");
    app.services.accounts.change(&email, change, Operator::command("latchkey user")).await.expect("an answer")
}

async fn sign_in(app: &TestApp) -> Answer {
    Call::new(app, "POST", "/v1/auth/login").json(SIGN_IN).send().await
}

async fn me(app: &TestApp, cookie: &str) -> u16 {
    Call::new(app, "GET", "/v1/auth/me").cookie(cookie).send().await.status.as_u16()
}

/// Disables every account in a transaction of another process, which is not committed yet.
async fn begin_disabling(app: &TestApp) -> Box<dyn FnOnce() -> futures::future::BoxFuture<'static, ()>> {
    const STATEMENTS: [&str; 3] = [
        "UPDATE users SET disabled_at = 1",
        "DELETE FROM sessions",
        "UPDATE token_families SET ended_at = 1 WHERE ended_at IS NULL",
    ];
    match app.engine {
        Engine::Sqlite => {
            let mut connection = SqliteConnection::connect(&app.url).await.expect("the file opens");
            connection.execute("BEGIN IMMEDIATE").await.expect("a transaction");
            for statement in STATEMENTS {
                connection.execute(statement).await.expect("a statement");
            }
            Box::new(move || Box::pin(async move { connection.execute("COMMIT").await.map(drop).expect("a commit") }))
        }
        Engine::Postgres => {
            let mut connection = PgConnection::connect(&app.url).await.expect("the server answers");
            connection.execute("BEGIN").await.expect("a transaction");
            for statement in STATEMENTS {
                connection.execute(statement).await.expect("a statement");
            }
            Box::new(move || Box::pin(async move { connection.execute("COMMIT").await.map(drop).expect("a commit") }))
        }
    }
}

on_both_engines! {
    async fn a_disabled_account_has_no_session_token_or_password_that_is_accepted(app) {
        let ada = tenant(&app, ADA).await;
        let created = Call::new(&app, "POST", "/v1/auth/api-keys").cookie(&ada.who.cookie).json(r#"{"name": "stays"}"#);
        let key = created.send().await.field("/key");
        assert!(me(&app, &ada.who.cookie).await == 200 && opens(&app, &ada.access).await);

        assert_eq!(change(&app, " Ada@Example.com", AccountChange::Disable).await, Changed::Done);
        assert_eq!(change(&app, ADA, AccountChange::Disable).await, Changed::Unchanged);
        assert_eq!(me(&app, &ada.who.cookie).await, 401);
        assert!(!opens(&app, &ada.access).await);
        refresh(&app, &ada.refresh).await.is_problem(401, "unauthenticated");
        let refused = sign_in(&app).await;
        refused.is_problem(401, "unauthenticated");
        let wrong = SIGN_IN.replace("correct", "wrong");
        let wrong = Call::new(&app, "POST", "/v1/auth/login").json(&wrong).send().await;
        assert_eq!(wrong.json(), refused.json(), "the API does not tell a disabled account from a wrong password");
        log_in(&app, ADA, None).await.is_problem(401, "unauthenticated");
        assert_eq!(app.number("SELECT count(*) FROM sessions").await, 0);

        // The page tells the owner of the password, and no other.
        for (password, words) in [("correct+horse+battery", "This account is disabled."), ("wrong", "Email or password is wrong.")] {
            let form = format!("email=ada%40example.com&password={password}");
            let page = Call::new(&app, "POST", "/sign-in")
                .header("content-type", "application/x-www-form-urlencoded")
                .body(form)
                .send()
                .await;
            assert_eq!(page.status, 401);
            assert!(page.text().contains(words), "{password}");
        }
        let whoami = Call::new(&app, "GET", "/v1/whoami").header("x-api-key", &key).send().await;
        assert_eq!(whoami.status, 200, "the organisation's keys stay");

        assert_eq!(change(&app, ADA, AccountChange::Enable).await, Changed::Done);
        assert_eq!(change(&app, ADA, AccountChange::Enable).await, Changed::Unchanged);
        assert_eq!(me(&app, &ada.who.cookie).await, 401, "the old sessions stay ended");
        let again = sign_in(&app).await;
        assert_eq!((again.status.as_u16(), me(&app, &again.cookie()).await), (200, 200));
        let audited = "SELECT count(*) FROM audit_entries WHERE organisation_id IS NULL AND action IN ('account.disabled', 'account.enabled')";
        assert_eq!(app.number(audited).await, 2);
    }

    async fn a_sign_in_that_is_overtaken_by_disabling_the_account_gets_no_session(app) {
        register(&app, ADA).await;
        let commit = begin_disabling(&app).await;
        let mut signing_in = Box::pin(sign_in(&app));
        let early = tokio::time::timeout(std::time::Duration::from_secs(1), &mut signing_in).await;
        commit().await;
        let answer = match early {
            Ok(answer) => answer,
            Err(_) => signing_in.await,
        };
        answer.is_problem(401, "unauthenticated");
        assert_eq!(app.number("SELECT count(*) FROM sessions").await, 0);
    }

    async fn an_operator_is_made_and_unmade_with_an_audit_entry_each(app) {
        register(&app, ADA).await;
        let cookie = register(&app, "eve@example.com").await;
        let cluster = async || {
            Call::new(&app, "GET", "/v1/cluster").cookie(&cookie).send().await.status.as_u16()
        };
        assert_eq!(cluster().await, 403);
        for (on, changed, status) in [(true, Changed::Done, 200), (true, Changed::Unchanged, 200), (false, Changed::Done, 403)] {
            assert_eq!(change(&app, "eve@example.com", AccountChange::Operator(on)).await, changed);
            assert_eq!(cluster().await, status);
        }
        assert_eq!(change(&app, "nobody@example.com", AccountChange::Operator(true)).await, Changed::NoSuchAccount);
        let audited = "SELECT count(*) FROM audit_entries WHERE action = 'account.operator_changed'";
        assert_eq!(app.number(audited).await, 2);
    }

    async fn accounts_are_listed_by_address_a_page_at_a_time_and_searched(app) {
        for email in ["ada@example.com", "bob@example.com", "b_b@example.org"] {
            register(&app, email).await;
        }
        let list = async |after: &str, text: &str, limit: i64| {
            let rows = app.services.accounts.list(after, text, limit).await.expect("an answer");
            rows.into_iter().map(|row| row.email).collect::<Vec<_>>()
        };
        assert_eq!(list("", "", 2).await, ["ada@example.com", "b_b@example.org"]);
        assert_eq!(list("b_b@example.org", "", 2).await, ["bob@example.com"]);
        assert_eq!(list("", "EXAMPLE.com", 9).await, ["ada@example.com", "bob@example.com"]);
        assert_eq!(list("", "b_b", 9).await, ["b_b@example.org"], "`_` is an ordinary character");
        assert_eq!(list("", "%", 9).await, Vec::<String>::new(), "`%` is an ordinary character");
    }

    async fn operators_see_the_page_of_accounts_and_disable_and_enable_there(app) {
        let ada = register(&app, ADA).await;
        let bob = register(&app, "bob@example.com").await;
        let get = async |cookie: &str, query: &str| {
            Call::new(&app, "GET", &format!("/server/accounts{query}")).cookie(cookie).send().await
        };
        let post = async |cookie: &str, email: &str, change: &str| {
            let form = format!("email={email}&change={change}&return_to=%2Fserver%2Faccounts%3Fq%3Dbob");
            let call = Call::new(&app, "POST", "/server/accounts").cookie(cookie);
            call.header("content-type", "application/x-www-form-urlencoded").body(form).send().await
        };
        let page = get(&ada, "").await;
        assert_eq!(page.status, 200);
        for text in ["ada@example.com", "bob@example.com", " (you)"] {
            assert!(page.text().contains(text), "{text}");
        }
        assert!(!get(&ada, "?q=BOB").await.text().contains("<bdi>ada@example.com</bdi> (you)"));
        assert!(get(&ada, "?q=nobody").await.text().contains("No account matches"));

        // A member of an organisation without the right sees and changes nothing.
        assert_eq!(get(&bob, "").await.status, 403);
        for (email, change) in [("ada%40example.com", "disable"), ("bob%40example.com", "enable")] {
            assert_eq!(post(&bob, email, change).await.status, 403);
        }
        assert_eq!(me(&app, &ada).await, 200);
        assert_eq!(get("", "").await.status, 303, "to sign in");

        // Of all accounts, the own one cannot be disabled.
        assert_eq!(post(&ada, "ada%40example.com", "disable").await.status, 403);
        assert_eq!(post(&ada, "eve%40example.com", "disable").await.status, 404);
        assert_eq!(post(&ada, "bob%40example.com", "delete").await.status, 400);
        assert_eq!(app.number("SELECT count(*) FROM users WHERE disabled_at IS NOT NULL").await, 0);

        let id = page.text();
        let id = id.split("disable=usr_").nth(1).and_then(|rest| rest.get(..16)).expect("the link of Bob's row");
        let dialog = get(&ada, &format!("?disable=usr_{id}")).await.text();
        assert!(dialog.contains("Disable this account?") && dialog.contains("bob@example.com"));
        let done = post(&ada, "bob%40example.com", "disable").await;
        assert_eq!((done.status.as_u16(), done.header("location")), (303, "/server/accounts?q=bob"));
        assert_eq!(me(&app, &bob).await, 401);
        assert!(get(&ada, "").await.text().contains("Disabled"));
        post(&ada, "bob%40example.com", "enable").await;
        let again = Call::new(&app, "POST", "/v1/auth/login").json(&SIGN_IN.replace("ada@", "bob@")).send().await;
        assert_eq!(again.status, 200);
        let by_ada = "SELECT count(*) FROM audit_entries WHERE action LIKE 'account.%abled' AND actor_label = 'ada@example.com'";
        assert_eq!(app.number(by_ada).await, 2);
    }
}
