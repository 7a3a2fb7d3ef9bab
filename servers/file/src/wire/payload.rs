//! The payload of a write as it comes from the transport, plain or in sections.
//!
//! Invariants:
//! * a share of the budget is held from before bytes are taken from the transport until they are in the object, and
//!   only while bytes are there: nobody waits for a client with a share, so no client can keep others waiting;
//! * a section is checked before any of its bytes go on: it is of whole pieces and has a checksum for each.

use super::grpc::Incoming;
use crate::metered::{Budget, Share};
use crate::writing::{Batch, Pieces};
use bytes::{Buf, Bytes, BytesMut};
use pfs_core::checksum::Checksum;
use pfs_proto::data::SectionRule;
use pfs_proto::payload::{NoSection, SectionStart, scan_section};
use pfs_proto::status::{ErrorCode, ErrorDetail, error_detail};
use pfs_proto::v1;
use prost::Message;
use std::future::poll_fn;
use std::task::{Context, Poll};

/// Bytes that are written at once; frames are gathered up to it as long as there are any.
pub const BATCH_BYTES: usize = 256 * 1024;
/// A batch's share: the last frame that is gathered may pass the batch by its own length.
const BATCH_SHARE_BYTES: u64 = 2 * BATCH_BYTES as u64;
/// Bytes of the beginnings of all sections of a message; one checksum for each byte of its payload would take more.
const SECTION_HEADS_BYTES_MAX: usize = 256 * 1024;
/// How much more of a frame is looked at when the beginning of a section is cut.
const LOOK_BYTES: usize = 1024;

/// A payload that arrives.
pub struct Payload {
    /// Bytes that are to come of it, or of its present section.
    left: usize,
    /// Where they come from.
    rest: Incoming,
    /// What comes after the present section, if there are sections.
    sections: Option<Sections>,
    /// What a batch has a share of.
    budget: Budget,
    /// Of the present batch.
    share: Option<Share>,
}

/// Sections that are to come.
struct Sections {
    /// Bytes of the message from the beginning of the next section on, which may be in `begun`.
    left: usize,
    rule: SectionRule,
    /// The beginning of a section that is not all there.
    begun: BytesMut,
    /// Bytes that the beginnings may still have.
    heads_left: usize,
}

impl Payload {
    /// A payload of `left` bytes.
    pub fn plain(left: usize, rest: Incoming, budget: Budget) -> Self {
        Payload { left, rest, sections: None, budget, share: None }
    }

    /// Sections of `left` bytes all together, as the rule has them.
    pub fn in_sections(left: usize, rule: SectionRule, rest: Incoming, budget: Budget) -> Self {
        let sections = Sections { left, rule, begun: BytesMut::new(), heads_left: SECTION_HEADS_BYTES_MAX };
        Payload { left: 0, rest, sections: Some(sections), budget, share: None }
    }

    fn is_over(&self) -> bool {
        self.left == 0 && self.sections.as_ref().is_none_or(|sections| sections.left == 0)
    }

    /// Takes what is there, up to a batch; nothing if nothing is there, and then the task is woken when there is.
    fn gather(&mut self, cx: &mut Context<'_>, batch: &mut Batch) -> Result<(), ErrorDetail> {
        let mut bytes = 0;
        while bytes < BATCH_BYTES && !self.is_over() {
            let mut data = match self.rest.poll_data(cx) {
                Poll::Pending => break,
                Poll::Ready(Some(Ok(data))) => data,
                Poll::Ready(Some(Err(status))) => return Err(error_detail(&status)),
                Poll::Ready(None) => return Err(self.cut_short()),
            };
            if let Some(sections) = &mut self.sections {
                if self.left == 0 {
                    self.left = sections.begin(&mut data, &mut batch.checksums)?;
                }
                if data.len() > self.left {
                    self.rest.taken = data.split_off(self.left);
                }
            } else if data.len() > self.left {
                return Err(too_long());
            }
            self.left -= data.len();
            bytes += data.len();
            batch.parts.extend((!data.is_empty()).then_some(data));
        }
        Ok(())
    }

    /// The request must end with its payload.
    async fn end(&mut self) -> Result<(), ErrorDetail> {
        if let Some(sections) = &self.sections {
            sections.rule.end()?;
        }
        loop {
            match self.rest.next_data().await {
                None => return Ok(()),
                Some(Ok(data)) if data.is_empty() => {}
                Some(Ok(_)) => return Err(too_long()),
                Some(Err(status)) => return Err(error_detail(&status)),
            }
        }
    }

    fn cut_short(&self) -> ErrorDetail {
        let left = self.left + self.sections.as_ref().map_or(0, |sections| sections.left);
        let text = format!("the write ended {left} bytes before its end; a part of it may be written, send it again");
        ErrorDetail::new(ErrorCode::Unavailable, text)
    }
}

impl Pieces for Payload {
    async fn next(&mut self, batch: &mut Batch) -> Result<bool, ErrorDetail> {
        batch.clear();
        self.share = None;
        if self.is_over() {
            return self.end().await.map(|()| false);
        }
        loop {
            let share = self.budget.claim(BATCH_SHARE_BYTES).await;
            poll_fn(|cx| Poll::Ready(self.gather(cx, batch))).await?;
            if !batch.parts.is_empty() {
                self.share = Some(share);
                return Ok(true);
            }
            drop(share);
            woken().await;
        }
    }
}

impl Sections {
    /// Takes the beginning of the next section from `data`, or a part of it, and the section's checksums; tells how many
    /// bytes of payload follow, 0 as long as more of the beginning is missing.
    fn begin(&mut self, data: &mut Bytes, checksums: &mut Vec<Checksum>) -> Result<usize, ErrorDetail> {
        if self.begun.is_empty()
            && let Some(start) = look(data, self.left)?
        {
            // Most sections: their beginning is in one frame, which is not copied.
            return self.began(&data.split_to(start.start), start, checksums);
        }
        while !data.is_empty() {
            let before = self.begun.len();
            let more = data.len().min(LOOK_BYTES);
            self.begun.extend_from_slice(&data[..more]);
            if let Some(start) = look(&self.begun, self.left)? {
                data.advance(start.start - before);
                let begun = std::mem::take(&mut self.begun);
                return self.began(&begun, start, checksums);
            }
            if self.begun.len() > self.heads_left {
                return Err(heads_too_long());
            }
            data.advance(more);
        }
        Ok(0)
    }

    fn began(
        &mut self,
        bytes: &[u8],
        start: SectionStart,
        checksums: &mut Vec<Checksum>,
    ) -> Result<usize, ErrorDetail> {
        self.heads_left = self.heads_left.checked_sub(start.start).ok_or_else(heads_too_long)?;
        let head = v1::WriteSection::decode(&bytes[start.head..start.head + start.head_bytes])
            .map_err(|error| ErrorDetail::new(ErrorCode::InvalidArgument, format!("this is no section: {error}")))?;
        self.rule.next(head.checksums.len(), start.length)?;
        checksums.extend(head.checksums.into_iter().map(Checksum));
        self.left -= start.start + start.length;
        Ok(start.length)
    }
}

fn look(first: &[u8], left: usize) -> Result<Option<SectionStart>, ErrorDetail> {
    scan_section(first, left).map_err(|NoSection| {
        let text = "after the first section of a write there are only others, each with its payload as its last field";
        ErrorDetail::new(ErrorCode::InvalidArgument, text)
    })
}

fn heads_too_long() -> ErrorDetail {
    let text = format!("the sections of a write have over {SECTION_HEADS_BYTES_MAX} bytes besides their payload");
    ErrorDetail::new(ErrorCode::TooLarge, text)
}

fn too_long() -> ErrorDetail {
    ErrorDetail::new(ErrorCode::InvalidArgument, "a write is one message, but more bytes follow it")
}

/// Waits until the task is woken, whatever for.
async fn woken() {
    let mut asked = false;
    poll_fn(|_| if std::mem::replace(&mut asked, true) { Poll::Ready(()) } else { Poll::Pending }).await;
}

#[cfg(test)]
#[path = "payload_tests.rs"]
mod tests;
