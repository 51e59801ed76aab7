//! Helpers of the tests of HookSentry's contract.

use crate::app::TestApp;
use crate::story::{Answer, Call, Someone, someone};

pub const PASSWORD: &str = "correct horse battery";

/// A person with an access token for a tenant.
pub struct Tenant {
    pub who: Someone,
    pub email: String,
    /// The tenant's id.
    pub id: String,
    pub access: String,
    pub refresh: String,
}

/// Registers a person and signs them in with a token for their own tenant.
pub async fn tenant(app: &TestApp, email: &str) -> Tenant {
    let who = someone(app, email).await;
    let me = Call::new(app, "GET", "/v1/auth/me").cookie(&who.cookie).send().await;
    let id = me.field("/organisations/0/tenant_id");
    let tokens = log_in(app, email, None).await;
    assert_eq!(tokens.status, 200, "{}", tokens.text());
    Tenant {
        who,
        email: email.to_owned(),
        id,
        access: tokens.field("/accessToken"),
        refresh: tokens.field("/refreshToken"),
    }
}

pub async fn log_in(app: &TestApp, email: &str, tenant: Option<&str>) -> Answer {
    let tenant = tenant.map(|id| format!(r#","tenantId":"{id}""#)).unwrap_or_default();
    let body = format!(r#"{{"email":"{email}","password":"{PASSWORD}"{tenant}}}"#);
    Call::new(app, "POST", "/api/v1/auth/login").json(&body).send().await
}

pub async fn refresh(app: &TestApp, token: &str) -> Answer {
    Call::new(app, "POST", "/api/v1/auth/refresh").json(&format!(r#"{{"refreshToken":"{token}"}}"#)).send().await
}

pub async fn log_out(app: &TestApp, access: &str, refresh: &str) -> Answer {
    call(app, access, "POST", "/api/v1/auth/logout").json(&format!(r#"{{"refreshToken":"{refresh}"}}"#)).send().await
}

/// Prepares a call with an access token.
pub fn call<'a>(app: &'a TestApp, access: &str, method: &str, path: &str) -> Call<'a> {
    Call::new(app, method, path).header("authorization", &format!("Bearer {access}"))
}

pub async fn get(app: &TestApp, access: &str, path: &str) -> Answer {
    call(app, access, "GET", path).send().await
}

/// Returns whether the API accepts an access token, and asserts that a refusal is a 401.
pub async fn opens(app: &TestApp, access: &str) -> bool {
    let answer = get(app, access, "/api/v1/apikeys").await;
    if answer.status != 200 {
        answer.is_problem(401, "unauthenticated");
        assert_eq!(answer.header("www-authenticate"), "Bearer");
    }
    answer.status == 200
}

/// Creates a key and returns the answer.
pub async fn create(app: &TestApp, access: &str, name: &str) -> Answer {
    let body = serde_json::json!({ "name": name }).to_string();
    let answer = call(app, access, "POST", "/api/v1/apikeys").json(&body).send().await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    answer
}

pub async fn revoke(app: &TestApp, access: &str, id: &str) -> Answer {
    call(app, access, "DELETE", &format!("/api/v1/apikeys/{id}")).send().await
}

/// Prepares the call that sends an event.
pub fn ingest<'a>(app: &'a TestApp, tenant: &str, source: &str, key: &str) -> Call<'a> {
    Call::new(app, "POST", &format!("/api/v1/ingest/{tenant}/{source}")).key(key)
}

impl Answer {
    /// Asserts a 400 with a JSON string that describes the error, and returns the string.
    #[track_caller]
    pub fn is_sentence(&self) -> String {
        assert_eq!(self.status, 400, "{}", self.text());
        assert_eq!(self.header("content-type"), "application/json");
        assert_eq!(self.header("cache-control"), "no-store");
        let json = self.json();
        let text = json.as_str().unwrap_or_else(|| panic!("not a JSON string: {json}"));
        assert!(text.len() > 5, "{text}");
        text.to_owned()
    }

    /// Returns `total` of a page.
    #[track_caller]
    pub fn total(&self) -> i64 {
        assert_eq!(self.status, 200, "{}", self.text());
        self.json()["total"].as_i64().expect("a number")
    }

    /// Returns one field of every item of a page.
    #[track_caller]
    pub fn items(&self, field: &str) -> Vec<String> {
        assert_eq!(self.status, 200, "{}", self.text());
        let json = self.json();
        json["items"]
            .as_array()
            .expect("items")
            .iter()
            .map(|item| item[field].as_str().expect("text").to_owned())
            .collect()
    }
}
