//! Upgrades: the key of a WebSocket is checked when it is opened, and no other protocol is forwarded.

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::gateway::Kind;
use super::service::Request;
use super::{Scene, ok};

/// Accepts a WebSocket upgrade (RFC 6455, section 1.3), after which the service echoes all bytes.
fn upgraded(request: &Request) -> String {
    match request.header("upgrade") {
        Some("websocket") => "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                              Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
            .to_owned(),
        _ => ok(request),
    }
}

pub async fn a_websocket_needs_a_valid_key(kind: Kind) {
    let mut scene = Scene::with_service(kind, upgraded).await;
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
    let mut stream = TcpStream::connect(scene.gateway.address).await.expect("the server listens");
    stream.write_all(head.as_bytes()).await.expect("the request is sent");
    let mut read = Vec::new();
    while !read.ends_with(b"\r\n\r\n") {
        assert_ne!(stream.read_buf(&mut read).await.expect("an answer"), 0, "{}", String::from_utf8_lossy(&read));
    }
    assert!(read.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&read));
    let arrived = scene.arrived();
    assert_eq!((arrived.header("x-auth-key-id"), arrived.header("x-api-key")), (Some(key.id.as_str()), None));
    // A frame with a mask, which RFC 6455 requires of clients.
    let frame = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
    for _ in 0..3 {
        stream.write_all(&frame).await.expect("the connection is open");
        let mut back = [0; 11];
        stream.read_exact(&mut back).await.expect("the frame is echoed");
        assert_eq!(back, frame);
    }

    // Other upgrades do not reach the service, because later requests on such a connection would not be checked.
    // Traefik removes only h2c.
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
