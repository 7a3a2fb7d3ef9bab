//! Walks the runs of a datatype.
//!
//! Invariants: segments come in the order of the data, none is empty, two that follow each other do not touch; going to
//! a place in the data takes time for the depth of the type and the logarithms of its lists, whatever its size.

use super::{Body, Node, Placed, Shape};
use std::sync::Arc;

/// A run of data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// First byte, relative to the place of the datatype.
    pub displacement: i64,
    /// Bytes, at least 1.
    pub length: u64,
}

impl Segment {
    /// First byte after it.
    pub fn end(self) -> i64 {
        self.displacement.saturating_add_unsigned(self.length)
    }
}

/// The runs of a part of a datatype's data; see [`Datatype::segments`](super::Datatype::segments).
#[derive(Clone, Debug)]
pub struct Segments<'a> {
    /// Where the walk is, outermost first.
    stack: Vec<Frame<'a>>,
    /// Data that is passed over before the next run.
    skip: u64,
    /// Data that is to come.
    left: u64,
    /// A run that was found and may go on.
    found: Option<Segment>,
}

/// The entries of a node from `next` on.
#[derive(Clone, Debug)]
struct Frame<'a> {
    node: &'a Node,
    place: i64,
    next: u64,
}

impl<'a> Segments<'a> {
    pub(super) fn new(body: &'a Body, from: u64, to: u64) -> Self {
        let to = to.min(body.node.size);
        let mut segments = Segments { stack: Vec::new(), skip: from, left: to.saturating_sub(from), found: None };
        if segments.left > 0 {
            segments.enter(&body.node, body.origin);
        }
        segments
    }

    fn enter(&mut self, node: &'a Node, place: i64) {
        let next = match &node.shape {
            Shape::Run => 0,
            Shape::Repeat { node: of, .. } => {
                let next = self.skip / of.size;
                self.skip %= of.size;
                next
            }
            Shape::Runs(list) => self.skip_entries(list),
            Shape::Parts(list) => self.skip_entries(list),
        };
        self.stack.push(Frame { node, place, next });
    }

    /// The entry in which the data begins that is not passed over.
    fn skip_entries<T>(&mut self, list: &[Placed<T>]) -> u64 {
        let index = list.partition_point(|entry| entry.before <= self.skip) - 1;
        self.skip -= list[index].before;
        index as u64
    }

    /// The next run, not joined to its neighbours.
    fn run(&mut self) -> Option<Segment> {
        while self.left > 0 {
            let frame = self.stack.last_mut()?;
            let (place, index) = (frame.place, frame.next);
            frame.next += 1;
            let inner: (i64, Result<u64, &'a Arc<Node>>) = match &frame.node.shape {
                Shape::Run if index == 0 => (place, Ok(frame.node.size)),
                Shape::Repeat { count, stride, node } if index < *count => {
                    let turn = i64::try_from(index).expect("a repetition's last offset fits");
                    let of = if matches!(node.shape, Shape::Run) { Ok(node.size) } else { Err(node) };
                    (place + turn * stride, of)
                }
                Shape::Runs(list) if index < list.len() as u64 => {
                    let entry = &list[entry_index(index)];
                    (place + entry.displacement, Ok(entry.what))
                }
                Shape::Parts(list) if index < list.len() as u64 => {
                    let entry = &list[entry_index(index)];
                    (place + entry.displacement, Err(&entry.what))
                }
                _ => {
                    self.stack.pop();
                    continue;
                }
            };
            match inner {
                (place, Err(node)) => self.enter(node, place),
                (place, Ok(size)) => return Some(self.cut(place, size)),
            }
        }
        None
    }

    /// The part of a run that is wanted.
    fn cut(&mut self, place: i64, size: u64) -> Segment {
        let skipped = std::mem::take(&mut self.skip);
        let length = (size - skipped).min(self.left);
        self.left -= length;
        Segment { displacement: place.saturating_add_unsigned(skipped), length }
    }
}

fn entry_index(index: u64) -> usize {
    usize::try_from(index).expect("less than a list's length")
}

impl Iterator for Segments<'_> {
    type Item = Segment;

    fn next(&mut self) -> Option<Segment> {
        let mut found = self.found.take().or_else(|| self.run())?;
        while let Some(next) = self.run() {
            if next.displacement != found.end() {
                self.found = Some(next);
                break;
            }
            found.length += next.length;
        }
        Some(found)
    }
}
