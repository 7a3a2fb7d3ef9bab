//! Barriers with real threads, and leases that end.

use super::*;
use pfs_core::ids::{Boot, ClientId, Holder};
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(5);
const HOUR: Duration = Duration::from_secs(3600);

fn client() -> ClientId {
    ClientId::new(7).unwrap()
}

fn stamp_of(boot: u64) -> Stamp {
    Stamp { boot: Boot::new(boot).unwrap(), holder: Holder::Client(client()), incarnation: client() }
}

fn stamp() -> Stamp {
    stamp_of(1)
}

fn file() -> FileId {
    FileId::new(1).unwrap()
}

async fn open_gate() -> Arc<Gate> {
    let gate = Gate::new(Fences::default());
    gate.begin_lease(boot_time::now_ns(), HOUR, || {}).await;
    Arc::new(gate)
}

async fn gate_with_a_short_lease() -> Arc<Gate> {
    let gate = Gate::new(Fences::default());
    gate.begin_lease(boot_time::now_ns(), Duration::from_millis(100), || {}).await;
    Arc::new(gate)
}

fn wait_for_the_end_of_the_lease(gate: &Gate) {
    while gate.has_lease() {
        std::thread::yield_now();
    }
}

#[tokio::test]
async fn a_fence_waits_for_a_chunk_in_another_thread() {
    let gate = open_gate().await;
    let running = gate.begin(stamp(), Some(1), file()).unwrap();
    let chunk = running.chunk().unwrap();
    let ticket = gate.fence(&Fences { incarnations: [client()].into(), ..Fences::default() });
    let mut barrier = std::pin::pin!(gate.wait(&ticket));
    assert!(timeout(Duration::from_millis(20), &mut barrier).await.is_err());
    std::thread::scope(|scope| {
        scope.spawn(move || drop(chunk));
    });
    timeout(PATIENCE, barrier).await.expect("the barrier is there when the chunk has ended");
    assert!(matches!(running.chunk(), Err(Denied::Refused(Refused::FencedClient { .. }))));
    assert!(running.finish().is_err());
}

#[tokio::test]
async fn a_barrier_does_not_wait_between_chunks() {
    let gate = open_gate().await;
    let running = gate.begin(stamp(), Some(1), file()).unwrap();
    drop(running.chunk().unwrap());
    timeout(PATIENCE, gate.drain(stamp(), 1)).await.unwrap();
    assert!(running.chunk().is_err());
    timeout(PATIENCE, gate.remove_file(file())).await.unwrap();
}

#[tokio::test]
async fn without_a_lease_nothing_is_served() {
    let gate = Arc::new(Gate::new(Fences::default()));
    assert_eq!(gate.begin(stamp(), Some(1), file()).unwrap_err(), Denied::NoLease);
    let gate = gate_with_a_short_lease().await;
    let running = gate.begin(stamp(), Some(1), file()).unwrap();
    drop(running.chunk().unwrap());
    wait_for_the_end_of_the_lease(&gate);
    assert_eq!(running.chunk().unwrap_err(), Denied::NoLease, "the lease is checked before every access");
    assert_eq!(running.finish().unwrap_err(), Denied::NoLease, "and before an answer is given");
    assert!(!gate.renew_lease(boot_time::now_ns(), HOUR), "only a registration begins a new one");
}

/// Whoever has waited for the end of this server's lease may let somebody else write the same bytes. So what ran before it
/// must not be applied after it, even though its stamp is as good as ever.
#[tokio::test]
async fn what_ran_under_a_lease_that_ended_is_refused_under_the_next() {
    let gate = gate_with_a_short_lease().await;
    let running = gate.begin(stamp(), Some(1), file()).unwrap();
    drop(running.chunk().unwrap());
    wait_for_the_end_of_the_lease(&gate);
    gate.begin_lease(boot_time::now_ns(), HOUR, || {}).await;
    assert!(matches!(running.chunk(), Err(Denied::Refused(Refused::Lapsed { .. }))));
    assert!(matches!(running.finish(), Err(Denied::Refused(Refused::Lapsed { .. }))));
    let again = gate.begin(stamp(), Some(2), file()).unwrap();
    drop(again.chunk().unwrap());
    again.finish().unwrap();
}

/// A write may lie in a socket for longer than the lease, while its client lives on and others were granted its bytes.
#[tokio::test]
async fn what_comes_on_a_connection_of_before_the_lapse_is_not_let_in() {
    let gate = gate_with_a_short_lease().await;
    let cuts = std::cell::Cell::new(0);
    gate.begin_write(stamp(), 1, file(), ConnectionEpoch(0)).unwrap();
    wait_for_the_end_of_the_lease(&gate);
    gate.begin_lease(boot_time::now_ns(), HOUR, || cuts.set(cuts.get() + 1)).await;
    assert_eq!(cuts.get(), 1);
    let late = gate.begin_write(stamp(), 2, file(), ConnectionEpoch(0));
    assert!(matches!(late, Err(Denied::Refused(Refused::Lapsed { .. }))));
    gate.begin_write(stamp(), 3, file(), ConnectionEpoch(1)).unwrap();
    assert_eq!(gate.inside.lock().admission.running(), 0);
}

#[tokio::test]
async fn the_next_lease_waits_for_a_chunk_of_the_last() {
    let gate = gate_with_a_short_lease().await;
    let running = gate.begin(stamp(), Some(1), file()).unwrap();
    let chunk = running.chunk().unwrap();
    wait_for_the_end_of_the_lease(&gate);
    let mut beginning = std::pin::pin!(gate.begin_lease(boot_time::now_ns(), HOUR, || {}));
    assert!(timeout(Duration::from_millis(20), &mut beginning).await.is_err());
    assert!(!gate.has_lease(), "nothing newer is served before the old chunk has ended");
    assert_eq!(gate.begin(stamp(), Some(2), file()).unwrap_err(), Denied::NoLease);
    drop(chunk);
    timeout(PATIENCE, beginning).await.unwrap();
    assert!(gate.has_lease());
}

#[tokio::test]
async fn a_registration_while_the_lease_lasts_refuses_nothing() {
    let gate = open_gate().await;
    let running = gate.begin(stamp(), Some(1), file()).unwrap();
    gate.begin_lease(boot_time::now_ns(), HOUR, || {}).await;
    drop(running.chunk().unwrap());
    running.finish().unwrap();
}

#[tokio::test]
async fn a_stamp_of_a_boot_that_is_not_known_yet_is_told_to_the_registrar() {
    let gate = open_gate().await;
    let _ticket = gate.fence(&Fences { boot_floor: Boot::new(2), ..Fences::default() });
    let refused = gate.begin(stamp_of(3), Some(1), file()).unwrap_err();
    assert_eq!(ErrorDetail::from(refused).code, ErrorCode::OutOfStep);
    timeout(PATIENCE, gate.later_boot_met()).await.unwrap();
    let refused = gate.begin(stamp_of(1), Some(1), file()).unwrap_err();
    assert_eq!(ErrorDetail::from(refused).code, ErrorCode::OutOfStep);
    assert!(timeout(Duration::from_millis(20), gate.later_boot_met()).await.is_err());
}

#[tokio::test]
async fn a_dropped_operation_ends() {
    let gate = open_gate().await;
    drop(gate.begin(stamp(), Some(1), file()).unwrap());
    assert_eq!(gate.inside.lock().admission.running(), 0);
}

/// A fence waits for a single access, and takes its success back.
#[tokio::test]
async fn a_single_access_is_a_chunk() {
    let gate = open_gate().await;
    gate.begin_single(stamp(), 1, file(), Some(ConnectionEpoch(0))).unwrap().finish().unwrap();
    let late = gate.begin_single(stamp(), 2, file(), Some(ConnectionEpoch(7)));
    assert!(matches!(late, Err(Denied::Refused(Refused::Lapsed { .. }))), "{late:?}");
    let single = gate.begin_single(stamp(), 3, file(), None).unwrap();
    let ticket = gate.fence(&Fences { incarnations: [client()].into(), ..Fences::default() });
    assert!(!gate.inside.lock().admission.is_done(&ticket));
    single.finish().unwrap_err();
    gate.wait(&ticket).await;
    gate.begin_single(stamp(), 4, file(), None).unwrap_err();
    assert_eq!(gate.inside.lock().admission.running(), 0);
}
