//! hookstream's key endpoints.

use crate::app::on_both_engines;
use crate::story::{Call, Story, register};

on_both_engines! {
    /// The short form of the hookstream contract, with every documented field.
    async fn a_key_is_made_listed_used_and_revoked(app) {
        let mut story = Story::new();
        let cookie = register(&app, "ada@example.com").await;
        let created = Call::new(&app, "POST", "/v1/auth/api-keys")
            .cookie(&cookie)
            .json(r#"{"name": "Production Backend"}"#)
            .tell(&mut story)
            .await;
        let (id, key) = (created.field("/id"), created.field("/key"));
        Call::new(&app, "GET", "/v1/auth/api-keys").cookie(&cookie).tell(&mut story).await;
        story.say("an hour later, the key is used twice");
        app.clock.advance(3_600_000);
        Call::new(&app, "GET", "/v1/whoami").key(&key).tell(&mut story).await;
        Call::new(&app, "GET", "/v1/whoami").header("authorization", &format!("Bearer {key}")).tell(&mut story).await;
        Call::new(&app, "GET", "/v1/auth/api-keys").cookie(&cookie).tell(&mut story).await;
        story.say("the key is revoked twice");
        for _ in 0..2 {
            Call::new(&app, "DELETE", &format!("/v1/auth/api-keys/{id}")).cookie(&cookie).tell(&mut story).await;
        }
        Call::new(&app, "GET", "/v1/whoami").key(&key).tell(&mut story).await;
        Call::new(&app, "GET", "/v1/auth/api-keys").cookie(&cookie).tell(&mut story).await;
        story.is("a_key_is_made_listed_used_and_revoked");
    }
}
