//! What the fuzz targets call: the parser of answers to bulk reads, without a server before it.

use crate::data::memory::destination::Destination;
use crate::data::plan::plan;
use crate::data::wire::scatter::Scatter;
use crate::data::wire::stream_reply::StreamReply;
use bytes::Bytes;
use pfs_core::extent::Extent;
use pfs_core::layout::Recipe;

/// Takes the answer to a read of `extents`, which are disjoint and in order, out of the frames in which it comes, and returns
/// the bytes of all extents one after the other, or what is wrong with it. All slots of the file are one server's, and
/// the answer is that to the first request.
pub fn receive(
    recipe: &Recipe,
    extents: &[Extent],
    frames: impl IntoIterator<Item = Bytes>,
) -> Result<Vec<u8>, String> {
    let bytes = extents.iter().map(|extent| extent.len()).sum();
    let Some(request) = plan(recipe, extents, bytes).into_iter().next() else { return Ok(Vec::new()) };
    let destination = Destination::owned(extents);
    let mut reply = StreamReply::new(Scatter::new(&request, &destination));
    let unusable = |unusable| format!("{unusable:?}");
    frames.into_iter().try_for_each(|frame| reply.push(frame)).map_err(unusable)?;
    reply.end().map_err(unusable)?;
    Ok(destination.take().concat())
}
