//! Reads request bodies, with a limit on their size and on the memory of all senders and of each sender.
//!
//! A body that arrives together with its head, as nearly all do, costs nothing here: its bytes are a slice of the
//! connection's buffer. Any other body is copied as it arrives, and each growth of the copy is charged to its sender
//! before the allocation. The charge lasts as long as the bytes.

use std::collections::HashMap;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::{Arc, PoisonError};

use axum::BoxError;
use axum::body::{Body, HttpBody};
use bytes::Bytes;
use futures::stream;
use hyper::body::Frame;
use tracing_mutex::stdsync::Mutex;

use super::json::BODY_LIMIT;
use crate::model::ApiError;
use crate::runtime::Tenant;

/// The default memory for bodies: 256 MiB.
const DEFAULT_BYTES: usize = 256 << 20;
/// An organisation may use 1/8 of the memory; its further bodies get 429.
const ORGANISATION_SHARE: usize = 8;
/// A network may use 1/64 of the memory for bodies without a checked key; its further bodies get 429.
const NETWORK_SHARE: usize = 64;
/// All bodies without a checked key may use 1/4 of the memory together; further bodies get 503.
const NETWORKS_SHARE: usize = 4;

/// Accounts for the memory of request bodies while they arrive and are processed.
#[derive(Debug)]
pub struct BodyMemory {
    bytes: usize,
    used: Mutex<Used>,
}

#[derive(Debug, Default)]
struct Used {
    all: usize,
    networks: usize,
    senders: HashMap<Tenant, usize>,
}

/// The limit that a body would exceed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Full {
    /// The limit of the server.
    Server,
    /// The limit of one tenant.
    Tenant,
}

impl From<Full> for ApiError {
    fn from(full: Full) -> Self {
        match full {
            Full::Server => Self::unavailable(
                "The request bodies that are arriving use all the memory that --body-memory allows. Send this one again.",
            ),
            Full::Tenant => Self::too_many("This sender has too many bytes of request bodies in progress.", 1),
        }
    }
}

impl Default for BodyMemory {
    fn default() -> Self {
        Self::new(DEFAULT_BYTES)
    }
}

impl BodyMemory {
    /// Allows `bytes` in total.
    pub fn new(bytes: usize) -> Self {
        Self { bytes, used: Mutex::default() }
    }

    /// Returns the bytes that are charged at the moment.
    pub fn used(&self) -> usize {
        self.used.lock().unwrap_or_else(PoisonError::into_inner).all
    }

    fn charge(&self, sender: Tenant, bytes: usize) -> Result<(), Full> {
        let (share, is_network) = match sender {
            Tenant::Organisation(_) => (self.bytes / ORGANISATION_SHARE, false),
            Tenant::Network(_) => (self.bytes / NETWORK_SHARE, true),
        };
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        if used.senders.get(&sender).copied().unwrap_or_default() + bytes > share {
            return Err(Full::Tenant);
        }
        if used.all + bytes > self.bytes || is_network && used.networks + bytes > self.bytes / NETWORKS_SHARE {
            return Err(Full::Server);
        }
        used.all += bytes;
        used.networks += if is_network { bytes } else { 0 };
        *used.senders.entry(sender).or_default() += bytes;
        Ok(())
    }

    fn release(&self, sender: Tenant, bytes: usize) {
        if bytes == 0 {
            return;
        }
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.all -= bytes;
        if let Tenant::Network(_) = sender {
            used.networks -= bytes;
        }
        if let Some(of_sender) = used.senders.get_mut(&sender) {
            *of_sender -= bytes;
            if *of_sender == 0 {
                used.senders.remove(&sender);
            }
        }
    }
}

/// A buffer that charges its memory to a sender until it is dropped.
pub(crate) struct Charged {
    bytes: Vec<u8>,
    memory: Arc<BodyMemory>,
    sender: Tenant,
}

impl Charged {
    pub(crate) fn new(memory: &Arc<BodyMemory>, sender: Tenant) -> Self {
        Self { bytes: Vec::new(), memory: Arc::clone(memory), sender }
    }

    /// Appends a piece, up to `limit` bytes in total.
    ///
    /// # Errors
    /// 413 over the limit; 429 and 503 when there is no memory for the piece.
    pub(crate) fn push(&mut self, piece: &[u8], limit: usize) -> Result<(), ApiError> {
        let length = self.bytes.len() + piece.len();
        if length > limit {
            return Err(ApiError::too_large(limit));
        }
        let capacity = self.bytes.capacity();
        if length > capacity {
            // Doubled, so that a body of many pieces is not copied once per piece.
            let grown = length.max(2 * capacity).min(limit);
            self.memory.charge(self.sender, grown - capacity)?;
            let additional = grown - self.bytes.len();
            self.bytes.reserve_exact(additional);
        }
        self.bytes.extend_from_slice(piece);
        Ok(())
    }
}

impl AsRef<[u8]> for Charged {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Charged {
    fn drop(&mut self) {
        self.memory.release(self.sender, self.bytes.capacity());
    }
}

impl From<Charged> for Bytes {
    fn from(charged: Charged) -> Self {
        Self::from_owner(charged)
    }
}

/// A whole body.
#[derive(Debug)]
pub struct Arrived {
    /// The bytes, with their charge.
    pub bytes: Bytes,
    /// Whether the server had to wait for the body after the head: the key that was checked before may have been
    /// revoked in the meantime.
    pub waited: bool,
}

/// Reads a body to its end.
///
/// # Errors
/// 413 over the limit, 400 when the body broke off, 429 and 503 when there is no memory for it.
pub async fn read<B>(body: B, limit: usize, memory: &Arc<BodyMemory>, sender: Tenant) -> Result<Arrived, ApiError>
where
    B: HttpBody<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    let mut body = pin!(body);
    if body.size_hint().lower() > u64::try_from(limit).unwrap_or(u64::MAX) {
        return Err(ApiError::too_large(limit));
    }
    let mut waited = false;
    let Some(first) = frame(body.as_mut(), &mut waited).await else {
        return Ok(Arrived { bytes: Bytes::new(), waited });
    };
    let first = first.map_err(|_| broken_off())?.into_data().unwrap_or_default();
    if body.is_end_stream() && first.len() <= limit {
        return Ok(Arrived { bytes: first, waited });
    }
    // Boxed: few bodies come in pieces, and the future of a request should be small.
    Box::pin(read_rest(body, first, limit, Charged::new(memory, sender), waited)).await
}

/// Reads the pieces after the first one.
async fn read_rest<B>(
    mut body: Pin<&mut B>,
    first: Bytes,
    limit: usize,
    mut charged: Charged,
    mut waited: bool,
) -> Result<Arrived, ApiError>
where
    B: HttpBody<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    charged.push(&first, limit)?;
    // Frees the connection's buffer, of which the piece is a slice.
    drop(first);
    while let Some(next) = frame(body.as_mut(), &mut waited).await {
        if let Ok(piece) = next.map_err(|_| broken_off())?.into_data() {
            charged.push(&piece, limit)?;
        }
    }
    Ok(Arrived { bytes: charged.into(), waited })
}

/// Waits for the whole of a small body, so that the credential is checked after the body has arrived and not before. A
/// body that declares more than [`BODY_LIMIT`] bytes, or that breaks off, is left to the handler, which answers in the
/// form of its contract.
///
/// # Errors
/// 413 for a body that turns out to be larger, 429 and 503 when there is no memory for it.
pub async fn await_small(body: Body, memory: &Arc<BodyMemory>, sender: Tenant) -> Result<Body, ApiError> {
    let limit = u64::try_from(BODY_LIMIT).unwrap_or(u64::MAX);
    if body.is_end_stream() || body.size_hint().lower() > limit {
        return Ok(body);
    }
    match read(body, BODY_LIMIT, memory, sender).await {
        Ok(Arrived { bytes, .. }) => Ok(Body::from(bytes)),
        Err(error) if error.status == 400 => Ok(Body::from_stream(stream::iter([Err::<Bytes, _>(error)]))),
        Err(error) => Err(error),
    }
}

pub(crate) fn broken_off() -> ApiError {
    ApiError::invalid("The body broke off before its end.")
}

/// Returns the next frame, and sets `waited` if the frame was not there yet.
async fn frame<B: HttpBody>(mut body: Pin<&mut B>, waited: &mut bool) -> Option<Result<Frame<B::Data>, B::Error>> {
    poll_fn(|context| {
        let polled = body.as_mut().poll_frame(context);
        *waited |= polled.is_pending();
        polled
    })
    .await
}

#[cfg(test)]
mod tests {
    use http_body_util::{Full as One, StreamBody};

    use super::*;
    use crate::model::OrganisationId;

    const MIB: usize = 1 << 20;

    fn sender(id: i64) -> Tenant {
        Tenant::Organisation(OrganisationId(id))
    }

    /// A body that comes in pieces. An empty piece stands for a broken connection.
    fn pieces(pieces: &[&'static str]) -> impl HttpBody<Data = Bytes, Error = std::io::Error> + use<> {
        let frames = pieces.iter().map(|piece| match *piece {
            "" => Err(std::io::Error::other("it broke off")),
            piece => Ok(Frame::data(Bytes::from_static(piece.as_bytes()))),
        });
        StreamBody::new(stream::iter(frames.collect::<Vec<_>>()))
    }

    #[tokio::test]
    async fn a_body_is_read_to_its_end_or_to_the_limit() {
        let memory = Arc::default();
        let read = async |parts: &[&'static str]| {
            let read = super::read(pieces(parts), 4, &memory, sender(1)).await;
            read.map(|arrived| arrived.bytes).map_err(|error| error.status)
        };
        assert_eq!(read(&[]).await, Ok(Bytes::new()));
        assert_eq!(read(&["abcd"]).await, Ok("abcd".into()));
        assert_eq!(read(&["ab", "c", "d"]).await, Ok("abcd".into()));
        assert_eq!(read(&["abcde"]).await, Err(413));
        assert_eq!(read(&["ab", "cde"]).await, Err(413));
        assert_eq!(read(&["ab", ""]).await, Err(400));
        assert_eq!(read(&[""]).await, Err(400));
        assert_eq!(memory.used(), 0, "every charge was released");
    }

    #[tokio::test]
    async fn a_body_in_one_piece_is_neither_copied_nor_charged() {
        let (memory, one) = (Arc::default(), Bytes::from_static(b"abcd"));
        let arrived = read(One::new(one.clone()), 4, &memory, sender(1)).await.expect("it is short");
        assert_eq!((arrived.bytes.as_ptr(), arrived.waited), (one.as_ptr(), false));
        assert_eq!(memory.used(), 0);
        let error = read(One::new(one), 3, &memory, sender(1)).await.expect_err("over the limit");
        assert_eq!(error.status, 413);
    }

    #[tokio::test]
    async fn a_body_in_pieces_is_charged_until_its_bytes_are_gone() {
        let memory = Arc::default();
        let arrived = read(pieces(&["ab", "cd", "e"]), 100, &memory, sender(1)).await.expect("it is short");
        let part = arrived.bytes.slice(1..2);
        drop(arrived);
        assert_eq!(memory.used(), 8, "the capacity after it doubled");
        drop(part);
        assert_eq!(memory.used(), 0);
    }

    #[tokio::test]
    async fn a_body_that_arrives_late_is_marked_as_waited_for() {
        let late = StreamBody::new(stream::once(async {
            tokio::task::yield_now().await;
            Ok::<_, std::io::Error>(Frame::data(Bytes::from_static(b"a")))
        }));
        let memory = Arc::default();
        assert!(read(late, 4, &memory, sender(1)).await.expect("it is short").waited);
        assert!(!read(pieces(&["a", "b"]), 4, &memory, sender(1)).await.expect("it is short").waited);
    }

    #[test]
    fn one_organisation_uses_at_most_an_eighth_of_the_memory() {
        let memory = BodyMemory::new(64 * MIB);
        assert_eq!(memory.charge(sender(1), 8 * MIB), Ok(()));
        assert_eq!(memory.charge(sender(1), 1), Err(Full::Tenant));
        for other in 2..=8 {
            assert_eq!(memory.charge(sender(other), 8 * MIB), Ok(()), "{other}");
        }
        assert_eq!(memory.charge(sender(9), 1), Err(Full::Server));
        memory.release(sender(1), MIB);
        assert_eq!(memory.charge(sender(9), MIB), Ok(()));
    }

    #[test]
    fn all_networks_together_use_at_most_a_quarter_of_the_memory() {
        let memory = BodyMemory::new(64 * MIB);
        let network = |n: u8| Tenant::Network([192, 0, 2, n].into());
        assert_eq!(memory.charge(network(0), MIB), Ok(()));
        assert_eq!(memory.charge(network(0), 1), Err(Full::Tenant));
        for n in 1..16 {
            assert_eq!(memory.charge(network(n), MIB), Ok(()), "{n}");
        }
        assert_eq!(memory.charge(network(16), 1), Err(Full::Server));
        assert_eq!(memory.charge(sender(1), 8 * MIB), Ok(()));
        memory.release(network(0), MIB);
        assert_eq!(memory.charge(network(16), MIB), Ok(()), "released memory is free for other networks");
    }
}
