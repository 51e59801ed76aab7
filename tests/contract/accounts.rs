//! Signing in.

use crate::app::on_both_engines;
use crate::story::{Call, Story};

on_both_engines! {
    async fn an_account_registers_signs_out_and_signs_in(app) {
        let mut story = Story::with_all_headers();
        let credentials = r#"{"email": "Ada@Example.com", "password": "correct horse battery"}"#;
        let registered = Call::new(&app, "POST", "/v1/auth/register").json(credentials).tell(&mut story).await;
        let cookie = registered.cookie();
        Call::new(&app, "GET", "/v1/auth/me").cookie(&cookie).tell(&mut story).await;
        Call::new(&app, "POST", "/v1/auth/logout").cookie(&cookie).tell(&mut story).await;
        Call::new(&app, "GET", "/v1/auth/me").cookie(&cookie).tell(&mut story).await;
        Call::new(&app, "POST", "/v1/auth/login").json(credentials).tell(&mut story).await;
        story.is("an_account_registers_signs_out_and_signs_in");
    }
}
