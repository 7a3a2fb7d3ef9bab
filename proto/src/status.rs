//! Errors on the wire: a code for programs and a text for people.
//!
//! Every status that a server of the project makes carries an encoded [`v1::ErrorDetail`] in its details. A status
//! without it was made by the transport or by a stranger; [`error_detail`] finds the nearest code for it.

use crate::v1;
use prost::Message;
use std::error::Error;
use tonic::{Code, Status};

/// What went wrong, for programs.
pub use crate::v1::ErrorCode;

/// Most bytes of an error's text. Headers are bounded, and a text may have a whole path in it.
pub const MESSAGE_BYTES_MAX: usize = 2048;

/// What went wrong, checked: the code is never `Unspecified`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ErrorDetail {
    /// For programs.
    pub code: ErrorCode,
    /// For people: what was tried, on what, and what to do.
    pub message: String,
}

impl ErrorDetail {
    /// An error with this code and text; a text that is too long is cut.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        let mut message = message.into();
        if message.len() > MESSAGE_BYTES_MAX {
            message.truncate(message.floor_char_boundary(MESSAGE_BYTES_MAX - '…'.len_utf8()));
            message.push('…');
        }
        let code = if code == ErrorCode::Unspecified { ErrorCode::Internal } else { code };
        ErrorDetail { code, message }
    }
}

impl From<ErrorDetail> for v1::ErrorDetail {
    fn from(detail: ErrorDetail) -> Self {
        v1::ErrorDetail { code: detail.code.into(), message: detail.message }
    }
}

/// An error of a newer peer may have a code that is not known here; it is an internal one then.
impl From<v1::ErrorDetail> for ErrorDetail {
    fn from(detail: v1::ErrorDetail) -> Self {
        ErrorDetail::new(ErrorCode::try_from(detail.code).unwrap_or(ErrorCode::Internal), detail.message)
    }
}

impl From<ErrorDetail> for Status {
    fn from(detail: ErrorDetail) -> Self {
        let message = detail.message.clone();
        let code = grpc_code(detail.code);
        Status::with_details(code, message, v1::ErrorDetail::from(detail).encode_to_vec().into())
    }
}

/// A status with the code and the text in its details.
pub fn status(code: ErrorCode, message: impl Into<String>) -> Status {
    ErrorDetail::new(code, message).into()
}

/// What a status says, whoever made it.
pub fn error_detail(status: &Status) -> ErrorDetail {
    if !status.details().is_empty()
        && let Ok(detail) = v1::ErrorDetail::decode(status.details())
        && detail.code != ErrorCode::Unspecified as i32
    {
        return detail.into();
    }
    ErrorDetail::new(code_without_details(status), story(status))
}

/// The gRPC code that clients of other languages see.
pub fn grpc_code(code: ErrorCode) -> Code {
    match code {
        ErrorCode::NotFound | ErrorCode::Deleted => Code::NotFound,
        ErrorCode::AlreadyExists => Code::AlreadyExists,
        ErrorCode::NotADirectory
        | ErrorCode::IsADirectory
        | ErrorCode::DirectoryNotEmpty
        | ErrorCode::WrongCluster
        | ErrorCode::NoSession
        | ErrorCode::TooFewServers => Code::FailedPrecondition,
        ErrorCode::InvalidArgument => Code::InvalidArgument,
        ErrorCode::NoSpace => Code::ResourceExhausted,
        ErrorCode::TooLarge => Code::OutOfRange,
        ErrorCode::Unauthenticated => Code::Unauthenticated,
        ErrorCode::Stale | ErrorCode::ServerRestarted | ErrorCode::OutOfStep | ErrorCode::GroupFenced => Code::Aborted,
        ErrorCode::Unavailable => Code::Unavailable,
        ErrorCode::DataLoss => Code::DataLoss,
        ErrorCode::NotPermitted => Code::PermissionDenied,
        ErrorCode::Internal | ErrorCode::Unspecified => Code::Internal,
    }
}

/// The nearest code for a status of the transport. Where it is not known whether the call arrived, it is `Unavailable`.
fn code_without_details(status: &Status) -> ErrorCode {
    match status.code() {
        Code::NotFound => ErrorCode::NotFound,
        Code::AlreadyExists => ErrorCode::AlreadyExists,
        Code::InvalidArgument | Code::FailedPrecondition => ErrorCode::InvalidArgument,
        // The transport's own word for a message above the limit.
        Code::OutOfRange => ErrorCode::TooLarge,
        Code::ResourceExhausted => ErrorCode::NoSpace,
        Code::Unauthenticated => ErrorCode::Unauthenticated,
        Code::PermissionDenied => ErrorCode::NotPermitted,
        // Something else listens there, or another version.
        Code::Unimplemented => ErrorCode::WrongCluster,
        Code::DataLoss => ErrorCode::DataLoss,
        Code::Internal if status.source().is_none() => ErrorCode::Internal,
        Code::Ok
        | Code::Internal
        | Code::Unknown
        | Code::Cancelled
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::Unavailable => ErrorCode::Unavailable,
    }
}

/// The status' text with its chain of causes: a transport error says "transport error" and hides the rest below it.
fn story(status: &Status) -> String {
    let text = match status.message() {
        "" => format!("the call ended with {:?}", status.code()),
        message => message.to_owned(),
    };
    with_causes(text, status.source())
}

/// A text with those of a chain of causes behind it, each once.
pub fn with_causes(mut text: String, mut cause: Option<&(dyn Error + 'static)>) -> String {
    while let Some(error) = cause {
        let line = error.to_string();
        if !text.contains(&line) {
            text.push_str(": ");
            text.push_str(&line);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all_codes() -> impl Iterator<Item = ErrorCode> {
        (1..=i32::from(u8::MAX)).map_while(|number| ErrorCode::try_from(number).ok())
    }

    #[test]
    fn every_code_travels_there_and_back() {
        assert_eq!(all_codes().count(), 21);
        for code in all_codes() {
            let sent = status(code, "reading /a from server-3");
            assert_eq!(sent.code(), grpc_code(code));
            assert_eq!(sent.message(), "reading /a from server-3");
            assert_eq!(error_detail(&sent), ErrorDetail::new(code, "reading /a from server-3"));
        }
    }

    #[test]
    fn a_status_of_the_transport_gets_the_nearest_code() {
        for (code, expected) in [
            (Code::Unavailable, ErrorCode::Unavailable),
            (Code::Unknown, ErrorCode::Unavailable),
            (Code::DeadlineExceeded, ErrorCode::Unavailable),
            (Code::Cancelled, ErrorCode::Unavailable),
            (Code::Unauthenticated, ErrorCode::Unauthenticated),
            (Code::Unimplemented, ErrorCode::WrongCluster),
            (Code::OutOfRange, ErrorCode::TooLarge),
            (Code::Internal, ErrorCode::Internal),
        ] {
            assert_eq!(error_detail(&Status::new(code, "text")), ErrorDetail::new(expected, "text"), "{code:?}");
        }
        assert_eq!(error_detail(&Status::new(Code::Unavailable, "")).message, "the call ended with Unavailable");
    }

    #[test]
    fn a_broken_connection_is_unavailable_and_tells_its_cause() {
        let status = Status::from_error(Box::new(std::io::Error::other("connection reset")));
        let detail = error_detail(&status);
        assert_eq!(detail.code, ErrorCode::Unavailable);
        assert!(detail.message.contains("connection reset"), "{detail}");
    }

    #[test]
    fn foreign_details_are_ignored() {
        for details in [&b"\xff\xff\xff"[..], &[], &[0x08, 0x00]] {
            let status = Status::with_details(Code::DataLoss, "gone", details.to_vec().into());
            assert_eq!(error_detail(&status), ErrorDetail::new(ErrorCode::DataLoss, "gone"));
        }
    }

    #[test]
    fn unknown_codes_are_internal() {
        let newer = v1::ErrorDetail { code: 12_345, message: "from the future".into() };
        assert_eq!(ErrorDetail::from(newer), ErrorDetail::new(ErrorCode::Internal, "from the future"));
        assert_eq!(ErrorDetail::new(ErrorCode::Unspecified, "").code, ErrorCode::Internal);
    }

    #[test]
    fn long_texts_are_cut_at_a_character() {
        let detail = ErrorDetail::new(ErrorCode::NotFound, "ä".repeat(4000));
        assert!(detail.message.len() <= MESSAGE_BYTES_MAX && detail.message.ends_with("ä…"));
    }
}
