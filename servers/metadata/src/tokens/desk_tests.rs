use super::*;
use crate::namespace::KnownSessions;
use crate::sessions::Sessions;
use crate::upkeep::SizeWriter;
use pfs_core::ids::Boot;
use pfs_core::session::Terms;
use pfs_core::session::coordinator::Coordinator;
use tokio::sync::mpsc;

fn state(grace_over: CancellationToken) -> State {
    let effects = Effects {
        errands: mpsc::unbounded_channel().0,
        reap: mpsc::unbounded_channel().0,
        sizes: Arc::new(SizeWriter::default()),
        grace_over,
    };
    let terms = Terms { lease_ms: 1000, heartbeat_ms: 100 };
    let coordinator = Coordinator::new(Boot::new(1).unwrap(), terms, 3000, 1000, 1, clock::boottime_ms());
    State::new(coordinator, Sessions::new(1..100), [], KnownSessions::default(), Vec::new(), effects)
}

#[tokio::test]
async fn the_clock_is_looked_at_until_the_server_ends() {
    let (grace_over, shutdown) = (CancellationToken::new(), CancellationToken::new());
    let (tokens, clock) = Tokens::new(state(grace_over.clone()), shutdown.clone());
    let clock = tokio::spawn(clock);
    // There is nobody to be waited for.
    grace_over.cancelled().await;
    let client = tokens.with(|state| state.admit("a client".into())).unwrap().unwrap();
    assert!(tokens.with(|state| state.has_session(client)).is_ok());
    shutdown.cancel();
    clock.await.unwrap();
    assert_eq!(tokens.with(|_| ()), Err(Stopped));
}

#[tokio::test]
async fn nobody_sees_a_change_that_broke_off() {
    let shutdown = CancellationToken::new();
    let (tokens, clock) = Tokens::new(state(CancellationToken::new()), shutdown.clone());
    let broken = tokens.clone();
    let change = tokio::spawn(async move { broken.with(|_| panic!("in the middle of a change")) });
    assert!(change.await.is_err_and(|error| error.is_panic()));
    assert_eq!(tokens.with(|_| ()), Err(Stopped));
    assert!(shutdown.is_cancelled(), "the server ends");
    clock.await;
}
