//! Identities. Each kind of number has a type of its own, so that none can pass for another.
//!
//! Invariants: an id is never 0 (0 on the wire means "absent" and is refused at the conversion), and ids are
//! handed out by durable counters and never reused.

use std::fmt;
use std::num::{NonZeroU32, NonZeroU64};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $repr:ty, $nonzero:ty, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name($nonzero);

        impl $name {
            /// The id with this number, or nothing for 0.
            pub const fn new(number: $repr) -> Option<Self> {
                match <$nonzero>::new(number) {
                    Some(number) => Some(Self(number)),
                    None => None,
                }
            }

            /// The number.
            pub const fn get(self) -> $repr {
                self.0.get()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

id! {
    /// A file or directory. Never reused, so a late message can not hit a newer file.
    FileId, u64, NonZeroU64, "file-"
}
id! {
    /// One registration of one client process: its *incarnation*. A process that registers again is a new client.
    ClientId, u64, NonZeroU64, "client-"
}
id! {
    /// The clients that opened a file together.
    GroupId, u64, NonZeroU64, "group-"
}
id! {
    /// A file server's store.
    ServerId, u32, NonZeroU32, "server-"
}
id! {
    /// A start of the metadata server.
    Boot, u64, NonZeroU64, "boot-"
}
id! {
    /// A start of one file server's store.
    Instance, u64, NonZeroU64, "instance-"
}
id! {
    /// One open of one file by one holder.
    OpenId, u64, NonZeroU64, "open-"
}
id! {
    /// A revoke, unique in one boot.
    RevokeId, u64, NonZeroU64, "revoke-"
}
id! {
    /// A token request, unique in its client's session.
    RequestId, u64, NonZeroU64, "request-"
}

/// Who holds a token: one client, or the group of clients that opened a file together.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Holder {
    /// One client.
    Client(ClientId),
    /// All members of a group.
    Group(GroupId),
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Holder::Client(id) => id.fmt(f),
            Holder::Group(id) => id.fmt(f),
        }
    }
}

impl fmt::Debug for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The fencing number that goes with every data request: under whose token, granted in which boot, sent by whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stamp {
    /// The metadata server's start in which the token was granted.
    pub boot: Boot,
    /// The holder of the token.
    pub holder: Holder,
    /// The client that sends the request.
    pub incarnation: ClientId,
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({}, {}, {})", self.boot, self.holder, self.incarnation)
    }
}

/// One server's piece of a file: the file and the position in its recipe.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectId {
    /// The file.
    pub file: FileId,
    /// The position in the recipe's list of slots, from 0.
    pub slot: u32,
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} slot {}", self.file, self.slot)
    }
}

impl fmt::Debug for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
