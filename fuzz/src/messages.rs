//! Every message that a server or a client converts to a strict type.
//!
//! Input: one byte of which message it is, then the message.
//!
//! What holds: what is refused is refused with an error that has a text; what is accepted survives being sent on, that is,
//! its own encoding is accepted and is the same value.

use crate::bounded::bounded;
use pfs_proto::convert::ConvertError;
use pfs_proto::status::{ErrorDetail, error_detail};
use pfs_proto::{data, metadata, token, v1};
use prost::Message;
use std::fmt::Debug;
use tonic::{Code, Status};

/// One kind of message: its name and what is checked of its bytes.
pub type Kind = (&'static str, fn(&[u8]));

macro_rules! kinds {
    ($($message:ident => $strict:ty,)*) => { &[$((stringify!($message), converted::<v1::$message, $strict>),)*] };
}

/// The kinds, in the order of their numbers. New ones go to the end, so that the corpus keeps its meaning.
pub const KINDS: &[Kind] = kinds! {
    WriteRequest => data::Write,
    ReadRequest => data::Read,
    CommitRequest => data::Commit,
    TruncateRequest => data::Truncate,
    RemoveRequest => data::Remove,
    StatRequest => data::Stat,
    FenceRequest => data::Fence,
    DrainRequest => data::Drain,
    AllocateRequest => data::Allocate,
    ScrubRequest => data::Scrub,
    ClientMessage => token::ClientFrame,
    ServerMessage => token::ServerFrame,
    InitializeRequest => metadata::Initialize,
    InitializeReply => metadata::Session,
    CreateFileRequest => metadata::CreateFile,
    OpenFileRequest => metadata::OpenFile,
    OpenFileReply => metadata::Opened,
    CloseFileRequest => metadata::CloseFile,
    FetchMetadataRequest => metadata::FetchMetadata,
    UpdateMetadataRequest => metadata::UpdateMetadata,
    DeleteFileRequest => metadata::DeleteFile,
    MakeDirectoryRequest => metadata::MakeDirectory,
    RenameRequest => metadata::Rename,
    ListDirectoryRequest => metadata::ListDirectory,
    ListDirectoryReply => metadata::DirectoryPage,
    ListTokensRequest => metadata::ListTokens,
    RegisterFileServerRequest => metadata::RegisterFileServer,
    RegisterFileServerReply => metadata::Registration,
    HeartbeatRequest => metadata::Heartbeat,
    HeartbeatReply => metadata::HeartbeatAnswer,
    Fences => metadata::Fences,
    VouchFileRequest => metadata::VouchFile,
    MovePointerRequest => metadata::MovePointer,
    MovePointerReply => metadata::MovedPointer,
};

/// The number of what a status carries in its details.
pub const DETAILS: u8 = 255;

/// Checks one input.
///
/// # Panics
/// If something is wrong.
pub fn check(input: &[u8]) {
    let [kind, message @ ..] = input else { return };
    let check = match KINDS.get(usize::from(*kind)) {
        Some((_, check)) => *check,
        None if *kind == DETAILS => details,
        None => return,
    };
    bounded(message.len(), || check(message));
}

fn converted<W, C>(bytes: &[u8])
where
    W: Message + Default + From<C>,
    C: TryFrom<W, Error = ConvertError> + Clone + PartialEq + Debug,
{
    let Ok(message) = W::decode(bytes) else { return };
    match C::try_from(message) {
        Err(error) => assert!(!ErrorDetail::from(error).message.is_empty()),
        Ok(value) => {
            let sent = W::from(value.clone()).encode_to_vec();
            let arrived = W::decode(&sent[..]).expect("own encoding");
            assert_eq!(C::try_from(arrived), Ok(value));
        }
    }
}

/// What a status carries for programs. Its text is bounded when it is sent on.
fn details(bytes: &[u8]) {
    let status = Status::with_details(Code::Aborted, "text", bytes.to_vec().into());
    let detail = error_detail(&status);
    assert_eq!(error_detail(&Status::from(detail.clone())), detail);
}
