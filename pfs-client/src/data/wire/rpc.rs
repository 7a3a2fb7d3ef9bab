//! gRPC calls whose bodies are made and read here.
//!
//! Any failure of the transport is [`ErrorKind::Unavailable`]: whether the request arrived is not known then.

use super::write_body::put_prefix;
use crate::error::{Error, ErrorKind};
use bytes::{Buf, Bytes, BytesMut};
use http_body::Body as _;
use pfs_proto::kill_switch::KillSwitch;
use pfs_proto::payload::PREFIX_BYTES;
use pfs_proto::secret::{AUTHORIZATION, AuthInterceptor};
use pfs_proto::status::with_causes;
use pfs_proto::transport::MESSAGE_BYTES_MAX;
use prost::Message;
use std::error::Error as StdError;
use std::future::poll_fn;
use std::pin::Pin;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::metadata::GRPC_CONTENT_TYPE;
use tonic::transport::Channel;

/// A way to one server.
#[derive(Clone, Debug)]
pub(crate) struct RawChannel {
    channel: Channel,
    bearer: http::HeaderValue,
    /// Ends the connections of the channel.
    pub(crate) switch: KillSwitch,
}

impl RawChannel {
    pub(crate) fn new(channel: Channel, switch: KillSwitch, auth: &AuthInterceptor) -> Self {
        let mut bearer =
            http::HeaderValue::from_bytes(auth.bearer().as_encoded_bytes()).expect("a header value is one");
        bearer.set_sensitive(true);
        RawChannel { channel, bearer, switch }
    }

    /// Sends a request whose body is in gRPC's form; returns when the answer begins.
    pub(crate) async fn call(&self, path: &'static str, body: Body) -> Result<Answer, Error> {
        let mut request = http::Request::new(body);
        *request.method_mut() = http::Method::POST;
        *request.version_mut() = http::Version::HTTP_2;
        *request.uri_mut() = http::Uri::from_static(path);
        let headers = request.headers_mut();
        headers.insert(http::header::TE, http::HeaderValue::from_static("trailers"));
        headers.insert(http::header::CONTENT_TYPE, GRPC_CONTENT_TYPE);
        headers.insert(AUTHORIZATION, self.bearer.clone());
        let mut channel = self.channel.clone();
        poll_fn(|cx| channel.poll_ready(cx)).await.map_err(|error| broken(&error))?;
        let response = channel.call(request).await.map_err(|error| broken(&error))?;
        if response.status() != http::StatusCode::OK {
            return Err(Error::new(ErrorKind::Unavailable, format!("the answer was HTTP {}", response.status())));
        }
        if let Some(status) = Status::from_header_map(response.headers()) {
            check(status)?;
        }
        Ok(Answer::new(response.into_body()))
    }

    /// The same for a call that is answered with one message.
    pub(crate) async fn unary<M: Message + Default>(&self, path: &'static str, body: Body) -> Result<M, Error> {
        let mut answer = self.call(path, body).await?;
        let mut taken = BytesMut::new();
        while let Some(data) = answer.next().await? {
            if taken.len() + data.len() > PREFIX_BYTES + MESSAGE_BYTES_MAX {
                return Err(malformed("it is too long"));
            }
            taken.extend_from_slice(&data);
        }
        let mut rest = taken.freeze();
        let message = message_bytes(&mut rest).ok_or_else(|| malformed("it is cut"))?;
        if message != rest.len() {
            return Err(malformed("it is not one message"));
        }
        M::decode(rest).map_err(|error| Error::malformed("a file server's answer", error))
    }
}

/// The answer to a call, as it arrives.
#[derive(Debug)]
pub(crate) struct Answer {
    body: Body,
}

impl Answer {
    pub(crate) fn new(body: Body) -> Self {
        Answer { body }
    }

    /// The next bytes; nothing at the end of an answer that is a success.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            let frame = poll_fn(|cx| Pin::new(&mut self.body).poll_frame(cx)).await;
            // The end without trailers: what was sent before must tell whether all is there.
            let Some(frame) = frame else { return Err(broken(&Status::unavailable("the answer has no end"))) };
            match frame.map_err(|status| broken(&status))?.into_data() {
                Ok(data) if data.is_empty() => {}
                Ok(data) => return Ok(Some(data)),
                Err(frame) => {
                    let trailers = frame.into_trailers().unwrap_or_default();
                    let status = Status::from_header_map(&trailers);
                    check(status.unwrap_or_else(|| Status::unknown("the answer has no status")))?;
                    return Ok(None);
                }
            }
        }
    }
}

/// A body of one message.
pub(crate) fn one_message(message: &impl Message) -> Body {
    let mut bytes = BytesMut::with_capacity(PREFIX_BYTES + message.encoded_len());
    put_prefix(&mut bytes, message.encoded_len());
    message.encode_raw(&mut bytes);
    Body::new(http_body_util::Full::new(bytes.freeze()))
}

/// One message's length in bytes, from its prefix; nothing if it is not all there.
pub(crate) fn message_bytes(bytes: &mut Bytes) -> Option<usize> {
    if bytes.len() < PREFIX_BYTES {
        return None;
    }
    // This client asks for no compression, so the flag is 0, or what follows can not be decoded.
    bytes.advance(1);
    usize::try_from(bytes.get_u32()).ok()
}

fn check(status: Status) -> Result<(), Error> {
    match status.code() {
        tonic::Code::Ok => Ok(()),
        _ => Err(Error::from_status(status)),
    }
}

/// A failure of the connection, with the chain of its causes.
fn broken(error: &(dyn StdError + 'static)) -> Error {
    Error::new(ErrorKind::Unavailable, with_causes(error.to_string(), error.source()))
}

pub(crate) fn malformed(why: &str) -> Error {
    let message = format!("a file server's answer is malformed: {why}; client and server may be of different versions");
    Error::new(ErrorKind::Internal, message)
}
