//! Settings of every connection, the same on both sides, and how a client makes one.
//!
//! The frame size governs the cost of bulk data more than anything else: a server's value governs writes, a client's
//! governs reads. The windows are small so that what is received is looked at while it is in the processor's cache: two frames
//! for each stream, of which one arrives while the other is looked at. One frame is too few, and four are a sixth slower when
//! several clients and servers share two cores (`docs/PERFORMANCE.md`).

use crate::kill_switch::KillSwitch;
use crate::secret::AuthInterceptor;
use hyper_util::rt::TokioIo;
use std::time::Duration;
use tokio::net::TcpStream;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

/// Largest HTTP/2 frame in bytes.
pub const FRAME_BYTES_MAX: u32 = 256 * 1024;
/// HTTP/2 flow-control window of one stream in bytes.
pub const STREAM_WINDOW_BYTES: u32 = 512 * 1024;
/// HTTP/2 flow-control window of one connection in bytes.
pub const CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;
/// Most calls and streams at once on one connection.
pub const STREAMS_PER_CONNECTION_MAX: u32 = 1024;
/// Largest encoded message in bytes; set it on every generated client and server.
pub const MESSAGE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Most payload bytes of one data request.
pub const DATA_REQUEST_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Most payload bytes of one request of the stream of small ones.
pub const SMALL_REQUEST_BYTES_MAX: usize = 1024 * 1024;
/// Largest encoded request of that stream in bytes.
pub const SMALL_MESSAGE_BYTES_MAX: usize = SMALL_REQUEST_BYTES_MAX + 256 * 1024;
/// Most files of one request to remove their objects.
pub const FILES_PER_REMOVE_MAX: usize = 64;
/// Most extents of one data request.
pub const EXTENTS_PER_REQUEST_MAX: usize = 4096;
/// Most ranges or patterns of one token message.
pub const RANGES_PER_MESSAGE_MAX: usize = 65_536;

/// How long a connection attempt may take.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How often a silent peer is asked for a sign of life.
pub const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// How long the answer may take before the connection is given up.
pub const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// A channel whose calls carry the proof of the cluster secret.
pub type AuthChannel = InterceptedService<Channel, AuthInterceptor>;

/// Why an address was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{address:?} is not an address of the form host:port, for example 127.0.0.1:7100 or [::1]:7100")]
pub struct AddressError {
    /// What was given.
    pub address: String,
}

/// Splits and checks "host:port". A host may be a name, an IPv4 address, or an IPv6 address in brackets.
pub fn check_address(address: &str) -> Result<(), AddressError> {
    let refused = || AddressError { address: address.to_owned() };
    let (host, port) = address.rsplit_once(':').ok_or_else(refused)?;
    let port_is_good = port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0);
    let host_is_good = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(inner) => inner.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            let letters = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
            (1..=253).contains(&host.len()) && host.bytes().all(letters)
        }
    };
    if port_is_good && host_is_good { Ok(()) } else { Err(refused()) }
}

/// An endpoint for "host:port" with the project's settings.
pub fn endpoint(address: &str) -> Result<Endpoint, AddressError> {
    check_address(address)?;
    let endpoint =
        Endpoint::from_shared(format!("http://{address}")).map_err(|_| AddressError { address: address.to_owned() })?;
    Ok(endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(FRAME_BYTES_MAX)
        .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .keep_alive_while_idle(true))
}

/// A channel to "host:port". It connects at the first call, and again after a connection was lost.
///
/// # Panics
/// Outside of a tokio runtime.
pub fn connect(address: &str, auth: &AuthInterceptor) -> Result<AuthChannel, AddressError> {
    Ok(InterceptedService::new(endpoint(address)?.connect_lazy(), auth.clone()))
}

/// The same without the proof, for calls that add it themselves, and with a switch that ends the channel's connections.
///
/// # Panics
/// Outside of a tokio runtime.
pub fn connect_with_switch(address: &str) -> Result<(Channel, KillSwitch), AddressError> {
    let (switch, target) = (KillSwitch::default(), address.to_owned());
    let connector = service_fn({
        let switch = switch.clone();
        move |_| {
            let (switch, target) = (switch.clone(), target.clone());
            async move {
                let stream = TcpStream::connect(target).await?;
                stream.set_nodelay(true)?;
                Ok::<_, std::io::Error>(TokioIo::new(switch.guard(stream)))
            }
        }
    });
    Ok((endpoint(address)?.connect_with_connector_lazy(connector), switch))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_host_and_port() {
        for good in ["127.0.0.1:7100", "node-3.cluster:1", "[::1]:65535", "a_b:80"] {
            assert_eq!(check_address(good), Ok(()), "{good}");
            assert!(endpoint(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            ":",
            "host",
            "host:",
            ":80",
            "host:0",
            "host:65536",
            "host:+1",
            "::1:80",
            "[::g]:80",
            "a/b:80",
            "a@b:80",
            "http://a:80",
        ] {
            assert_eq!(check_address(bad), Err(AddressError { address: bad.into() }), "{bad}");
            assert!(endpoint(bad).is_err(), "{bad}");
        }
    }
}
