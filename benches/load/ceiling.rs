//! The ceiling of the checks: a server that reads the same requests and does nothing with them.

use axum::Router;
use axum::routing::{any, post};
use bytes::Bytes;
use tokio::net::TcpListener;

/// An outcome of typical length.
const OUTCOME: &str = r#"{"valid":true,"code":"VALID","key_id":"ak_ae4f85b1c0f7f651","name":"service 123456","org_id":"org_f62827cd32463674","env_id":"env_ee5deba297b13899","environment":"live","scopes":null,"expires_at":null,"metadata":null,"ratelimit":null,"request_id":"f5ef4774cd752a57"}"#;

/// Serves the ceilings: reads the same requests completely, and sends responses of the same size.
pub async fn serve_nothing() {
    let verify = async |_: Bytes| {
        (
            [("content-type", "application/json"), ("cache-control", "no-store"), ("x-request-id", "f5ef4774cd752a57")],
            OUTCOME,
        )
    };
    let forward_auth = async || {
        [
            ("x-auth-key-id", "ak_ae4f85b1c0f7f651"),
            ("x-auth-org", "org_f62827cd32463674"),
            ("x-auth-env", "env_ee5deba297b13899"),
            ("x-auth-scopes", "*"),
        ]
    };
    let router =
        Router::new().route("/v1/keys/verify", post(verify)).route("/v1/forward-auth/{*demand}", any(forward_auth));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    println!("http://{}", listener.local_addr().expect("an address"));
    axum::serve(listener, router).await.expect("it serves");
}
