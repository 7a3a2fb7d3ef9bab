//! After a restart: clients say what they hold and have open.

use super::handles::Handle;
use super::state::State;
use super::streams::ConnectionId;
use pfs_core::ids::{ClientId, Holder};
use pfs_proto::metadata::FileMetadata;
use pfs_proto::token::ReassertMessage;

impl State {
    /// A client says what it holds of a file, which the store knows.
    pub(crate) fn reassert(
        &mut self,
        connection: ConnectionId,
        number: u64,
        message: &ReassertMessage,
        file: &FileMetadata,
    ) {
        if self.is_next(connection, number) {
            self.take_over(connection.client, message, file);
        }
    }

    fn take_over(&mut self, client: ClientId, message: &ReassertMessage, file: &FileMetadata) {
        let ReassertMessage { reassertion, known } = message;
        let holder = reassertion.holder;
        if let Err(error) = self.coordinator.handle_reassert(client, reassertion, Self::now_ms()) {
            tracing::warn!(%client, %holder, file = %file.id, %error, "what a client says it holds is refused");
            return;
        }
        let members = self.coordinator.tokens().members(holder);
        // A group that was shut out as a whole is nobody's any more, and its members are told so.
        if !members.contains(&client) {
            return;
        }
        // Another member of a group may have closed it in this boot.
        let opens = reassertion.opens.iter().zip(known).filter(|(open, _)| !self.closed.contains(open));
        let opens: Vec<_> = opens.collect();
        if let (Holder::Group(group), false) = (holder, opens.is_empty()) {
            self.handles.add_group(group, &members);
        }
        for (open, known) in opens {
            let handle = Handle { holder, file: file.id, access: known.access };
            self.handles.open(*open, handle, file.size, &file.committed_slots);
            self.handles.learn_pointer(*open, known.pointer);
        }
        if let Some(size) = reassertion.size.filter(|size| size.generation == file.size.generation) {
            self.learn(file.id, size);
        }
    }

    /// The same of a file that the store does not know.
    pub(crate) fn reassert_gone(&mut self, connection: ConnectionId, number: u64, message: &ReassertMessage) {
        if self.is_next(connection, number) {
            self.reassert_unknown(connection.client, message);
        }
    }

    /// A client says what it holds of a file that is gone: it has closed it, or its answer was lost.
    pub(super) fn reassert_unknown(&mut self, client: ClientId, message: &ReassertMessage) {
        let file = message.reassertion.file;
        tracing::info!(%client, %file, "a client says that it holds a file that does not exist any more");
    }
}
