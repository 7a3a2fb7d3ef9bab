//! What the fuzz targets call: the parsers of this crate, without a server behind them.

use crate::arriving::{Arriving, Slices};
use crate::metered::Budget;
use crate::wire::grpc::Messages;
use crate::wire::payload::Payload;
use crate::wire::small::request::{Operation, Request};
use crate::wire::write::{Opened, open};
use crate::writing::{Batch, Pieces};
use bytes::BytesMut;
use http_body::Body as _;
use pfs_core::checksum::Checksum;
use pfs_proto::data::{ObjectExtent, Read, Write, WriteHead};
use pfs_proto::status::{ErrorCode, ErrorDetail, error_detail};
use pfs_proto::transport::SMALL_MESSAGE_BYTES_MAX;
use std::future::poll_fn;
use std::pin::Pin;
use tonic::body::Body;

/// More than a batch.
const BUDGET_BYTES: u32 = 1 << 20;

/// What became of the body of a `Write`.
#[derive(Debug)]
pub enum Parsed {
    /// All of it arrived.
    Whole(Arrived),
    /// It was refused, after so much of it had gone on to be stored.
    Refused(Arrived, ErrorDetail),
    /// It was left to the decoder of whole messages, with these bytes.
    Replayed(Vec<u8>),
}

/// What of a write went on to be stored.
#[derive(Debug, Default)]
pub struct Arrived {
    /// All but the bytes; nothing if this was refused.
    pub head: Option<WriteHead>,
    /// Where bytes were to go, in the order in which they came.
    pub extents: Vec<ObjectExtent>,
    /// The bytes.
    pub bytes: Vec<u8>,
    /// The checksums of their pieces.
    pub checksums: Vec<Checksum>,
}

impl Arrived {
    fn add(&mut self, (extents, bytes, checksums): (&[ObjectExtent], Slices<'_>, &[Checksum])) {
        self.extents.extend(extents);
        self.bytes.extend(bytes.iter().copied().flatten());
        self.checksums.extend(checksums);
    }
}

/// Parses the body of a `Write` as it arrives.
pub async fn parse_write(body: Body) -> Parsed {
    match open(body).await {
        Opened::Irregular(body) => replayed(body).await,
        Opened::Regular(opening) => {
            let mut arrived = Arrived::default();
            match opening.expect(Budget::new(BUDGET_BYTES)) {
                Err(error) => Parsed::Refused(arrived, error),
                Ok((head, payload)) => match take(head, payload, &mut arrived).await {
                    Err(error) => Parsed::Refused(arrived, error),
                    Ok(()) => Parsed::Whole(arrived),
                },
            }
        }
    }
}

async fn take(head: WriteHead, mut payload: Payload, arrived: &mut Arrived) -> Result<(), ErrorDetail> {
    let mut arriving = Arriving::new(head.extents.clone(), head.checksums.clone());
    arrived.head = Some(head);
    let mut batch = Batch::default();
    while payload.next(&mut batch).await? {
        arriving.expect(&batch.checksums);
        let wrong = |wrong| ErrorDetail::new(ErrorCode::Unavailable, format!("{wrong}"));
        let whole = arriving.check(&batch.parts).map_err(wrong)?;
        arrived.add(arriving.ready(&batch.parts, whole));
        arriving.settle(&batch.parts, whole);
    }
    Ok(())
}

async fn replayed(mut body: Body) -> Parsed {
    let mut bytes = BytesMut::new();
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        match frame.map(|frame| frame.into_data()) {
            Ok(Ok(data)) => bytes.extend_from_slice(&data),
            Ok(Err(_trailers)) => break,
            Err(status) => return Parsed::Refused(Arrived::default(), error_detail(&status)),
        }
    }
    Parsed::Replayed(bytes.into())
}

/// A request of the stream of small requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SmallRequest {
    /// A write.
    Write(Write),
    /// A read.
    Read(Read),
    /// It is answered with an error.
    Refused(ErrorDetail),
}

/// Takes the requests of a stream one by one, with their ids, until it ends or breaks.
pub async fn parse_small(body: Body) -> (Vec<(u64, SmallRequest)>, Result<(), ErrorDetail>) {
    let mut messages = Messages::new(body, SMALL_MESSAGE_BYTES_MAX);
    let mut requests = Vec::new();
    let end = loop {
        let request = match poll_fn(|cx| messages.poll_next(cx)).await {
            None => break Ok(()),
            Some(Err(error)) => break Err(error),
            Some(Ok(message)) => Request::decode(message),
        };
        match request {
            Ok(Request { id, operation }) => requests.push((id, small(operation))),
            Err(error) => break Err(error),
        }
    };
    (requests, end)
}

fn small(operation: Result<Operation, ErrorDetail>) -> SmallRequest {
    match operation {
        Ok(Operation::Write(WriteHead { stamp, sequence, object, extents, checksums }, payload)) => {
            SmallRequest::Write(Write { stamp, sequence, object, extents, checksums, payload })
        }
        Ok(Operation::Read(read)) => SmallRequest::Read(read),
        Err(error) => SmallRequest::Refused(error),
    }
}
