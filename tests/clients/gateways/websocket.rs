//! Upgrades: a WebSocket is checked as it is opened, and nothing else is let through.

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::gateway::Kind;
use super::service::Request;
use super::{Scene, ok};

/// The service's answer to an upgrade, after which it sends back what comes (RFC 6455, section 1.3).
fn upgraded(request: &Request) -> String {
    match request.header("upgrade") {
        Some("websocket") => "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                              Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
            .to_owned(),
        _ => ok(request),
    }
}

pub async fn a_websocket_is_opened_with_a_key_and_only_with_one(kind: Kind) {
    let mut scene = Scene::before(kind, upgraded).await;
    let key = scene.key(json!({"scopes": "orders:read"})).await;
    let other_scope = scene.key(json!({"scopes": "orders:write"})).await;
    let upgrade = ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"];
    let nonce = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
    for (header, status) in [("X-Nothing: x", 401), (&other_scope.header, 403)] {
        let answer = scene.get("/live", &[header, upgrade[0], upgrade[1], upgrade[2], nonce]).await;
        scene.refused(&answer, status);
    }

    let head = format!(
        "GET /live HTTP/1.1\r\nHost: localhost\r\n{}\r\n{}\r\n{nonce}\r\n\r\n",
        key.header,
        upgrade.join("\r\n")
    );
    let mut stream = TcpStream::connect(scene.gateway.address).await.expect("it listens");
    stream.write_all(head.as_bytes()).await.expect("it is sent");
    let mut read = Vec::new();
    while !read.ends_with(b"\r\n\r\n") {
        assert_ne!(stream.read_buf(&mut read).await.expect("an answer"), 0, "{}", String::from_utf8_lossy(&read));
    }
    assert!(read.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&read));
    let arrived = scene.arrived();
    assert_eq!((arrived.header("x-auth-key-id"), arrived.header("x-api-key")), (Some(key.id.as_str()), None));
    // A frame, masked as a client's must be.
    let frame = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
    for _ in 0..3 {
        stream.write_all(&frame).await.expect("it is open");
        let mut back = [0; 11];
        stream.read_exact(&mut back).await.expect("it comes back");
        assert_eq!(back, frame);
    }

    // Another upgrade does not reach the service: what follows it would not be checked.
    // Traefik takes off this one only.
    let others = if kind == Kind::Traefik { &["h2c"][..] } else { &["h2c", "HTTP/2.0", "websocket, h2c", "TLS/1.0"] };
    for other in others {
        let headers = [
            key.header.as_str(),
            "Connection: Upgrade, HTTP2-Settings",
            &format!("Upgrade: {other}"),
            "HTTP2-Settings: AAMAAABk",
        ];
        let answer = scene.get("/live", &headers).await;
        assert_ne!(answer.status, 101, "{other}");
        for arrived in scene.service.seen() {
            assert_eq!(arrived.header("upgrade"), None, "{other}: {arrived:?}");
        }
    }
}
