//! Datatypes: which bytes of a stretch of memory or of a file belong to an access, and in which order.
//!
//! A [`Datatype`] is built by the constructors that MPI has, from elementary types of a size. It is kept *flattened but
//! compact*: nested repetitions stay repetitions and are never written out, so that a subarray of 10⁹ elements takes as much
//! memory as one of 10. What was irregular in the beginning is a list of runs.
//!
//! Invariants of the inner tree:
//! * no node but the outermost is empty, no repetition has less than 2 turns, no list less than 2 entries;
//! * neighbouring runs that touch are one run, and a list with equal distances is a repetition;
//! * so at every level the number of bytes at least doubles, and the tree's depth is bounded by the bits of a size.

mod arrays;
mod encode;
mod segments;
#[cfg(test)]
mod tests;
mod view;

use std::sync::Arc;

pub use arrays::{Distribution, Order};
pub use encode::DecodeError;
pub use segments::{Segment, Segments};
pub use view::{View, ViewError, ViewExtents};

/// Why there is no such datatype.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DatatypeError {
    /// A number that does not fit: a size, an offset or an extent.
    #[error("the datatype is too large: its bytes, offsets and extent must fit a signed number of 64 bits")]
    TooLarge,
    /// Lists of different lengths.
    #[error("the datatype's lists have {0} and {1} entries; they must have equally many")]
    Lists(usize, usize),
    /// A subarray that leaves its array.
    #[error(
        "dimension {dimension} of the subarray has {subsize} elements from {start} on, and the array has {size} elements"
    )]
    Subarray {
        /// Which dimension, from 0.
        dimension: usize,
        /// Elements of the array.
        size: u64,
        /// Elements of the part.
        subsize: u64,
        /// The part's first element.
        start: u64,
    },
    /// A distribution that does not cover its array.
    #[error("dimension {dimension} of the distributed array: {reason}")]
    Distribution {
        /// Which dimension, from 0.
        dimension: usize,
        /// What is wrong.
        reason: &'static str,
    },
    /// The process grid has another size than the group, or the rank is outside.
    #[error("the grid of processes has {grid} places, the rank is {rank} of {ranks}")]
    Grid {
        /// Product of the grid's dimensions.
        grid: u64,
        /// Whose part.
        rank: u64,
        /// Of how many.
        ranks: u64,
    },
}

type Result<T> = std::result::Result<T, DatatypeError>;

/// A datatype. Copies are cheap.
#[derive(Clone, Debug)]
pub struct Datatype {
    body: Body,
    /// Lower and upper bound; a type of nothing has none.
    bounds: Option<(i64, i64)>,
}

/// A node at a place.
#[derive(Clone, Debug)]
struct Body {
    origin: i64,
    node: Arc<Node>,
}

#[derive(Debug)]
struct Node {
    shape: Shape,
    /// Bytes of data.
    size: u64,
    /// First byte, relative to the node's place.
    first: i64,
    /// First byte after the last one.
    end: i64,
    /// Start of the run that comes last.
    last_start: i64,
    /// Runs, if they were written out; the largest number if there are more.
    runs: u64,
    /// Runs start one after the other.
    monotone: bool,
    /// Runs come one after the other and no two share a byte.
    ordered: bool,
}

#[derive(Clone, Debug)]
enum Shape {
    /// `size` bytes from the node's place on.
    Run,
    /// The node at 0, `stride`, 2 `stride`, …
    Repeat { count: u64, stride: i64, node: Arc<Node> },
    /// Plain runs.
    Runs(Arc<[Placed<u64>]>),
    /// Nodes of all kinds.
    Parts(Arc<[Placed<Arc<Node>>]>),
}

/// An entry of a list.
#[derive(Clone, Debug)]
struct Placed<T> {
    displacement: i64,
    /// Bytes of data of all entries before it.
    before: u64,
    what: T,
}

impl Datatype {
    /// `size` bytes without a gap.
    pub fn elementary(size: u64) -> Result<Self> {
        let upper = i64::try_from(size).map_err(|_| DatatypeError::TooLarge)?;
        Ok(Datatype { body: Body::run(size)?, bounds: Some((0, upper)) })
    }

    /// `count` times, one behind the other.
    pub fn contiguous(count: u64, of: &Datatype) -> Result<Self> {
        Datatype::hvector(count, 1, of.extent(), of)
    }

    /// `count` blocks of `length`, whose starts are `stride` extents apart.
    pub fn vector(count: u64, length: u64, stride: i64, of: &Datatype) -> Result<Self> {
        Datatype::hvector(count, length, times(stride, of.extent())?, of)
    }

    /// `count` blocks of `length`, whose starts are `stride` bytes apart.
    pub fn hvector(count: u64, length: u64, stride: i64, of: &Datatype) -> Result<Self> {
        if count == 0 || length == 0 {
            return Ok(Datatype::empty());
        }
        let block = of.body.clone().repeat(length, of.extent())?;
        let (along, across) = (times(steps(length)?, of.extent())?, times(steps(count)?, stride)?);
        let corners = [0, along, across, plus(along, across)?];
        let bounds = bounds(corners.iter().map(|&at| (at, of)))?;
        Ok(Datatype { body: block.repeat(count, stride)?, bounds })
    }

    /// Blocks of `(displacement, length)`, displacements in extents.
    pub fn indexed(blocks: &[(i64, u64)], of: &Datatype) -> Result<Self> {
        let scaled = blocks.iter().map(|&(at, length)| Ok((times(at, of.extent())?, length)));
        Datatype::hindexed(&scaled.collect::<Result<Vec<_>>>()?, of)
    }

    /// Blocks of `(displacement, length)`, displacements in bytes.
    pub fn hindexed(blocks: &[(i64, u64)], of: &Datatype) -> Result<Self> {
        let mut list = Vec::with_capacity(blocks.len());
        let mut corners = Vec::with_capacity(2 * blocks.len());
        // Most lists have few lengths, and equal blocks should be one node.
        let mut block: Option<(u64, Body)> = None;
        for &(at, length) in blocks.iter().filter(|(_, length)| *length > 0) {
            if block.as_ref().is_none_or(|(known, _)| *known != length) {
                block = Some((length, of.body.clone().repeat(length, of.extent())?));
            }
            let (_, body) = block.as_ref().expect("just made");
            list.push((at, body.clone()));
            corners.extend([(at, of), (plus(at, times(steps(length)?, of.extent())?)?, of)]);
        }
        let bounds = bounds(corners.into_iter())?;
        Ok(Datatype { body: Body::list(list)?, bounds })
    }

    /// Blocks of equal length at displacements in extents.
    pub fn indexed_block(length: u64, displacements: &[i64], of: &Datatype) -> Result<Self> {
        Datatype::indexed(&displacements.iter().map(|&at| (at, length)).collect::<Vec<_>>(), of)
    }

    /// Blocks of equal length at displacements in bytes.
    pub fn hindexed_block(length: u64, displacements: &[i64], of: &Datatype) -> Result<Self> {
        Datatype::hindexed(&displacements.iter().map(|&at| (at, length)).collect::<Vec<_>>(), of)
    }

    /// Blocks of `(displacement in bytes, length, type)`.
    pub fn structure(blocks: &[(i64, u64, Datatype)]) -> Result<Self> {
        let mut list = Vec::with_capacity(blocks.len());
        let mut corners = Vec::with_capacity(2 * blocks.len());
        for (at, length, of) in blocks.iter().filter(|(_, length, _)| *length > 0) {
            list.push((*at, of.body.clone().repeat(*length, of.extent())?));
            corners.extend([(*at, of), (plus(*at, times(steps(*length)?, of.extent())?)?, of)]);
        }
        let bounds = bounds(corners.into_iter())?;
        Ok(Datatype { body: Body::list(list)?, bounds })
    }

    /// The same bytes with other bounds.
    pub fn resized(&self, lower: i64, extent: i64) -> Result<Self> {
        Ok(Datatype { body: self.body.clone(), bounds: Some((lower, plus(lower, extent)?)) })
    }

    fn empty() -> Self {
        Datatype { body: Body { origin: 0, node: Arc::new(Node::run(0, 0)) }, bounds: None }
    }

    /// Bytes of data.
    pub fn size(&self) -> u64 {
        self.body.node.size
    }

    /// First byte that counts as part of the type, data or not.
    pub fn lower_bound(&self) -> i64 {
        self.bounds.map_or(0, |(lower, _)| lower)
    }

    /// Distance to the next one of the same type.
    pub fn extent(&self) -> i64 {
        self.bounds.map_or(0, |(lower, upper)| upper - lower)
    }

    /// First byte of data; 0 if there is none.
    pub fn true_lower_bound(&self) -> i64 {
        self.body.first()
    }

    /// Bytes from the first one of data to the last one.
    pub fn true_extent(&self) -> i64 {
        self.body.end() - self.body.first()
    }

    /// Whether the data is one run, and a repetition of the type is one run too.
    pub fn is_contiguous(&self) -> bool {
        let is_run = matches!(self.body.node.shape, Shape::Run);
        is_run && (self.size() == 0 || i64::try_from(self.size()) == Ok(self.extent()))
    }

    /// Whether the data comes in the order of its displacements and no byte comes twice.
    pub fn is_ordered(&self) -> bool {
        self.body.node.ordered
    }

    /// Whether the starts of the runs come in the order of their displacements.
    pub fn is_monotone(&self) -> bool {
        self.body.node.monotone
    }

    /// An upper bound of the runs of data that it has.
    pub fn runs(&self) -> u64 {
        self.body.node.runs
    }

    /// How many bytes of the data lie before an offset, if the datatype is [ordered](Self::is_ordered); of another one,
    /// the first byte of the data that does not.
    pub fn data_before(&self, offset: u64) -> u64 {
        let offset = i64::try_from(offset).unwrap_or(i64::MAX);
        if self.is_ordered() {
            return self.body.node.data_before(offset.saturating_sub(self.body.origin));
        }
        self.segments(0, self.size())
            .take_while(|segment| segment.displacement < offset)
            .map(|segment| segment.length.min(offset.abs_diff(segment.displacement)))
            .sum()
    }

    /// The runs of data from byte `from` of the data up to byte `to`, neighbours joined.
    pub fn segments(&self, from: u64, to: u64) -> Segments<'_> {
        Segments::new(&self.body, from, to)
    }
}

impl Body {
    fn run(size: u64) -> Result<Body> {
        let end = i64::try_from(size).map_err(|_| DatatypeError::TooLarge)?;
        Ok(Body { origin: 0, node: Arc::new(Node::run(size, end)) })
    }

    fn first(&self) -> i64 {
        if self.node.size == 0 { 0 } else { self.origin + self.node.first }
    }

    fn end(&self) -> i64 {
        if self.node.size == 0 { 0 } else { self.origin + self.node.end }
    }

    fn shifted(self, by: i64) -> Result<Body> {
        let origin = plus(self.origin, by)?;
        // All of its bytes can still be named.
        plus(origin, self.node.first).and_then(|_| plus(origin, self.node.end))?;
        Ok(Body { origin, ..self })
    }

    /// The body `count` times, `stride` bytes apart.
    fn repeat(self, count: u64, stride: i64) -> Result<Body> {
        let Body { origin, node } = self;
        if count == 0 || node.size == 0 {
            return Body::run(0);
        }
        if count == 1 {
            return Ok(Body { origin, node });
        }
        let size = node.size.checked_mul(count).filter(|size| i64::try_from(*size).is_ok());
        let size = size.ok_or(DatatypeError::TooLarge)?;
        let node = match &node.shape {
            Shape::Run if i64::try_from(node.size) == Ok(stride) => return Ok(Body { origin, ..Body::run(size)? }),
            Shape::Repeat { count: inner, stride: step, node: of }
                if i64::try_from(*inner).ok().and_then(|inner| inner.checked_mul(*step)) == Some(stride) =>
            {
                Node::repeat(count * inner, *step, of.clone(), size)?
            }
            _ => Node::repeat(count, stride, node, size)?,
        };
        Body { origin: 0, node: Arc::new(node) }.shifted(origin)
    }

    /// Bodies at displacements.
    fn list(entries: Vec<(i64, Body)>) -> Result<Body> {
        let mut placed: Vec<(i64, Arc<Node>)> = Vec::with_capacity(entries.len());
        for (at, body) in entries {
            if body.node.size == 0 {
                continue;
            }
            let Body { origin, node } = body.shifted(at)?;
            match placed.last_mut() {
                Some((before, run)) if joins(*before, run, origin, &node) => {
                    *run = Body::run(run.size + node.size)?.node;
                }
                _ => placed.push((origin, node)),
            }
        }
        match placed.as_slice() {
            [] => Body::run(0),
            [(origin, node)] => Ok(Body { origin: *origin, node: node.clone() }),
            [(origin, node), (second, _), ..] => {
                let stride = second.checked_sub(*origin).ok_or(DatatypeError::TooLarge)?;
                if is_regular(&placed, stride) {
                    let count = placed.len() as u64;
                    return Body { origin: *origin, node: node.clone() }.repeat(count, stride);
                }
                Ok(Body { origin: 0, node: Arc::new(Node::list(&placed)?) })
            }
        }
    }
}

/// Whether two runs are one.
fn joins(before: i64, run: &Node, origin: i64, node: &Node) -> bool {
    matches!((&run.shape, &node.shape), (Shape::Run, Shape::Run)) && before + run.end == origin
}

fn is_regular(placed: &[(i64, Arc<Node>)], stride: i64) -> bool {
    placed.windows(2).all(|pair| {
        let [(a, one), (b, other)] = pair else { return false };
        let is_run = |node: &Node| matches!(node.shape, Shape::Run);
        let same = Arc::ptr_eq(one, other) || (is_run(one) && is_run(other) && one.size == other.size);
        same && b.checked_sub(*a) == Some(stride)
    })
}

impl Node {
    fn run(size: u64, end: i64) -> Node {
        Node { shape: Shape::Run, size, first: 0, end, last_start: 0, runs: 1, monotone: true, ordered: true }
    }

    fn repeat(count: u64, stride: i64, node: Arc<Node>, size: u64) -> Result<Node> {
        let last = times(steps(count)?, stride)?;
        Ok(Node {
            size,
            first: plus(node.first, last.min(0))?,
            end: plus(node.end, last.max(0))?,
            last_start: plus(node.last_start, last)?,
            runs: node.runs.saturating_mul(count),
            monotone: node.monotone && stride >= node.last_start - node.first,
            ordered: node.ordered && stride >= node.end - node.first,
            shape: Shape::Repeat { count, stride, node },
        })
    }

    fn list(placed: &[(i64, Arc<Node>)]) -> Result<Node> {
        let mut size = 0u64;
        let mut before = Vec::with_capacity(placed.len());
        for (_, node) in placed {
            before.push(size);
            size = size.checked_add(node.size).filter(|s| i64::try_from(*s).is_ok()).ok_or(DatatypeError::TooLarge)?;
        }
        let pairs = || placed.windows(2).map(|pair| (&pair[0], &pair[1]));
        let (last, node) = placed.last().expect("a list has entries");
        Ok(Node {
            size,
            first: placed.iter().map(|(at, node)| at + node.first).min().unwrap_or(0),
            end: placed.iter().map(|(at, node)| at + node.end).max().unwrap_or(0),
            last_start: last + node.last_start,
            runs: placed.iter().fold(0, |sum, (_, node)| node.runs.saturating_add(sum)),
            monotone: placed.iter().all(|(_, node)| node.monotone)
                && pairs().all(|((a, one), (b, other))| a + one.last_start <= b + other.first),
            ordered: placed.iter().all(|(_, node)| node.ordered)
                && pairs().all(|((a, one), (b, other))| a + one.end <= b + other.first),
            shape: Shape::of_list(placed, &before),
        })
    }
}

impl Node {
    /// Bytes of data before an offset of an ordered node.
    fn data_before(&self, offset: i64) -> u64 {
        if offset <= self.first {
            return 0;
        }
        if offset >= self.end {
            return self.size;
        }
        match &self.shape {
            Shape::Run => offset.unsigned_abs(),
            Shape::Repeat { stride, node, .. } => {
                // The last turn that begins before the offset; those before it end before it begins.
                let turn = (offset - 1 - node.first) / stride;
                turn.unsigned_abs() * node.size + node.data_before(offset - turn * stride)
            }
            Shape::Runs(list) => {
                let entry = &list[list.partition_point(|entry| entry.displacement < offset) - 1];
                entry.before + entry.what.min(offset.abs_diff(entry.displacement))
            }
            Shape::Parts(list) => {
                let next = list.partition_point(|entry| entry.displacement + entry.what.first < offset);
                let entry = &list[next - 1];
                entry.before + entry.what.data_before(offset - entry.displacement)
            }
        }
    }
}

impl Shape {
    fn of_list(placed: &[(i64, Arc<Node>)], before: &[u64]) -> Shape {
        let entries = || placed.iter().zip(before);
        if placed.iter().all(|(_, node)| matches!(node.shape, Shape::Run)) {
            let run = |((at, node), before): (&(i64, Arc<Node>), &u64)| Placed {
                displacement: *at,
                before: *before,
                what: node.size,
            };
            return Shape::Runs(entries().map(run).collect());
        }
        let part = |((at, node), before): (&(i64, Arc<Node>), &u64)| Placed {
            displacement: *at,
            before: *before,
            what: node.clone(),
        };
        Shape::Parts(entries().map(part).collect())
    }
}

/// Lower and upper bound of types at places.
fn bounds<'a>(corners: impl Iterator<Item = (i64, &'a Datatype)>) -> Result<Option<(i64, i64)>> {
    let mut all: Option<(i64, i64)> = None;
    for (at, of) in corners {
        let Some((lower, upper)) = of.bounds else { continue };
        let (lower, upper) = (plus(at, lower)?, plus(at, upper)?);
        all = Some(all.map_or((lower, upper), |(l, u)| (l.min(lower), u.max(upper))));
    }
    if let Some((lower, upper)) = all {
        upper.checked_sub(lower).ok_or(DatatypeError::TooLarge)?;
    }
    Ok(all)
}

/// Steps from the first to the last of `count`.
fn steps(count: u64) -> Result<i64> {
    i64::try_from(count.saturating_sub(1)).map_err(|_| DatatypeError::TooLarge)
}

fn plus(a: i64, b: i64) -> Result<i64> {
    a.checked_add(b).ok_or(DatatypeError::TooLarge)
}

fn times(a: i64, b: i64) -> Result<i64> {
    a.checked_mul(b).ok_or(DatatypeError::TooLarge)
}
