//! Datatypes and views as numbers, for other ranks.

use super::{Body, Datatype, DatatypeError, Node, Shape, View, ViewError};
use std::sync::Arc;

/// Why numbers are no datatype.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// They end too soon.
    #[error("the datatype of another rank ends too soon")]
    Short,
    /// A number that says what follows, and is not known.
    #[error("the datatype of another rank has a part of the unknown kind {0}")]
    Kind(u64),
    /// It is impossible.
    #[error(transparent)]
    Impossible(#[from] DatatypeError),
    /// An access that no file can have.
    #[error("the access of another rank ends past the largest file offset")]
    BeyondLimits,
    /// It is impossible as a view.
    #[error(transparent)]
    View(#[from] ViewError),
}

const RUN: u64 = 0;
const REPEAT: u64 = 1;
const LIST: u64 = 2;

impl Datatype {
    /// Appends the datatype to a list of numbers.
    pub fn encode(&self, to: &mut Vec<u64>) {
        let (lower, upper) = self.bounds.unwrap_or_default();
        to.extend([u64::from(self.bounds.is_some()), lower.cast_unsigned(), upper.cast_unsigned()]);
        to.push(self.body.origin.cast_unsigned());
        encode(&self.body.node, to);
    }

    /// Takes a datatype that [`encode`](Self::encode) has made from the front of a list of numbers.
    pub fn decode(from: &mut impl Iterator<Item = u64>) -> Result<Datatype, DecodeError> {
        let has_bounds = next(from)? > 0;
        let bounds = (next(from)?.cast_signed(), next(from)?.cast_signed());
        bounds.1.checked_sub(bounds.0).ok_or(DatatypeError::TooLarge)?;
        let origin = next(from)?.cast_signed();
        let body = decode(from)?.shifted(origin)?;
        Ok(Datatype { body, bounds: has_bounds.then_some(bounds) })
    }
}

impl View {
    /// Appends the view to a list of numbers.
    pub fn encode(&self, to: &mut Vec<u64>) {
        to.extend([self.displacement(), self.etype_bytes()]);
        self.filetype().encode(to);
    }

    /// Takes a view that [`encode`](Self::encode) has made from the front of a list of numbers.
    pub fn decode(from: &mut impl Iterator<Item = u64>) -> Result<View, DecodeError> {
        let (displacement, etype) = (next(from)?, Datatype::elementary(next(from)?)?);
        Ok(View::new(displacement, &etype, &Datatype::decode(from)?)?)
    }
}

fn next(from: &mut impl Iterator<Item = u64>) -> Result<u64, DecodeError> {
    from.next().ok_or(DecodeError::Short)
}

fn encode(node: &Arc<Node>, to: &mut Vec<u64>) {
    match &node.shape {
        Shape::Run => to.extend([RUN, node.size]),
        Shape::Repeat { count, stride, node } => {
            to.extend([REPEAT, *count, stride.cast_unsigned()]);
            encode(node, to);
        }
        Shape::Runs(list) => {
            to.extend([LIST, list.len() as u64]);
            list.iter().for_each(|entry| to.extend([entry.displacement.cast_unsigned(), RUN, entry.what]));
        }
        Shape::Parts(list) => {
            to.extend([LIST, list.len() as u64]);
            for entry in list.iter() {
                to.push(entry.displacement.cast_unsigned());
                encode(&entry.what, to);
            }
        }
    }
}

fn decode(from: &mut impl Iterator<Item = u64>) -> Result<Body, DecodeError> {
    match next(from)? {
        RUN => Ok(Body::run(next(from)?)?),
        REPEAT => {
            let (count, stride) = (next(from)?, next(from)?.cast_signed());
            Ok(decode(from)?.repeat(count, stride)?)
        }
        LIST => {
            let count = next(from)?;
            let entries = (0..count).map(|_| Ok((next(from)?.cast_signed(), decode(from)?)));
            Ok(Body::list(entries.collect::<Result<Vec<_>, DecodeError>>()?)?)
        }
        kind => Err(DecodeError::Kind(kind)),
    }
}
