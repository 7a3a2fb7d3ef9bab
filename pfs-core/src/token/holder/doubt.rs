//! Operations of unknown outcome (rule 7).

use super::operation::Progress;
use super::{OperationId, TokenHolder};
use crate::extent::ExtentSet;
use crate::ids::{Boot, RequestId, ServerId};
use crate::token::message::Undrained;
use std::collections::BTreeMap;

/// Writes that may still be applied, at servers that do not answer this client, and where their bytes go.
#[derive(Debug, Default)]
pub(super) struct UndrainedWrites(BTreeMap<(ServerId, Boot), (u64, ExtentSet)>);

impl UndrainedWrites {
    fn add(&mut self, undrained: Undrained, ranges: &[crate::extent::Extent]) {
        let (sequence, bytes) = self.0.entry((undrained.server, undrained.boot)).or_default();
        *sequence = (*sequence).max(undrained.sequence);
        ranges.iter().for_each(|range| bytes.insert(*range, ()));
    }

    /// The writes that an ack of `released` must name. What others of their bytes may go to is named again when it is
    /// given up in its turn.
    pub(super) fn take(&mut self, released: &ExtentSet) -> Vec<Undrained> {
        let mut named = Vec::new();
        for ((server, boot), (sequence, bytes)) in &mut self.0 {
            if released.extents().any(|range| bytes.overlapping(range).next().is_some()) {
                named.push(Undrained { server: *server, boot: *boot, sequence: *sequence });
                released.extents().for_each(|range| bytes.remove(range));
            }
        }
        self.0.retain(|_, (_, bytes)| !bytes.is_empty());
        named
    }
}

impl TokenHolder {
    /// The access has failed, and whether its bytes will still be applied is not known. Until [`end`](Self::end) says
    /// that they can not, or [`give_up_doubt`](Self::give_up_doubt) that nobody can be asked, the ranges are kept from
    /// other holders. The caller sees to the order of its own later writes.
    pub fn doubt(&mut self, id: OperationId, next_request: impl FnMut() -> RequestId) {
        let running = |progress| matches!(progress, Progress::Pinned | Progress::WritingBack);
        if let Some(operation) = self.operations.get_mut(&id).filter(|op| running(op.progress)) {
            operation.progress = Progress::Doubtful;
            self.give_way();
            self.advance(next_request);
        }
    }

    /// The operation is over for this client, though these writes of it may still be applied: their servers do not
    /// answer. Every ack that gives up ranges of it names them, and the metadata server drains them before it grants.
    pub fn give_up_doubt(
        &mut self,
        id: OperationId,
        undrained: Vec<Undrained>,
        next_request: impl FnMut() -> RequestId,
    ) {
        let Some(operation) = self.operations.get(&id) else { return };
        for write in undrained {
            self.undrained.add(write, &operation.ranges);
        }
        self.end(id, next_request);
    }
}
