//! `Content-Encoding` of events. The store always contains the decoded JSON.

use std::io::Read;

use axum::http::HeaderMap;
use axum::http::header::CONTENT_ENCODING;
use bytes::Bytes;
use flate2::bufread::MultiGzDecoder;

use super::error::Error;
use super::ingest::BODY_LIMIT;
use crate::model::ApiError;
use crate::web::body::Charged;
use crate::web::json;

/// Bytes that are decoded between two checks of the limit and the memory.
const STEP_BYTES: usize = 16 * 1024;

/// The encoding of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    /// No encoding.
    Identity,
    /// gzip (RFC 1952).
    Gzip,
}

impl Encoding {
    /// Reads the `Content-Encoding` header.
    ///
    /// # Errors
    /// 415 for any other encoding, and for several encodings.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, Error> {
        let mut values = headers.get_all(CONTENT_ENCODING).iter();
        let Some(value) = values.next() else {
            return Ok(Self::Identity);
        };
        let name = value.to_str().unwrap_or("?").trim();
        match (name.to_ascii_lowercase().as_str(), values.next()) {
            ("identity", None) => Ok(Self::Identity),
            ("gzip" | "x-gzip", None) => Ok(Self::Gzip),
            _ => {
                let shown: String = name.chars().take(60).collect();
                Err(ApiError::unsupported_encoding(format!(
                    "`Content-Encoding: {shown}` is not supported: send plain JSON, or compress it once with `gzip`."
                ))
                .into())
            }
        }
    }

    /// Returns the JSON of a body, without a byte order mark. Decoding stops at the limit, so that a small body cannot
    /// expand to a large one.
    ///
    /// # Errors
    /// 400 for a body that is not in this encoding, 413 over the limit, 429 and 503 when there is no memory for it.
    pub(super) fn decode(self, body: Bytes, mut decoded: Charged) -> Result<Bytes, Error> {
        let body = match self {
            Self::Identity => body,
            Self::Gzip => {
                let mut gzip = MultiGzDecoder::new(&*body);
                let mut step = vec![0; STEP_BYTES];
                loop {
                    match gzip.read(&mut step) {
                        Ok(0) => break Bytes::from(decoded),
                        Ok(length) => decoded.push(&step[..length], BODY_LIMIT)?,
                        Err(error) => return Err(Error::Invalid(format!("The body is not gzip: {error}."))),
                    }
                }
            }
        };
        let json = json::without_byte_order_mark(&body);
        Ok(body.slice_ref(json))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::Arc;

    use axum::http::HeaderValue;
    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;
    use crate::model::OrganisationId;
    use crate::runtime::Tenant;
    use crate::web::body::BodyMemory;

    fn of(values: &[&str]) -> Option<Encoding> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(CONTENT_ENCODING, HeaderValue::from_str(value).unwrap());
        }
        Encoding::of(&headers).ok()
    }

    #[test]
    fn only_identity_and_gzip_are_accepted() {
        assert_eq!(of(&[]), Some(Encoding::Identity));
        assert_eq!(of(&["identity"]), Some(Encoding::Identity));
        assert_eq!(of(&["GZIP"]), Some(Encoding::Gzip));
        for wrong in [&["br"][..], &["gzip, gzip"], &["gzip", "gzip"], &["deflate"], &["zstd"], &[""]] {
            assert_eq!(of(wrong), None, "{wrong:?}");
        }
    }

    fn gzip(bytes: &[u8]) -> Bytes {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap().into()
    }

    fn decode(encoding: Encoding, body: Bytes) -> Result<Bytes, Error> {
        let memory: Arc<BodyMemory> = Arc::default();
        encoding.decode(body, Charged::new(&memory, Tenant::Organisation(OrganisationId(1))))
    }

    #[test]
    fn decoded_json_has_no_byte_order_mark() {
        assert_eq!(decode(Encoding::Identity, "\u{feff}{}".into()).unwrap(), "{}");
        assert_eq!(decode(Encoding::Identity, "{}".into()).unwrap(), "{}");
        assert_eq!(decode(Encoding::Gzip, gzip("\u{feff}{}".as_bytes())).unwrap(), "{}");
        let largest = vec![b' '; BODY_LIMIT];
        assert_eq!(decode(Encoding::Gzip, gzip(&largest)).unwrap(), largest);
    }

    #[test]
    fn decompression_bombs_and_broken_gzip_are_refused() {
        for length in [BODY_LIMIT + 1, 200 * BODY_LIMIT] {
            let error = decode(Encoding::Gzip, gzip(&vec![0; length])).unwrap_err();
            assert!(matches!(error, Error::Problem(error) if error.status == 413), "{length}");
        }
        let whole = gzip(b"{}");
        for broken in [Bytes::new(), "{}".into(), whole.slice(..whole.len() - 1)] {
            assert!(matches!(decode(Encoding::Gzip, broken), Err(Error::Invalid(_))));
        }
    }
}
