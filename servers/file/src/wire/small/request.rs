//! What a message of the stream asks for.

use crate::service::check_stamp;
use bytes::Bytes;
use pfs_proto::data::{ObjectExtent, Read, Write, WriteHead, total_bytes};
use pfs_proto::status::{ErrorCode, ErrorDetail, error_detail};
use pfs_proto::transport::SMALL_REQUEST_BYTES_MAX;
use pfs_proto::v1;
use pfs_proto::v1::small_request::Operation as WireOperation;
use prost::Message;

/// A request of the stream.
#[derive(Debug)]
pub struct Request {
    /// The client's name for it.
    pub id: u64,
    /// What it asks for, or why it is refused.
    pub operation: Result<Operation, ErrorDetail>,
}

/// What a request asks for.
#[derive(Debug)]
pub enum Operation {
    /// To write these bytes.
    Write(WriteHead, Bytes),
    /// To read.
    Read(Read),
}

impl Request {
    /// The request in a message; an error if it is none.
    pub fn decode(message: Bytes) -> Result<Self, ErrorDetail> {
        let v1::SmallRequest { id, operation } = v1::SmallRequest::decode(message).map_err(|error| {
            ErrorDetail::new(ErrorCode::InvalidArgument, format!("this is no request of the stream: {error}"))
        })?;
        Ok(Request { id, operation: checked(operation) })
    }
}

fn checked(operation: Option<WireOperation>) -> Result<Operation, ErrorDetail> {
    match operation {
        Some(WireOperation::Write(request)) => {
            check_stamp(request.stamp.as_ref()).map_err(|status| error_detail(&status))?;
            let Write { stamp, sequence, object, extents, checksums, payload } =
                Write::try_from(request).map_err(told)?;
            small_enough(&extents)?;
            Ok(Operation::Write(WriteHead { stamp, sequence, object, extents, checksums }, payload))
        }
        Some(WireOperation::Read(request)) => {
            check_stamp(request.stamp.as_ref()).map_err(|status| error_detail(&status))?;
            let read = Read::try_from(request).map_err(told)?;
            small_enough(&read.extents)?;
            Ok(Operation::Read(read))
        }
        None => {
            let text = "a request of the stream that is neither a read nor a write; this server knows no other";
            Err(ErrorDetail::new(ErrorCode::InvalidArgument, text))
        }
    }
}

/// One request is one chunk of the gate.
fn small_enough(extents: &[ObjectExtent]) -> Result<(), ErrorDetail> {
    let bytes = total_bytes(extents);
    if bytes <= SMALL_REQUEST_BYTES_MAX as u64 {
        return Ok(());
    }
    let text = format!("a request of {bytes} bytes; on this stream there are at most {SMALL_REQUEST_BYTES_MAX}");
    Err(ErrorDetail::new(ErrorCode::InvalidArgument, text))
}

fn told(error: pfs_proto::convert::ConvertError) -> ErrorDetail {
    error_detail(&error.into())
}
