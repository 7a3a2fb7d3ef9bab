//! One ordered stream of messages over any number of connections.
//!
//! Messages are numbered from 1. The sender keeps each until the other side has told that it has seen it, and repeats
//! the unseen ones, in order, on every new connection (rule 19). The receiver takes each number once, in order.

use std::collections::VecDeque;

/// The sender's half.
#[derive(Clone, Debug)]
pub struct Outbox<M> {
    /// Number of the first message that is kept.
    first: u64,
    kept: VecDeque<M>,
}

impl<M> Default for Outbox<M> {
    fn default() -> Self {
        Outbox { first: 1, kept: VecDeque::new() }
    }
}

impl<M> Outbox<M> {
    /// Keeps a message and numbers it.
    pub fn push(&mut self, message: M) -> u64 {
        self.kept.push_back(message);
        self.first + self.kept.len() as u64 - 1
    }

    /// The other side has seen everything up to this number.
    pub fn acknowledge(&mut self, received: u64) {
        while self.first <= received && self.kept.pop_front().is_some() {
            self.first += 1;
        }
    }

    /// The number of the last message, seen or not.
    pub fn last(&self) -> u64 {
        self.first + self.kept.len() as u64 - 1
    }

    /// Everything up to this number was seen by the other side.
    pub fn acknowledged(&self) -> u64 {
        self.first - 1
    }

    /// What the other side has not told to have seen, in order.
    pub fn unseen(&self) -> impl Iterator<Item = (u64, M)> + '_
    where
        M: Clone,
    {
        self.kept.iter().enumerate().map(|(at, message)| (self.first + at as u64, message.clone()))
    }

    /// Messages that are kept.
    pub fn len(&self) -> usize {
        self.kept.len()
    }

    /// Whether nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }
}

/// What to do with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// It is the next one: handle it.
    Next,
    /// It was handled before.
    Repeated,
    /// One before it is missing: the connection is of no use any more, and a new one repeats both.
    Gap,
}

/// The receiver's half.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Inbox {
    received: u64,
}

impl Inbox {
    /// Looks at a message's number, and counts it as seen if it is the next.
    pub fn arrive(&mut self, number: u64) -> Arrival {
        if number == self.received + 1 || crate::mutant!(RepeatedMessageApplied) && number <= self.received {
            self.received = self.received.max(number);
            return Arrival::Next;
        }
        if number <= self.received { Arrival::Repeated } else { Arrival::Gap }
    }

    /// The number of the last message that was seen.
    pub fn received(&self) -> u64 {
        self.received
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unseen_messages_are_repeated_once_each_and_in_order() {
        let mut outbox = Outbox::default();
        assert_eq!([outbox.push('a'), outbox.push('b'), outbox.push('c')], [1, 2, 3]);
        let mut inbox = Inbox::default();
        assert_eq!(inbox.arrive(1), Arrival::Next);
        assert_eq!(inbox.arrive(3), Arrival::Gap);
        outbox.acknowledge(inbox.received());
        let again: Vec<_> = outbox.unseen().collect();
        assert_eq!(again, [(2, 'b'), (3, 'c')]);
        assert_eq!(again.iter().map(|(n, _)| inbox.arrive(*n)).collect::<Vec<_>>(), [Arrival::Next; 2]);
        assert_eq!(inbox.arrive(2), Arrival::Repeated);
        outbox.acknowledge(9);
        assert!(outbox.is_empty());
        assert_eq!(outbox.push('d'), 4, "numbers go on");
    }
}
