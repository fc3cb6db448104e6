//! The addresses of `[media]` are held against this machine before anything is opened.

use std::net::{IpAddr, UdpSocket};

use crate::app::border::StartError;
use crate::signaling::settings::MediaSettings;

/// Whether this machine has the addresses at which callers will be told to send their media: each call would fail by itself otherwise.
pub fn check(media: &MediaSettings) -> Result<(), StartError> {
    let mut addresses: Vec<IpAddr> = media.inside.iter().chain(&media.outside).copied().collect();
    addresses.sort_unstable();
    addresses.dedup();
    let refused = |address: IpAddr| UdpSocket::bind((address, 0)).err().map(|error| (address, error));
    let lines: Vec<String> = addresses
        .into_iter()
        .filter_map(refused)
        .map(|(address, error)| format!("[media] {address}: {error}; write an address of this machine, or bring its interface up first"))
        .collect();
    if lines.is_empty() { Ok(()) } else { Err(StartError(lines)) }
}
