//! Connections without TLS: the feature `tls` is off.

use hyper_util::client::legacy::connect::HttpConnector;

use crate::builder::BuildError;

pub(crate) type Connector = HttpConnector;

pub(crate) fn connector(http: HttpConnector, is_https: bool) -> Result<Connector, BuildError> {
    if is_https { Err(BuildError::NoTls) } else { Ok(http) }
}
