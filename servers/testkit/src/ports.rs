//! Addresses that a server can have again after it was away.
//!
//! A port that the kernel chooses may be taken by any outgoing connection while its server is down. So ports come from
//! below the range that Linux uses for those (32,768 to 60,999), at random, so that clusters of several test processes
//! do not meet.

use anyhow::Context;
use std::hash::{BuildHasher, RandomState};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::ops::Range;

const PORTS: Range<u16> = 10_240..32_768;

/// A loopback address where nobody listens.
pub(crate) fn free_address() -> anyhow::Result<SocketAddr> {
    let first = RandomState::new().hash_one(std::process::id());
    let count = u64::from(PORTS.end - PORTS.start);
    let port = |step: u64| u16::try_from((first % count + step) % count).map(|port| PORTS.start + port);
    (0..count)
        .filter_map(|step| port(step).ok())
        .map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
        // To listen here to find out would leave a listener in a child that another thread is just starting.
        .find(|address| TcpStream::connect(address).is_err())
        .context("every port from 10240 to 32767 has a listener")
}
