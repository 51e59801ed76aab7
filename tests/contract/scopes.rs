//! Lists of scopes: one parser reads them in every contract and form.

use serde_json::json;

use crate::app::{Settings, TestApp, on_both_engines};
use crate::key_page::form;
use crate::story::{Answer, Call, create, someone};

/// Invalid lists of scopes. A separator other than a space is an error too.
const WRONG: [&str; 22] = [
    "a:x\u{c}admin:all",
    "a:x\tadmin:all",
    "a:x\nadmin:all",
    "a:x\r\nadmin:all",
    "a:x\u{b}admin:all",
    "a:x\u{0}admin:all",
    "a:x\u{1f}admin:all",
    "a:x\u{85}admin:all",
    "a:x\u{a0}admin:all",
    "a:x\u{2003}admin:all",
    "a:x\u{3000}admin:all",
    "a:x\u{200b}admin:all",
    "a:x+admin:all",
    "a:x,admin:all",
    "a:x;admin:all",
    "a:é",
    "a:x *",
    "* *",
    "any",
    "a:x\n",
    "   ",
    "",
];

/// Valid spellings of the list `a:x b:*`.
const RIGHT: [&str; 4] = ["a:x b:*", "  a:x b:*", "a:x b:* ", "a:x   b:*"];

fn names_scopes(answer: &Answer) -> bool {
    answer.status == 400
        && answer.json()["errors"]
            .as_array()
            .is_some_and(|errors| errors.iter().any(|error| error["field"] == "scopes"))
}

async fn verify(app: &TestApp, caller: &str, key: &str, scopes: &str) -> Answer {
    Call::new(app, "POST", "/v1/keys/verify")
        .key(caller)
        .json(&json!({"key": key, "scopes": scopes}).to_string())
        .send()
        .await
}

/// Encodes a text for a path.
fn in_path(text: &str) -> String {
    text.bytes()
        .map(|byte| {
            if byte.is_ascii_alphanumeric() || b":*+.".contains(&byte) {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect()
}

on_both_engines! {
    async fn every_contract_reads_a_list_of_scopes_alike(app, Settings { policy: latchkey::keys::Policy { keys_may_manage_keys: true, ..Default::default() }, ..Settings::default() }) {
        let ada = someone(&app, "ada@example.com").await;
        let caller = create(&app, &ada.cookie, &ada.in_env(&ada.live, r#", "scopes": "keys:verify""#)).await.field("/key");
        let manager = create(&app, &ada.cookie, &ada.in_env(&ada.live, r#", "scopes": "api-keys:write a:x admin:all b:*""#)).await.field("/key");
        let key = create(&app, &ada.cookie, &ada.in_env(&ada.live, r#", "scopes": "a:* b:*""#)).await;
        let (id, string) = (key.field("/id"), key.field("/key"));
        for wrong in WRONG {
            let body = json!({"name": "k", "org_id": ada.org, "env_id": ada.live, "scopes": wrong}).to_string();
            let made = Call::new(&app, "POST", "/v1/auth/api-keys").cookie(&ada.cookie).json(&body).send().await;
            assert!(names_scopes(&made), "create {wrong:?}: {}", made.text());
            let made = Call::new(&app, "POST", "/v1/auth/api-keys").key(&manager).json(&json!({"name": "k", "scopes": wrong}).to_string()).send().await;
            assert!(names_scopes(&made), "create by a key {wrong:?}: {}", made.text());
            let edited = Call::new(&app, "PATCH", &format!("/v1/keys/{id}")).cookie(&ada.cookie).json(&json!({"scopes": wrong}).to_string()).send().await;
            assert!(names_scopes(&edited), "edit {wrong:?}: {}", edited.text());
            let checked = verify(&app, &caller, &string, wrong).await;
            assert!(names_scopes(&checked), "verify {wrong:?}: {}", checked.text());
            let path = format!("/v1/forward-auth/{}/live/{}", ada.org, in_path(wrong));
            let asked = Call::new(&app, "GET", &path).key(&string).send().await;
            // In a path, `+` separates scopes, and `any` is a keyword.
            let expected = match wrong { "a:x+admin:all" => 403, "any" => 200, _ => 400 };
            assert_eq!(asked.status, expected, "forward-auth {path}: {}", asked.text());
            let typed = form(&app, &ada.page(&format!("keys/{id}")), &ada.cookie, &[("access", "restricted"), ("scopes", wrong)]).send().await;
            assert_ne!(typed.status, 303, "form {wrong:?}");
            assert!(typed.text().contains(r#"aria-invalid="true""#), "form {wrong:?}");
        }
        assert_eq!(app.number("SELECT count(*) FROM keys").await, 3);
        assert_eq!(app.number("SELECT count(*) FROM keys WHERE scopes = 'a:* b:*'").await, 1, "nothing was stored");
        for right in RIGHT {
            let made = create(&app, &ada.cookie, &json!({"name": "k", "scopes": right}).to_string()).await;
            assert_eq!(made.field("/scopes"), "a:x b:*", "{right:?}");
            let checked = verify(&app, &caller, &string, right).await;
            assert_eq!(checked.field("/code"), "VALID", "{right:?}");
            let edited = Call::new(&app, "PATCH", &format!("/v1/keys/{id}")).cookie(&ada.cookie).json(&json!({"scopes": right}).to_string()).send().await;
            assert_eq!(edited.field("/scopes"), "a:x b:*", "{right:?}");
        }
        let checked = verify(&app, &caller, &string, "a:x admin:all").await;
        assert_eq!((checked.field("/code"), checked.json()["missing_scopes"].clone()), ("INSUFFICIENT_SCOPES".to_owned(), json!(["admin:all"])));
    }

    async fn a_gateway_with_a_malformed_path_admits_no_request(app) {
        let ada = someone(&app, "ada@example.com").await;
        let key = create(&app, &ada.cookie, &ada.in_env(&ada.live, r#", "scopes": "events:write""#)).await.field("/key");
        let full = create(&app, &ada.cookie, r#"{"name": "full"}"#).await.field("/key");
        for odd in [
            "any/events%3Awrite&keys%3Averify",
            "any/events:write&keys:verify",
            "any/any%2F..",
            "any/any%2f",
            "any/any%2Fevents:write",
            "any%2Fany/events:write",
            "live/..",
            "../any",
            "any/.",
            "any//events:write",
            "/any/events:write",
            "any/events:write%2Bkeys:verify",
            "any/events%253Awrite",
            "any/%2561ny",
            "any/events:write+",
            "any/+events:write",
            "any/events:write++events:write",
            "any/events:write%20events:write",
            "any/%ff",
            "any/events:write%00",
            "any/any+events:write",
            "any/*+events:write",
            "any/",
            "any",
        ] {
            for presented in [&key, &full] {
                let path = format!("/v1/forward-auth/{}/{odd}", ada.org);
                Call::new(&app, "GET", &path).key(presented).send().await.is_problem(400, "invalid_request");
            }
        }
        for (right, status) in [("any/events%3Awrite", 200), ("any/events%3awrite+events:write/../any", 200), ("any/%61ny", 200), ("any/%2A", 403), ("any/keys:verify/%2F..%2F/any/any?scopes=any", 403)] {
            let path = format!("/v1/forward-auth/{}/{right}", ada.org);
            assert_eq!(Call::new(&app, "GET", &path).key(&key).send().await.status, status, "{path}");
        }
    }
}
