//! `GET /v1/whoami`: the use of a key.

use crate::app::on_both_engines;
use crate::story::{Call, Story};

on_both_engines! {
    async fn without_a_key_nobody_is_told_anything(app) {
        let mut story = Story::new();
        Call::new(&app, "GET", "/v1/whoami").tell(&mut story).await;
        Call::new(&app, "GET", "/v1/whoami").key("hs_live_nonsense").tell(&mut story).await;
        Call::new(&app, "GET", "/v1/whoami").cookie("session=abc").tell(&mut story).await;
        story.is("without_a_key_nobody_is_told_anything");
    }
}
