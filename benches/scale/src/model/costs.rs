//! What a byte and a request cost, as it was measured.
//!
//! Processor times are those of one client and one server whose links have no limit; the wire's overhead is what a limited
//! link of raw TCP lacks. Nothing else of the measured points is used, so all others can check the model.

use crate::hosts::{Op, Point};
use crate::load::{Kind, REQUEST_BYTES};
use anyhow::{Context, Result};
use serde::Serialize;

/// Costs of one operation's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Cost {
    /// A client's processor, seconds a byte.
    pub client_s_per_byte: f64,
    /// A server's processor, seconds a byte.
    pub server_s_per_byte: f64,
}

/// All of them.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Costs {
    /// Of writes.
    pub write: Cost,
    /// Of reads.
    pub read: Cost,
    /// Bytes on the wire for each byte of payload.
    pub wire: f64,
    /// Seconds from a request's end to its answer, beside what its bytes take: of an operation of 4 KiB, measured.
    pub turn_s: f64,
    /// Bytes of one request.
    pub request_bytes: u64,
    /// Seconds that a metadata server is busy with one message about tokens, measured in this process.
    pub token_message_s: f64,
}

impl Costs {
    /// Of kept figures.
    pub fn of(kept: &crate::hosts::Kept) -> Result<Costs> {
        let find = |op: Op, shaped: bool| {
            let fits = |point: &&Point| point.count == 1 && point.op == op && point.link_bits_per_s.is_some() == shaped;
            kept.points.iter().find(fits).with_context(|| format!("there is no {} of one client", op.name()))
        };
        let cost = |op: Op| -> Result<Cost> {
            let (client_s_per_byte, server_s_per_byte) = find(op, false)?.cpu_s_per_byte(Kind::Pfs);
            Ok(Cost { client_s_per_byte, server_s_per_byte })
        };
        let raw = find(Op::Write, true)?.throughput(Kind::Raw).value;
        let small = find(Op::Write, false)?.small_ns[1];
        Ok(Costs {
            write: cost(Op::Write)?,
            read: cost(Op::Read)?,
            wire: kept.link_bits_per_s as f64 / raw,
            turn_s: small as f64 * 1e-9,
            request_bytes: REQUEST_BYTES as u64,
            token_message_s: super::tokens::message_seconds(),
        })
    }

    /// Of one operation.
    pub fn cost(&self, op: Op) -> Cost {
        match op {
            Op::Write => self.write,
            Op::Read => self.read,
        }
    }
}
