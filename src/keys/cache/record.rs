//! A key as the cache holds it, small enough for a million keys in memory.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering};

use compact_str::CompactString;
use ipnet::IpNet;
use serde_json::value::RawValue;

use crate::domain::{Ask, Code, Key, KeyHash, KeyState, Place};
use crate::keys::limits::meters::Meter;
use crate::model::{KeyId, Quota, RateLimit, Scopes, Timestamp};

/// Accepted requests of one key in one hour.
#[derive(Debug, Clone, Copy)]
pub(in crate::keys) struct Uses {
    pub(in crate::keys) id: KeyId,
    pub(in crate::keys) hour: i64,
    pub(in crate::keys) count: u32,
    pub(in crate::keys) last: Timestamp,
}

/// The top bit of a record's count: the record is retired, and later uses are counted as pending.
///
/// The other bits of the upper half have the hour, and the lower half has the requests of that hour.
pub(in crate::keys) const RETIRED: u64 = 1 << 63;
const COUNT: u64 = u32::MAX as u64;

pub(in crate::keys) fn hour_of(pending: u64) -> i64 {
    i64::try_from((pending & !RETIRED) >> 32).unwrap_or_default()
}

pub(in crate::keys) fn count_of(pending: u64) -> u32 {
    u32::try_from(pending & COUNT).unwrap_or_default()
}

pub(in crate::keys) fn pack(hour: i64, count: u32) -> u64 {
    (u64::try_from(hour).unwrap_or_default() & 0x7fff_ffff) << 32 | u64::from(count)
}

/// Folds an address into 64 bits, so that one atomic comparison detects another address.
pub(in crate::keys) fn fold(address: IpAddr) -> u64 {
    let bits = match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => v6.to_bits(),
    };
    let [low, high] = [bits & u128::from(u64::MAX), bits >> 64].map(|half| u64::try_from(half).unwrap_or_default());
    low ^ high.rotate_left(29)
}

/// The fields of a key that a check needs, and the uses that are not in the database yet.
///
/// Fields that few keys have are in `More`, so that the other keys need no memory for them.
#[derive(Debug)]
pub struct Record {
    pub(in crate::keys) hash: KeyHash,
    /// hookstream's id.
    pub id: KeyId,
    /// The environment that it belongs to; shared by all keys of that environment.
    pub place: Arc<Place>,
    /// Its label. A short one is stored inline, so that an answer with the label needs no further memory access.
    pub name: CompactString,
    /// Milliseconds since 1970; `i64::MAX` for never.
    expires_at: i64,
    more: Option<Box<More>>,
    /// See [`usage`](crate::keys::usage).
    pub(in crate::keys) pending: AtomicU64,
    /// Milliseconds since 1970; 0 before the first use.
    pub(in crate::keys) last_used: AtomicI64,
    /// The address that it was last used from, folded into 64 bits.
    pub(in crate::keys) last_address: AtomicU64,
    /// Requests of the same hour that are in the usage log, and not in the row of the key.
    pub(in crate::keys) logged: AtomicU32,
    /// Whether the key was used since the CLOCK algorithm last passed it.
    pub(in crate::keys) touched: AtomicBool,
    revoked: bool,
    disabled: bool,
    /// Full access that is written as `null`. Without this flag and without named scopes, it is written as `*`.
    unset: bool,
}

/// The fields that few keys have.
#[derive(Debug)]
pub(in crate::keys) struct More {
    /// The wire form of named scopes.
    scopes: Option<Box<str>>,
    ip_allowlist: Option<Box<[IpNet]>>,
    pub(in crate::keys) rate_limit: Option<RateLimit>,
    pub(in crate::keys) quota: Option<Quota>,
    pub(in crate::keys) meter: Option<Arc<Meter>>,
    /// Serialised JSON.
    metadata: Option<Box<RawValue>>,
}

impl Record {
    /// Creates the record of a key that was read. `meter` is its meter, if it has a rate limit or a quota.
    pub(in crate::keys) fn new(key: &Key, place: Arc<Place>, meter: Option<Arc<Meter>>) -> Self {
        let scopes = match &key.scopes {
            Scopes::Unset | Scopes::All => None,
            Scopes::Named(_) => key.scopes.to_wire().map(Into::into),
        };
        let limits = &key.limits;
        let metadata =
            key.metadata.as_ref().and_then(|map| RawValue::from_string(serde_json::json!(map).to_string()).ok());
        let plain = scopes.is_none() && limits.ip_allowlist.is_none() && meter.is_none() && metadata.is_none();
        let more = (!plain).then(|| {
            Box::new(More {
                scopes,
                ip_allowlist: limits.ip_allowlist.as_deref().map(Into::into),
                rate_limit: limits.rate_limit,
                quota: limits.quota,
                meter,
                metadata,
            })
        });
        Self {
            hash: key.hash,
            id: key.id,
            place,
            name: key.name.as_str().into(),
            expires_at: limits.expires_at.map_or(i64::MAX, |at| at.0),
            more,
            pending: AtomicU64::new(0),
            last_used: AtomicI64::new(key.last_used_at.map_or(0, |at| at.0)),
            last_address: AtomicU64::new(0),
            logged: AtomicU32::new(0),
            touched: AtomicBool::new(false),
            revoked: key.revoked_at.is_some(),
            disabled: key.disabled_at.is_some(),
            unset: key.scopes == Scopes::Unset,
        }
    }

    /// Marks a record that is not in the cache, so that its uses are counted as pending.
    pub(in crate::keys) fn uncached(self) -> Self {
        self.pending.store(RETIRED, Ordering::Relaxed);
        self
    }

    /// The bytes on the heap.
    pub(in crate::keys) fn extra_bytes(&self) -> usize {
        let more = self.more.as_ref().map_or(0, |more| {
            let text = |text: &Option<Box<str>>| text.as_ref().map_or(0, |text| text.len() + ALLOCATION);
            let metadata = more.metadata.as_ref().map_or(0, |map| map.get().len() + ALLOCATION);
            let networks = more.ip_allowlist.as_ref().map_or(0, |list| size_of_val(&**list) + ALLOCATION);
            let meter = more.meter.as_ref().map_or(0, |_| size_of::<Meter>() + 2 * ALLOCATION);
            size_of::<More>() + ALLOCATION + text(&more.scopes) + metadata + networks + meter
        });
        let name = if self.name.is_heap_allocated() { self.name.capacity() + ALLOCATION } else { 0 };
        name + more
    }

    /// The time from which the key is refused.
    pub fn expires_at(&self) -> Option<Timestamp> {
        (self.expires_at != i64::MAX).then_some(Timestamp(self.expires_at))
    }

    /// The wire form of the scopes; `None` stands for JSON's `null`.
    pub fn scopes(&self) -> Option<&str> {
        match self.more.as_ref().and_then(|more| more.scopes.as_deref()) {
            None if self.unset => None,
            None => Some("*"),
            named => named,
        }
    }

    /// The metadata of the key, as JSON.
    pub fn metadata(&self) -> Option<&RawValue> {
        self.more.as_ref()?.metadata.as_deref()
    }

    /// Returns whether a client may cache the outcome of a check: the key has neither counted limits nor an IP
    /// allowlist.
    pub fn is_free(&self) -> bool {
        self.more.as_ref().is_none_or(|more| more.meter.is_none() && more.ip_allowlist.is_none())
    }

    pub(in crate::keys) fn more(&self) -> Option<&More> {
        self.more.as_deref()
    }

    /// Returns whether the key has a scope.
    fn holds(&self, asked: &str) -> bool {
        match self.more.as_ref().and_then(|more| more.scopes.as_deref()) {
            None => true,
            Some(held) => Scopes::wire_holds(held, asked),
        }
    }

    /// Returns the requested scopes that the key does not have.
    pub fn missing<'a>(&'a self, ask: &'a Ask<'_>) -> impl Iterator<Item = &'a str> {
        ask.scopes.names().filter(|asked| !self.holds(asked))
    }

    /// Judges the key by its fields alone. Rate limit and quota are charged after this.
    pub(in crate::keys) fn judge(&self, now: Timestamp, ask: &Ask<'_>) -> Code {
        if ask.organisation.is_some_and(|organisation| organisation != self.place.organisation) {
            return Code::NotFound;
        }
        match KeyState::of(self.revoked, self.disabled, self.expires_at(), now) {
            KeyState::Revoked => return Code::Revoked,
            KeyState::Disabled => return Code::Disabled,
            KeyState::Expired => return Code::Expired,
            KeyState::Active => {}
        }
        if ask.mode.is_some_and(|mode| mode != self.place.mode) {
            return Code::WrongEnvironment;
        }
        if !self.allows(ask.address) {
            return Code::Forbidden;
        }
        if self.missing(ask).next().is_some() { Code::InsufficientScopes } else { Code::Valid }
    }

    /// Returns whether the allowlist admits an address. An allowlist refuses an unknown address.
    fn allows(&self, address: Option<IpAddr>) -> bool {
        let Some(networks) = self.more.as_ref().and_then(|more| more.ip_allowlist.as_deref()) else {
            return true;
        };
        address.is_some_and(|address| {
            // A dual-stack socket shows an IPv4 peer as ::ffff:a.b.c.d.
            let address = address.to_canonical();
            networks.iter().any(|network| network.contains(&address))
        })
    }
}

/// The approximate overhead of an allocation in bytes: the allocator's header, and rounding.
pub(in crate::keys) const ALLOCATION: usize = 16;

impl Record {
    pub(in crate::keys) fn uses(&self, hour: i64, count: u32) -> Option<Uses> {
        (count > 0).then_some(Uses { id: self.id, hour, count, last: self.last_used_at() })
    }

    /// Returns the current hour of the count, and the uses that are not in the row of the key.
    pub(in crate::keys) fn unsaved_uses(&self) -> (i64, i64) {
        let pending = self.pending.load(Ordering::Acquire);
        let logged = self.logged.load(Ordering::Acquire);
        (hour_of(pending), i64::from(count_of(pending)) + i64::from(logged))
    }

    pub(in crate::keys) fn last_used_at(&self) -> Timestamp {
        Timestamp(self.last_used.load(Ordering::Relaxed))
    }

    pub(in crate::keys) fn was_last_used_from(&self, address: IpAddr) -> bool {
        fold(address) == self.last_address.load(Ordering::Relaxed)
    }

    /// Takes out the uses that are neither in the log nor in the row of the key.
    pub(in crate::keys) fn take_pending(&self) -> Option<Uses> {
        // Keep the hour and the `RETIRED` bit.
        let pending = self.pending.fetch_and(!COUNT, Ordering::AcqRel);
        self.uses(hour_of(pending), count_of(pending))
    }

    /// Takes out the uses that are in the log and not in the row of the key. Called under the lock of the ledgers.
    pub(in crate::keys) fn take_logged(&self) -> Option<Uses> {
        let count = self.logged.swap(0, Ordering::AcqRel);
        self.uses(hour_of(self.pending.load(Ordering::Acquire)), count)
    }

    /// Adds logged uses. Returns whether there were none before, or `None` if the record cannot hold them.
    /// Called under the lock of the ledgers.
    pub(in crate::keys) fn keep_logged(&self, uses: Uses) -> Option<bool> {
        let pending = self.pending.load(Ordering::Acquire);
        if pending & RETIRED != 0 || self.id != uses.id || hour_of(pending) != uses.hour {
            return None;
        }
        let before = self.logged.load(Ordering::Acquire);
        self.logged.store(before.checked_add(uses.count)?, Ordering::Release);
        Some(before == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::key;
    use crate::model::{Mode, OrganisationId, ScopeList};

    fn record(key: &Key) -> Record {
        Record::new(key, Arc::new(key.place()), None)
    }

    #[test]
    fn a_check_gives_the_first_reason_that_applies() {
        let now = Timestamp(1_000);
        let mut key = key();
        key.scopes = Scopes::Named(vec!["keys:verify".into()]);
        key.limits.ip_allowlist = Some(vec!["10.0.0.0/8".parse().unwrap()]);
        key.limits.expires_at = Some(now);
        key.disabled_at = Some(now);
        key.revoked_at = Some(now);
        let mut ask = Ask {
            scopes: ScopeList::constant("events:write"),
            mode: Some(Mode::Test),
            organisation: Some(OrganisationId(2)),
            ..Ask::default()
        };
        assert_eq!(record(&key).judge(now, &ask), Code::NotFound);
        ask.organisation = Some(OrganisationId(1));
        assert_eq!(record(&key).judge(now, &ask), Code::Revoked);
        key.revoked_at = None;
        assert_eq!(record(&key).judge(now, &ask), Code::Disabled);
        key.disabled_at = None;
        assert_eq!(record(&key).judge(now, &ask), Code::Expired);
        key.limits.expires_at = Some(Timestamp(1_001));
        assert_eq!(record(&key).judge(now, &ask), Code::WrongEnvironment);
        ask.mode = Some(Mode::Live);
        assert_eq!(record(&key).judge(now, &ask), Code::Forbidden);
        ask.address = Some("10.1.2.3".parse().unwrap());
        assert_eq!(record(&key).judge(now, &ask), Code::InsufficientScopes);
        assert_eq!(record(&key).missing(&ask).collect::<Vec<_>>(), ["events:write"]);
        ask.scopes = ScopeList::constant("keys:verify");
        assert_eq!(record(&key).judge(now, &ask), Code::Valid);
    }

    #[test]
    fn an_ipv4_network_contains_ipv4_mapped_addresses() {
        let mut key = key();
        key.limits.ip_allowlist = Some(vec!["192.0.2.0/24".parse().unwrap(), "2001:db8::/32".parse().unwrap()]);
        let from = |address: &str| {
            let ask = Ask { address: Some(address.parse().unwrap()), ..Ask::default() };
            record(&key).judge(Timestamp(0), &ask)
        };
        assert_eq!(from("::ffff:192.0.2.7"), Code::Valid);
        assert_eq!(from("192.0.2.7"), Code::Valid);
        assert_eq!(from("2001:db8::1"), Code::Valid);
        assert_eq!(from("192.0.3.7"), Code::Forbidden);
        assert_eq!(record(&key).judge(Timestamp(0), &Ask::default()), Code::Forbidden);
    }

    #[test]
    fn full_access_is_written_as_it_was_requested() {
        let mut key = key();
        assert_eq!(record(&key).scopes(), None);
        key.scopes = Scopes::All;
        assert_eq!(record(&key).scopes(), Some("*"));
        let everything = Ask { scopes: ScopeList::constant("*"), ..Ask::default() };
        assert_eq!(record(&key).judge(Timestamp(0), &everything), Code::Valid);
        key.scopes = Scopes::Named(vec!["a:*".into(), "b:c".into()]);
        assert_eq!(record(&key).scopes(), Some("a:* b:c"));
        assert_eq!(record(&key).judge(Timestamp(0), &everything), Code::InsufficientScopes);
        let asked = Ask { scopes: ScopeList::parse_joined("a:x+b:c+b:d").unwrap(), ..Ask::default() };
        assert_eq!(record(&key).missing(&asked).collect::<Vec<_>>(), ["b:d"]);
    }
}
