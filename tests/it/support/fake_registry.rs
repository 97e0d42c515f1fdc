//! A small, honest OCI registry in memory, made for scripts to spoil.
//!
//! Left alone it answers as Debian's docker-registry 2.8 does (`fake_registry_is_honest` holds the
//! two side by side). A test fills it by Rust calls, guards it, and puts faults in front of the
//! good answers. Every request is recorded, so that call counts and headers can be asserted.
//! It is no lenient partner: a request no registry would know, or a fault that no request ever
//! met, fails the test when the fake is dropped.

mod access;
mod artifacts;
mod connection;
mod door;
mod harbor;
mod honest;
mod limit;
mod reply;
mod request;
mod script;
mod store;
mod tokens;

use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

pub use access::Guard;
pub use artifacts::{Chart, Descriptor, Pushed, media};
pub use connection::ToTls;
use door::Door;
pub use harbor::Harbor;
pub use honest::{Listing, Next};
pub use reply::Reply;
pub use request::Request;
pub use script::{Fault, Spoil};
pub use store::sha256;
pub use tokens::{ChallengeForm, TokenField, TokenServer};

use super::process::DEADLINE;
use access::Access;
use limit::Limit;
use script::Script;
use store::Store;

pub struct FakeRegistry {
    shared: Arc<Shared>,
    registry: Door,
    token_server: Option<Door>,
}

/// What the connections' threads and the test look at together.
pub(crate) struct Shared {
    state: Mutex<State>,
    /// Told when a request came, a fault was lifted, or the fake closes.
    changed: Condvar,
}

#[derive(Default)]
struct State {
    store: Store,
    listing: Listing,
    access: Access,
    limit: Option<Limit>,
    to_tls: ToTls,
    script: Script,
    pages: Vec<(String, Reply)>,
    requests: Vec<Request>,
    unexpected: Vec<String>,
    closing: bool,
    /// Requests under way, and the most there ever were.
    at_once: (usize, usize),
}

impl FakeRegistry {
    /// Starts on a free port of 127.0.0.1.
    pub fn start() -> FakeRegistry {
        FakeRegistry::start_on("127.0.0.1")
    }

    /// Starts on a free port of another loopback address: to a client, another host.
    pub fn start_on(address: &str) -> FakeRegistry {
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let registry = Door::open(&shared, address, door::Role::Registry);
        shared.state().access.tokens.registry_url = registry.url();
        FakeRegistry {
            shared,
            registry,
            token_server: None,
        }
    }

    /// `127.0.0.1:PORT`, as a user would type it.
    pub fn host(&self) -> String {
        self.registry.host()
    }

    pub fn port(&self) -> u16 {
        self.registry.port()
    }

    pub fn url(&self) -> String {
        self.registry.url()
    }

    /// The flag that points a daemon here without probing for the scheme.
    pub fn flag(&self) -> String {
        format!("--storage-registry-repo={}", self.url())
    }

    // --- what it holds -------------------------------------------------------------------------

    pub fn push(&self, chart: &Chart) -> Pushed {
        chart.push_to(&mut self.state().store)
    }

    pub fn push_blob(&self, repository: &str, media_type: &str, bytes: &[u8]) -> Descriptor {
        self.state().store.push_blob(repository, media_type, bytes)
    }

    /// Any bytes as a manifest, however wrong; answers its digest.
    pub fn push_manifest(
        &self,
        repository: &str,
        tag: &str,
        media_type: &str,
        bytes: &[u8],
    ) -> String {
        self.state()
            .store
            .push_manifest(repository, tag, media_type, bytes)
    }

    /// An OCI image as a container build pushes it.
    pub fn push_image(&self, repository: &str, tag: &str) -> String {
        artifacts::push_image(&mut self.state().store, repository, tag)
    }

    pub fn delete_tag(&self, repository: &str, tag: &str) {
        self.state().store.delete_tag(repository, tag);
    }

    pub fn delete_repository(&self, repository: &str) {
        self.state().store.delete_repository(repository);
    }

    pub fn delete_blob(&self, repository: &str, digest: &str) {
        self.state().store.delete_blob(repository, digest);
    }

    /// A page outside the registry's API, at an exact path and query.
    pub fn page(&self, path_and_query: &str, reply: Reply) {
        self.state().pages.push((path_and_query.to_owned(), reply));
    }

    // --- how it behaves ------------------------------------------------------------------------

    pub fn listing(&self, change: impl FnOnce(&mut Listing)) {
        change(&mut self.state().listing);
    }

    /// Guards everything: the ping, the catalog and every repository.
    pub fn guard(&self, guard: Guard) {
        self.state().access.guard_all(guard);
    }

    /// Lets strangers in without asking who they are, and shows them all but these repositories, which
    /// ask, or which he doesn't find; whoever says who he is meets the guard.
    pub fn open_to_strangers_but(&self, private: &[&'static str], hidden: bool) {
        let mut state = self.state();
        (state.access.private, state.access.hides_private) = (Some(private.to_vec()), hidden);
        state.listing.private = private.to_vec();
    }

    /// Refuses every request without a user's password in this way, and names no challenge.
    pub fn refuse_strangers(&self, refusal: Reply) {
        self.state().access.silent = Some(refusal);
    }

    pub fn guard_catalog(&self, guard: Guard) {
        self.state().access.catalog = guard;
    }

    pub fn guard_repository(&self, repository: &str, guard: Guard) {
        self.state().access.guard_repository(repository, guard);
    }

    /// Makes it a Harbor, or changes the Harbor it is.
    pub fn harbor(&self, change: impl FnOnce(&mut Harbor)) {
        change(self.state().access.harbor());
    }

    pub fn add_user(&self, user: &str, password: &str) {
        self.state().access.add_user(user, password);
    }

    /// Takes the account away, as an administrator does.
    pub fn remove_user(&self, user: &str) {
        self.state().access.remove_user(user);
    }

    pub fn tokens(&self, change: impl FnOnce(&mut TokenServer)) {
        change(&mut self.state().access.tokens);
    }

    /// Moves the token server to a port of its own, and answers its `host:port`.
    pub fn tokens_on(&mut self, address: &str) -> String {
        let door = Door::open(&self.shared, address, door::Role::TokenServer);
        let host = door.host();
        self.state().access.tokens.realm = format!("{}/token", door.url());
        self.token_server = Some(door);
        host
    }

    /// Puts the registry's clock forward: tokens get older without anybody waiting.
    pub fn advance(&self, time: Duration) {
        self.state().access.tokens.advance(time);
    }

    /// From now on so many requests a second pass, and so many more at first; the others are refused.
    pub fn limit(&self, rate: f64, burst: f64, refusal: Reply) {
        self.state().limit = Some(Limit::new(rate, burst, refusal));
    }

    /// What a TLS greeting gets from now on.
    pub fn answer_tls(&self, answer: ToTls) {
        self.state().to_tls = answer;
    }

    /// Starts a fault in front of the good answers to `METHOD /path`; `*` stands for anything.
    pub fn spoil(&self, pattern: &str) -> Spoil<'_> {
        Spoil::new(&self.shared, pattern)
    }

    /// Lifts every fault of this pattern; hanging requests go on to their good answer.
    pub fn heal(&self, pattern: &str) {
        self.state().script.heal(pattern);
        self.shared.changed.notify_all();
    }

    /// The registry goes down: its port refuses, open connections die.
    pub fn close(&mut self) {
        self.registry.close();
    }

    /// The registry comes back on the port it had.
    pub fn reopen(&mut self) {
        self.registry.reopen(&self.shared);
    }

    // --- what it has seen ----------------------------------------------------------------------

    pub fn requests(&self, pattern: &str) -> Vec<Request> {
        let state = self.state();
        let matching = state.requests.iter().filter(|r| r.matches(pattern));
        matching.cloned().collect()
    }

    pub fn count(&self, pattern: &str) -> usize {
        self.requests(pattern).len()
    }

    /// Waits until so many requests of this pattern have come.
    pub fn wait_for(&self, pattern: &str, count: usize) {
        let deadline = Instant::now() + DEADLINE;
        let mut state = self.state();
        while state.requests.iter().filter(|r| r.matches(pattern)).count() < count {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(
                !left.is_zero(),
                "fewer than {count} requests of `{pattern}` came; the registry saw:\n{}",
                seen(&state)
            );
            state = self.shared.changed.wait_timeout(state, left).unwrap().0;
        }
    }

    /// Everything seen so far, a line a request: for the messages of failing assertions.
    pub fn seen(&self) -> String {
        seen(&self.state())
    }

    /// The most requests that were under way at one time.
    pub fn most_at_once(&self) -> usize {
        self.state().at_once.1
    }

    /// TLS handshakes tried on the plain port: a scheme probe's first question.
    pub fn tls_hellos(&self) -> usize {
        self.registry.tls_hellos()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state()
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // A test that fails while it holds the lock poisons it; the story is over then anyway.
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }
}

fn seen(state: &State) -> String {
    let lines = state.requests.iter().map(|r| format!("  {r}\n"));
    lines.collect()
}

impl Drop for FakeRegistry {
    fn drop(&mut self) {
        self.state().closing = true;
        self.shared.changed.notify_all();
        self.registry.close();
        if let Some(door) = &mut self.token_server {
            door.close();
        }
        if std::thread::panicking() {
            return;
        }
        let state = self.state();
        assert!(
            state.unexpected.is_empty(),
            "requests no registry knows: {:#?}",
            state.unexpected
        );
        let idle = state.script.never_met();
        assert!(idle.is_empty(), "faults that no request ever met: {idle:?}");
    }
}
