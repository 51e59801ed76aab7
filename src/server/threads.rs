//! Threads that serve connections: each has its own, from the first request to the last (ADR 20).
//!
//! One for each processor, with a runtime of one thread, so that no request is handed from one to another and
//! nobody is woken to look for work. The system decides where and when a thread runs, and is content with what is bad
//! for whoever waits for an answer: two of them on one processor while something else is on the others, or one that
//! waits for a whole tick of the clock while its neighbour keeps a client busy. So they look around as they work: two on
//! one processor part, and one whose neighbour stands still rests for a moment.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, EnterGuard, Handle};
use tokio::sync::oneshot;

/// Requests of a thread from one look at its neighbour to the next.
const LOOK_EVERY: usize = 8;
/// And from one look where it is itself to the next.
const PLACE_EVERY: usize = 64;
const _: () = assert!(PLACE_EVERY.is_multiple_of(LOOK_EVERY));
/// Who has not looked where it is for so long does not work, milliseconds.
const AT_WORK: u64 = 20;
/// Who has had no request for so long stands still, or has nothing to do.
const STILL: Duration = Duration::from_micros(250);
/// From one rest to the next, for a neighbour that may have nothing to do.
const SELDOM: Duration = Duration::from_millis(1);
/// Who takes longer from look to look is not busy itself.
const BUSY: Duration = Duration::from_micros(300);
/// A rest: three times as long in the end, as Linux is in no hurry to wake anybody.
const REST: Duration = Duration::from_micros(20);

/// All threads. They end when this is dropped, in the middle of what they do.
#[derive(Debug)]
pub struct Threads {
    all: Vec<Arc<Thread>>,
    _ends: Vec<oneshot::Sender<()>>,
}

/// One of them.
#[derive(Debug)]
pub struct Thread {
    runtime: Handle,
    number: usize,
    connections: AtomicUsize,
    sightings: Arc<Sightings>,
    /// Only this thread asks.
    neighbour: Mutex<Neighbour>,
}

/// What the threads see of each other.
#[derive(Debug)]
struct Sightings {
    began: Instant,
    each: Vec<Sighting>,
}

/// What can be seen of a thread. Its own line of memory: the others only read it.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Sighting {
    /// How many it has had.
    requests: AtomicUsize,
    /// Whether it is awake. One that was woken and waits for a processor cannot say so yet.
    is_at_work: AtomicBool,
    /// Where it was when it looked last: milliseconds since the beginning, and the number of the processor in the
    /// lower 16 bits.
    place: AtomicU64,
}

/// What a thread remembers of the next one; times are since the beginning.
#[derive(Debug, Default)]
struct Neighbour {
    requests: usize,
    /// It has had no other since.
    since: Duration,
    looked: Duration,
    rested: Option<Duration>,
}

impl Threads {
    /// Starts one for each processor that this process may use.
    ///
    /// # Errors
    /// When the system has no thread to spare.
    pub fn start() -> std::io::Result<Self> {
        let count = std::thread::available_parallelism()?.get();
        let each = std::iter::repeat_with(Sighting::default).take(count).collect();
        let sightings = Arc::new(Sightings { began: Instant::now(), each });
        let (mut all, mut ends) = (Vec::new(), Vec::new());
        for number in 0..count {
            let says = |is_at_work: bool| {
                let sightings = Arc::clone(&sightings);
                move || sightings.each[number].is_at_work.store(is_at_work, Ordering::Relaxed)
            };
            let runtime = Builder::new_current_thread()
                .enable_all()
                .on_thread_park(says(false))
                .on_thread_unpark(says(true))
                .build()?;
            all.push(Arc::new(Thread {
                runtime: runtime.handle().clone(),
                number,
                connections: AtomicUsize::new(0),
                sightings: Arc::clone(&sightings),
                neighbour: Mutex::default(),
            }));
            let (end, ended) = oneshot::channel::<()>();
            ends.push(end);
            std::thread::Builder::new().name(format!("connections-{number}")).spawn(move || {
                // An error is the end as well: nobody is left who could say it.
                let _ = runtime.block_on(ended);
            })?;
        }
        Ok(Self { all, _ends: ends })
    }

    /// Enters the first one's runtime: what is spawned while the guard is there runs on it.
    pub fn first(&self) -> EnterGuard<'_> {
        self.all[0].runtime.enter()
    }

    /// The one with the fewest connections.
    pub fn quietest(&self) -> &Arc<Thread> {
        let quietest = self.all.iter().min_by_key(|thread| thread.connections.load(Ordering::Relaxed));
        // There is at least one.
        quietest.unwrap_or(&self.all[0])
    }
}

impl Thread {
    /// Serves a connection to its end.
    pub fn serve(self: &Arc<Self>, connection: impl Future<Output = ()> + Send + 'static) {
        self.connections.fetch_add(1, Ordering::Relaxed);
        let serving = Serving(Arc::clone(self));
        self.runtime.spawn(async move {
            connection.await;
            drop(serving);
        });
    }

    /// Says that this thread has a request; to be called on it. Now and then it looks around.
    pub fn has_request(&self) {
        let requests = self.sightings.each[self.number].requests.fetch_add(1, Ordering::Relaxed);
        if requests.is_multiple_of(LOOK_EVERY) {
            self.look(requests.is_multiple_of(PLACE_EVERY));
        }
    }

    fn look(&self, and_where_it_is: bool) {
        let now = self.sightings.began.elapsed();
        if and_where_it_is && let Some(taken) = self.sightings.note(self.number, processor::current(), now) {
            processor::leave(taken);
        }
        let next = &self.sightings.each[(self.number + 1) % self.sightings.each.len()];
        let (requests, is_at_work) = (next.requests.load(Ordering::Relaxed), next.is_at_work.load(Ordering::Relaxed));
        let rests = {
            let mut neighbour = self.neighbour.lock().unwrap_or_else(PoisonError::into_inner);
            neighbour.stands_still(requests, is_at_work, now)
        };
        if rests {
            // Whoever is fed by this thread runs out of work and leaves its processor, or the system finds this one
            // free: either way the neighbour gets on.
            std::thread::sleep(REST);
        }
    }
}

impl Neighbour {
    /// Notes what is seen of it. Whether it should be rested for: it has stood still while this thread is busy, for
    /// which nobody has rested yet. One that is at work waits for a processor, unless a request takes it that long;
    /// another one may have been woken and wait as well, or have nothing to do.
    fn stands_still(&mut self, requests: usize, is_at_work: bool, now: Duration) -> bool {
        let is_busy = now.saturating_sub(self.looked) < BUSY;
        self.looked = now;
        if requests != self.requests {
            (self.requests, self.since) = (requests, now);
            return false;
        }
        let pause = if is_at_work { Duration::ZERO } else { SELDOM };
        let may_rest = self.rested.is_none_or(|rested| self.since > rested && now.saturating_sub(rested) >= pause);
        let stands = is_busy && may_rest && now.saturating_sub(self.since) >= STILL;
        if stands {
            self.rested = Some(now);
        }
        stands
    }
}

impl Sightings {
    /// Notes where a thread is. If another one is at work there and this is the one to go: where all others are.
    fn note(&self, number: usize, here: usize, now: Duration) -> Option<impl Iterator<Item = usize>> {
        let now = u64::try_from(now.as_millis()).unwrap_or_default();
        // Never 0, which is nowhere.
        self.each[number].place.store((now + 1) << 16 | (here as u64 & 0xffff), Ordering::Relaxed);
        let others = self.each.iter().enumerate().filter(move |(other, _)| *other != number);
        let at_work = others.filter_map(move |(other, sighting)| {
            let seen = sighting.place.load(Ordering::Relaxed);
            let is_at_work = seen > 0 && (now + 1).saturating_sub(seen >> 16) < AT_WORK;
            is_at_work.then_some((other, usize::try_from(seen & 0xffff).unwrap_or_default()))
        });
        // Of two only one goes.
        let goes = at_work.clone().any(|(other, processor)| other < number && processor == here);
        goes.then(|| at_work.map(|(_, processor)| processor))
    }
}

/// A connection that is being served.
struct Serving(Arc<Thread>);

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Which processor a thread is on.
#[cfg(target_os = "linux")]
mod processor {
    use rustix::thread::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity};

    pub(super) fn current() -> usize {
        sched_getcpu()
    }

    /// Moves this thread to a processor that is none of these, if there is one that it may use. Where it goes
    /// from there is the system's matter again.
    pub(super) fn leave(taken: impl Iterator<Item = usize>) {
        let Ok(allowed) = sched_getaffinity(None) else { return };
        let mut free = allowed;
        taken.filter(|processor| *processor < CpuSet::MAX_CPU).for_each(|processor| free.unset(processor));
        if free.count() > 0 && sched_setaffinity(None, &free).is_ok() {
            // What was allowed a moment ago is so still, unless somebody has just said otherwise.
            let _ = sched_setaffinity(None, &allowed);
        }
    }
}

/// Other systems are not asked.
#[cfg(not(target_os = "linux"))]
mod processor {
    pub(super) fn current() -> usize {
        0
    }

    pub(super) fn leave(_: impl Iterator<Item = usize>) {}
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn each_has_its_share_and_what_ends_leaves_room() {
        let threads = Threads::start().expect("threads");
        let count = threads.all.len();
        let mut ends = Vec::new();
        for _ in 0..3 * count {
            let (end, ended) = oneshot::channel::<()>();
            let thread = threads.quietest();
            thread.serve(async move { drop(ended.await) });
            ends.push((thread.number, end));
        }
        let connections = |thread: &Arc<Thread>| thread.connections.load(Ordering::Relaxed);
        assert!(threads.all.iter().all(|thread| connections(thread) == 3));
        let last = count - 1;
        ends.retain(|(number, _)| *number != last);
        while connections(&threads.all[last]) > 0 {
            std::thread::yield_now();
        }
        assert_eq!(threads.quietest().number, last);
    }

    #[test]
    fn a_connection_is_served_by_a_thread_of_its_own_and_ends_with_it() {
        struct Gone(mpsc::Sender<Option<String>>);
        impl Drop for Gone {
            fn drop(&mut self) {
                let _ = self.0.send(std::thread::current().name().map(str::to_owned));
            }
        }
        let threads = Threads::start().expect("threads");
        let (gone, seen) = mpsc::channel();
        let gone = Gone(gone);
        threads.quietest().serve(async move {
            let _gone = gone;
            std::future::pending::<()>().await;
        });
        drop(threads);
        assert_eq!(seen.recv().expect("it ends"), Some("connections-0".to_owned()));
    }

    #[test]
    fn a_panic_of_one_connection_is_no_matter_of_the_others() {
        let threads = Threads::start().expect("threads");
        let thread = &threads.all[0];
        thread.serve(async { panic!("as a connection might") });
        let (done, seen) = mpsc::channel();
        thread.serve(async move { done.send(()).expect("somebody waits") });
        seen.recv().expect("it is served");
        while thread.connections.load(Ordering::Relaxed) > 0 {
            std::thread::yield_now();
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn who_left_may_go_everywhere_he_could_before() {
        use rustix::thread::sched_getaffinity;
        let allowed = sched_getaffinity(None).expect("a set");
        processor::leave(std::iter::once(processor::current()));
        assert!(sched_getaffinity(None).expect("a set") == allowed);
        // Nowhere to go, and a number that no processor has.
        processor::leave(0..70_000);
        assert!(sched_getaffinity(None).expect("a set") == allowed);
    }

    #[test]
    fn of_two_that_work_on_one_processor_one_goes() {
        let each = std::iter::repeat_with(Sighting::default).take(3).collect();
        let sightings = Sightings { began: Instant::now(), each };
        let note = |number, here, now| {
            sightings.note(number, here, Duration::from_millis(now)).map(Iterator::collect::<Vec<_>>)
        };
        assert_eq!(note(0, 7, 0), None);
        assert_eq!(note(2, 5, 1), None);
        assert_eq!(note(1, 7, 2), Some(vec![7, 5]));
        assert_eq!(note(0, 7, 3), None, "the first one stays");
        assert_eq!(note(1, 6, 4), None);
        assert_eq!(note(2, 7, 3 + AT_WORK - 1), Some(vec![7, 6]));
        assert_eq!(note(2, 7, 3 + AT_WORK), None, "the first one does nothing any more");
    }

    /// What a busy thread sees, every 100 microseconds from a moment on: when it rests.
    fn rests(neighbour: &mut Neighbour, from: u64, sights: &[(usize, bool)]) -> Vec<u64> {
        let moments = (0..).map(|n| from + 100 * n);
        let seen = moments.zip(sights);
        let still = |(at, (requests, is_at_work)): &(u64, &(usize, bool))| {
            neighbour.stands_still(*requests, *is_at_work, Duration::from_micros(*at))
        };
        seen.filter(still).map(|(at, _)| at).collect()
    }

    #[test]
    fn one_rests_once_for_a_neighbour_that_stands_still() {
        let mut neighbour = Neighbour::default();
        assert_eq!(
            rests(&mut neighbour, 0, &[(5, true), (9, true), (9, true), (9, true), (9, true), (9, true)]),
            [400]
        );
        assert_eq!(rests(&mut neighbour, 600, &[(12, true), (12, true), (12, true), (12, true)]), [900], "again");
        let gets_on = [(13, true), (14, true), (15, true), (16, true)];
        assert!(rests(&mut neighbour, 1000, &gets_on).is_empty());
    }

    #[test]
    fn one_rests_seldom_for_a_neighbour_that_may_have_nothing_to_do() {
        let mut neighbour = Neighbour::default();
        // It has a request every 400 microseconds.
        let sights: Vec<_> = (0..40).map(|n| (n / 4 + 1, false)).collect();
        assert_eq!(rests(&mut neighbour, 0, &sights), [300, 1500, 2700, 3900]);
    }

    #[test]
    fn who_is_not_busy_does_not_rest() {
        let mut neighbour = Neighbour::default();
        let now_and_then = (0..10).map(|n| neighbour.stands_still(7, true, n * BUSY)).collect::<Vec<_>>();
        assert_eq!(now_and_then, [false; 10]);
    }
}
