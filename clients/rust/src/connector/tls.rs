//! Connections with TLS, for addresses with https.

use std::sync::Arc;

use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use rustls::crypto::ring::default_provider;
use rustls::{ClientConfig, RootCertStore};

use crate::builder::BuildError;

pub(crate) type Connector = HttpsConnector<HttpConnector>;

/// Reads the certificates of the machine only for https, because a container may have none.
pub(crate) fn connector(mut http: HttpConnector, is_https: bool) -> Result<Connector, BuildError> {
    http.enforce_http(false);
    let builder = HttpsConnectorBuilder::new();
    let builder = if is_https {
        builder.with_provider_and_native_roots(default_provider()).map_err(|error| BuildError::Tls(error.into()))?
    } else {
        let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| BuildError::Tls(error.into()))?;
        builder.with_tls_config(config.with_root_certificates(RootCertStore::empty()).with_no_client_auth())
    };
    let builder = if is_https { builder.https_only() } else { builder.https_or_http() };
    Ok(builder.enable_http1().wrap_connector(http))
}
