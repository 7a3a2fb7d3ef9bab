//! Where a new file goes.

use crate::namespace::NamespaceError;
use pfs_core::ids::ServerId;
use pfs_core::layout::{Recipe, STRIPE_COUNT_MAX};
use pfs_proto::metadata::LayoutRequest;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Chooses servers for new files: neighbours in the order of ids, from a start that moves on with every file, so that
/// files with few stripes spread over all servers.
pub(crate) struct Placement {
    default_stripe_unit: u64,
    /// 0: all that are up.
    default_stripe_count: u32,
    next_start: AtomicUsize,
}

impl Placement {
    pub(crate) fn new(default_stripe_unit: u64, default_stripe_count: u32) -> Self {
        Placement { default_stripe_unit, default_stripe_count, next_start: AtomicUsize::new(0) }
    }

    /// The recipe for a new file on some of the servers that are up.
    pub(crate) fn recipe(&self, layout: LayoutRequest, live: &[ServerId]) -> Result<Recipe, NamespaceError> {
        let most = live.len().min(STRIPE_COUNT_MAX);
        let count = match (layout.stripe_count, self.default_stripe_count) {
            (Some(wanted), _) if wanted as usize > live.len() => {
                return Err(NamespaceError::TooFewServers { wanted, live: live.len() });
            }
            (Some(wanted), _) => wanted as usize,
            (None, 0) => most,
            (None, default) => most.min(default as usize),
        };
        if live.is_empty() || count == 0 {
            return Err(NamespaceError::TooFewServers { wanted: layout.stripe_count.unwrap_or(1), live: live.len() });
        }
        let start = match layout.start_server {
            Some(start) if start as usize >= live.len() => {
                return Err(NamespaceError::StartServer { start, live: live.len() });
            }
            Some(start) => start as usize,
            None => self.next_start.fetch_add(1, Ordering::Relaxed) % live.len(),
        };
        let servers = live.iter().cycle().skip(start).take(count);
        let slots = servers.map(|server| [*server].into_iter().collect()).collect();
        Ok(Recipe::new(layout.stripe_unit.unwrap_or(self.default_stripe_unit), slots)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pfs_proto::status::ErrorCode;

    fn live(count: u32) -> Vec<ServerId> {
        (1..=count).map(|id| ServerId::new(id).unwrap()).collect()
    }

    fn servers_of(recipe: &Recipe) -> Vec<u32> {
        (0..recipe.stripe_count()).map(|slot| recipe.primary(slot).get()).collect()
    }

    #[test]
    fn starts_rotate_and_counts_are_bounded() {
        let placement = Placement::new(1 << 20, 0);
        let layout = |count| LayoutRequest { stripe_count: count, ..LayoutRequest::default() };
        let chosen: Vec<Vec<u32>> =
            (0..4).map(|_| servers_of(&placement.recipe(layout(Some(2)), &live(3)).unwrap())).collect();
        assert_eq!(chosen, [[1, 2], [2, 3], [3, 1], [1, 2]]);
        assert_eq!(placement.recipe(layout(None), &live(5)).unwrap().stripe_count(), 5);
        assert_eq!(Placement::new(4096, 4).recipe(layout(None), &live(5)).unwrap().stripe_count(), 4);
        assert_eq!(Placement::new(4096, 4).recipe(layout(None), &live(2)).unwrap().stripe_count(), 2);
        for (count, up) in [(Some(4), 3), (None, 0), (Some(1), 0)] {
            assert_eq!(placement.recipe(layout(count), &live(up)).unwrap_err().code(), ErrorCode::TooFewServers);
        }
    }

    #[test]
    fn a_start_server_is_honoured_or_refused() {
        let placement = Placement::new(4096, 0);
        let layout = |start| LayoutRequest { start_server: Some(start), ..LayoutRequest::default() };
        assert_eq!(servers_of(&placement.recipe(layout(2), &live(3)).unwrap()), [3, 1, 2]);
        assert_eq!(placement.recipe(layout(3), &live(3)).unwrap_err().code(), ErrorCode::InvalidArgument);
    }
}
