//! Servers with https. The trusted certificates are read from the file in the variable `SSL_CERT_FILE`, so the client
//! runs in a process of its own: this program again, with that variable.

use std::process::Command;
use std::sync::Arc;

use latchkey_client::{Check, Client, Code, Error};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

const SERVER: &str = "LATCHKEY_TEST_TLS_SERVER";
const TRUSTED: &str = "SSL_CERT_FILE";
const ANSWER: &str = r#"{"valid":false,"code":"REVOKED"}"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_trusts_only_the_certificates_of_the_machine() {
    if let Ok(server) = std::env::var(SERVER) {
        return ask(&server).await;
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (acceptor, certificate) = identity();
    let trusted = folder.path().join("trusted.pem");
    std::fs::write(&trusted, certificate).expect("a file");
    tokio::spawn(serve(listener, acceptor));

    let (_, stranger) = identity();
    let others = folder.path().join("others.pem");
    std::fs::write(&others, stranger).expect("a file");
    for (file, is_answered) in [(&trusted, "yes"), (&others, "no")] {
        let mut client = Command::new(std::env::current_exe().expect("this program"));
        client.env(SERVER, format!("{is_answered} https://localhost:{}", address.port())).env(TRUSTED, file);
        let ended = tokio::task::spawn_blocking(move || client.output()).await.expect("no panic").expect("it runs");
        assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stdout));
    }
}

/// The body of the client's process.
async fn ask(server: &str) {
    let (is_answered, url) = server.split_once(' ').expect("two words");
    let client = Client::new(url, "hs_live_own").expect("a client");
    match client.verify(&Check::new("hs_live_1")).await {
        Ok(outcome) => assert_eq!((outcome.code, is_answered), (Code::Revoked, "yes")),
        Err(error) => assert!(matches!(error, Error::Unreachable(_)) && is_answered == "no", "{error:?}"),
    }
}

/// Creates a self-signed certificate for this machine, and a server with its key.
fn identity() -> (TlsAcceptor, String) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .expect("a certificate and its key");
    (TlsAcceptor::from(Arc::new(config)), made.cert.pem())
}

/// Answers one request per connection.
async fn serve(listener: TcpListener, acceptor: TlsAcceptor) {
    while let Ok((stream, _)) = listener.accept().await {
        let acceptor = acceptor.clone();
        tokio::spawn(async move {
            let Ok(mut stream) = acceptor.accept(stream).await else {
                return;
            };
            let mut request = vec![0; 16 * 1024];
            let _ = stream.read(&mut request).await;
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", ANSWER.len());
            let _ = stream.write_all(format!("{head}{ANSWER}").as_bytes()).await;
            let _ = stream.shutdown().await;
        });
    }
}
