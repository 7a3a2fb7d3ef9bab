//! Asks the state of tokens once a second.

use crate::clock::boottime_ms;
use crate::server::Shared;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::MissedTickBehavior;

const SAMPLE_EVERY: Duration = Duration::from_secs(1);

/// Samples until the server ends.
pub(crate) async fn run(shared: Arc<Shared>) {
    let mut ticks = tokio::time::interval(SAMPLE_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let files = shared.activity.files_of_interest();
        let Ok(sample) = shared.tokens.with(move |state| state.sample(files)) else { return };
        let live: Vec<_> = shared.servers.live().into_iter().map(|server| server.id).collect();
        shared.activity.sampled(sample, |server| live.contains(&server), boottime_ms());
    }
}
