//! Threads that serve connections: each has its own, from the first request to the last (ADR 20).
//!
//! One for each processor, with a runtime of one thread, so that no request is handed from one to another and
//! nobody is woken to look for work. The system decides where a thread runs, and is content with two of them on one
//! processor while something else is on the others: each then waits for a whole time slice of its neighbour.
//! So they look where they are as they work, and part.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use tokio::runtime::{Builder, EnterGuard, Handle};
use tokio::sync::oneshot;

/// Requests of a thread from one look to the next.
const LOOK_EVERY: usize = 64;
/// Who has not looked for so long does not work, milliseconds.
const AT_WORK: u64 = 20;

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
    requests: AtomicUsize,
    sightings: Arc<Sightings>,
}

/// Where each thread was when it looked last.
#[derive(Debug)]
struct Sightings {
    began: Instant,
    each: Vec<Sighting>,
}

/// Milliseconds since the beginning, and the number of the processor in the lower 16 bits. Its own line of memory:
/// the others only read it.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Sighting(AtomicU64);

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
            let runtime = Builder::new_current_thread().enable_all().build()?;
            all.push(Arc::new(Thread {
                runtime: runtime.handle().clone(),
                number,
                connections: AtomicUsize::new(0),
                requests: AtomicUsize::new(0),
                sightings: Arc::clone(&sightings),
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

    /// Says that this thread has a request; to be called on it. Now and then it looks whether another one is at work
    /// on the same processor, and leaves it.
    pub fn has_request(&self) {
        if self.requests.fetch_add(1, Ordering::Relaxed).is_multiple_of(LOOK_EVERY) {
            self.look();
        }
    }

    fn look(&self) {
        let now = u64::try_from(self.sightings.began.elapsed().as_millis()).unwrap_or_default();
        if let Some(taken) = self.sightings.note(self.number, processor::current(), now) {
            processor::leave(taken);
        }
    }
}

impl Sightings {
    /// Notes where a thread is. If another one is at work there and this is the one to go: where all others are.
    fn note(&self, number: usize, here: usize, now: u64) -> Option<impl Iterator<Item = usize>> {
        // Never 0, which is nowhere.
        self.each[number].0.store((now + 1) << 16 | (here as u64 & 0xffff), Ordering::Relaxed);
        let others = self.each.iter().enumerate().filter(move |(other, _)| *other != number);
        let at_work = others.filter_map(move |(other, Sighting(seen))| {
            let seen = seen.load(Ordering::Relaxed);
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
        let note = |number, here, now| sightings.note(number, here, now).map(Iterator::collect::<Vec<_>>);
        assert_eq!(note(0, 7, 0), None);
        assert_eq!(note(2, 5, 1), None);
        assert_eq!(note(1, 7, 2), Some(vec![7, 5]));
        assert_eq!(note(0, 7, 3), None, "the first one stays");
        assert_eq!(note(1, 6, 4), None);
        assert_eq!(note(2, 7, 3 + AT_WORK - 1), Some(vec![7, 6]));
        assert_eq!(note(2, 7, 3 + AT_WORK), None, "the first one does nothing any more");
    }
}
